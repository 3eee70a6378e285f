"""Decides what this node has to do for its runs: wanted (the replicated state) beside observed (the local records).

Pure: everything it looks at is in a `View`, everything it wants is in a `Decision`. The rules are those that were
model-checked; each stands here once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from raftchaos import limits
from raftchaos.agent.records import OVER, LocalRun, Phase
from raftchaos.core import reasons
from raftchaos.core.counting import types_of
from raftchaos.core.state import ClusterState
from raftchaos.model.nodes import Node
from raftchaos.model.runs import ANY_NODE, Effect, InterruptReason, Run, RunId, RunStatus
from raftchaos.model.tasks import TaskStatus

Effects = tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask to be granted this run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Start:
    """Inject this granted run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class ReportActive:
    """Tell that its faults are on."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Recover:
    """Take it back; it ends as `status` for `reason`."""

    run: RunId
    status: RunStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReportFinished:
    """Tell its end."""

    run: RunId
    status: RunStatus
    reason: str = ""
    effects: Effects = ()


@dataclass(frozen=True, slots=True)
class Forget:
    """The cluster knows its end: nothing of it is needed here any more."""

    run: RunId


Action = Ask | Start | ReportActive | Recover | ReportFinished | Forget


@dataclass(frozen=True, slots=True)
class View:
    """One look at everything that a decision depends on."""

    node: str
    incarnation: int
    directory: str
    state: ClusterState
    now: float
    """Boot seconds."""
    lease_epoch: int
    lease_left: float
    """Seconds until the lease ends; 0 or less if none runs."""
    replayed: bool
    """The log that was there at the start has been applied. Before that the state is of the past."""
    clean: bool
    """What earlier incarnations left has been undone."""
    ready: bool
    """The executor can inject."""
    halted: bool = False
    """This node obeys a halt of its own."""
    stopping: bool = False
    """The peer is about to end."""
    local: Mapping[RunId, LocalRun] = field(default_factory=dict)
    undone: Mapping[str, Effects] = field(default_factory=dict)
    """Runs that the undo journal marks as done."""
    happened: Mapping[str, bool] = field(default_factory=dict)
    """One-shot runs that were done (True), or that may have been (False)."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """Runs that have failed amid their time, and why."""
    unfinished: frozenset[str] = frozenset()
    """Runs whose undo record is open."""
    grants: Mapping[RunId, int] = field(default_factory=dict)
    """The lease under which each granted run was first seen; `OVER` if there was none or it has ended."""
    offered: Mapping[RunId, float] = field(default_factory=dict)
    """When each offered run was first seen."""

    @property
    def halting(self) -> bool:
        """Nothing may be on."""
        return self.halted or self.stopping or (self.replayed and self.state.halted)

    @property
    def halt_reason(self) -> str:
        """Why nothing may be on."""
        halted = self.halted or self.state.halted
        return str(InterruptReason.HALT if halted else InterruptReason.RESTART)

    @property
    def leased(self) -> bool:
        """Whether the lease runs."""
        return self.lease_left > 0

    @property
    def me(self) -> Node | None:
        """The registered node, if it is this very start of this peer."""
        node = self.state.nodes.get(self.node)
        if node is None or (node.incarnation, node.directory) != (self.incarnation, self.directory):
            return None
        return node


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and what the next look must remember."""

    actions: tuple[Action, ...]
    grants: dict[RunId, int]
    offered: dict[RunId, float]


def reconcile(view: View) -> Decision:
    """What to do now. At most one action that touches the world for each run."""
    grants = _grants(view)
    offered = _offered(view)
    actions: list[Action] = []
    for run in sorted(view.local):
        actions.extend(_local(view, view.local[run]))
    if view.replayed:
        for key in sorted(view.state.runs):
            actions.extend(_wanted(view, view.state.runs[key], grants, offered))
    return Decision(tuple(actions), grants, offered)


