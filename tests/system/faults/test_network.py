"""Faults of the kernel's network, seen by a stranger: two namespaces on a wire, a client's own clock, its own counters.

Every test leaves nftables and traffic control as they were, the tables and disciplines of the host among them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftchaos.errors import NotFound, Refused, UsageError
from raftchaos.faults import needs
from raftchaos.faults.base import NodeContext
from raftchaos.faults.network import places
from tests.system.faults.netem import Checks
from tests.system.faults.networks import PORT, TwoHosts, lacking
from tests.system.faults.one_fault import OneFault, boot

HOST_TABLE = """
table inet of_the_host {
    chain input { type filter hook input priority 0; policy accept;
        tcp dport 9 counter drop
    }
}
"""
Make = Callable[..., OneFault]
FOUR, SIX = TwoHosts.THERE


@pytest.fixture
def hosts(require: Callable[[bool, str], None]) -> Iterator[TwoHosts]:
    """Two hosts; the host of `here` has a table of its own."""
    missing = lacking()
    require(not missing, missing)
    made = TwoHosts()
    try:
        made.run("nft", "-f", "-", text=HOST_TABLE)
        yield made
    finally:
        made.close()


@pytest.fixture
async def make(hosts: TwoHosts, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes faults in the namespace `here`; takes them back and compares what is there with what was."""
    before = hosts.look()
    made: list[OneFault] = []

    def one(name: str, **parameters: Any) -> OneFault:
        parameters.setdefault("namespace", {"name": hosts.here})
        made.append(OneFault(name, parameters, tmp_path))
        return made[-1]

    yield one
    for each in made:
        await each.recover()
    assert hosts.look() == before


async def seen(hosts: TwoHosts, command: str, **arguments: Any) -> Any:
    """A measurement, while the loop goes on."""
    return await asyncio.to_thread(hosts.measure, command, **arguments)


async def connects(hosts: TwoHosts, host: str = FOUR, port: int = PORT, where: str | None = None) -> bool:
    """Whether a TCP echo works."""
    found = await seen(hosts, "connect", host=host, port=port, where=where)
    return bool(found["said"] == "hello")


# ---- partitions


@pytest.mark.parametrize("host", [FOUR, SIX])
async def test_a_partition_is_silent_counted_and_ends(hosts: TwoHosts, make: Make, host: str) -> None:
    fault = make("partition", hosts=host)
    assert await connects(hosts, host)
    await fault.inject()
    assert await fault.seen() == list(fault.targets)
    lost = await seen(hosts, "datagrams", host=host, port=PORT, count=20)
    assert lost == {"sent": 20, "back": 0, "errors": []}, "to who sends them they have left"
    assert await fault.effects() | {"bytes": 0} == {"touched": 20, "packets_out": 20, "packets_in": 0, "bytes": 0}
    assert (await seen(hosts, "connect", host=host, port=PORT))["said"] == "TimeoutError"
    assert (await fault.recover())["touched"] >= 21
    assert await connects(hosts, host)
    assert await fault.seen() == []


@pytest.mark.parametrize("direction", ["incoming", "outgoing"])
async def test_a_partition_one_way(hosts: TwoHosts, make: Make, direction: str) -> None:
    hosts.run("ip", "netns", "exec", hosts.there, "nft", "-f", "-", text=WATCH)
    fault = make("partition", hosts=[FOUR], direction=direction)
    await fault.inject()
    assert (await seen(hosts, "datagrams", host=FOUR, port=PORT, count=10))["back"] == 0
    arrived = _counter(hosts.nft(hosts.there))
    effect = await fault.recover()
    if direction == "incoming":
        assert (arrived, effect["packets_in"], effect["packets_out"]) == (10, 10, 0)
    else:
        assert (arrived, effect["packets_in"], effect["packets_out"]) == (0, 0, 10)


WATCH = """
table inet watch {
    counter arrived { }
    chain input { type filter hook input priority 0; udp dport 5000 counter name arrived; }
}
"""


def _counter(ruleset: str) -> int:
    words = ruleset.split("counter arrived", 1)[1].split()
    return int(words[words.index("packets") + 1])


