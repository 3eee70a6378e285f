"""The replicated state as bytes, and back.

Canonical: equal states give equal bytes on every peer (sorted where order means nothing, kept where it does), so that
their hash tells whether replicas agree. `unpack` believes nothing that it has not checked.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeVar

import msgpack

from raftchaos import limits
from raftchaos.core import history, shape
from raftchaos.core.access import Access, ApiToken, JoinToken, NodeIdentity, TrustedAuthority
from raftchaos.core.invariants import belongs
from raftchaos.core.requests import RequestWindow
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.errors import MachineUnusable, UsageError
from raftchaos.model.nodes import Node
from raftchaos.model.runs import Run, RunId, RunStatus
from raftchaos.model.tasks import Task

MAGIC: Final = "raftchaos-state"
VERSION: Final = 1
_KEYS: Final = (
    "index", "term", "leader", "leaderMs", "nodes", "tasks", "runs", "unrecovered", "finished", "forgotten", "halts",
    "lifted", "completed", "older", "younger", "access",
)  # fmt: skip

T = TypeVar("T")


class Snapshot(NamedTuple):
    """A state, the requests that led to it, and the index of the last of them."""

    applied: int
    state: ClusterState
    requests: RequestWindow


def pack(snapshot: Snapshot) -> bytes:
    """The canonical bytes of a snapshot."""
    state = snapshot.state
    older, younger = snapshot.requests.generations()
    values = (
        snapshot.applied,
        state.term,
        state.leader,
        state.leader_ms,
        [state.nodes[key].to_dict() for key in sorted(state.nodes)],
        [state.tasks[key].to_dict() for key in sorted(state.tasks)],
        [_pack_run(state.runs[key]) for key in sorted(state.runs)],
        [_pack_run(state.unrecovered[key]) for key in sorted(state.unrecovered)],
        list(state.finished.items()),
        b"".join(state.forgotten),
        [state.halts[key].to_dict() for key in sorted(state.halts)],
        list(state.lifted),
        [[key, state.completed[key]] for key in sorted(state.completed)],
        older,
        younger,
        state.access.to_list(),
    )
    data: bytes = msgpack.packb([MAGIC, VERSION, *values])
    return data


def unpack(data: bytes) -> Snapshot:
    """The snapshot in these bytes. Raises ValueError, with what was found, if they are not believable, and
    MachineUnusable for one of a later release."""
    try:
        items = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"the snapshot is no msgpack: {type(error).__name__}: {error}") from None
    if not isinstance(items, list) or len(items) < 2 or items[0] != MAGIC:
        raise ValueError("these bytes are no snapshot of raftchaos")
    if isinstance(items[1], int) and items[1] > VERSION:
        raise MachineUnusable(
            f"found a snapshot of version {items[1]}, this release knows version {VERSION}",
            hint="upgrade this peer to the release of the others",
        )
    if items[1] != VERSION:
        raise ValueError(f"found a snapshot of version {items[1]!r}, this release knows version {VERSION}")
    if len(items) == len(_KEYS) + 1:  # of before there was access
        items.append(Access().to_list())
    if len(items) != len(_KEYS) + 2:
        raise ValueError(f"found a snapshot of {len(items)} parts, expected {len(_KEYS) + 2}")
    try:
        snapshot = _believe(dict(zip(_KEYS, items[2:], strict=True)))
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, UsageError) as error:
        raise ValueError(f"the snapshot is damaged: {type(error).__name__}: {error}") from None
    wrong = belongs(snapshot.state)
    if wrong:
        raise ValueError(f"the snapshot contradicts itself: {wrong[0]}")
    return snapshot


def _believe(parts: dict[str, Any]) -> Snapshot:
    state = ClusterState(
        nodes=_unique([_whole(Node.from_dict(item)) for item in _typed(parts["nodes"], list)], "name"),
        tasks=_unique([_whole(Task.from_dict(item)) for item in _typed(parts["tasks"], list)], "id"),
        runs=_unique([_unpack_run(item) for item in _typed(parts["runs"], list)], "id"),
        unrecovered=_unique([_unpack_run(item) for item in _typed(parts["unrecovered"], list)], "id"),
        finished=dict(_finished(item) for item in _typed(parts["finished"], list)),
        forgotten=_hashes(parts["forgotten"]),
        halts=_unique([_whole(HaltRecord.from_dict(item)) for item in _typed(parts["halts"], list)], "id"),
        lifted=dict.fromkeys(_typed(item, str) for item in _typed(parts["lifted"], list)),
        term=_count(parts["term"]),
        leader=_typed(parts["leader"], str),
        leader_ms=_count(parts["leaderMs"]),
        completed={_typed(key, str): _count(value) for key, value in _typed(parts["completed"], list)},
        access=_access(_typed(parts["access"], list)),
    )
    older, younger = ([_request(item) for item in _typed(parts[key], list)] for key in ("older", "younger"))
    if len(older) + len(younger) > limits.REQUESTS_REMEMBERED:
        raise ValueError(f"found {len(older) + len(younger)} remembered requests")
    return Snapshot(_count(parts["index"]), state, RequestWindow(older, younger))


def _pack_run(run: Run) -> list[Any]:
    """As a list without names: there may be thousands. The node only where it is not the one of the id."""
    return [
        list(run.id),
        str(run.status),
        "" if run.node == run.id.node else run.node,
        run.incarnation,
        list(run.targets),
        [run.planned_ms, run.asked_ms, run.granted_ms, run.active_ms, run.ended_ms],
        run.duration_seconds,
        run.reason,
        [{name: effect[name] for name in sorted(effect)} for effect in run.effects],
    ]


def _unpack_run(item: list[Any]) -> Run:
    identity, status, node, incarnation, targets, times, seconds, reason, effects = item
    run = RunId(*identity)
    planned_ms, asked_ms, granted_ms, active_ms, ended_ms = times
    return _whole(
        Run(
            id=run,
            status=RunStatus(status),
            node=node or run.node,
            incarnation=incarnation,
            targets=tuple(targets),
            planned_ms=planned_ms,
            asked_ms=asked_ms,
            granted_ms=granted_ms,
            active_ms=active_ms,
            ended_ms=ended_ms,
            duration_seconds=seconds,
            reason=reason,
            effects=tuple(effects),
        )
    )


def _access(parts: list[Any]) -> Access:
    tokens, joins, authorities, signer, identities, revoked = parts
    access = Access(
        tokens=_unique([_whole(ApiToken(*item)) for item in _typed(tokens, list)], "id"),
        joins=_unique([_whole(JoinToken(*item)) for item in _typed(joins, list)], "id"),
        authorities=_unique([_whole(TrustedAuthority(*item)) for item in _typed(authorities, list)], "fingerprint"),
        signer=_typed(signer, str),
        identities=_unique(
            [_whole(NodeIdentity(name, tuple(trusts), *rest)) for name, trusts, *rest in _typed(identities, list)],
            "name",
        ),
        revoked={_typed(key, str): _count(ends) for key, ends in _typed(revoked, list)},
    )
    if access.signer and access.signer not in access.authorities:
        raise ValueError("the CA that signs is none that is trusted")
    return access


def _finished(item: list[Any]) -> tuple[str, bytes]:
    task, data = item
    if history.load(_typed(data, bytes))["id"] != task:
        raise ValueError(f"the finished task {task!r} is not what it says")
    return task, data


def _hashes(data: Any) -> dict[bytes, None]:
    if len(_typed(data, bytes)) % 8:
        raise ValueError("the hashes of forgotten tasks are cut off")
    return dict.fromkeys(data[place : place + 8] for place in range(0, len(data), 8))


def _request(item: list[Any]) -> tuple[str, bytes]:
    request_id, result = item
    if not isinstance(msgpack.unpackb(_typed(result, bytes)), dict):
        raise ValueError("a remembered result is no map")
    return _typed(request_id, str), result


def _unique(items: list[Any], key: str) -> dict[Any, Any]:
    found = {getattr(item, key): item for item in items}
    if len(found) != len(items):
        raise ValueError(f"found an {key} twice")
    return found


def _whole(item: T) -> T:
    wrong = shape.problem(item)
    if wrong:
        raise ValueError(wrong)
    return item


def _typed(value: Any, wanted: type[T]) -> T:
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ValueError(f"found {type(value).__name__}, expected {wanted.__name__}")
    return value


def _count(value: Any) -> int:
    number = _typed(value, int)
    if not 0 <= number <= shape.INTEGER:
        raise ValueError(f"found {number}, expected a count")
    return number
