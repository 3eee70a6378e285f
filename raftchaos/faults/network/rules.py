"""The text of the nftables table of one use of a fault. Pure: it only puts words together, so that tests can read them.

Each use has a table of its own, in the family inet:

- the set `live` has the elements ipv4 and ipv6, with a timeout that ends with the lease; every rule asks it first, so
  that the kernel itself ends the fault;
- the sets `hosts4` and `hosts6` are the other end, if hosts are said;
- base chains in the hooks output and forward (outgoing) and input and forward (incoming) find the packets and send
  them to the chains that do it, by `goto`, so that each packet meets them once in a hook.

Addresses are those that a local process sees: output comes before its destination is rewritten (priority raw), input
after its source is (after srcnat).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Ports = tuple[tuple[int, int], ...]

PREFIX: Final = "raftchaos_"
"""What the names of all our tables begin with."""
INCOMING: Final = "incoming"
OUTGOING: Final = "outgoing"
PASSED: Final = "passed"
"""Packets that were looked at and let through, of a fault that touches a part of them."""
BEFORE: Final = -300
"""Priority of output and forward: raw, before connection tracking and the host's own rules."""
AFTER: Final = 300
"""Priority of input: after everything that the host's own rules do."""
LOST: Final = 0x72616674
"""Mark of a packet of ours that is about to vanish."""
_FAMILIES: Final = (("ip", "hosts4", "127.0.0.1"), ("ip6", "hosts6", "::1"))
_COMMENT: Final = 120
"""Bytes of a comment that nft takes, a few less."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Which packets: those that fulfil everything that is said here."""

    interface: str = ""
    protocol: str = ""
    """tcp, udp, icmp, or "" for any."""
    ports: Ports = ()
    """Of the other end."""
    local_ports: Ports = ()
    """Of this node."""
    hosts: tuple[Network, ...] | None = None
    """The other end; None for every host."""
    incoming: bool = True
    outgoing: bool = True
    loopback: bool = False
    """Loopback too, though neither an interface nor a host is said."""

    @property
    def broad(self) -> bool:
        """Neither a host nor a port is said."""
        every = self.hosts is None or any(network.prefixlen == 0 for network in self.hosts)
        return every and not self.ports and not self.local_ports


@dataclass(frozen=True, slots=True)
class Deed:
    """What becomes of the packets, as nftables statements."""

    incoming: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    vanish: bool = False
    """Outgoing packets that `outgoing` drops vanish without an error to who sends them."""


@dataclass(frozen=True, slots=True)
class Table:
    """One use of a fault."""

    name: str
    comment: str
    traffic: Traffic
    deed: Deed


def owner_prefix(owner: str) -> str:
    """What the names of the tables of one owner begin with: a machine may bear several peers."""
    return f"{PREFIX}{hashlib.sha256(owner.encode()).hexdigest()[:8]}_"


def table_name(owner: str, use: str, target: str) -> str:
    """The name of the table of one use of a fault."""
    return owner_prefix(owner) + hashlib.sha256(f"{use}\n{target}".encode()).hexdigest()[:16]


def comment_of(key: str, fault: str) -> str:
    """What a table says about itself: its fault and its key, as `described` reads it."""
    return f"{fault} {key}".replace('"', "'").encode()[:_COMMENT].decode(errors="ignore")


def described(listing: str) -> tuple[str, str]:
    """Fault and key, from the text of `nft list table`; "" for both if it is none of ours, or is not live any more."""
    live = False
    comment = ""
    inside = ""
    for line in map(str.strip, listing.splitlines()):
        if line.startswith("set "):
            inside = line.split()[1]
        elif line.startswith("comment ") and not comment:
            comment = line.removeprefix("comment ").strip('"')
        elif line.startswith("elements") and inside == "live":
            live = "expires" in line
    fault, _, key = comment.partition(" ")
    return (fault, key) if live else ("", "")


# ---- what is done to packets


def dropping(percent: float) -> Deed:
    """Part of the packets vanish: all of them at 100."""
    by_chance = _by_chance(percent)
    rest = () if percent >= 100 else (f"counter name {PASSED}",)
    return Deed(
        (f"{by_chance}counter name {INCOMING} drop", *rest), (f"{by_chance}counter name {OUTGOING} drop", *rest), True
    )


