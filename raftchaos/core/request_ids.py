"""The ids under which a peer proposes commands.

A request id holds the incarnation of its peer, so that a late answer never matches a question of a later start. The
submit of a task is the exception: its request id is made of the task's id, for ever.
"""

from __future__ import annotations


class RequestIds:
    """Counts out the request ids of one incarnation of a peer. One object a peer: two would count out the same."""

    def __init__(self, name: str, incarnation: int) -> None:
        self._prefix = f"{name}:{incarnation}:"
        self._count = 0

    def next(self) -> str:
        """An id that this incarnation has not used yet. A repetition of a proposal keeps the id of the first."""
        self._count += 1
        return f"{self._prefix}{self._count}"


def of_task(task: str) -> str:
    """The request id of the submit of a task."""
    return f"task:{task}"
