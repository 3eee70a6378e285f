"""What `apply` answers to a proposer: plain dicts, the same on every peer.

`{"ok": True, ...}` or `{"ok": False, "code", "error", "hint"?, ...}`. The codes are those of `raftchaos.errors`, and
`STALE_TERM`, which only a leader that was deposed meets.
"""

from __future__ import annotations

from typing import Any, Final

from raftchaos import limits
from raftchaos.errors import (
    Conflict,
    Halted,
    NotFound,
    OutcomeUnknown,
    RaftchaosError,
    Refused,
    Unauthenticated,
    UsageError,
)

Answer = dict[str, Any]

REFUSED: Final = Refused.spec.code
HALTED: Final = Halted.spec.code
CONFLICT: Final = Conflict.spec.code
NOT_FOUND: Final = NotFound.spec.code
UNAUTHENTICATED: Final = Unauthenticated.spec.code
USAGE: Final = UsageError.spec.code
INTERNAL: Final = RaftchaosError.spec.code
OUTCOME_UNKNOWN: Final = OutcomeUnknown.spec.code
STALE_TERM: Final = "stale-term"


def ok(**data: Any) -> Answer:
    """The command did what it says."""
    return {"ok": True, **data}


def refuse(code: str, error: str, *, hint: str = "", **data: Any) -> Answer:
    """The command changed nothing; `error` says what was found and what was expected."""
    answer: Answer = {"ok": False, "code": code, "error": clip(error, limits.ANSWER_TEXT), **data}
    if hint:
        answer["hint"] = clip(hint, limits.ANSWER_TEXT)
    return answer


def clip(text: str, size: int) -> str:
    """The text in at most `size` bytes of UTF-8, with an ellipsis where something was cut off."""
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text if len(data) == len(text) else data.decode()
    return data[: max(size - 3, 0)].decode("utf-8", "ignore") + "…"


def listing(names: list[str], most: int = 10) -> str:
    """Names for a message: the first `most` of them and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
