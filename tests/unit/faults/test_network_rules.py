"""The words for nftables and tc, the net against harm to the peer itself, and DNS messages: all without a kernel."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from raftchaos.errors import Refused
from raftchaos.faults.network import guard, queues
from raftchaos.faults.network.dns import Question, Replacement, matches, parse, replaced
from raftchaos.faults.network.redirect import redirect_text
from raftchaos.faults.network.rules import (
    Table,
    Traffic,
    classifying,
    comment_of,
    described,
    dropping,
    effect_of,
    hosts_text,
    merged,
    rejecting,
    renewal_text,
    table_name,
    table_text,
)

EPHEMERAL = (32_768, 60_999)
CLUSTER = [(ipaddress.ip_address("192.0.2.7"), 7480), (ipaddress.ip_address("2001:db8::7"), 7481)]
ONE = (ipaddress.ip_network("198.51.100.7"),)


def rules_of(traffic: Traffic, chain: str) -> list[str]:
    """The rules of one chain of a partition of that traffic."""
    lines = table_text(Table("t", "c", traffic, dropping(100)), 3.0).splitlines()
    start = lines.index(f"chain {chain} {{")
    return lines[start + 2 : lines.index("}", start)]


def test_a_table_replaces_an_earlier_one_and_lives_as_long_as_the_lease() -> None:
    lines = table_text(Table("raftchaos_x", "partition r#0", Traffic(ports=((80, 80),)), dropping(100)), 2.9876).split(
        "\n"
    )
    assert lines[:3] == ["add table inet raftchaos_x", "delete table inet raftchaos_x", "table inet raftchaos_x {"]
    assert "elements = { ipv4 timeout 2987ms, ipv6 timeout 2987ms }" in lines[4]
    assert lines.count("chain output {") == 1
    assert all("@live" in line for line in lines if " goto do_" in line)


def test_ports_of_the_other_end_and_of_this_node() -> None:
    called = Traffic(ports=((80, 80), (90, 99), (95, 120)))
    assert rules_of(called, "output") == [
        'meta nfproto @live oifname != "lo" meta l4proto { tcp, udp } th dport { 80, 90-120 } goto do_own'
    ]
    assert rules_of(called, "input") == [
        'meta nfproto @live iifname != "lo" meta l4proto { tcp, udp } th sport { 80, 90-120 } goto do_incoming'
    ]
    served = Traffic(local_ports=((80, 80),), protocol="tcp", interface="eth0")
    assert rules_of(served, "output") == [
        'meta nfproto @live oifname "eth0" meta l4proto tcp th sport { 80 } goto do_own'
    ]
    assert rules_of(served, "forward_in") == [
        'meta nfproto @live iifname "eth0" meta l4proto tcp th dport { 80 } goto do_incoming'
    ]


def test_hosts_have_a_rule_for_each_family_and_may_be_on_loopback() -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    traffic = Traffic(hosts=networks, protocol="icmp")
    assert rules_of(traffic, "input") == [
        "meta nfproto @live meta l4proto { icmp, ipv6-icmp } ip saddr @hosts4 goto do_incoming",
        "meta nfproto @live meta l4proto { icmp, ipv6-icmp } ip6 saddr @hosts6 goto do_incoming",
    ]
    text = table_text(Table("t", "c", traffic, dropping(100)), 3.0)
    assert "set hosts4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8 }; }" in text
    assert hosts_text("t", networks[:1]).splitlines() == [
        "flush set inet t hosts4",
        "add element inet t hosts4 { 10.0.0.0/8 }",
        "flush set inet t hosts6",
    ]


def test_one_way_has_no_chains_for_the_other() -> None:
    text = table_text(Table("t", "c", Traffic(ports=((1, 1),), incoming=False), dropping(100)), 3.0)
    assert "hook output" in text
    assert "hook input" not in text


def test_what_this_node_sends_vanishes_without_an_error() -> None:
    text = table_text(Table("t", "c", Traffic(ports=((1, 1),)), dropping(12.5)), 3.0)
    lines = text.splitlines()
    assert "type route hook output priority -300; policy accept;" in lines
    lost = "numgen random mod 1000000 < 125000 counter name outgoing"
    assert f"{lost} drop" in lines, "forwarded"
    assert any(line.startswith(f"{lost} meta mark set ") and line.endswith(" goto away") for line in lines), "own"
    assert lines.count("counter name passed") == 3


def test_resets_are_not_answered() -> None:
    assert rejecting("tcpReset").outgoing == (
        "meta l4proto tcp tcp flags & rst == 0 counter name outgoing reject with tcp reset",
    )
    assert rejecting("closed", 50).incoming[1] == (
        "meta l4proto udp numgen random mod 1000000 < 500000 counter name incoming "
        "reject with icmpx type port-unreachable"
    )


def test_a_renewal_fails_where_nothing_lives_any_more() -> None:
    assert renewal_text(["a", "b"], 3.0).splitlines() == [
        "delete element inet a live { ipv4, ipv6 }",
        "add element inet a live { ipv4 timeout 3000ms, ipv6 timeout 3000ms }",
        "delete element inet b live { ipv4, ipv6 }",
        "add element inet b live { ipv4 timeout 3000ms, ipv6 timeout 3000ms }",
    ]


def test_tables_of_two_peers_or_two_uses_differ() -> None:
    names = {table_name(owner, key, target) for owner in "ab" for key in "cd" for target in "ef"}
    assert len(names) == 8
    assert all(len(name) <= 40 and name.startswith("raftchaos_") for name in names)


def test_a_comment_is_one_quoted_string() -> None:
    comment = comment_of('task/1/"a step" ä' + "ü" * 200, "partition")
    assert '"' not in comment
    assert len(comment.encode()) <= 120


def test_a_listing_tells_what_is_live() -> None:
    listing = """table inet raftchaos_x {
	comment "partition task/1/0/here/1#0"
	set live {
		typeof meta nfproto
		flags timeout
		%s
	}
}
"""
    live = listing % "elements = { ipv4 timeout 3s expires 2s }"
    assert described(live) == ("partition", "task/1/0/here/1#0")
    assert described(listing % "") == ("", "")
    assert described("") == ("", "")


def test_counters_are_the_effect() -> None:
    counters = [("incoming", 2, 120), ("outgoing", 3, 180), ("passed", 7, 1), ("dropped", 0, 0)]
    items = ", ".join(
        f'{{"counter": {{"name": "{name}", "packets": {packets}, "bytes": {size}}}}}'
        for name, packets, size in counters
    )
    assert effect_of(f'{{"nftables": [{{"metainfo": {{}}}}, {items}]}}') == {
        "touched": 5,
        "packets_in": 2,
        "packets_out": 3,
        "bytes": 300,
        "passed": 7,
    }
    assert effect_of('{"nftables": []}') == {"touched": 0}
    with pytest.raises(ValueError, match="Expecting value"):
        effect_of("not JSON")


def test_ports_are_put_together() -> None:
    assert merged(((5, 9), (1, 3), (4, 4), (8, 12), (20, 20))) == ((1, 12), (20, 20))


# ---- queues


def test_classes_lead_to_the_one_of_both_parts() -> None:
    assert queues.classes_of("9abc:", queues.LIMIT) == [("9abc:20", "9abc:30"), ("", "9abc:10")]
    assert classifying(queues.classes_of("9abc:", queues.DELAY)) == (
        "counter name outgoing",
        "meta priority 9abc:10 meta priority set 9abc:30 accept",
        "meta priority set 9abc:20 accept",
    )


def test_two_peers_have_two_handles() -> None:
    handles = {queues.handle_of(f"/var/lib/raftchaos/{number}") for number in range(20)}
    assert len(handles) > 15
    assert all(0x8000 <= int(handle.removesuffix(":"), 16) < 0xFFFF for handle in handles)


# ---- the net


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(hosts=(ipaddress.ip_network("192.0.2.0/24"),)),
        Traffic(hosts=(ipaddress.ip_network("2001:db8::/32"),), protocol="tcp"),
        Traffic(ports=((7000, 8000),)),
        Traffic(local_ports=((7481, 7481),)),
        Traffic(hosts=(ipaddress.ip_network("0.0.0.0/0"),), ports=((7480, 7480),)),
        Traffic(hosts=(ipaddress.ip_network("192.0.2.7"),), ports=(EPHEMERAL,)),
        Traffic(interface="eth0", ports=((7480, 7480),)),
    ],
)
def test_the_own_cluster_is_not_touched(traffic: Traffic) -> None:
    with pytest.raises(Refused, match="cut this peer off from its own cluster") as refused:
        guard.check(traffic, own=True, cluster=CLUSTER, ephemeral=EPHEMERAL)
    assert "disarm: [selfHarm]" in refused.value.hint
    guard.check(traffic, own=False, cluster=CLUSTER, ephemeral=EPHEMERAL)


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(hosts=ONE),
        Traffic(hosts=(ipaddress.ip_network("192.0.2.0/24"),), ports=((5432, 5432),)),
        Traffic(hosts=(ipaddress.ip_network("192.0.2.0/24"),), protocol="udp"),
        Traffic(ports=((80, 80), (50_051, 50_051))),
        Traffic(local_ports=((8080, 8080),)),
        Traffic(interface="lo", ports=((7480, 7480),)),
        Traffic(hosts=(ipaddress.ip_network("127.0.0.1"),), ports=((5432, 5432),)),
    ],
)
def test_other_traffic_may_be_touched(traffic: Traffic) -> None:
    guard.check(traffic, own=True, cluster=CLUSTER, ephemeral=EPHEMERAL)


@pytest.mark.parametrize(
    "traffic",
    [Traffic(), Traffic(interface="eth0", protocol="udp"), Traffic(hosts=(ipaddress.ip_network("::/0"),))],
)
@pytest.mark.parametrize("own", [True, False])
def test_everything_is_touched_by_nobody(traffic: Traffic, own: bool) -> None:
    with pytest.raises(Refused, match="neither a host nor a port"):
        guard.check(traffic, own=own, cluster=[], ephemeral=EPHEMERAL)


@pytest.mark.parametrize("text", ["127.0.0.0/8", "127.0.0.53", "::1"])
def test_loopback_is_not_cut_off(text: str) -> None:
    with pytest.raises(Refused, match="loopback"):
        guard.check(Traffic(hosts=(ipaddress.ip_network(text),)), own=True, cluster=[], ephemeral=EPHEMERAL)


def test_the_ports_of_the_cluster_on_loopback_count() -> None:
    known, named = guard.split_cluster(["192.0.2.7:7480", "[2001:db8::7]:7481", "node-2.test:7482"])
    assert named == [("node-2.test", 7482)]
    assert (ipaddress.ip_address("2001:db8::7"), 7481) in known
    here = Traffic(hosts=(ipaddress.ip_network("127.0.0.1"),), ports=((7482, 7482),))
    with pytest.raises(Refused, match="own cluster"):
        guard.check(here, own=True, cluster=known, ephemeral=EPHEMERAL)


# ---- names


def question(name: str, kind: int = 1, flags: int = 0x0100) -> bytes:
    words = b"".join(bytes([len(word)]) + word.encode() for word in name.split(".") if word)
    return struct.pack(">HHHHHH", 7, flags, 1, 0, 0, 0) + words + b"\0" + struct.pack(">HH", kind, 1)


def asked(name: str, kind: int = 1) -> Question:
    found = parse(question(name, kind))
    assert found is not None
    return found


def test_questions_are_read() -> None:
    found = asked("DB.Example.COM", 28)
    assert (found.number, found.name, found.kind) == (7, "db.example.com", 28)
    assert asked("").name == ""


@pytest.mark.parametrize(
    "message",
    [
        b"",
        question("a.test")[:-3],
        question("a.test", flags=0x8180),
        question("a.test", flags=0x2800),
        b"\0\7\1\0\0\1" + bytes(6) + b"\xc0\x0c\0\1\0\1",
        b"\0\7\1\0\0\1" + bytes(6) + b"\x3fabc",
        b"\0\7\1\0\0\2" + bytes(6) + b"\0\0\1\0\1",
    ],
)
def test_what_is_no_question_is_passed_on(message: bytes) -> None:
    assert parse(message) is None


def test_patterns_of_names() -> None:
    assert matches("DB.test.", ["db.test"])
    assert matches("a.b.test", ["*.test"])
    assert not matches("test", ["*.test"])
    assert not matches("notest", ["*.test", "test"])
    assert matches("", ["*"])


def test_answers() -> None:
    by = Replacement(("db.test",), ("203.0.113.1", "203.0.113.2", "2001:db8::1"), "", 5)
    four = replaced(asked("db.test"), by)
    assert four is not None
    assert four[:12] == struct.pack(">HHHHHH", 7, 0x8180, 1, 2, 0, 0)
    assert four.endswith(b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + bytes([203, 0, 113, 2]))
    six = replaced(asked("db.test", 28), by)
    assert six is not None
    assert six.endswith(ipaddress.ip_address("2001:db8::1").packed)
    https = replaced(asked("db.test", 65), by)
    assert https is not None
    assert struct.unpack(">H", https[6:8]) == (0,)
    assert replaced(asked("db.test", 15), by) is None, "its mail servers"
    assert replaced(asked("other.test"), by) is None
    for error, code in (("nxdomain", 3), ("servfail", 2), ("refused", 5)):
        wrong = replaced(asked("db.test", 15), Replacement(("*",), (), error, 0))
        assert wrong is not None
        assert wrong[3] & 15 == code
    assert replaced(asked("db.test"), Replacement(("*",), (), "timeout", 0)) == b""


def test_questions_are_turned_without_connection_tracking() -> None:
    lines = redirect_text("t", "c", [("10.0.0.53", 40_001), ("fe80::53%eth0", 40_002)], 3.0).splitlines()
    assert (
        "meta nfproto @live ip daddr 10.0.0.53 udp dport 53 notrack ip daddr set 127.0.0.1 udp dport set 40001" in lines
    )
    assert "ip6 saddr ::1 tcp sport 40002 notrack ip6 saddr set fe80::53 tcp sport set 53" in lines
    turned = [line for line in lines if "dport set" in line or "sport set" in line]
    assert len(turned) == 8
    assert all("notrack" in line for line in turned)
