"""The proxies of this node: kept in its data directory, their listening sockets held by main.

The socket stays here and is handed to the proxy process, so that a restart of that process loses connections, not the
port; a new main takes the sockets back from a proxy process that outlived the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from raftchaos import limits
from raftchaos.core.interfaces import HasFileno, ProxyControl
from raftchaos.core.service_records import ProxyRecord
from raftchaos.errors import Conflict, DataCorrupt, MachineUnusable, NotFound, RaftchaosError, Refused, UsageError
from raftchaos.files import read_record, write_record
from raftchaos.identity.termination import check_certificate
from raftchaos.model.names import PROXY_NAME_RULE, is_proxy_name

log = logging.getLogger(__name__)

_BACKLOG: Final = 1_024


@dataclass(frozen=True, slots=True)
class KeptProxy:
    """A proxy as the data directory keeps it."""

    name: str
    asked: str
    """The address that was asked for; its port may be 0."""
    listen: str
    """The address that it listens on."""
    upstream: str
    certificate: str = ""
    """Path of the certificate with which it ends TLS; empty: it does not."""
    key: str = ""
    """Path of its key."""


class NodeProxies:
    """All proxies of this node. Methods are called from the loop's thread."""

    def __init__(
        self,
        data_dir: Path,
        *,
        control: ProxyControl,
        in_use: Callable[[str], bool] = lambda target: False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`in_use` tells whether a run is done to a target such as `proxy:payments`; `on_change` is called when proxies
        come or go. Raises `DataCorrupt` if the file of proxies is damaged."""
        self._file = data_dir / "proxies.msgpack"
        self._control = control
        self._in_use = in_use
        self._on_change = on_change
        self._kept: dict[str, KeptProxy] = self._read()
        self._sockets: dict[str, HasFileno] = {}
        self._turn = asyncio.Lock()

    def names(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted(self._kept))

    def holds(self, name: str, listen: str, upstream: str) -> bool:
        """Whether there is this proxy with these addresses: the one that it listens on, or that was asked for."""
        kept = self._kept.get(name)
        return kept is not None and listen in (kept.asked, kept.listen) and upstream == kept.upstream

    async def open(self, configured: Iterable[tuple[str, str, str, str, str]] = ()) -> None:
        """Listen for every kept proxy and those of the configuration (name, listen, upstream, and the paths of
        a certificate and its key or two empty ones), which go first.

        Raises `MachineUnusable` naming the address if one cannot be listened on, `UsageError` for a bad entry.
        """
        async with self._turn:
            taken = await self._control.take_sockets()
            try:
                for name, listen, upstream, *tls in configured:
                    _check(name, listen, upstream)
                    await asyncio.to_thread(check_certificate, *tls)
                    wanted, kept = KeptProxy(name, listen, listen, upstream, *tls), self._kept.get(name)
                    if kept is None or replace(kept, listen=listen) != wanted:
                        self._kept[name] = wanted
                if len(self._kept) > limits.PROXIES:
                    raise UsageError(f"found {len(self._kept)} proxies, at most {limits.PROXIES} are taken")
                for name in self.names():
                    await self._open_kept(self._kept[name], taken)
            finally:
                for name, sock in taken.items():  # of proxies that are not ours any more
                    sock.close()
                    if name not in self._sockets:
                        await self._control.remove_proxy(name)
            await self._write()

    async def add(self, name: str, listen: str, upstream: str, certificate: str = "", key: str = "") -> KeptProxy:
        """Start a proxy and keep it; the same one again is answered the same.

        With a certificate and its key it ends TLS; the files are read again whenever they have changed.

        Raises `UsageError` for names, addresses and certificates that are none, `Conflict` if the name has other
        values, `Refused` if there are `limits.PROXIES`, `MachineUnusable` if the address cannot be listened on.
        """
        _check(name, listen, upstream)
        await asyncio.to_thread(check_certificate, certificate, key)
        async with self._turn:
            kept = self._kept.get(name)
            if kept is not None:
                if self.holds(name, listen, upstream) and (kept.certificate, kept.key) == (certificate, key):
                    return kept
                raise Conflict(f"the proxy {name} exists: it listens on {kept.listen} and relays to {kept.upstream}")
            if len(self._kept) >= limits.PROXIES:
                raise Refused(f"this node has {len(self._kept)} proxies, the most there may be")
            self._kept[name] = KeptProxy(name, listen, listen, upstream, certificate, key)
            try:
                await self._open_kept(self._kept[name], {})
                await self._write()
            except RaftchaosError:
                with contextlib.suppress(RaftchaosError):
                    await self._control.remove_proxy(name)
                self._drop(name)
                raise
            kept = self._kept[name]
        self._on_change()
        return kept

    async def change(self, name: str, listen: str, upstream: str) -> KeptProxy:
        """Let a proxy listen at another address, or relay to another; its connections and the faults on it end.

        Raises `NotFound`, `UsageError`, and `MachineUnusable` if the address cannot be listened on: then it goes on as
        it was.
        """
        _check(name, listen, upstream)
        async with self._turn:
            before = self._known(name)
            if self.holds(name, listen, upstream):
                return before
            same_place = listen in (before.asked, before.listen)
            asked, place = (before.asked, before.listen) if same_place else (listen, listen)
            await self._withdraw(before)
            self._drop(name)  # first, as the new address may be the same in other words
            self._kept[name] = replace(before, asked=asked, listen=place, upstream=upstream)
            try:
                await self._open_kept(self._kept[name], {})
            except RaftchaosError:
                self._drop(name)
                self._kept[name] = before
                await self._open_kept(before, {})
                raise
            finally:
                await self._write()
            return self._kept[name]

    def _known(self, name: str) -> KeptProxy:
        if name not in self._kept:
            known = ", ".join(self.names()) or "none"
            raise NotFound(f"this node has no proxy {name}; it has: {known}")
        return self._kept[name]

    async def remove(self, name: str) -> None:
        """Stop a proxy and forget it. Raises `NotFound`, and `Refused` while a run is done to it."""
        async with self._turn:
            kept = self._known(name)
            if self._in_use(f"proxy:{name}"):
                raise Refused(
                    f"a fault is on, or about to be, at the proxy {name}",
                    hint="cancel its task, or remove the toxic; `raftchaos fault list` shows what is on",
                )
            await self._withdraw(kept)
            self._drop(name)
            await self._write()
        self._on_change()

    async def records(self) -> tuple[ProxyRecord, ...]:
        """All proxies by name, with the counters of their process, as far as it answers."""
        stats: dict[str, dict[str, int]] = {}
        try:
            stats = await self._control.stats()
        except RaftchaosError as error:
            log.debug("the proxy process tells no counters: %s", error)
        return tuple(
            ProxyRecord(name, kept.listen, kept.upstream, stats.get(name, {}), kept.certificate)
            for name, kept in sorted(self._kept.items())
        )

    def close(self) -> None:
        """Close this process's copies of the sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    # ---- sockets

    async def _open_kept(self, kept: KeptProxy, taken: dict[str, HasFileno]) -> None:
        sock = taken.pop(kept.name, None)
        if sock is not None and _address_of(sock) != kept.listen:
            sock.close()
            sock = None
        if sock is None:
            sock = await asyncio.to_thread(_listen_again, kept)
        self._sockets[kept.name] = sock
        kept = replace(kept, listen=_address_of(sock))
        self._kept[kept.name] = kept
        await self._control.add_proxy(kept.name, kept.listen, kept.upstream, sock, kept.certificate, kept.key)

    async def _withdraw(self, kept: KeptProxy) -> None:
        """Let the proxy process relay it no more. If it cannot be asked, the next process relays as before."""
        try:
            await self._control.remove_proxy(kept.name)
        except RaftchaosError:
            with contextlib.suppress(RaftchaosError):
                await self._open_kept(kept, dict(self._sockets))
            raise

    def _drop(self, name: str) -> None:
        self._kept.pop(name, None)
        sock = self._sockets.pop(name, None)
        if sock is not None:
            sock.close()

    # ---- the file

    def _read(self) -> dict[str, KeptProxy]:
        value = read_record(self._file)
        try:
            return {} if value is None else {item["name"]: KeptProxy(**item) for item in value}
        except (KeyError, TypeError) as error:
            raise DataCorrupt(f"{self._file} is damaged: found no list of proxies ({error!r})") from error

    async def _write(self) -> None:
        kept = [asdict(self._kept[name]) for name in self.names()]
        await asyncio.to_thread(write_record, self._file, kept)


def split_address(text: str, *, any_port: bool = False) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 address stands in brackets. Raises `UsageError`."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    good = bool(colon and bare) and text.isprintable() and port.isascii() and port.isdigit() and int(port) <= 65_535
    if not good or len(text) > 300 or (":" in bare and bare == host) or (int(port) == 0 and not any_port):
        raise UsageError(f"found the address {text[:80]!r}, expected HOST:PORT such as 127.0.0.1:8080")
    return bare, int(port)


def _check(name: str, listen: str, upstream: str) -> None:
    if not is_proxy_name(name):
        raise UsageError(f"found the proxy name {name[:80]!r}, expected {PROXY_NAME_RULE}")
    split_address(listen, any_port=True)
    split_address(upstream)


def _listen_again(kept: KeptProxy) -> socket.socket:
    """Listen where the proxy listened before; if that port was only given to us, another one will do."""
    try:
        return listen_on(kept.listen)
    except MachineUnusable:
        if kept.asked == kept.listen:
            raise
    return listen_on(kept.asked)


def listen_on(address: str) -> socket.socket:
    """A listening socket. Raises `MachineUnusable` that names the address."""
    host, port = split_address(address, any_port=True)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` is ::1 as well, but whoever names it in a proxy's address means where services listen
        family, kind, protocol, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise MachineUnusable(f"cannot listen on {address}: {error.strerror or error}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        if port == 0:
            sock = _claimed(sock)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise MachineUnusable(
            f"cannot listen on {address}: {error.strerror or error}",
            hint="another process may have the port (`ss -ltnp` shows it), or the address is not of this machine",
        ) from error
    return sock


def _claimed(sock: socket.socket) -> socket.socket:
    """A socket bound to the port that the kernel has chosen as if somebody had named it: only such a port is kept while
    the socket does not listen, as under the fault `refuse`."""
    named = socket.socket(sock.family, sock.type, sock.proto)
    with sock:
        named.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        named.bind(sock.getsockname())
    return named


def _address_of(sock: HasFileno) -> str:
    duplicate = socket.socket(fileno=os.dup(sock.fileno()))
    try:
        host, port = duplicate.getsockname()[:2]
    finally:
        duplicate.close()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
