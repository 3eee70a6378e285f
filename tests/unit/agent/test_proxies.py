"""The node's proxies: validated, kept, their ports held over restarts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from raftchaos import limits
from raftchaos.agent.proxies import NodeProxies, listen_on, split_address
from raftchaos.clock import SystemClock
from raftchaos.core.interfaces import HasFileno
from raftchaos.errors import Conflict, DataCorrupt, MachineUnusable, NotFound, ProxyUnavailable, Refused, UsageError
from raftchaos.faults.twin import InMemoryProxy
from tests.unit.proxy.certificates import write_certificate

UP = "127.0.0.1:9"


class Outliving(InMemoryProxy):
    """A proxy process that outlived its main with these sockets."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.kept: dict[str, socket.socket] = {}
        self.removed: list[str] = []
        self.added: dict[str, HasFileno] = {}

    async def add_proxy(
        self, name: str, listen: str, upstream: str, sock: HasFileno, certificate: str = "", key: str = ""
    ) -> None:
        await super().add_proxy(name, listen, upstream, sock, certificate, key)
        self.added[name] = sock

    async def take_sockets(self) -> dict[str, HasFileno]:
        return {name: sock.dup() for name, sock in self.kept.items()}

    async def remove_proxy(self, name: str) -> None:
        self.removed.append(name)
        await super().remove_proxy(name)


def made(folder: Path, control: InMemoryProxy | None = None, **options: object) -> NodeProxies:
    return NodeProxies(folder, control=control or Outliving(), **options)  # type: ignore[arg-type]


async def test_a_proxy_listens_and_is_kept_with_its_port(tmp_path: Path) -> None:
    changes: list[int] = []
    proxies = made(tmp_path, on_change=lambda: changes.append(1))
    await proxies.open()
    kept = await proxies.add("web", "127.0.0.1:0", UP)
    assert kept.listen != "127.0.0.1:0"
    socket.create_connection(split_address(kept.listen)).close()
    assert await proxies.add("web", "127.0.0.1:0", UP) == kept
    assert await proxies.add("web", kept.listen, UP) == kept
    assert changes == [1]
    proxies.close()
    again = made(tmp_path)
    await again.open()
    assert [(record.name, record.listen, record.upstream) for record in await again.records()] == [
        ("web", kept.listen, UP)
    ]
    again.close()


async def test_configured_ones_go_first_and_others_stay(tmp_path: Path) -> None:
    proxies = made(tmp_path)
    await proxies.open([("web", "127.0.0.1:0", UP, "", "")])
    await proxies.add("api", "127.0.0.1:0", UP)
    proxies.close()
    again = made(tmp_path)
    await again.open([("web", "127.0.0.1:0", "127.0.0.1:10", "", "")])
    assert {record.name: record.upstream for record in await again.records()} == {"api": UP, "web": "127.0.0.1:10"}
    again.close()


async def test_a_running_proxy_process_gives_the_sockets_back(tmp_path: Path) -> None:
    control = Outliving()
    proxies = made(tmp_path, control)
    await proxies.open([("web", "127.0.0.1:0", UP, "", "")])
    (record,) = await proxies.records()
    proxies.close()
    control.kept = {"web": listen_on(record.listen), "gone": listen_on("127.0.0.1:0")}
    again = made(tmp_path, control)
    await again.open()
    assert (await again.records())[0].listen == record.listen
    assert control.removed == ["gone"]
    assert control.added["web"].fileno() > 0
    again.close()
    for sock in control.kept.values():
        sock.close()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    taken = listen_on("127.0.0.1:0")
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    proxies = made(tmp_path)
    await proxies.open()
    with pytest.raises(MachineUnusable, match=address):
        await proxies.add("web", address, UP)
    assert proxies.names() == ()
    with pytest.raises(MachineUnusable, match=address):
        await proxies.open([("web", address, UP, "", "")])
    taken.close()


async def test_a_port_that_was_only_given_is_replaced_when_it_is_taken(tmp_path: Path) -> None:
    proxies = made(tmp_path)
    await proxies.open()
    kept = await proxies.add("web", "127.0.0.1:0", UP)
    proxies.close()
    thief = listen_on(kept.listen)
    again = made(tmp_path)
    await again.open()
    assert (await again.records())[0].listen != kept.listen
    again.close()
    thief.close()


async def test_a_certificate_is_kept_and_one_that_is_none_refused(tmp_path: Path) -> None:
    proxies = made(tmp_path)
    await proxies.open()
    for files in (("/none.crt", "/none.key"), ("/none.crt", ""), ("relative", "relative")):
        with pytest.raises(UsageError, match=r"none\.crt|both|absolute"):
            await proxies.add("web", "127.0.0.1:0", UP, *files)
    assert proxies.names() == ()
    files = write_certificate(tmp_path)
    kept = await proxies.add("web", "127.0.0.1:0", UP, *files)
    assert await proxies.add("web", kept.listen, UP, *files) == kept
    with pytest.raises(Conflict):
        await proxies.add("web", kept.listen, UP)
    proxies.close()
    again = made(tmp_path)
    await again.open()
    assert (await again.records())[0].certificate == files[0]
    again.close()


