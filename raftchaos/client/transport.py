"""How the client asks: the peers in turn, until one gives an answer that counts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raftchaos import limits
from raftchaos.client.ways import Credentials, NotSent, Ways
from raftchaos.errors import (
    Busy,
    NoQuorum,
    NotFound,
    OutcomeUnknown,
    RaftchaosError,
    Unreachable,
    UsageError,
    error_of_code,
)
from raftchaos.identity.tls import explain
from raftchaos.model.event_stream import Decoder, Message

if TYPE_CHECKING:
    import aiohttp

DEFAULT_PEER = "127.0.0.1:7480"
PREFIX = "/api/v1"
ATTEMPT = 5.0  # one request to one peer: more than a peer takes to say that there is no quorum
CONNECT = 2.0
PAUSE = 0.2  # between two rounds over all peers
STREAM_SILENCE = limits.EVENT_HEARTBEAT * 2.5  # a stream without a heartbeat this long is broken
ANSWER = 16 * 1024 * 1024  # the largest answer that is read
NO_PEER = "is this the API address of a raftchaos peer?"


class Broken(RaftchaosError):
    """The request may have reached the peer, its answer did not come back."""

    spec = OutcomeUnknown.spec


def parse_peers(text: str) -> list[str]:
    """The peers of `HOST:PORT[,HOST:PORT…]`. Raises UsageError for anything else."""
    peers = [re.sub(r"^https?://", "", part.strip()).rstrip("/") for part in text.split(",") if part.strip()]
    for peer in peers:
        host, colon, port = peer.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise UsageError(f"found the peer {peer!r}, expected HOST:PORT", hint=f"for example {DEFAULT_PEER}")
    return peers


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it is sent to every peer that is tried."""

    method: str
    path: str
    """Below the host, prefix included."""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    text: bool = False
    """Whether the answer is text, not JSON."""
    raw: bool = False
    """Whether the answer is bytes."""


