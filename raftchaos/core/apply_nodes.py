"""Commands about leaders and nodes."""

from __future__ import annotations

import dataclasses
from typing import Any

from raftchaos import limits
from raftchaos.core import admission, answers, commands, reasons, transitions
from raftchaos.core.answers import Answer
from raftchaos.core.apply_access import forget_node, key_of, remember_key
from raftchaos.core.draft import Draft
from raftchaos.model.events import EventType
from raftchaos.model.names import is_label, is_name, is_proxy_name
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.runs import RunStatus

_ADDRESS = 300
_VERSION = 64
_DIGEST = 64  # characters of a SHA-256


def leader_started(draft: Draft, command: commands.LeaderStarted) -> Answer:
    """A leader announces its term."""
    if (command.term, command.leader) != draft.leadership[:2]:
        data = {"leader": command.leader, "term": command.term}
        draft.tell(EventType.LEADER_CHANGED, data, node=command.leader)
    draft.leadership = (command.term, command.leader, draft.context.wall_ms)
    return answers.ok(term=command.term)


def admit_node(draft: Draft, command: commands.AdmitNode) -> Answer:
    """A name is given to a data directory, before its peer may vote. It is failed until it registers."""
    wrong = _wrong_admission(command)
    if not wrong and len(command.key) not in (0, _DIGEST):
        wrong = "found a bad hash of a key"
    if wrong:
        return answers.refuse(answers.USAGE, wrong)
    present = draft.nodes.get(command.name)
    if present is not None:
        if present.directory != command.directory:
            return _name_taken(command.name)
        if key_of(draft, command.name) != command.key:
            return _another_key(command.name)
        return answers.ok(existing=True)
    if command.directory in draft.access.revoked:
        return answers.refuse(
            answers.REFUSED,
            f"the data directory of {command.name} belonged to a node that was removed",
            hint="give it an empty one with --data-dir",
        )
    if len(draft.nodes) >= limits.NODES:
        return answers.refuse(answers.REFUSED, f"the cluster has {len(draft.nodes)} nodes, the most there may be")
    node = Node(
        name=command.name,
        incarnation=0,
        directory=command.directory,
        raft_address=command.raft_address,
        api_address=command.api_address,
        status=NodeStatus.FAILED,
        reasons=("it has not started as a member yet",),
    )
    if admission.used(draft.base) + admission.node_size(node) > limits.SNAPSHOT_WORKING:
        return answers.refuse(answers.REFUSED, f"the replicated state has no room for {command.name}")
    draft.nodes.put(node.name, node)
    remember_key(draft, command.name, command.key)
    return answers.ok()


def register_node(draft: Draft, command: commands.RegisterNode) -> Answer:
    """A new start of a peer takes the place of its earlier one, or a new peer is added."""
    wrong = _wrong_registration(command)
    if wrong:
        return answers.refuse(answers.USAGE, wrong)
    present = draft.nodes.get(command.name)
    if present is None:
        if len(draft.nodes) >= limits.NODES:
            return answers.refuse(answers.REFUSED, f"the cluster has {len(draft.nodes)} nodes, the most there may be")
    elif present.directory != command.directory:
        return _name_taken(command.name)
    elif present.incarnation >= command.incarnation:
        if present.incarnation == command.incarnation:
            return answers.ok(incarnation=present.incarnation, existing=True)
        return answers.refuse(
            answers.CONFLICT,
            f"a newer start of {command.name} is registered: {present.incarnation}, this is {command.incarnation}",
            hint="two peers run from copies of one data directory; stop one of them",
        )
    node = _node(command, present)
    if present is None or admission.node_size(node) > admission.node_size(present):
        grown = admission.node_size(node) - (admission.node_size(present) if present else 0)
        if grown > admission.free(draft.base):
            return answers.refuse(answers.REFUSED, f"no room for {command.name}: its record takes {grown} more bytes")
    draft.nodes.put(node.name, node)
    data = {"incarnation": node.incarnation, "version": node.version}
    draft.tell(EventType.NODE_REGISTERED, data, node=node.name)
    _end_earlier_runs(draft, node)
    return answers.ok(incarnation=node.incarnation)