async def test_only_the_packets_that_are_meant(hosts: TwoHosts, make: Make) -> None:
    fault = make("partition", hosts="10.77.0.0/24", ports=[PORT, "6000-6100"], protocol="tcp", interface="wire")
    await fault.inject()
    assert not await connects(hosts)
    assert await connects(hosts, SIX)
    assert (await seen(hosts, "datagrams", host=FOUR, port=PORT, count=5))["back"] == 5
    assert await seen(hosts, "pull", host=FOUR, port=PORT, seconds=0.2) > 0, "the port beside it"


async def test_what_this_node_serves(hosts: TwoHosts, make: Make) -> None:
    hosts.serve(hosts.here, list(TwoHosts.HERE))
    fault = make("partition", localPorts=PORT)
    await fault.inject()
    assert not await connects(hosts, TwoHosts.HERE[0], where=hosts.there)
    assert await connects(hosts, FOUR), "what this node calls"
    assert await connects(hosts, TwoHosts.HERE[0]), "loopback is left alone"


async def test_what_a_recovery_that_was_broken_off_counted_is_kept(hosts: TwoHosts, make: Make) -> None:
    fault = make("reject", hosts=FOUR, ports=PORT)
    await fault.inject()
    assert not await connects(hosts)
    recovering = asyncio.create_task(fault.recover())
    await asyncio.sleep(0)  # the table is being deleted
    recovering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recovering
    assert (await fault.recover())["touched"] >= 1


async def test_the_kernel_ends_it_with_the_lease(hosts: TwoHosts, make: Make) -> None:
    fault = make("partition", hosts=FOUR)
    await fault.inject(lease=1.0)
    began = boot()
    while boot() - began < 1.5:  # as the lease keeper does
        await fault.fault.renew(boot() + 1.0)
        await asyncio.sleep(0.25)
    assert not await connects(hosts), "it was renewed"
    until = boot() + 5
    while not await connects(hosts):
        assert boot() < until, "nobody took it back, and it goes on"
    assert await fault.seen() == []
    assert not await fault.fault.lost()
    await fault.fault.renew(boot() + 5.0)
    assert [target for _, target in await fault.fault.lost()] == list(fault.targets)
    assert await connects(hosts), "a lease that has ended is not extended"