@pytest.mark.parametrize(
    ("name", "listen", "upstream"),
    [
        ("W eb", "127.0.0.1:0", UP),
        ("", "127.0.0.1:0", UP),
        ("x" * 64, "127.0.0.1:0", UP),
        ("web", "127.0.0.1", UP),
        ("web", ":80", UP),
        ("web", "127.0.0.1:65536", UP),
        ("web", "::1:80", UP),
        ("web", "127.0.0.1:0", "127.0.0.1:0"),
        ("web", "127.0.0.1:0", "nowhere"),
        ("web", "127.0.0.1:0", "host:-1"),
        ("web", "127.0.0.1:0", "\ud800:1"),
    ],
)
async def test_bad_words_are_refused(tmp_path: Path, name: str, listen: str, upstream: str) -> None:
    proxies = made(tmp_path)
    await proxies.open()
    with pytest.raises(UsageError, match="found"):
        await proxies.add(name, listen, upstream)


async def test_a_name_with_other_values_is_a_conflict(tmp_path: Path) -> None:
    proxies = made(tmp_path)
    await proxies.open([("web", "127.0.0.1:0", UP, "", "")])
    with pytest.raises(Conflict, match="web"):
        await proxies.add("web", "127.0.0.1:0", "127.0.0.1:10")
    proxies.close()


async def test_removal_is_refused_while_a_run_is_on_it(tmp_path: Path) -> None:
    used = {"proxy:web"}
    control = Outliving()
    proxies = made(tmp_path, control, in_use=used.__contains__)
    await proxies.open([("web", "127.0.0.1:0", UP, "", "")])
    (record,) = await proxies.records()
    with pytest.raises(Refused, match="web"):
        await proxies.remove("web")
    used.clear()
    await proxies.remove("web")
    assert proxies.names() == ()
    listen_on(record.listen).close()
    with pytest.raises(NotFound, match="web"):
        await proxies.remove("web")
    again = made(tmp_path)
    await again.open()
    assert again.names() == ()


async def test_there_is_a_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROXIES", 1)
    proxies = made(tmp_path)
    await proxies.open([("web", "127.0.0.1:0", UP, "", "")])
    with pytest.raises(Refused, match="1 proxies"):
        await proxies.add("api", "127.0.0.1:0", UP)
    proxies.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "proxies.msgpack").write_bytes(b"x" * 40)
    with pytest.raises(DataCorrupt, match=r"proxies\.msgpack"):
        made(tmp_path)


async def test_a_proxy_can_listen_and_relay_elsewhere(tmp_path: Path) -> None:
    proxies = made(tmp_path)
    await proxies.open()
    first = await proxies.add("web", "127.0.0.1:0", UP)
    assert await proxies.change("web", "127.0.0.1:0", UP) == first, "that is where it listens"
    port = split_address(first.listen)[1]
    same = await proxies.change("web", f"localhost:{port}", "127.0.0.1:10")
    assert (same.listen, same.upstream) == (first.listen, "127.0.0.1:10")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(MachineUnusable, match="cannot listen"):
            await proxies.change("web", f"127.0.0.1:{taken.getsockname()[1]}", UP)
        free = taken.getsockname()[1]
    assert [(one.listen, one.upstream) for one in await proxies.records()] == [(first.listen, "127.0.0.1:10")]
    socket.create_connection(split_address(first.listen)).close()
    assert (await proxies.change("web", f"127.0.0.1:{free}", UP)).listen == f"127.0.0.1:{free}"
    with pytest.raises(OSError):
        socket.create_connection(split_address(first.listen))
    with pytest.raises(NotFound):
        await proxies.change("api", "127.0.0.1:0", UP)
    with pytest.raises(UsageError):
        await proxies.change("web", "nowhere", UP)
    proxies.close()
    again = made(tmp_path)
    await again.open()
    assert [(one.listen, one.upstream) for one in await again.records()] == [(f"127.0.0.1:{free}", UP)]
    again.close()


class Hanging(Outliving):
    """A proxy process that does not say any more that a proxy is gone, as `ProxyProcess` tells it."""

    async def remove_proxy(self, name: str) -> None:
        await super().remove_proxy(name)
        raise ProxyUnavailable("it does not answer")

    async def served(self) -> set[str]:
        return set(await self.stats())


async def test_a_proxy_goes_on_if_its_process_cannot_be_asked(tmp_path: Path) -> None:
    process = Hanging()
    proxies = made(tmp_path, process)
    await proxies.open()
    first = await proxies.add("web", "127.0.0.1:0", UP)
    with pytest.raises(ProxyUnavailable):
        await proxies.change("web", first.listen, "127.0.0.1:10")
    assert await process.served() == {"web"}
    with pytest.raises(ProxyUnavailable):
        await proxies.remove("web")
    assert await process.served() == {"web"}
    assert [(one.listen, one.upstream) for one in await proxies.records()] == [(first.listen, UP)]
    socket.create_connection(split_address(first.listen)).close()
    proxies.close()


async def test_names_of_proxies_are_those_that_clients_of_toxiproxy_use(tmp_path: Path) -> None:
    proxies = made(tmp_path)
    await proxies.open()
    for name in ("mysql_master", "redis:6379", "Shop.api-1"):
        await proxies.add(name, "127.0.0.1:0", UP)
    assert proxies.names() == ("Shop.api-1", "mysql_master", "redis:6379")
    for bad in ("", ".", "..", "a/b", "a b", "a#b", "a@b", "ä", "x" * (limits.PROXY_NAME + 1)):
        with pytest.raises(UsageError, match="proxy name"):
            await proxies.add(bad, "127.0.0.1:0", UP)
    proxies.close()
