"""The words by which the decisions remember why a run did not take place. People read them too."""

from __future__ import annotations

from typing import Final

from raftchaos.model.runs import InterruptReason

PAUSED: Final = str(InterruptReason.PAUSE)
NODE_FAILED: Final = str(InterruptReason.NODE_FAILED)
RESTARTED: Final = str(InterruptReason.RESTART)
CANCELLED: Final = str(InterruptReason.CANCEL)
HALTED: Final = str(InterruptReason.HALT)
DEADLINE: Final = str(InterruptReason.DEADLINE)
STEP_FAILED: Final = str(InterruptReason.STEP_FAILED)
NODE_DRAINED: Final = "nodeDrained"
NODE_REMOVED: Final = "nodeRemoved"
NOBODY_ASKED: Final = "nobody asked for it in time"
MAY_HAVE_HAPPENED: Final = "it may have happened: the peer ended before it could write that down; it is not repeated"

LOST: Final = frozenset({NODE_FAILED, NODE_REMOVED, NOBODY_ASKED})
"""A run that was skipped for one of these was due and did not take place: it fails its step like a lost node."""


def of_text(text: str) -> str:
    """The reason of a run that is ended with its task: the first word of the task's reason if it is a known one
    (`deadline: …`), else that a step failed."""
    word = text.split(":", 1)[0].strip()
    return word if word in (DEADLINE, STEP_FAILED, CANCELLED, HALTED) else STEP_FAILED
