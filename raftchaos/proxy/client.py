"""The control protocol as a client in an event loop sees it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from raftchaos import limits
from raftchaos.core.interfaces import NODE_LEASE, HasFileno
from raftchaos.errors import FaultRefused, ProxyUnavailable, Refused
from raftchaos.proxy.channel import Channel, close_all
from raftchaos.proxy.control import BadFrame
from raftchaos.proxy.specs import FaultSpec, ProxySpec
from raftchaos.proxy.table import Effects


class ProxyClient:
    """One connection to a proxy process. Calls are made one after the other.

    Every call raises Refused if the process declines (FaultRefused for a fault), and ProxyUnavailable if it does not
    answer within `timeout` seconds; the connection is closed then.
    """

    def __init__(self, channel: Channel, path: Path) -> None:
        self._channel = channel
        self._path = path
        self._lock = asyncio.Lock()
        self._number = 0

    @classmethod
    async def connect(cls, path: Path, *, timeout: float = limits.CONTROL_CALL) -> Self:
        """Connect to the process that listens at `path`. Raises ProxyUnavailable."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(sock, os.fspath(path))
        except (OSError, TimeoutError) as error:
            sock.close()
            raise ProxyUnavailable(f"no proxy process answers at {path}: {error}") from None
        except asyncio.CancelledError:
            sock.close()
            raise
        return cls(Channel(sock), path)

    @property
    def is_closed(self) -> bool:
        """Whether the connection is of no use any more."""
        return self._channel.closed

    def close(self) -> None:
        """Close the connection; the process goes on. Idempotent."""
        self._channel.close()

    async def call(self, do: str, *, timeout: float = limits.CONTROL_CALL, **fields: Any) -> dict[str, Any]:
        """One request; the fields of its answer."""
        answer, fds = await self.call_with_fds(do, fields, timeout=timeout)
        close_all(fds)
        return answer

    async def call_with_fds(
        self, do: str, fields: Mapping[str, Any], fds: Sequence[int] = (), *, timeout: float = limits.CONTROL_CALL
    ) -> tuple[dict[str, Any], list[int]]:
        """One request with file descriptors; the answer and what came with it, which is the caller's to close."""
        try:
            async with asyncio.timeout(timeout), self._lock:
                answer, received = await self._exchange({**fields, "do": do}, fds, timeout)
        except (OSError, TimeoutError, BadFrame) as error:
            self.close()
            raise ProxyUnavailable(
                f"the proxy process at {self._path} did not answer {do!r}: {error or type(error).__name__}"
            ) from None
        except asyncio.CancelledError:
            self.close()  # an answer may still come; nobody would know to what
            raise
        if answer.get("ok") is not True:
            close_all(received)
            kind = FaultRefused if do in ("inject", "set_faults") else Refused
            raise kind(str(answer.get("error", "the proxy process declined")))
        return answer, received

    async def _exchange(
        self, message: Mapping[str, Any], fds: Sequence[int], timeout: float
    ) -> tuple[dict[str, Any], list[int]]:
        if self._channel.closed:
            raise ConnectionError("the connection is closed")
        self._number += 1
        await self._channel.send({**message, "id": self._number}, fds, timeout=timeout)
        received = await self._channel.receive(timeout=timeout)
        if received is None:
            raise ConnectionError("the connection was closed")
        if received[0].get("id") != self._number:
            close_all(received[1])
            raise BadFrame("an answer to another question")
        return received

    async def hello(self, *, role: str = "main", timeout: float = limits.CONTROL_CALL) -> dict[str, Any]:
        """Who answers: `pid`, `version`, `lease_end`, `proxies`, `faults`. As "main" it keeps the process alive."""
        return await self.call("hello", role=role, timeout=timeout)

    async def set_lease(self, end: float, lease: str = NODE_LEASE) -> None:
        """A lease ends at `end` (CLOCK_BOOTTIME) now, if that is later."""
        await self.call("lease", end=end, lease=lease)

    async def add_proxy(self, spec: ProxySpec, listener: HasFileno) -> str:
        """Hand over a listening socket (the caller keeps its own); the address at which the proxy listens."""
        answer, fds = await self.call_with_fds("add_proxy", spec.fields(), [listener.fileno()])
        close_all(fds)
        return str(answer["listen"])

    async def remove_proxy(self, name: str) -> None:
        """End a proxy and its connections. Idempotent."""
        await self.call("remove_proxy", name=name)

    async def take_sockets(self) -> dict[str, socket.socket]:
        """Copies of the listening sockets, by the proxies' names."""
        answer, fds = await self.call_with_fds("take_sockets", {})
        names = answer.get("names", [])
        if len(names) != len(fds):
            close_all(fds)
            self.close()
            raise ProxyUnavailable(f"{len(fds)} sockets came for {len(names)} proxies")
        return {name: socket.socket(fileno=fd) for name, fd in zip(names, fds, strict=True)}

    async def set_faults(self, wanted: Sequence[FaultSpec]) -> dict[str, str]:
        """Make these the only faults; the runs that cannot begin, each with the reason."""
        answer = await self.call("set_faults", faults=[spec.fields() for spec in wanted])
        return dict(answer["refused"])

    async def inject(self, spec: FaultSpec) -> None:
        """Begin a fault. Idempotent."""
        await self.call("inject", **spec.fields())

    async def recover(self, run: str, *, replaced: bool = False) -> Effects:
        """End a run on all proxies, for good; what it did. Idempotent. `replaced`: another has taken its place."""
        return dict((await self.call("recover", run=run, replaced=replaced))["effect"])

    async def active(self) -> dict[str, tuple[str, str]]:
        """Type and proxy of every fault that is on, by run."""
        return {run: (str(fault), str(proxy)) for run, (fault, proxy) in (await self.call("active"))["active"].items()}

    async def effects(self) -> dict[str, Effects]:
        """What every run did that the process knows."""
        return dict((await self.call("effects"))["effects"])

    async def forget(self, run: str) -> None:
        """Drop the effect of an ended run."""
        await self.call("forget", run=run)

    async def cells(self) -> tuple[list[bytes], int]:
        """Cells of seconds that are over, oldest first, and how many were dropped: each is given once."""
        answer = await self.call("cells")
        return list(answer["cells"]), int(answer["dropped"])

    async def stats(self) -> dict[str, Any]:
        """`proxies` by name with their counters, and figures of the `process`."""
        answer = await self.call("stats")
        return {"proxies": answer["proxies"], "process": answer["process"]}

    async def shutdown(self) -> None:
        """End the process."""
        await self.call("shutdown")
