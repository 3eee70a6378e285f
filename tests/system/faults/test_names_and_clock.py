"""Wrong answers to lookups in a namespace, and a command under a wrong clock, seen from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftchaos.errors import InjectionFailed, NotFound, Refused
from raftchaos.faults import needs
from raftchaos.faults.resources import marks
from tests.system.faults.networks import TwoHosts, lacking
from tests.system.faults.one_fault import OneFault, boot

Make = Callable[..., OneFault]
FOUR, SIX = TwoHosts.THERE
REAL = ["192.0.2.53"]
CLOCK = '#!/bin/sh\nwhile :; do date +%s > "$1.new"; mv "$1.new" "$1"; sleep 0.1; done\n'


@pytest.fixture
def hosts(require: Callable[[bool, str], None]) -> Iterator[TwoHosts]:
    """Two hosts."""
    missing = lacking()
    require(not missing, missing)
    made = TwoHosts()
    yield made
    made.close()


@pytest.fixture
async def answer(hosts: TwoHosts, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes dns_answer faults `here`; takes them back and compares what is there with what was."""
    before = hosts.look()
    made: list[OneFault] = []

    def one(**parameters: Any) -> OneFault:
        parameters = {"namespace": {"name": hosts.here}, "servers": [FOUR, SIX], **parameters}
        made.append(OneFault("dns_answer", parameters, tmp_path))
        return made[-1]

    yield one
    for each in made:
        await each.recover()
    assert hosts.look() == before
    assert not list((tmp_path / "faults").glob("*"))
    assert not [pid for each in made for step in each.plan if "token" in step for pid in marks.bearers(step["token"])]


async def ask(hosts: TwoHosts, name: str, server: str = FOUR, **more: Any) -> Any:
    """One lookup here."""
    return await asyncio.to_thread(hosts.measure, "ask_dns", server=server, name=name, **more)


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("server", [FOUR, SIX])
async def test_named_answers_are_replaced_and_others_pass(
    hosts: TwoHosts, answer: Make, server: str, tcp: bool
) -> None:
    fault = answer(names=["db.test", "*.shop.test"], addresses=["203.0.113.1", "2001:db8::1"])
    await fault.inject()
    assert (await ask(hosts, "db.test", server, tcp=tcp))["addresses"] == ["203.0.113.1"]
    assert (await ask(hosts, "DB.test", server, tcp=tcp, kind=28))["addresses"] == ["2001:db8::1"]
    assert (await ask(hosts, "a.b.shop.test", server, tcp=tcp))["addresses"] == ["203.0.113.1"]
    assert (await ask(hosts, "shop.test", server, tcp=tcp))["addresses"] == REAL
    assert (await ask(hosts, "other.test", server, tcp=tcp))["addresses"] == REAL
    assert await fault.recover() == {"touched": 3, "passed": 2}
    assert (await ask(hosts, "db.test", server, tcp=tcp))["addresses"] == REAL


@pytest.mark.parametrize(("error", "seen"), [("nxdomain", 3), ("servfail", 2), ("refused", 5), ("timeout", None)])
async def test_errors_in_place_of_answers(hosts: TwoHosts, answer: Make, error: str, seen: int | None) -> None:
    await answer(names="*", error=error).inject()
    found = await ask(hosts, "any.test")
    expected: dict[str, Any] = {"error": "TimeoutError"} if seen is None else {"code": seen, "addresses": []}
    assert found == expected


async def test_nothing_is_remembered_of_it(hosts: TwoHosts, answer: Make) -> None:
    """The same source port before, during and after: connection tracking would know it still."""
    fault = answer(names="*", addresses="203.0.113.1")
    assert (await ask(hosts, "a.test", source_port=40_053))["addresses"] == REAL
    await fault.inject()
    assert (await ask(hosts, "a.test", source_port=40_053))["addresses"] == ["203.0.113.1"]
    await fault.recover()
    assert (await ask(hosts, "a.test", source_port=40_053))["addresses"] == REAL


async def test_it_ends_with_the_lease_by_itself(hosts: TwoHosts, answer: Make) -> None:
    fault = answer(names="*", addresses="203.0.113.1")
    await fault.inject(lease=1.5)
    began = boot()
    while boot() - began < 2.0:
        await fault.fault.renew(boot() + 1.5)
        await asyncio.sleep(0.25)
    assert (await ask(hosts, "a.test"))["addresses"] == ["203.0.113.1"], "it was renewed"
    assert not await fault.fault.lost()
    until = boot() + 6
    while (await ask(hosts, "a.test")).get("addresses") != REAL:
        assert boot() < until


