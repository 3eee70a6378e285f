"""Bulk through the kernel: from one socket to the other by way of a pipe, so that its bytes are never copied to us."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
from collections.abc import Callable
from typing import Protocol

from raftchaos import limits

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_SMALL = limits.PROXY_SPLICE_READ // 8
_SMALL_IN_A_ROW = 16  # then this is no bulk any more


class Spliced(Protocol):
    """Whose bytes are moved."""

    def untouched(self, direction: int) -> int:
        """How many bytes from the source of `direction` may pass unseen; 0 or less: none."""
        ...

    def spliced(self, direction: int, count: int) -> None:
        """So many of them have been taken from the source."""
        ...

    def unsplice(self, direction: int, broken: int | None = None) -> None:
        """End it. `broken`: the direction whose source has broken its connection."""
        ...


class Splices:
    """All splices of a process, and one epoll for them: the loop's own forgets a socket that has failed, though there
    is more to be read from it.
    """

    def __init__(self) -> None:
        """Raises OSError without a free file descriptor."""
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._look)

    def close(self) -> None:
        """End; there must be none any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def begin(self, owner: Spliced, direction: int, source: int, sink: int, data: bytes) -> Splice:
        """Move what comes from `source`, after `data`. Raises OSError if there are too many, or no pipe can be had."""
        if len(self._ready) >= limits.PROXY_SPLICES:
            raise OSError("as many streams are spliced as may be")
        with contextlib.ExitStack() as undo:
            out_of, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(os.close, out_of)
            undo.callback(os.close, into)
            if fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, limits.PROXY_SPLICE_PIPE) < len(data):
                raise OSError("the pipe is too small")
            # transports close their sockets by themselves; a number that is another's by then would be fatal
            ours = os.dup(source)
            undo.callback(os.close, ours)
            fds = (ours, os.dup(sink), out_of, into)
            undo.pop_all()
        return Splice(self, owner, direction, fds, data)

    def watch(self, fd: int, events: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever there is one of these events."""
        self._ready[fd] = ready
        self._epoll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """No more. Idempotent."""
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _look(self) -> None:
        for fd, _ in self._epoll.poll(0):
            ready = self._ready.get(fd)  # one before it may have ended this one
            if ready is not None:
                ready()


class Splice:
    """One direction of one connection, while the kernel moves it. The owner does not read its source meanwhile."""

    __slots__ = ("_direction", "_held", "_into", "_out_of", "_owner", "_sink", "_small", "_source", "_splices")

    def __init__(
        self, splices: Splices, owner: Spliced, direction: int, fds: tuple[int, int, int, int], data: bytes
    ) -> None:
        """`fds`: source, sink, and the pipe's two ends; they are closed with it."""
        self._splices, self._owner, self._direction = splices, owner, direction
        self._source, self._sink, self._out_of, self._into = fds
        self._small = 0  # reads in a row that were small
        self._held = os.write(self._into, data)  # in the pipe; source or sink is watched, as it is empty or not
        splices.watch(self._sink, select.EPOLLOUT, self._writable)

    def end(self) -> bytes:
        """End; what was taken from the source and not yet given to the sink."""
        for fd in (self._source, self._sink):
            self._splices.unwatch(fd)  # before it is closed: the kernel reports it as long as its socket lives
        held = os.read(self._out_of, self._held) if self._held else b""
        for fd in (self._out_of, self._into, self._source, self._sink):
            os.close(fd)
        return held

    def _readable(self) -> None:
        owner, direction = self._owner, self._direction
        most = min(owner.untouched(direction), limits.PROXY_SPLICE_PIPE)
        try:
            count = os.splice(self._source, self._into, most, flags=_FLAGS) if most > 0 else 0
        except BlockingIOError:
            return
        except OSError:
            owner.unsplice(direction, broken=direction)
            return
        if not count:  # an end, too, is found again in the usual way
            owner.unsplice(direction)
            return
        owner.spliced(direction, count)
        self._held = count
        self._small = self._small + 1 if count < _SMALL else 0
        if not self._give():
            return
        if self._held:
            self._splices.unwatch(self._source)
            self._splices.watch(self._sink, select.EPOLLOUT, self._writable)
        elif self._small > _SMALL_IN_A_ROW:
            owner.unsplice(direction)

    def _writable(self) -> None:
        if self._give() and not self._held:
            self._splices.unwatch(self._sink)
            self._splices.watch(self._source, select.EPOLLIN, self._readable)

    def _give(self) -> bool:
        """Give the sink what it takes now. False: this is over."""
        try:
            self._held -= os.splice(self._out_of, self._sink, self._held, flags=_FLAGS)
        except BlockingIOError:
            return True
        except OSError:
            self._owner.unsplice(self._direction, broken=1 - self._direction)
            return False
        return True