_RESET: Final = "meta l4proto tcp tcp flags & rst == 0 {} reject with tcp reset"
"""Our own resets pass, too: those for this node come in by way of loopback."""
_ANSWERS: Final = {
    "tcpReset": (_RESET,),
    "portUnreachable": ("{} reject with icmpx type port-unreachable",),
    "hostUnreachable": ("{} reject with icmpx type host-unreachable",),
    "adminProhibited": ("{} reject with icmpx type admin-prohibited",),
    "closed": (_RESET, "meta l4proto udp {} reject with icmpx type port-unreachable"),
}


def rejecting(answer: str, percent: float = 100) -> Deed:
    """The sender gets an answer: tcpReset, portUnreachable, hostUnreachable, adminProhibited, or closed (as a port on
    which nobody listens)."""
    by_chance = _by_chance(percent)
    into, out = (
        tuple(words.format(f"{by_chance}counter name {name}") for words in _ANSWERS[answer])
        for name in (INCOMING, OUTGOING)
    )
    return Deed(into, out)


def _by_chance(percent: float) -> str:
    return "" if percent >= 100 else f"numgen random mod 1000000 < {round(percent * 10_000)} "


def policing(bytes_per_second: int, burst: int) -> tuple[str, ...]:
    """Incoming packets beyond a rate are dropped. The kernel's bucket holds one second and the burst."""
    return (
        f"counter name {INCOMING}",
        f"limit rate over {bytes_per_second} bytes/second burst {burst} bytes counter name dropped drop",
    )