async def test_a_resolver_that_dies_takes_no_names_along(hosts: TwoHosts, answer: Make) -> None:
    fault = answer(names="db.test", addresses="203.0.113.1")
    await fault.inject(lease=1.5)
    (token,) = [step["token"] for step in fault.plan if "token" in step]
    for pid in marks.bearers(token):
        os.kill(pid, signal.SIGKILL)
    until = boot() + 6
    while (await ask(hosts, "other.test")).get("addresses") != REAL:
        await fault.fault.renew(boot() + 1.5)
        assert boot() < until, "questions still go to a resolver that is gone"
    assert [target for _, target in await fault.fault.lost()] == list(fault.targets)


async def test_the_reaper_takes_it_back_by_the_plan(hosts: TwoHosts, answer: Make) -> None:
    fault = answer(names="*", addresses="203.0.113.1")
    await fault.inject()
    await ask(hosts, "a.test")
    until = boot() + 5
    while (await fault.effects())["touched"] == 0:  # it is written down a moment later
        assert boot() < until
        await asyncio.sleep(0.02)
    assert fault.reap()["touched"] == 1
    assert (await ask(hosts, "a.test"))["addresses"] == REAL
    assert fault.reap()["touched"] == 0


def test_peers_that_are_found_by_name_are_left_alone(tmp_path: Path) -> None:
    cluster = ("node-2.test:7480",)
    with pytest.raises(Refused, match=r"it finds node-2\.test by name"):
        OneFault("dns_answer", {"names": "*.test", "error": "nxdomain"}, tmp_path, cluster=cluster).resolve()
    OneFault("dns_answer", {"names": "db.test", "error": "nxdomain"}, tmp_path, cluster=cluster).resolve()
    with pytest.raises(NotFound, match="found no network namespace"):
        OneFault("dns_answer", {"names": "*", "error": "refused", "namespace": {"name": "nowhere"}}, tmp_path).resolve()


# ---- the clock


@pytest.fixture
def plugins(tmp_path: Path, require: Callable[[bool, str], None]) -> Path:
    """A folder with a command that keeps writing down what time it is."""
    require(bool(needs.faketime_library()), "libfaketime (install the package libfaketime)")
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    for name, text in (("clock", CLOCK), ("wrong", "#!/bin/sh\nexit 3\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def clock_of(file: Path) -> float:
    """What the command believes, as far from the truth, in seconds."""
    return int(file.read_text() or "0") - time.time() if file.exists() else 0.0


@pytest.mark.parametrize("offset", [86_400.0, -3600.0])
async def test_a_command_lives_at_another_time(tmp_path: Path, plugins: Path, offset: float) -> None:
    file = tmp_path / "time"
    parameters = {"command": ["clock", str(file)], "offsetSeconds": offset}
    fault = OneFault("clock_offset", parameters, tmp_path, plugins=plugins)
    await fault.inject()
    assert fault.targets == ("command:clock",)
    until = boot() + 5
    while abs(clock_of(file) - offset) > 2:
        assert boot() < until
        await asyncio.sleep(0.05)
    assert abs(time.time() - file.stat().st_mtime) < 5, "the clock of the machine is right"
    assert (await fault.recover())["touched"] >= 1
    (token,) = [step["token"] for step in fault.plan]
    assert marks.bearers(token) == []


async def test_the_reaper_ends_the_command_and_all_below_it(tmp_path: Path, plugins: Path) -> None:
    fault = OneFault("clock_offset", {"command": ["clock", str(tmp_path / "time")]}, tmp_path, plugins=plugins)
    await fault.inject()
    (token,) = [step["token"] for step in fault.plan]
    assert len(marks.bearers(token)) >= 2
    fault.reap()
    assert marks.bearers(token) == []
    await fault.recover()


async def test_commands_are_the_operators(tmp_path: Path, plugins: Path) -> None:
    with pytest.raises(Refused, match="nothing is not run"):
        OneFault("clock_offset", {"command": ["nothing"]}, tmp_path, plugins=plugins).resolve()
    with pytest.raises(Refused, match="runs no commands of experiments"):
        OneFault("clock_offset", {"command": ["clock"]}, tmp_path).resolve()
    (plugins / "clock").chmod(0o777)
    with pytest.raises(Refused, match="can be changed by other users"):
        OneFault("clock_offset", {"command": ["clock"]}, tmp_path, plugins=plugins).resolve()
    fault = OneFault("clock_offset", {"command": ["wrong"]}, tmp_path, plugins=plugins)
    with pytest.raises(InjectionFailed, match="ended with exit code 3"):
        await fault.inject()
    await fault.recover()
