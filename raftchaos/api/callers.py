"""Who calls, and whether he may: the one way into every handler."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from raftchaos import limits
from raftchaos.clock import Clock
from raftchaos.core.callers import CALLER, CERTIFICATE, INSECURE, SOCKET, TOKEN, Caller
from raftchaos.core.minutes import MinuteCounts
from raftchaos.core.services import PeerServices
from raftchaos.core.state import ClusterState
from raftchaos.errors import Forbidden, TooManyFailures, Unauthenticated
from raftchaos.identity.subjects import PEER, subject_of
from raftchaos.identity.tokens import matches, read_api_token
from raftchaos.model.roles import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FAILURES: Final = 20  # of one address in a minute, before it is told no more
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Door:
    """How callers are to be judged at one listening socket."""

    local: bool = False
    """The Unix socket of the user who runs the peer."""
    insecure: bool = False
    """--insecure: everybody may do everything."""
    hosts: frozenset[str] = frozenset()
    """Names by which this peer may be called, in lower case, besides `localhost`, its own name and any address."""
    metrics_allow: tuple[str, ...] = ()
    """Networks from which the metrics need no token."""


def is_good(caller: Caller, state: ClusterState, clock: Clock) -> bool:
    """Whether what it has shown is (still) good: a token is listed and has not ended, a peer is a member."""
    if caller.token:
        kept = state.access.tokens.get(caller.token)
        return kept is not None and kept.expires_ms > clock.wall() * 1000
    return caller.way != CERTIFICATE or caller.name in state.nodes


class Guard:
    """Stands before every handler."""

    def __init__(
        self, services: PeerServices, clock: Clock, failures: MinuteCounts, door: Door, known: set[object]
    ) -> None:
        """`known` is given the protocols of the connections on which somebody has said who he is."""
        self._known_connections = known
        self._services, self._clock, self._failures, self._door = services, clock, failures, door
        self._networks = [ipaddress.ip_network(text, strict=False) for text in door.metrics_allow]

    def guarded(self, role: Role, handler: Handler, *, scraped: bool = False) -> Handler:
        """The handler, for callers who have at least this role; `scraped`: or who come from an allowed network."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self._check_headers(request)
            caller = self._recognise(request)
            if caller is not None:
                self._known_connections.add(request.protocol)
            if not (role is Role.OPEN or (scraped and self._may_scrape(request))):
                self._check_role(request, caller, role)
            token = CALLER.set(caller)
            try:
                return await handler(request)
            except Unauthenticated as error:  # a proof that is good for nothing counts as a bad token does
                if not self._door.local:
                    self._fail((request.remote or "")[: limits.CALLER_TEXT], error)
                raise
            finally:
                CALLER.reset(token)

        return answer

    # ---- browsers

    def _check_headers(self, request: web.Request) -> None:
        """A page of another site must not reach a peer by the browser of somebody who may: neither by a name that it
        lets point here (DNS rebinding) nor across sites. Raises Forbidden."""
        host = _host_of(f"//{request.headers.get('Host', '')}")
        if not self._known(host):
            raise Forbidden(
                f"found the header Host: {host[:_LONGEST]!r}, which is no name of this peer",
                hint="call it by its address, or name this host with --advertise",
            )
        origin = request.headers.get("Origin")
        if origin is not None and _place_of(origin) != request.headers.get("Host", "").lower():
            raise Forbidden("found a request that a page of another site has made", hint="call the API directly")

    def _known(self, host: str) -> bool:
        if host in self._door.hosts or host in ("localhost", self._services.name):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    # ---- who it is

    def _recognise(self, request: web.Request) -> Caller | None:
        """Who calls; None if he has not said so. Raises Unauthenticated for something that is good for nothing."""
        if self._door.local:
            return self._of_socket(request)
        address = (request.remote or "")[: limits.CALLER_TEXT]
        if self._door.insecure:
            return Caller("anonymous", Role.ADMIN, address, INSECURE)
        words = request.headers.get("Authorization", "").split()
        if words:
            found = self._of_token(words, address)
        elif request.transport is not None and (shown := request.transport.get_extra_info("peercert")):
            found = self._of_certificate(shown, address)
        else:
            return None
        if found is None:
            self._fail(address, Unauthenticated("found a token or a certificate that is good for nothing here"))
        return found

    def _of_socket(self, request: web.Request) -> Caller:
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is None:
            raise Unauthenticated("the connection is gone")
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(data)
        if user not in (0, os.geteuid()):
            raise Forbidden(f"the socket is for the user {os.geteuid()}, found {user}")
        try:
            name = pwd.getpwuid(user).pw_name
        except KeyError:
            name = str(user)
        return Caller(name, Role.ADMIN, "", SOCKET)

    def _of_token(self, words: Sequence[str], address: str) -> Caller | None:
        parts = read_api_token(words[1].partition("@")[0]) if len(words) == 2 and words[0].lower() == "bearer" else None
        token = self._services.state.access.tokens.get(parts[0]) if parts is not None else None
        if parts is None or token is None or not matches(parts[1], token.digest):
            return None
        return self._still(Caller(token.name, token.role, address, f"{TOKEN}:{token.id}"))

    def _of_certificate(self, shown: Mapping[str, Any], address: str) -> Caller | None:
        subject = subject_of(shown)
        if subject is None or subject.cluster != self._services.cluster:
            return None
        name = subject.names[0]
        if subject.kind != PEER:
            return self._still(Caller(name, subject.kind, address, f"{CERTIFICATE}:{subject.id}"))
        node = self._services.state.nodes.get(name)
        if node is None or node.directory != subject.id:
            return None
        return Caller(name, Role.ADMIN, address, CERTIFICATE)

    def _still(self, caller: Caller) -> Caller | None:
        return caller if is_good(caller, self._services.state, self._clock) else None

    # ---- whether he may

    def _check_role(self, request: web.Request, caller: Caller | None, role: Role) -> None:
        if caller is None:
            nobody = Unauthenticated("found nothing that says who calls")
            self._fail((request.remote or "")[: limits.CALLER_TEXT], nobody)
        elif not caller.allows(role):
            raise Forbidden(f"{caller.name} is {caller.role}, this needs {role}")

    def _fail(self, address: str, why: Unauthenticated) -> None:
        if self._failures.note(address, self._clock.boot()) >= _FAILURES:
            raise TooManyFailures(f"found more than {_FAILURES} requests from {address} that do not say who calls")
        raise why

    def _may_scrape(self, request: web.Request) -> bool:
        try:
            address = ipaddress.ip_address((request.remote or "").partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _place_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return ""
