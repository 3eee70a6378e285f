"""How long ago something was, when two leaders' wall clocks may differ.

Times in the state were stamped by whichever leader appended the command, and are compared with the clock of the
present one. Where a stamp lies in the future, the clocks disagree, and what counts is the time since the present leader
announced itself, which is of its own clock.
"""

from __future__ import annotations

from raftchaos import limits
from raftchaos.core.state import ClusterState
from raftchaos.model.runs import Run


def seconds_since(state: ClusterState, now_ms: int, stamp_ms: int) -> float:
    """Seconds since a stamp, by the present leader's clock."""
    return (now_ms - (stamp_ms if stamp_ms <= now_ms else state.leader_ms)) / 1000


def nobody_asks(state: ClusterState, now_ms: int, run: Run) -> bool:
    """Whether a planned run has waited long enough without being asked for. Nobody could ask a leader that was not
    there, so a new one gives every run its whole time again."""
    since = min(seconds_since(state, now_ms, stamp) for stamp in (run.planned_ms, run.asked_ms, state.leader_ms))
    return since > limits.OFFER_TIMEOUT
