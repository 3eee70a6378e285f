"""The answers to the last requests, so that a request that arrives twice changes nothing and is answered the same.

Part of the replicated state: every peer forgets the same ids at the same index. Two generations: when the younger one
is full the older one goes, so that at least half of `limits.REQUESTS_REMEMBERED` is always known.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from raftchaos import limits

_GENERATION: Final = limits.REQUESTS_REMEMBERED // 2
_GENERATION_BYTES: Final = limits.REQUESTS_BYTES // 2

Pair = tuple[str, bytes]


class RequestWindow:
    """Results by request id. Changed by the state machine only."""

    def __init__(self, older: list[Pair] | None = None, younger: list[Pair] | None = None) -> None:
        self._older: dict[str, bytes] = dict(older or [])
        self._younger: dict[str, bytes] = dict(younger or [])
        self._size = sum(len(key) + len(value) for key, value in self._younger.items())

    def __len__(self) -> int:
        return len(self._older) + len(self._younger)

    def find(self, request_id: str) -> dict[str, Any] | None:
        """The result of a request that was applied, if it is still remembered."""
        data = self._younger.get(request_id)
        if data is None:
            data = self._older.get(request_id)
        return None if data is None else dict(msgpack.unpackb(data))

    def holds(self, request_id: str) -> bool:
        """Whether the result of a request is still remembered."""
        return request_id in self._younger or request_id in self._older

    def remember(self, request_id: str, result: dict[str, Any]) -> None:
        """Keep the result of a new request. An empty id is never remembered."""
        if not request_id:
            return
        data = msgpack.packb(result)
        if len(self._younger) >= _GENERATION or self._size + len(request_id) + len(data) > _GENERATION_BYTES:
            self._older, self._younger, self._size = self._younger, {}, 0
        self._younger[request_id] = data
        self._size += len(request_id) + len(data)

    def forget_node(self, name: str) -> None:
        """Forget the requests of a node that was removed: a new peer of that name counts from the beginning again."""
        prefix = f"{name}:"
        self._older = {key: value for key, value in self._older.items() if not key.startswith(prefix)}
        self._younger = {key: value for key, value in self._younger.items() if not key.startswith(prefix)}
        self._size = sum(len(key) + len(value) for key, value in self._younger.items())

    def generations(self) -> tuple[list[Pair], list[Pair]]:
        """Everything, in the order in which it came: the older generation and the younger one."""
        return list(self._older.items()), list(self._younger.items())
