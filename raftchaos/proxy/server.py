"""The control server of the proxy process: several clients at a time, each with one request after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.errors import MachineUnusable, RaftchaosError, UsageError
from raftchaos.proxy.channel import Channel, close_all
from raftchaos.proxy.control import BadFrame
from raftchaos.proxy.dataplane import DataPlane
from raftchaos.proxy.specs import FaultSpec, ProxySpec, instant, lease_name, text

log = logging.getLogger("raftchaos.proxy")
Answer = tuple[dict[str, Any], list[int]]
"""Fields of an answer, and file descriptors to send with it."""
_PEER = struct.Struct("3i")
_STATM_RESIDENT = 1


class ControlServer:
    """Answers requests over the control socket until it is told to shut down or nobody has been its main for long."""

    def __init__(self, plane: DataPlane, path: Path, *, orphan: float = limits.PROXY_ORPHAN) -> None:
        self._plane = plane
        self._path = path
        self._orphan = orphan
        self._mains: set[Channel] = set()
        self._orphan_timer: asyncio.TimerHandle | None = None
        self._done = asyncio.Event()
        self._slots = asyncio.Semaphore(limits.CONTROL_CLIENTS)
        self._handlers: dict[str, Callable[[dict[str, Any], list[int]], Awaitable[Answer]]] = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    async def run(self) -> None:
        """Serve. Raises MachineUnusable if the socket cannot be opened or another process answers on it."""
        listener = open_control_socket(self._path)
        identity = os.stat(self._path)
        self._watch_orphan()
        try:
            async with asyncio.TaskGroup() as group:
                accepting = group.create_task(self._accept(listener, group))
                await self._done.wait()
                accepting.cancel()
                for channel in list(self._mains):
                    channel.close()
                raise _Stop
        except* _Stop:
            log.info("the proxy process ends")
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                if os.stat(self._path).st_ino == identity.st_ino:
                    os.unlink(self._path)
            await self._plane.stop()

    def stop(self) -> None:
        """Make `run` return."""
        self._done.set()

    # ---- clients

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._slots.acquire()
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:  # too many open files: try again when some may be closed
                log.warning("a control connection could not be accepted: %s", error)
                self._slots.release()
                await asyncio.sleep(limits.CONTROL_RETRY)
                continue
            except asyncio.CancelledError:
                self._slots.release()
                raise
            group.create_task(self._serve(Channel(sock), may_ask(sock)))

    async def _serve(self, channel: Channel, allowed: bool) -> None:
        try:
            while allowed:
                received = await channel.receive()
                if received is None:
                    return
                answer, fds = await self._answer(channel, *received)
                await channel.send(answer, fds, timeout=limits.CONTROL_CALL)
        except (OSError, TimeoutError, BadFrame) as error:
            log.warning("a control connection was closed: %s", error or type(error).__name__)
        finally:
            channel.close()
            self._slots.release()
            if channel in self._mains:
                self._mains.discard(channel)
                self._watch_orphan()

    async def _answer(self, channel: Channel, message: dict[str, Any], fds: list[int]) -> Answer:
        number, what = message.get("id"), message.get("do")
        if isinstance(number, bool) or not isinstance(number, int):
            close_all(fds)
            raise BadFrame("a request without a number")
        handler = self._handlers.get(what) if isinstance(what, str) else None
        if handler is None:
            close_all(fds)
            return {"id": number, "ok": False, "error": f"{what!r} is nothing that a proxy process does"}, []
        if what == "hello" and message.get("role") == "main":
            self._mains.add(channel)
            self._watch_orphan()
        try:
            fields, out = await handler(message, fds)
        except RaftchaosError as error:
            return {"id": number, "ok": False, "error": str(error)}, []
        except Exception:  # a defect: one request fails, the connections through the proxies go on
            log.exception("the request %r failed", what)
            return {"id": number, "ok": False, "error": "the request failed; the proxy's log says why"}, []
        finally:
            close_all(fds)
        return {"id": number, "ok": True, **fields}, out

    def _watch_orphan(self) -> None:
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
            self._orphan_timer = None
        if not self._mains:
            self._orphan_timer = asyncio.get_running_loop().call_later(self._orphan, self.stop)

    # ---- requests (see CONTROL in DESIGN.md); a handler takes from `fds` what it keeps

    async def _do_hello(self, message: dict[str, Any], fds: list[int]) -> Answer:
        plane = self._plane
        proxies = [proxy.spec.fields() for proxy in plane.proxies.values()]
        lease = {"lease_end": plane.table.lease_end, "faults": plane.table.runs()}
        return {"pid": os.getpid(), "version": VERSION, "proxies": proxies, **lease}, []

    async def _do_lease(self, message: dict[str, Any], fds: list[int]) -> Answer:
        self._plane.take_lease(instant(message, "end"), lease_name(message))
        return {}, []

    async def _do_add_proxy(self, message: dict[str, Any], fds: list[int]) -> Answer:
        spec = ProxySpec.read(message)
        if len(fds) != 1:
            raise UsageError(f"{len(fds)} file descriptors came, expected the listening socket")
        sock = listening_socket(fds[0])
        fds.clear()
        return {"listen": await self._plane.add_proxy(spec, sock)}, []

    async def _do_remove_proxy(self, message: dict[str, Any], fds: list[int]) -> Answer:
        await self._plane.remove_proxy(text(message, "name"))
        return {}, []

    async def _do_take_sockets(self, message: dict[str, Any], fds: list[int]) -> Answer:
        proxies = self._plane.proxies
        return {"names": list(proxies)}, [proxy.sock.fileno() for proxy in proxies.values()]

    async def _do_set_faults(self, message: dict[str, Any], fds: list[int]) -> Answer:
        wanted = message.get("faults")
        if not isinstance(wanted, list) or not all(isinstance(fields, dict) for fields in wanted):
            raise UsageError("faults is no list of maps")
        return {"refused": dict(self._plane.set_faults([FaultSpec.read(fields) for fields in wanted]))}, []

    async def _do_inject(self, message: dict[str, Any], fds: list[int]) -> Answer:
        self._plane.inject(FaultSpec.read(message))
        return {}, []

    async def _do_recover(self, message: dict[str, Any], fds: list[int]) -> Answer:
        return {"effect": self._plane.recover(text(message, "run"), replaced=message.get("replaced") is True)}, []

    async def _do_effects(self, message: dict[str, Any], fds: list[int]) -> Answer:
        return {"effects": self._plane.table.effects()}, []

    async def _do_active(self, message: dict[str, Any], fds: list[int]) -> Answer:
        return {"active": self._plane.table.active()}, []

    async def _do_forget(self, message: dict[str, Any], fds: list[int]) -> Answer:
        self._plane.table.forget(text(message, "run"))
        return {}, []

    async def _do_cells(self, message: dict[str, Any], fds: list[int]) -> Answer:
        cells, dropped = self._plane.take_cells()
        return {"cells": cells, "dropped": dropped}, []

    async def _do_stats(self, message: dict[str, Any], fds: list[int]) -> Answer:
        proxies = {name: proxy.stats.report() for name, proxy in self._plane.proxies.items()}
        return {"proxies": proxies, "process": process_figures()}, []

    async def _do_shutdown(self, message: dict[str, Any], fds: list[int]) -> Answer:
        asyncio.get_running_loop().call_later(limits.CONTROL_RETRY, self.stop)  # the answer goes out first
        return {}, []


class _Stop(Exception):
    """Ends the task group."""


def process_figures() -> dict[str, float]:
    """Memory and processor time of this process."""
    with open("/proc/self/statm", "rb") as file:
        resident = int(file.read().split()[_STATM_RESIDENT]) * resource.getpagesize()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"rss_bytes": resident, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def listening_socket(fd: int) -> socket.socket:
    """The TCP socket behind a file descriptor, which it takes over: one that listens, or did until a fault came.

    Raises UsageError and closes it if it is none.
    """
    sock = None
    try:
        sock = socket.socket(fileno=fd)
        tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        if tcp and sock.getsockname()[1] and not _connected(sock):
            sock.setblocking(False)
            return sock
    except OSError:
        pass  # no socket at all: said below
    if sock is None:
        close_all([fd])
    else:
        sock.close()
    raise UsageError("the file descriptor is no listening TCP socket")


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def may_ask(sock: socket.socket) -> bool:
    """Whether the process at the other end belongs to our user or to root."""
    _, user, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return user in (0, os.getuid())


def open_control_socket(path: Path) -> socket.socket:
    """Listen at `path`, for our user alone. The file of a process that is gone is replaced. Raises MachineUnusable."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            _remove_stale(path)
        umask = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(umask)
        sock.listen(limits.CONTROL_CLIENTS)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise MachineUnusable(f"the control socket {path} cannot be opened: {error}") from None
    except MachineUnusable:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise MachineUnusable(f"{path} is no socket, and nothing of ours; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
        except TimeoutError:
            raise MachineUnusable(f"a process listens at {path} but does not answer") from None
        else:
            raise MachineUnusable(f"another proxy process answers at {path}")