def classifying(rules: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Outgoing packets go to a class of our queueing discipline: by the class that they have already ("" for any)."""
    counted = f"counter name {OUTGOING}"
    return (
        counted,
        *(f"{f'meta priority {had} ' if had else ''}meta priority set {new} accept" for had, new in rules),
    )


# ---- the text


def table_text(table: Table, timeout: float) -> str:
    """The input of `nft -f` that puts the table there, in place of an earlier one, live for so many seconds."""
    traffic, deed = table.traffic, table.deed
    lines = [f"add table inet {table.name}", f"delete table inet {table.name}", f"table inet {table.name} {{"]
    lines += [f'comment "{table.comment}"', live_set(timeout)]
    for _, name, _ in _FAMILIES if traffic.hosts is not None else ():
        kind = "ipv4_addr" if name == "hosts4" else "ipv6_addr"
        lines.append(f"set {name} {{ type {kind}; flags interval; auto-merge; {_elements(traffic.hosts or (), name)}}}")
    lines += [f"counter {name} {{ }}" for name in (INCOMING, OUTGOING, PASSED, "dropped")]
    if traffic.outgoing and deed.outgoing:
        lines += _outgoing(traffic, deed)
    if traffic.incoming and deed.incoming:
        lines += _incoming(traffic, deed)
    return "\n".join([*lines, "}", ""])


def live_set(timeout: float) -> str:
    """The set that every rule asks, live for so many seconds."""
    return f"set live {{ typeof meta nfproto; flags timeout; elements = {{ {_live(timeout)} }}; }}"


def renewal_text(names: Iterable[str], timeout: float) -> str:
    """The input of `nft -f` that lets tables live for so many seconds from now. It fails, as a whole, if one of them is
    not there or not live any more: a lease that has ended is not extended."""
    lines = []
    for name in names:
        lines += [
            f"delete element inet {name} live {{ ipv4, ipv6 }}",
            f"add element inet {name} live {{ {_live(timeout)} }}",
        ]
    return "\n".join([*lines, ""])


def hosts_text(name: str, hosts: Sequence[Network]) -> str:
    """The input of `nft -f` that gives a table other hosts. It fails if the table is not there."""
    lines = []
    for _, family, _ in _FAMILIES:
        lines.append(f"flush set inet {name} {family}")
        inside = _addresses(hosts, family)
        if inside:
            lines.append(f"add element inet {name} {family} {{ {inside} }}")
    return "\n".join([*lines, ""])


def effect_of(counters: str) -> dict[str, int]:
    """What a table has counted, from the JSON of `nft -j list counters`. Raises ValueError."""
    found: dict[str, tuple[int, int]] = {}
    for item in json.loads(counters).get("nftables", []):
        counter = item.get("counter")
        if counter is not None:
            found[counter["name"]] = (int(counter["packets"]), int(counter["bytes"]))
    if not found:
        return {"touched": 0}
    into, out = found.get(INCOMING, (0, 0)), found.get(OUTGOING, (0, 0))
    effect = {"touched": into[0] + out[0], "packets_in": into[0], "packets_out": out[0], "bytes": into[1] + out[1]}
    for name in (PASSED, "dropped"):
        if found.get(name, (0, 0))[0]:
            effect[name] = found[name][0]
    return effect


def _live(timeout: float) -> str:
    milliseconds = max(1, int(timeout * 1000))
    return f"ipv4 timeout {milliseconds}ms, ipv6 timeout {milliseconds}ms"


def _addresses(hosts: Iterable[Network], family: str) -> str:
    version = 4 if family == "hosts4" else 6
    return ", ".join(str(network) for network in hosts if network.version == version)


def _elements(hosts: Iterable[Network], family: str) -> str:
    inside = _addresses(hosts, family)
    return f"elements = {{ {inside} }}; " if inside else ""


def _outgoing(traffic: Traffic, deed: Deed) -> list[str]:
    lines = _chain("do_outgoing", deed.outgoing)
    own = "do_outgoing"
    if deed.vanish:
        own = "do_own"
        lines += _vanishing(own, deed.outgoing)
    kind = "route" if deed.vanish else "filter"
    lines += _chain("output", [_base(kind, "output", BEFORE), *_rules(traffic, OUTGOING, own)])
    return lines + _chain(
        "forward_out", [_base("filter", "forward", BEFORE), *_rules(traffic, OUTGOING, "do_outgoing")]
    )


def _incoming(traffic: Traffic, deed: Deed) -> list[str]:
    lines = _chain("do_incoming", deed.incoming)
    lines += _chain("input", [_base("filter", "input", AFTER), *_rules(traffic, INCOMING, "do_incoming")])
    return lines + _chain("forward_in", [_base("filter", "forward", AFTER), *_rules(traffic, INCOMING, "do_incoming")])


def _vanishing(name: str, statements: Sequence[str]) -> list[str]:
    """A drop in the hook output tells the sender (EPERM), and TCP sends again as if nothing had been lost. So what this
    machine sends itself is turned to loopback and dropped where it arrives there: to the sender it has left."""
    away = f"meta mark set {LOST} notrack goto away"
    lines = _chain(name, [text.removesuffix("drop") + away if text.endswith("drop") else text for text in statements])
    lines += _chain("away", [f"{family} daddr set {address} accept" for family, _, address in _FAMILIES])
    return lines + _chain("swallow", [_base("filter", "prerouting", BEFORE - 10), f"iif lo meta mark {LOST} drop"])


def _chain(name: str, lines: Sequence[str]) -> list[str]:
    return [f"chain {name} {{", *lines, "}"]


def _base(kind: str, hook: str, priority: int) -> str:
    return f"type {kind} hook {hook} priority {priority}; policy accept;"


def _rules(traffic: Traffic, direction: str, then: str) -> list[str]:
    """The rules that find the packets of a direction: one for each family if hosts are said, else one."""
    out = direction == OUTGOING
    words = ["meta nfproto @live"]
    key = "oifname" if out else "iifname"
    if traffic.interface:
        words.append(f'{key} "{traffic.interface}"')
    elif traffic.hosts is None and not traffic.loopback:
        words.append(f'{key} != "lo"')
    words += _protocol(traffic)
    here, there = ("sport", "dport") if out else ("dport", "sport")
    for side, ports in ((there, traffic.ports), (here, traffic.local_ports)):
        if ports:
            words.append(f"th {side} {{ {', '.join(_range(each) for each in merged(ports))} }}")
    if traffic.hosts is None:
        return [" ".join([*words, "goto", then])]
    end = "daddr" if out else "saddr"
    return [" ".join([*words, f"{family} {end} @{name}", "goto", then]) for family, name, _ in _FAMILIES]


def _protocol(traffic: Traffic) -> list[str]:
    if traffic.protocol == "icmp":
        return ["meta l4proto { icmp, ipv6-icmp }"]
    if traffic.protocol:
        return [f"meta l4proto {traffic.protocol}"]
    return ["meta l4proto { tcp, udp }"] if traffic.ports or traffic.local_ports else []


def merged(ports: Ports) -> Ports:
    """The same ports in order, without overlaps, as a set of nftables takes them."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ports):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def _range(ports: tuple[int, int]) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"
