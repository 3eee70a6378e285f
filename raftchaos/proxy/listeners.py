"""Listening sockets, which main opens and keeps, so that a proxy process that restarts loses connections, not ports."""

from __future__ import annotations

import socket

from raftchaos import limits
from raftchaos.errors import MachineUnusable
from raftchaos.proxy.specs import split_address


def open_listener(address: str) -> socket.socket:
    """A listening socket at `HOST:PORT`; port 0 takes a free one. Blocks while a host name is looked up.

    Raises UsageError for what is no address, and MachineUnusable if it cannot be had.
    """
    host, port = split_address(address)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise MachineUnusable(f"the proxy address {address} cannot be used: {error}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        if port == 0:
            sock = _claimed(sock)
        sock.listen(limits.PROXY_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise MachineUnusable(f"the proxy cannot listen at {address}: {error.strerror or error}") from None
    return sock


def _claimed(sock: socket.socket) -> socket.socket:
    """A socket that was bound to the port that the kernel has chosen as if somebody had named it: only such a port is
    kept while the socket does not listen, as under the fault `refuse`.
    """
    named = socket.socket(sock.family, sock.type, sock.proto)
    with sock:
        named.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            named.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        named.bind(sock.getsockname())
    return named


def listen_address(sock: socket.socket) -> str:
    """`HOST:PORT` of a bound socket, IPv6 in brackets."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