def update_proxies(draft: Draft, command: commands.UpdateProxies) -> Answer:
    """The proxies of a node have changed."""
    node = draft.nodes.get(command.name)
    if node is None or node.incarnation != command.incarnation:
        return _no_incarnation(command.name, command.incarnation)
    if len(command.proxies) > limits.PROXIES or not all(is_proxy_name(name) for name in command.proxies):
        return answers.refuse(answers.USAGE, f"found bad names of proxies, or more than {limits.PROXIES}")
    changed = dataclasses.replace(node, proxies=tuple(sorted(set(command.proxies))))
    grown = admission.node_size(changed) - admission.node_size(node)
    if grown > 0 and grown > admission.free(draft.base):
        return answers.refuse(answers.REFUSED, "the replicated state has no room for more proxies")
    draft.nodes.put(node.name, changed)
    return answers.ok()


def node_failed(draft: Draft, command: commands.NodeFailed) -> Answer:
    """The leader has lost a node: what it may have been doing is over by now."""
    node = draft.nodes.get(command.name)
    if node is None or node.incarnation != command.incarnation:
        return _no_incarnation(command.name, command.incarnation)
    if node.status is NodeStatus.FAILED:
        return answers.ok(existing=True)
    why = "the leader could not renew its lease"
    _set_status(draft, node, NodeStatus.FAILED, (why,), failed_index=draft.context.index)
    for key in sorted(draft.runs):
        run = draft.runs[key]
        if run.node != node.name:
            continue
        if run.live:
            draft.move_run(run, command.kind, RunStatus.INTERRUPTED, reason=reasons.NODE_FAILED)
        elif run.status is RunStatus.PLANNED:
            draft.move_run(run, command.kind, RunStatus.SKIPPED, reason=reasons.NODE_FAILED)
    return answers.ok()


def node_active(draft: Draft, command: commands.NodeActive) -> Answer:
    """A failed node is back."""
    node = draft.nodes.get(command.name)
    if node is None or node.incarnation != command.incarnation:
        return _no_incarnation(command.name, command.incarnation)
    if node.status is not NodeStatus.FAILED:
        return answers.ok(existing=True)
    _set_status(draft, node, NodeStatus.ACTIVE, ())
    return answers.ok()


def node_degraded(draft: Draft, command: commands.NodeDegraded) -> Answer:
    """A node is not well, or is well again. A failed node stays failed."""
    node = draft.nodes.get(command.name)
    if node is None or node.incarnation != command.incarnation:
        return _no_incarnation(command.name, command.incarnation)
    if node.status is NodeStatus.FAILED:
        return answers.refuse(answers.REFUSED, f"{node.name} is failed")
    why = tuple(answers.clip(reason, 120) for reason in command.reasons[: limits.UNWELL_REASONS])
    status = NodeStatus.DEGRADED if why else NodeStatus.ACTIVE
    if (status, why) != (node.status, node.reasons):
        _set_status(draft, node, status, why)
    return answers.ok()


def drain_node(draft: Draft, command: commands.DrainNode) -> Answer:
    """A node gets no new runs, or gets them again."""
    node = draft.nodes.get(command.name)
    if node is None:
        return _no_node(command.name)
    if node.drained != command.drained:
        draft.nodes.put(node.name, dataclasses.replace(node, drained=command.drained))
        status = str(node.status)
        data = {"from": status, "to": status, "drained": command.drained, "reasons": list(node.reasons)}
        draft.tell(EventType.NODE_STATUS, data, node=node.name)
    return answers.ok(drained=command.drained)


def remove_node(draft: Draft, command: commands.RemoveNode) -> Answer:
    """A node leaves the registry; its name is free for a new peer."""
    node = draft.nodes.get(command.name)
    if node is None:
        return _no_node(command.name)
    live = sum(1 for run in draft.runs.values() if run.node == node.name and run.live)
    if live:
        return answers.refuse(
            answers.REFUSED,
            f"{node.name} is {node.status} and has {live} runs",
            hint=f"`raftchaos node drain {node.name}` gives it no new ones; remove it when they have ended",
        )
    if len(draft.nodes) == 1:
        return answers.refuse(answers.REFUSED, f"{node.name} is the last node", hint="stop its peer instead")
    draft.nodes.drop(node.name)
    forget_node(draft, node.name, node.directory)
    for key in sorted(key for key, run in draft.unrecovered.items() if run.node == node.name):
        draft.unrecovered.drop(key)
    for key in sorted(draft.runs):
        run = draft.runs[key]
        if run.node == node.name and run.status is RunStatus.PLANNED:
            draft.move_run(run, command.kind, RunStatus.SKIPPED, reason=reasons.NODE_REMOVED)
    draft.tell(EventType.NODE_REMOVED, {"incarnation": node.incarnation}, node=node.name)
    return answers.ok(removed=node.name)


