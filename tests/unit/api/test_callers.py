"""Who may call what: the table of roles, tokens, certificates, the local user's socket, browsers of other sites."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import getpass
import json
import logging
import os
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raftchaos import limits
from raftchaos.api import ApiServer
from raftchaos.api.callers import Door
from raftchaos.api.routes import ROUTES
from raftchaos.client import Client, Credentials
from raftchaos.clock import SystemClock
from raftchaos.core import commands
from raftchaos.errors import Forbidden, Refused, TooManyFailures, Unauthenticated, Unreachable, UsageError
from raftchaos.identity.certificates import Authority
from raftchaos.identity.tls import Contexts, client_context
from raftchaos.identity.tokens import new_api_token, new_join_token
from raftchaos.model.roles import GIVEN, Role
from tests.unit.api.fake_peer import DIRECTORY, FakePeer, SharedLog
from tests.unit.identity.issuing import CLUSTER, peer_files

API = "/api/v1"
DOOR = Door(hosts=frozenset({"peer.example"}), metrics_allow=("192.0.2.0/24",))


@dataclass
class Secured:
    """One peer that serves its API over TLS and over a Unix socket."""

    peer: FakePeer
    server: ApiServer
    address: str
    socket: Path
    authority: Authority
    authorities: bytes
    folder: Path

    def token(self, role: str, *, seconds: float = 60.0, name: str = "") -> str:
        token = new_api_token()
        self.peer.write(commands.CreateToken(token.id, name or role, role, token.digest, seconds))
        return token.text

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Over TLS, with these headers and body."""
        chain = more.pop("chain", None)
        connector = aiohttp.TCPConnector(ssl=client_context(self.authorities, chain))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"https://{self.address}{path}", **more) as response,
        ):
            data = await response.read()
            return response.status, json.loads(data) if data and "json" in response.content_type else {}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    log = SharedLog()
    log.now_ms = int(time.time() * 1000)
    peer = FakePeer(log, log.nodes[0])
    authority = Authority.create(CLUSTER, time.time())
    authorities, chain = peer_files(tmp_path / "server", authority, peer.name)
    server = ApiServer(peer, SystemClock())
    address = await server.start("127.0.0.1", 0, DOOR, Contexts(authorities, chain).api)
    socket = tmp_path / "api.sock"
    await server.start_local(socket, Door(local=True))
    yield Secured(peer, server, address, socket, authority, authorities, tmp_path)
    peer.feed.close()
    await server.stop()


def path_of(path: str) -> str:
    return path.replace("{name}", "node-9").replace("{id}", "none").replace("{metric}", "requests")


# ---- the table


async def test_every_handler_stands_in_the_table_and_behind_the_guard(secured: Secured) -> None:
    for runner in secured.server._runners:
        served = {(route.method, route.resource.canonical) for route in runner.app.router.routes() if route.resource}
        assert served == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_route_answers_its_role_and_those_above_it_only(secured: Secured, route: Any) -> None:
    path = path_of(route.path)
    if path.endswith("/events"):
        path += "?after=nonsense"  # refused at once: the stream would not end
    status, told = await secured.ask(route.method, path)
    if route.path.endswith("/join"):
        assert told["code"] in ("usage", "unauthenticated")
    elif route.role is Role.OPEN:
        assert set(told) == {"live", "ready"}
    else:
        assert (status, told["code"]) == (401, "unauthenticated")
    for role in GIVEN:
        status, told = await secured.ask(route.method, path, headers=bearer(secured.token(role)))
        if route.role.allows(Role.VIEWER) and not role.allows(route.role):
            assert (status, told["code"]) == (403, "forbidden")
            assert str(route.role) in told["detail"]
        elif not route.path.endswith("/join"):
            assert status not in (401, 403)


async def test_what_is_not_in_the_table_answers_nobody(secured: Secured) -> None:
    admin = bearer(secured.token("admin"))
    for path in ("/", "/api", f"{API}/nothing", "/console", f"{API}/status/"):
        assert (await secured.ask("GET", path, headers=admin))[0] == 404
    assert (await secured.ask("HEAD", f"{API}/status"))[0] == 405