def offer_delay(node: str, run: RunId) -> float:
    """How long a node waits before it asks for an offered run: drawn from both, so that not all ask at once and not
    always the same one comes first."""
    digest = hashlib.sha256(f"{node}|{run}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * limits.OFFER_DELAY


# ---- what is on this node --------------------------------------------------------------------------------------------


def _local(view: View, local: LocalRun) -> Iterator[Action]:
    wanted = view.state.runs.get(local.id) if view.replayed else None
    if local.phase is Phase.ON:
        yield from _while_on(view, local, wanted)
    elif local.phase is Phase.RECOVERING and local.stuck and _mine(view, wanted) and wanted is not None and wanted.live:
        yield ReportFinished(local.id, RunStatus.RECOVERY_FAILED, local.problem, local.effects)
    elif local.phase is Phase.OFF and view.replayed:
        yield from _when_off(view, local, wanted)


def _while_on(view: View, local: LocalRun, wanted: Run | None) -> Iterator[Action]:
    if view.halting:
        yield Recover(local.id, RunStatus.INTERRUPTED, view.halt_reason)
    elif str(local.id) in view.undone or not view.leased or local.lease != view.lease_epoch:
        # A run that the undo journal marks as done was undone by the reaper: it saw the lease end.
        yield Recover(local.id, RunStatus.INTERRUPTED, str(InterruptReason.LEASE))
    elif not view.replayed:
        return
    elif wanted is None or not wanted.live or not _mine(view, wanted):
        reason = wanted.reason if wanted is not None and wanted.reason else str(InterruptReason.NODE_FAILED)
        yield Recover(local.id, RunStatus.INTERRUPTED, reason)
    elif wanted.status is RunStatus.RECOVERING:
        yield Recover(local.id, RunStatus.INTERRUPTED, wanted.reason or str(InterruptReason.CANCEL))
    elif str(local.id) in view.troubles:
        yield Recover(local.id, RunStatus.FAILED, view.troubles[str(local.id)])
    elif view.now - local.started >= local.duration:
        yield Recover(local.id, RunStatus.SUCCEEDED)
    elif wanted.status is RunStatus.GRANTED:
        yield ReportActive(local.id)


def _when_off(view: View, local: LocalRun, wanted: Run | None) -> Iterator[Action]:
    assert local.status is not None
    report = ReportFinished(local.id, local.status, local.reason, local.effects)
    if wanted is not None and wanted.live and _mine(view, wanted):
        yield report
    elif local.id in view.state.unrecovered:
        yield report  # it was told as not recovered, and is off at last
    elif wanted is not None and wanted.node == view.node and not wanted.effects and local.effects and not local.told:
        yield report  # the cluster ended it without us; its effect is still missing
    else:
        yield Forget(local.id)


# ---- what the cluster wants ------------------------------------------------------------------------------------------


def _wanted(view: View, run: Run, grants: Mapping[RunId, int], offered: Mapping[RunId, float]) -> Iterator[Action]:
    if run.status is RunStatus.PLANNED:
        if _may_ask(view, run, offered):
            yield Ask(run.id)
    elif run.live and run.node == view.node and run.id not in view.local:
        yield from _without_record(view, run, grants)


def _without_record(view: View, run: Run, grants: Mapping[RunId, int]) -> Iterator[Action]:
    """A live run of this node that is not on, and of which this process knows nothing."""
    text = str(run.id)
    if not view.clean or text in view.unfinished:
        return
    effects = view.undone.get(text, ())
    if text in view.happened:
        done = view.happened[text]
        status = RunStatus.DONE if done else RunStatus.FAILED
        yield ReportFinished(run.id, status, "" if done else reasons.MAY_HAVE_HAPPENED, effects)
    elif run.incarnation != view.incarnation:
        yield ReportFinished(run.id, RunStatus.INTERRUPTED, str(InterruptReason.RESTART), effects)
    elif run.status is not RunStatus.GRANTED or text in view.undone:
        yield ReportFinished(run.id, RunStatus.INTERRUPTED, run.reason or str(InterruptReason.LEASE), effects)
    elif view.halting:
        yield ReportFinished(run.id, RunStatus.INTERRUPTED, view.halt_reason)
    elif grants.get(run.id, OVER) == OVER:
        yield ReportFinished(run.id, RunStatus.INTERRUPTED, str(InterruptReason.LEASE))
    elif view.me is not None and view.ready and view.lease_left > limits.START_MARGIN and _free(view, run):
        yield Start(run.id)


def _may_ask(view: View, run: Run, offered: Mapping[RunId, float]) -> bool:
    if view.me is None or not view.me.schedulable or view.halting:
        return False
    if not (view.clean and view.ready) or view.lease_left <= limits.START_MARGIN:
        return False
    task = view.state.tasks.get(run.id.task)
    if task is None or task.status is not TaskStatus.RUNNING or view.node not in task.targets:
        return False
    if run.node == view.node:
        return True
    if run.node != ANY_NODE or _takes_part(view, run):
        return False
    return view.now >= offered[run.id] + offer_delay(view.node, run.id)


def _takes_part(view: View, offer: Run) -> bool:
    """Whether this node has, or has done, a run of the offered step: each taker is another node."""
    place = offer.id[:3]
    return any(
        run.id[:3] == place
        and run.node == view.node
        and (run.live or run.status in (RunStatus.SUCCEEDED, RunStatus.DONE))
        for run in view.state.runs.values()
    )


def _free(view: View, run: Run) -> bool:
    """Whether nothing of the same type on this node is, or may be, done to any of its targets."""
    types = types_of(view.state, run)
    taken = {
        target
        for local in view.local.values()
        if local.present and not types.isdisjoint(local.types)
        for target in local.targets
    }
    return taken.isdisjoint(run.targets)


def _mine(view: View, run: Run | None) -> bool:
    return run is not None and (run.node, run.incarnation) == (view.node, view.incarnation)


# ---- what is remembered ----------------------------------------------------------------------------------------------


def _grants(view: View) -> dict[RunId, int]:
    """A grant belongs to the lease under which it was first seen; with that one it is over, for ever."""
    if not view.replayed:
        return dict(view.grants)
    current = view.lease_epoch if view.leased and not view.halting else OVER
    return {
        key: current if view.grants.get(key, current) == current else OVER
        for key, run in view.state.runs.items()
        if run.status is RunStatus.GRANTED and _mine(view, run)
    }


def _offered(view: View) -> dict[RunId, float]:
    if not view.replayed:
        return {}
    return {
        key: view.offered.get(key, view.now)
        for key, run in view.state.runs.items()
        if run.status is RunStatus.PLANNED and run.node == ANY_NODE
    }
