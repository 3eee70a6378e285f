"""Who wants to know what happens to a replica. Kept apart, so that one listener's defect disturbs no other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Listeners:
    """Callbacks of the other rooms; all are called on the loop."""

    def __init__(self) -> None:
        self.message: list[Callable[[str, dict[str, Any]], None]] = []
        self.applied: list[Callable[[], None]] = []
        self.change: list[Callable[[], None]] = []

    def tell_message(self, peer: str, body: dict[str, Any]) -> None:
        """An application message arrived."""
        for handler in self.message:
            self._call(handler, peer, body)

    def tell_applied(self) -> None:
        """Entries were applied, or the state was restored."""
        for callback in self.applied:
            self._call(callback)

    def tell_change(self) -> None:
        """The leader, the term, a connection or the members changed."""
        for callback in self.change:
            self._call(callback)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:  # a defect of whoever listens must not stop the replica, nor keep it from the others
            logger.exception("a listener of the replicated log failed")