# ---- tokens


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "Bearer x", "Bearer rct_0000000000000000_" + "A" * 43])
async def test_what_is_no_token_opens_nothing(secured: Secured, header: str) -> None:
    assert (await secured.ask("GET", f"{API}/status", headers={"Authorization": header}))[0] == 401


async def test_a_token_of_another_secret_is_refused(secured: Secured) -> None:
    good, other = secured.token("admin"), secured.token("viewer")
    mixed = "_".join([*good.split("_")[:2], other.split("_", 2)[2]])
    assert (await secured.ask("GET", f"{API}/status", headers=bearer(mixed)))[0] == 401


async def test_a_token_is_good_until_it_is_revoked_or_ends(secured: Secured) -> None:
    token = secured.token("viewer")
    assert (await secured.ask("GET", f"{API}/status", headers=bearer(token)))[0] == 200
    secured.peer.write(commands.RevokeToken("viewer"))
    assert (await secured.ask("GET", f"{API}/status", headers=bearer(token)))[0] == 401
    secured.peer._log.now_ms -= 60_000
    ended = secured.token("viewer", seconds=30)
    assert (await secured.ask("GET", f"{API}/status", headers=bearer(ended)))[0] == 401


async def test_whoever_names_a_token_by_its_whole_text_does_not_give_it_away(secured: Secured) -> None:
    admin, one, two = secured.token("admin"), secured.token("viewer", name="one"), secured.token("viewer", name="two")
    join = new_join_token(secured.authority.fingerprint)
    secured.peer.write(commands.CreateJoinToken(join.id, join.public, 60, False))
    credentials = Credentials.of(f"{admin}@{secured.authority.fingerprint}")
    async with Client([secured.address], credentials=credentials) as client:
        for text in (one, f"{two}@{secured.authority.fingerprint}", join.text):
            await client.revoke_token(text)
        with pytest.raises(UsageError) as caught:
            await client.revoke_token(one + "x")
        assert one not in str(caught.value)
    access = secured.peer.state.access
    assert [token.name for token in access.tokens.values()] == ["admin"]
    assert not access.joins
    status, told = await secured.ask("DELETE", f"{API}/tokens/{one}x", headers=bearer(admin))
    assert status == 400
    assert one not in str(told)


async def test_guessing_is_counted_and_a_good_token_is_served_meanwhile(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = secured.token("viewer")
    found = [(await secured.ask("GET", f"{API}/status", headers=bearer("rct_guess")))[0] for _ in range(25)]
    assert found[0] == 401
    assert found[-1] == 429
    assert (await secured.ask("GET", f"{API}/status", headers=bearer(token)))[0] == 200
    assert token not in caplog.text
    assert "rct_guess" not in caplog.text


async def test_the_client_shows_its_token_to_its_cluster_only(secured: Secured, tmp_path: Path) -> None:
    token = secured.token("viewer")
    credentials = Credentials.of(f"{token}@{secured.authority.fingerprint}")
    assert token not in repr(credentials)
    async with Client([secured.address], credentials=credentials) as client:
        assert (await client.status())["name"] == secured.peer.name
        with pytest.raises(Forbidden):
            await client.create_token("ci", "viewer")
    async with Client([secured.address], credentials=Credentials.of(f"{token}@{'0' * 64}")) as client:
        with pytest.raises(Refused, match="nothing was sent"):
            await client.status()
    async with Client([secured.address], credentials=Credentials.of(token)) as client:
        with pytest.raises(Refused, match="which cluster"):
            await client.status()
    async with Client([secured.address], timeout=0.2) as client:
        with pytest.raises(Unreachable, match="TLS"):
            await client.status()


# ---- certificates


async def test_a_certificate_says_who_calls(secured: Secured) -> None:
    kept = secured.token("operator", name="ci").split("_")[1]
    chain = peer_files(secured.folder / "ci", secured.authority, "ci", kind="operator", token=kept)[1]
    assert (await secured.ask("POST", f"{API}/halt", json={"reason": "x"}, chain=chain))[0] == 200
    assert (await secured.ask("GET", f"{API}/tokens", chain=chain))[0] == 403
    peer = peer_files(secured.folder / "peer", secured.authority, "node-2", directory=DIRECTORY)[1]
    assert (await secured.ask("GET", f"{API}/tokens", chain=peer))[0] == 200


async def test_a_revoked_certificate_stays_so_when_there_is_a_token_of_its_name_again(secured: Secured) -> None:
    kept = secured.token("operator", name="ci").split("_")[1]
    chain = peer_files(secured.folder / "ci", secured.authority, "ci", kind="operator", token=kept)[1]
    secured.peer.write(commands.RevokeToken("ci"))
    assert (await secured.ask("GET", f"{API}/status", chain=chain))[0] == 401
    secured.token("operator", name="ci")
    assert (await secured.ask("GET", f"{API}/status", chain=chain))[0] == 401


async def test_an_event_stream_ends_with_its_token(secured: Secured) -> None:
    headers = bearer(secured.token("viewer"))
    connector = aiohttp.TCPConnector(ssl=client_context(secured.authorities))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://{secured.address}{API}/events", headers=headers) as response,
    ):
        assert response.status == 200
        secured.peer.write(commands.RevokeToken("viewer"))
        async with asyncio.timeout(10):
            told = await response.read()
    assert b"tokenRevoked" not in told, "nothing is told after it"