def _node(command: commands.RegisterNode, present: Node | None) -> Node:
    return Node(
        name=command.name,
        incarnation=command.incarnation,
        directory=command.directory,
        raft_address=command.raft_address,
        api_address=command.api_address,
        drained=present.drained if present else False,
        labels={key: command.labels[key] for key in sorted(command.labels)},
        capabilities=tuple(sorted(set(command.capabilities))),
        proxies=tuple(sorted(set(command.proxies))),
        version=command.version,
        failed_index=present.failed_index if present else 0,
    )


def _wrong_admission(command: commands.AdmitNode | commands.RegisterNode) -> str:
    """What is wrong with who a peer says it is; empty if nothing is."""
    checks: list[tuple[Any, str]] = [
        (is_name(command.name), "found a bad name of a node, expected a DNS label"),
        (0 < len(command.directory) <= limits.NAME * 2, "found a bad id of a data directory"),
        (max(len(command.raft_address), len(command.api_address)) <= _ADDRESS, "found an address that is too long"),
    ]
    return next((text for good, text in checks if not good), "")


def _wrong_registration(command: commands.RegisterNode) -> str:
    """What is wrong with a registration; empty if nothing is."""
    checks: list[tuple[Any, str]] = [
        (command.incarnation > 0, "found an incarnation below 1"),
        (len(command.labels) <= limits.LABELS, f"found more than {limits.LABELS} labels"),
        (all(is_label(text) for item in command.labels.items() for text in item), "found a bad label"),
        (len(command.capabilities) <= limits.PROXIES, "found too many capabilities"),
        (all(0 < len(item) <= limits.NAME for item in command.capabilities), "found a bad capability"),
        (len(command.proxies) <= limits.PROXIES, f"found more than {limits.PROXIES} proxies"),
        (all(is_proxy_name(name) for name in command.proxies), "found a bad name of a proxy"),
        (len(command.version) <= _VERSION, "found a version that is too long"),
    ]
    return _wrong_admission(command) or next((text for good, text in checks if not good), "")


def _end_earlier_runs(draft: Draft, node: Node) -> None:
    """A peer registers only after the undo journal is clean, so whatever its earlier start was granted is over."""
    for key in sorted(draft.runs):
        run = draft.runs[key]
        if run.node == node.name and run.live and run.incarnation < node.incarnation:
            draft.move_run(run, transitions.REGISTER, RunStatus.INTERRUPTED, reason=reasons.RESTARTED)
    for key in sorted(key for key, run in draft.unrecovered.items() if run.node == node.name):
        draft.unrecovered.drop(key)


def _set_status(draft: Draft, node: Node, status: NodeStatus, why: tuple[str, ...], **changes: Any) -> None:
    draft.nodes.put(node.name, dataclasses.replace(node, status=status, reasons=why, **changes))
    data = {"from": str(node.status), "to": str(status), "drained": node.drained, "reasons": list(why)}
    draft.tell(EventType.NODE_STATUS, data, node=node.name)


def _another_key(name: str) -> Answer:
    return answers.refuse(
        answers.CONFLICT,
        f"{name} is a node, and whoever asks does not have its key",
        hint=f"keep `identity` in the data directory of {name}, or `raftchaos node remove {name}` and join with an "
        "empty data directory",
    )


def _name_taken(name: str) -> Answer:
    return answers.refuse(
        answers.CONFLICT,
        f"the name {name} is taken by a peer with another data directory",
        hint=f"`raftchaos node remove {name}` removes the old one, or choose another name",
    )


def _no_node(name: str) -> Answer:
    return answers.refuse(answers.NOT_FOUND, f"there is no node {answers.clip(name, 80)!r}")


def _no_incarnation(name: str, incarnation: int) -> Answer:
    return answers.refuse(
        answers.NOT_FOUND, f"the start {incarnation} of {answers.clip(name, 80)!r} is not the registered one"
    )