async def test_the_names_of_hosts_are_looked_up_again(hosts: TwoHosts, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("10.77.0.99 moving.test\n")
    before = hosts.look()
    order = json.dumps({"name": "partition", "data": str(tmp_path), "namespace": {"name": hosts.here}})
    driver = hosts.start(
        "unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(file),
        sys.executable, "-c", DRIVER, order,
    )  # fmt: skip
    assert hosts.line(driver) == "on"
    assert await connects(hosts)
    file.write_text(f"{FOUR} moving.test\n")
    until = boot() + 15
    while await connects(hosts):
        assert boot() < until, "the new address is not touched"
    assert "10.77.0.99" in hosts.nft(), "nor was the old one let go"
    assert driver.stdin is not None
    driver.stdin.close()
    assert hosts.line(driver) == "off"
    assert hosts.look() == before


DRIVER = """
import asyncio, json, sys
from pathlib import Path
from tests.system.faults.one_fault import OneFault
order = json.loads(sys.argv[1])
async def main():
    fault = OneFault(order["name"], {"hosts": "moving.test", "namespace": order["namespace"]}, Path(order["data"]))
    await fault.inject()
    print("on", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await fault.recover()
    print("off", flush=True)
asyncio.run(main())
"""


# ---- losses and refusals


async def test_losses_are_as_many_as_was_said(hosts: TwoHosts, make: Make) -> None:
    fault = make("packet_loss", hosts=[FOUR], percent=30, direction="outgoing")
    await fault.inject()
    found = await seen(hosts, "datagrams", host=FOUR, port=PORT, count=2000)
    effect = await fault.effects()
    assert found["errors"] == []
    assert 0.25 < 1 - found["back"] / 2000 < 0.35
    assert effect["touched"] == 2000 - found["back"]
    assert effect["passed"] == found["back"]


async def test_tcp_feels_an_outgoing_loss(hosts: TwoHosts, make: Make) -> None:
    """A drop that the sender is told of would be sent again at once."""
    fault = make("packet_loss", hosts=FOUR, ports=PORT, percent=20, direction="outgoing")
    await fault.inject()
    slow = [trip for trip in await seen(hosts, "round_trips", host=FOUR, port=PORT, count=40) if trip > 0.15]
    assert len(slow) >= 2, "a retransmission waits for its timer"


async def test_a_reset_refuses_at_once(hosts: TwoHosts, make: Make) -> None:
    fault = make("reject", hosts=FOUR, ports=PORT)
    await fault.inject()
    found = await seen(hosts, "connect", host=FOUR, port=PORT)
    assert found["said"] == "ConnectionRefusedError"
    assert found["seconds"] < 0.3
    assert (await fault.recover())["touched"] == 1


@pytest.mark.parametrize(("answer", "expected"), [("portUnreachable", "ConnectionRefusedError"), ("hostUnreachable", "OSError")])  # fmt: skip # noqa: E501
async def test_an_icmp_answer(hosts: TwoHosts, make: Make, answer: str, expected: str) -> None:
    fault = make("reject", hosts=[FOUR, SIX], answer=answer, direction="outgoing")
    await fault.inject()
    for host in (FOUR, SIX):
        found = await seen(hosts, "connect", host=host, port=PORT, timeout=3.0)
        assert found["said"] == expected


async def test_what_others_send_is_refused(hosts: TwoHosts, make: Make) -> None:
    hosts.serve(hosts.here, list(TwoHosts.HERE))
    fault = make("reject", localPorts=PORT, direction="incoming")
    await fault.inject()
    found = await seen(hosts, "connect", host=TwoHosts.HERE[0], port=PORT, where=hosts.there)
    assert found["said"] == "ConnectionRefusedError"
    assert (await fault.recover())["packets_in"] == 1


# ---- bandwidth


async def test_what_goes_out_is_as_slow_as_was_said(hosts: TwoHosts, make: Make) -> None:
    fault = make("network_bandwidth", ports=f"{PORT}-{PORT + 2}", hosts=FOUR, interface="wire", kilobytesPerSecond=400, direction="outgoing")  # fmt: skip # noqa: E501
    await fault.inject()
    assert fault.targets == (f"interface:netns={hosts.inode},wire",)
    found = await seen(hosts, "push", host=FOUR, port=PORT, seconds=3.0)
    assert 400_000 * 0.88 < found < 400_000 * 1.02, "headers count, too"
    assert (await fault.effects())["bytes"] > 900_000
    assert await seen(hosts, "push", host=SIX, port=PORT, seconds=0.5) > 5_000_000, "another host"


async def test_what_comes_in_is_as_slow_as_was_said(hosts: TwoHosts, make: Make) -> None:
    fault = make("network_bandwidth", hosts=FOUR, interface="wire", kilobytesPerSecond=400, direction="incoming")
    await fault.inject()
    found = await seen(hosts, "pull", host=FOUR, port=PORT, seconds=5.0, after=2.0)
    assert 400_000 * 0.7 < found < 400_000 * 1.1
    assert "htb" not in hosts.look(), "no queue is needed for it"
    assert await seen(hosts, "pull", host=SIX, port=PORT, seconds=0.5) > 5_000_000


async def test_a_queue_of_the_host_is_never_replaced(hosts: TwoHosts, make: Make) -> None:
    words = "tc qdisc add dev wire root handle 7: tbf rate 10mbit burst 32k latency 1s"
    hosts.run(*words.split())
    before = hosts.look()
    with pytest.raises(Refused, match=r"wire has a queueing discipline of this host's own \(tbf 7: root\)"):
        await make("network_bandwidth", hosts=FOUR, interface="wire").inject()
    assert hosts.look() == before
    hosts.run("tc", "qdisc", "del", "dev", "wire", "root")


async def test_no_interface_is_guessed(hosts: TwoHosts, make: Make) -> None:
    with pytest.raises(UsageError, match="no default route says"):
        make("network_bandwidth", hosts=FOUR).resolve()
    hosts.run("ip", "route", "add", "default", "via", FOUR)
    assert make("network_bandwidth", hosts=FOUR).resolve() == (f"interface:netns={hosts.inode},wire",)


@pytest.mark.parametrize("check", Checks.NAMES)
async def test_netem(hosts: TwoHosts, tmp_path: Path, require: Callable[[bool, str], None], check: str) -> None:
    require(not needs.lacks("netem"), "netem in the kernel")
    await getattr(Checks(hosts, tmp_path), check)()


def test_without_netem_it_says_what_to_use(tmp_path: Path, require: Callable[[bool, str], None]) -> None:
    require(not lacking(), lacking())
    problem = OneFault("network_delay", {}, tmp_path).fault.why_not()
    expected = "this kernel cannot delay packets; use the proxy" if needs.lacks("netem") else ""
    assert problem.startswith(expected)
    assert bool(problem) is bool(expected)


# ---- names


async def test_names_cannot_be_looked_up(hosts: TwoHosts, make: Make) -> None:
    assert (await seen(hosts, "ask_dns", server=FOUR, name="a.test"))["addresses"] == ["192.0.2.53"]
    silent = make("dns_failure")
    await silent.inject()
    assert await seen(hosts, "ask_dns", server=FOUR, name="a.test") == {"error": "TimeoutError"}
    assert await connects(hosts)
    assert (await silent.recover())["touched"] == 1
    refused = make("dns_failure", mode="refused", servers=FOUR)
    await refused.inject()
    assert await seen(hosts, "ask_dns", server=FOUR, name="a.test") == {"error": "PermissionError"}
    assert await seen(hosts, "ask_dns", server=FOUR, name="a.test", tcp=True) == {"error": "ConnectionRefusedError"}
    assert (await seen(hosts, "ask_dns", server=SIX, name="a.test"))["code"] == 0, "another server"
    assert (await refused.recover())["touched"] == 2


# ---- ends


async def test_faults_compose_and_one_leaves_the_other(hosts: TwoHosts, make: Make) -> None:
    one, other = make("partition", hosts=FOUR, ports=PORT), make("reject", hosts=SIX, ports=PORT)
    for fault in (one, other):
        await fault.inject()
    await one.recover()
    assert await connects(hosts)
    assert (await seen(hosts, "connect", host=SIX, port=PORT))["said"] == "ConnectionRefusedError"
    assert (await other.recover())["touched"] == 1


async def test_a_pulse_counts_each_time(hosts: TwoHosts, make: Make) -> None:
    fault = make("partition", hosts=FOUR)
    await fault.inject()
    await seen(hosts, "datagrams", host=FOUR, port=PORT, count=3)
    assert (await fault.recover())["touched"] == 3
    await fault.again()
    await seen(hosts, "datagrams", host=FOUR, port=PORT, count=2)
    assert (await fault.recover())["touched"] == 2
    assert (await fault.recover())["touched"] == 2, "idempotent"


@pytest.mark.parametrize("name", ["partition", "network_bandwidth"])
async def test_the_reaper_takes_it_back_by_the_plan(hosts: TwoHosts, make: Make, name: str) -> None:
    before = hosts.look()
    fault = make(name, hosts=FOUR, interface="wire")
    await fault.inject()
    await seen(hosts, "connect", host=FOUR, port=PORT)
    assert fault.reap()["touched"] > 0
    assert hosts.look() == before
    assert fault.reap()["touched"] == 0, "idempotent"


@pytest.mark.parametrize("name", ["partition", "network_bandwidth"])
async def test_a_process_that_is_gone_leaves_its_namespace_to_be_found(hosts: TwoHosts, make: Make, name: str) -> None:
    before = hosts.look()
    inside = hosts.inside()
    fault = make(name, namespace={"pid": inside.pid}, hosts=FOUR, interface="wire")
    await fault.inject()
    assert hosts.look() != before
    inside.kill()
    inside.wait()
    fault.reap()
    assert hosts.look() == before


@pytest.mark.parametrize("name", ["partition", "network_bandwidth"])
async def test_a_target_that_is_gone_is_undone(tmp_path: Path, hosts: TwoHosts, name: str) -> None:
    place = {"namespace": {"name": hosts.there}}
    fault = OneFault(name, {**place, "hosts": TwoHosts.HERE[0], "interface": "wire"}, tmp_path)
    await fault.inject()
    hosts.run("ip", "link", "del", "wire")
    assert "touched" in await fault.recover()
    assert hosts.nft(hosts.there) == ""
    again = OneFault("partition", {**place, "hosts": FOUR}, tmp_path)
    await again.inject()
    hosts.close()
    assert again.reap() == {"touched": 0}
    assert (await again.recover())["touched"] == 0


async def test_an_interface_that_was_renamed_meanwhile_loses_its_queue(hosts: TwoHosts, make: Make) -> None:
    before = hosts.look()
    fault = make("network_bandwidth", hosts=FOUR, interface="wire")
    await fault.inject()
    hosts.run("ip", "link", "set", "wire", "down")
    hosts.run("ip", "link", "set", "wire", "name", "thread")
    hosts.run("ip", "link", "set", "thread", "up")
    assert "htb" in hosts.look()
    await fault.recover()
    assert hosts.look() == before.replace("wire", "thread")
    hosts.run("ip", "link", "set", "thread", "down")
    hosts.run("ip", "link", "set", "thread", "name", "wire")


@pytest.mark.parametrize("name", ["partition", "network_bandwidth", "dns_answer"])
async def test_a_namespace_has_one_name_in_targets_however_it_is_found(
    hosts: TwoHosts, make: Make, tmp_path: Path, name: str
) -> None:
    wanted = {"names": "a.test", "error": "nxdomain"} if name == "dns_answer" else {"hosts": FOUR, "interface": "wire"}
    by_process = make(name, namespace={"pid": hosts.inside().pid}, **wanted)
    assert make(name, **wanted).resolve() == by_process.resolve()
    wanted.pop("interface", None)
    own = [{}, {"namespace": {"pid": os.getpid()}}]
    if name != "network_bandwidth":
        assert len({OneFault(name, {**wanted, **one}, tmp_path).resolve() for one in own}) == 1


# ---- bad input: nothing is changed


async def test_what_is_not_there_is_refused(hosts: TwoHosts, make: Make) -> None:
    with pytest.raises(NotFound, match="no network interface eth9; there are: lo, wire"):
        make("partition", hosts=FOUR, interface="eth9").resolve()
    with pytest.raises(NotFound, match="found no network namespace /run/netns/nowhere"):
        make("partition", hosts=FOUR, namespace={"name": "nowhere"}).resolve()
    with pytest.raises(NotFound, match="cannot be looked up"):
        await make("partition", hosts="nowhere.invalid").inject()


async def test_a_fault_of_everything_must_be_meant(hosts: TwoHosts, tmp_path: Path) -> None:
    parameters = {"namespace": {"name": hosts.here}, "interface": "wire"}
    with pytest.raises(Refused, match="neither a host nor a port") as refused:
        OneFault("partition", parameters, tmp_path).resolve()
    assert "safety: {disarm: [selfHarm]}" in refused.value.hint
    before = hosts.look()
    meant = OneFault("partition", parameters, tmp_path, node=NodeContext("here", (), ("selfHarm",)))
    await meant.inject()
    assert not await connects(hosts)
    assert not await connects(hosts, SIX)
    await meant.recover()
    assert hosts.look() == before


def test_the_own_cluster_is_not_cut_off(tmp_path: Path, require: Callable[[bool, str], None]) -> None:
    require(not lacking(), lacking())
    cluster = ("192.0.2.7:7480", "192.0.2.7:7481", "[2001:db8::7]:7481")
    for parameters in ({"hosts": "192.0.2.0/24"}, {"ports": [80, 7481]}, {"localPorts": "7000-7999"}):
        with pytest.raises(Refused, match="cut this peer off from its own cluster"):
            OneFault("partition", parameters, tmp_path, cluster=cluster).resolve()
    with pytest.raises(Refused, match="loopback"):
        OneFault("packet_loss", {"hosts": "127.0.0.1"}, tmp_path, cluster=cluster).resolve()
    OneFault("partition", {"hosts": "192.0.2.0/24", "ports": 5432}, tmp_path, cluster=cluster).resolve()


def test_a_tool_of_an_injection_holds_the_lock_of_its_main(hosts: TwoHosts, tmp_path: Path) -> None:
    """Killed amid it, main leaves a reaper that waits for the end of what it has started."""
    file = tmp_path / "lock"
    with file.open("w") as held:
        for place in (places.own(), places.named(hosts.here)):
            said = places.run(place, ["readlink", f"/proc/self/fd/{held.fileno()}"], fds=[held.fileno()])
            assert said.strip() == str(file)