async def test_of_too_many_connections_one_that_has_not_said_who_calls_is_closed(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS", 3)
    connector = aiohttp.TCPConnector(ssl=client_context(secured.authorities))
    url = f"https://{secured.address}{API}/events"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=bearer(secured.token("viewer"))) as response,
    ):
        host, _, port = secured.address.rpartition(":")
        strangers = [
            await asyncio.open_connection(host, int(port), ssl=client_context(secured.authorities)) for _ in range(4)
        ]
        async with asyncio.timeout(10):
            for reader, _ in strangers[:2]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            secured.peer.write(commands.DrainNode("node-2", True))
            while b"node-2" not in await response.content.readline():
                pass
        for reader, writer in strangers[2:]:
            writer.write(f"GET /readyz HTTP/1.1\r\nHost: {secured.address}\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1")
        for _, writer in strangers:
            writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_TIME", 0.1)
    host, _, port = secured.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=client_context(secured.authorities))
    head = f"Host: {secured.address}\r\nAuthorization: Bearer {secured.token('admin')}\r\nContent-Length: 9"
    writer.write(f"POST {API}/halt HTTP/1.1\r\n{head}\r\n\r\n{{".encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_removed_peers_certificate_and_one_of_another_directory_are_refused(secured: Secured) -> None:
    stolen = peer_files(secured.folder / "stolen", secured.authority, "node-2", directory="another")[1]
    assert (await secured.ask("GET", f"{API}/status", chain=stolen))[0] == 401
    peer = peer_files(secured.folder / "peer", secured.authority, "node-2", directory=DIRECTORY)[1]
    secured.peer.write(commands.RemoveNode("node-2"))
    assert (await secured.ask("GET", f"{API}/status", chain=peer))[0] == 401
    foreign = peer_files(
        secured.folder / "foreign", Authority.create("d" * 32, time.time()), "ci", kind="admin", cluster="d" * 32
    )[1]
    with pytest.raises((aiohttp.ClientError, OSError)):
        await secured.ask("GET", f"{API}/status", chain=foreign)


# ---- the local user


async def test_the_user_of_the_peer_needs_nothing_on_its_machine(secured: Secured) -> None:
    assert stat.S_IMODE(secured.socket.stat().st_mode) == 0o600
    connector = aiohttp.UnixConnector(path=str(secured.socket))
    async with aiohttp.ClientSession("http://127.0.0.1:1", connector=connector) as session:
        async with session.post(f"{API}/tokens", json={"name": "ci", "role": "viewer"}) as response:
            assert response.status == 201
        async with session.get("/readyz") as response:
            assert "reasons" in await response.json()
    kept = next(iter(secured.peer.state.access.tokens.values()))
    assert kept.created_by in (getpass.getuser(), str(os.geteuid()), "")


# ---- browsers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[x"])
async def test_a_name_that_is_not_the_peers_is_refused(secured: Secured, host: str) -> None:
    headers = {**bearer(secured.token("admin")), "Host": host}
    assert (await secured.ask("GET", f"{API}/status", headers=headers))[0] in (400, 403)


@pytest.mark.parametrize("host", ["peer.example", "peer.example:7480", "PEER.example", "10.1.2.3", "[::1]:7480"])
async def test_its_own_names_and_any_address_are_fine(secured: Secured, host: str) -> None:
    headers = {**bearer(secured.token("admin")), "Host": host}
    assert (await secured.ask("GET", f"{API}/status", headers=headers))[0] == 200


async def test_a_page_of_another_site_is_refused(secured: Secured) -> None:
    headers = bearer(secured.token("admin"))
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://[x"):
        assert (await secured.ask("GET", f"{API}/status", headers={**headers, "Origin": origin}))[0] == 403
    same = {**headers, "Origin": f"https://{secured.address}"}
    assert (await secured.ask("GET", f"{API}/status", headers=same))[0] == 200


async def test_who_asks_over_the_socket_does_not_turn_to_whoever_has_the_port(secured: Secured) -> None:
    server = ApiServer(secured.peer, SystemClock())
    address = await server.start("127.0.0.1", 0, Door(insecure=True))
    async with Client([address], credentials=Credentials(socket=secured.socket)) as client:
        assert (await client.status())["cluster"] == CLUSTER
    gone = Credentials(socket=secured.folder / "gone.sock")
    async with Client([address], timeout=0.5, credentials=gone) as client:
        with pytest.raises(Unreachable):
            await client.status()
    await server.stop()


# ---- metrics


async def test_metrics_are_for_viewers_and_for_allowed_networks(secured: Secured) -> None:
    assert (await secured.ask("GET", "/metrics"))[0] == 401
    assert (await secured.ask("GET", "/metrics", headers=bearer(secured.token("viewer"))))[0] == 200
    server = ApiServer(secured.peer, SystemClock())
    address = await server.start("127.0.0.1", 0, Door(metrics_allow=("127.0.0.0/8",)))
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as response:
        assert response.status == 200
    await server.stop()


# ---- joining


async def test_a_join_proves_its_token_to_this_server(secured: Secured) -> None:
    token = new_join_token(secured.authority.fingerprint)
    secured.peer.write(commands.CreateJoinToken(token.id, token.public, 60, False))
    body = {"name": "node-9", "directory": "d" * 32, "raftAddress": "127.0.0.1:1", "apiAddress": "127.0.0.1:2"}

    async def join(proof: bytes, **changes: str) -> int:
        sent = {**body, **changes, "token": token.id, "proof": base64.b64encode(proof).decode()}
        return (await secured.ask("POST", f"{API}/join", json=sent))[0]

    server = secured.peer.access.certificate
    assert await join(token.prove(b"a man in the middle", body)) == 401
    assert await join(token.prove(server, body), name="node-8") == 401
    assert await join(new_join_token("a" * 64).prove(server, body)) == 401
    assert (await secured.ask("POST", f"{API}/join", json=body))[0] == 401
    viewer = bearer(secured.token("viewer"))
    assert (await secured.ask("POST", f"{API}/join", json=body, headers=viewer))[0] == 403
    assert await join(token.prove(server, body)) == 200
    found = [await join(b"a guess") for _ in range(30)]
    assert (found[0], found[-1]) == (401, 429)
    assert await join(token.prove(server, body)) == 200


def test_errors_of_callers_have_their_statuses() -> None:
    found = {error.spec.http_status for error in (Unauthenticated, Forbidden, TooManyFailures)}
    assert found == {401, 403, 429}
    assert limits.CALLER_TEXT > 253  # a host name