class Transport:
    """Requests to the peers of one cluster, with repeats where a repeat is harmless."""

    def __init__(self, peers: Iterable[str], timeout: float, credentials: Credentials | None = None) -> None:
        self.peers = [peer for text in peers for peer in parse_peers(text)] or [DEFAULT_PEER]
        self.timeout = timeout
        self.index = 0
        """The newest Raft index that an answer showed."""
        self._ways = Ways(credentials)
        self._first = 0

    async def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        await self._ways.close()

    @property
    def first(self) -> str:
        """The peer that is asked first."""
        return self.peers[self._first % len(self.peers)]

    def turn(self, tried: str) -> None:
        """Asks the peer after `tried` first from now on, unless another than `tried` is first already."""
        if self.first == tried:
            self._first = (self._first + 1) % len(self.peers)

    def saw(self, event_id: str | None) -> None:
        """Remembers the index of an event that was seen."""
        if event_id:
            self.index = max(self.index, int(event_id.partition("-")[0]))

    async def call(
        self, request: Request, *, peer: str | None = None, attempt: float = ATTEMPT, timeout: float | None = None
    ) -> Any:
        """Asks the peers in turn (or only `peer`) until one gives an answer that counts.

        A connection that failed and a peer without a quorum pass the question on to the next peer; a broken
        connection, a busy peer and an unknown outcome are also tried again until `timeout` seconds have passed. A
        single peer is given `attempt` seconds. Raises what the cluster answered, Unreachable, NoQuorum, Busy, or
        OutcomeUnknown if one of the attempts may have been carried out.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self.timeout if timeout is None else timeout)
        unsure = False
        while True:
            failures: dict[str, RaftchaosError] = {}
            for place, address in self._in_turn(peer):
                wait = min(attempt, max(deadline - loop.time(), 0.1))
                try:
                    answer = await self._once(address, request, wait)
                except (NotSent, Broken, NoQuorum, Busy, OutcomeUnknown) as error:
                    failures[address] = error
                    unsure = unsure or isinstance(error, Broken | OutcomeUnknown)
                    continue
                except NotFound:
                    if request.method == "DELETE" and unsure:
                        return {}  # an earlier attempt did it
                    raise
                self._first = place
                return answer
            again = any(isinstance(error, Broken | Busy | OutcomeUnknown) for error in failures.values())
            if not again or loop.time() + PAUSE >= deadline:
                raise _verdict(failures, unsure=unsure and request.method != "GET")
            await asyncio.sleep(PAUSE)

    def _in_turn(self, peer: str | None) -> list[tuple[int, str]]:
        if peer is not None:
            return [(self._first, parse_peers(peer)[0])]
        places = [(self._first + step) % len(self.peers) for step in range(len(self.peers))]
        return [(place, self.peers[place]) for place in places]

    async def _once(self, address: str, request: Request, wait: float) -> Any:
        import aiohttp  # late: it takes a quarter of a second, and --help must not pay for it

        try:
            way = await self._ways.to(address)
            async with way.session.request(
                request.method,
                f"{way.url}{request.path}",
                params=request.params,
                data=request.body,
                headers=way.headers | ({} if request.body is None else {"Content-Type": "application/json"}),
                timeout=aiohttp.ClientTimeout(total=wait, sock_connect=min(CONNECT, wait)),
            ) as response:
                data = await _read(response)
                if response.status >= 400:
                    raise _problem(address, response.status, data)
                if request.raw:
                    return data
                if request.text:
                    return data.decode("utf-8", "replace")
                return self._remember(_json(address, data, request.method))
        except _untouched() as error:
            raise NotSent(f"{address}: {_words(error)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Broken(f"{address}: {_words(error)}") from error

    async def stream(self, task: str | None, after: str | None) -> AsyncGenerator[Message, None]:
        """The messages of one connection to one peer, which must begin within `ATTEMPT`: a frozen one takes no more.

        Each piece that came ends in a message without an event: it shows that the peer is there, and its id is the
        place to go on after.
        """
        import aiohttp

        address = self.first
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=STREAM_SILENCE)
        decoder = Decoder()
        try:
            async with asyncio.timeout(ATTEMPT):
                way = await self._ways.to(address)
                response = await way.session.get(
                    f"{way.url}{PREFIX}/events",
                    params={} if task is None else {"task": task},
                    headers=way.headers | headers,
                    timeout=timeout,
                )
            async with response:
                if response.status >= 400:
                    raise _problem(address, response.status, await _read(response))
                async for piece in response.content.iter_any():
                    for message in decoder.feed(piece):
                        yield message
                    yield Message("", "", decoder.place)
        except _untouched() as error:
            raise NotSent(f"{address}: {_words(error)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Broken(f"{address}: {_words(error)}") from error

    def _remember(self, answer: Any) -> Any:
        if isinstance(answer, dict) and isinstance(answer.get("index"), int):
            self.index = max(self.index, answer["index"])
        return answer


def _untouched() -> tuple[type[Exception], ...]:
    """What aiohttp raises for a request that certainly did not leave this machine."""
    import aiohttp

    return (
        aiohttp.ClientConnectorError,
        aiohttp.ClientConnectorCertificateError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.InvalidURL,
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole answer. Raises RaftchaosError for one that is larger than `ANSWER`."""
    data = bytearray()
    async for piece in response.content.iter_chunked(64 * 1024):
        data += piece
        if len(data) > ANSWER:
            raise RaftchaosError(f"found an answer of more than {ANSWER} bytes", hint=NO_PEER)
    return bytes(data)


def _words(error: BaseException) -> str:
    import aiohttp

    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer; if it wants TLS, `raftchaos login` says who you are"
    told = explain(getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error, time.time())
    if told:
        return told
    reason = getattr(error, "os_error", None) or error
    number = getattr(reason, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)  # asyncio's own words are a program's: "Connect call failed ('127.0.0.1', 1)"
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _json(address: str, data: bytes, method: str) -> Any:
    if not data:
        return {}
    try:
        return json.loads(data)
    except ValueError:
        kind = NotSent if method == "GET" else Broken
        raise kind(f"{address}: it answers, but not with JSON; {NO_PEER}") from None


def _problem(address: str, status: int, data: bytes) -> RaftchaosError:
    """The error that a problem+json answer names. What is no such answer is not of a peer."""
    try:
        problem = json.loads(data)
        code, detail = problem["code"], problem["detail"]
    except (ValueError, TypeError, KeyError):
        message = f"{address}: it answers with the HTTP status {status} and no explanation; {NO_PEER}"
        return Broken(message) if status >= 500 else NotSent(message)
    return error_of_code(str(code), str(detail), hint=problem.get("hint"), details=problem.get("details"))


def _verdict(failures: Mapping[str, RaftchaosError], *, unsure: bool) -> RaftchaosError:
    """What a call raises after every peer failed."""
    told = "; ".join(str(error) for error in failures.values())
    if unsure:
        return OutcomeUnknown(f"the request may have been carried out: {told}")
    for kind in (OutcomeUnknown, NoQuorum, Busy):
        for error in failures.values():
            if isinstance(error, kind):
                return error
    return Unreachable(f"no peer answered: {told}", details={"peers": list(failures)})
