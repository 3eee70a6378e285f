"""Our queueing discipline on an interface: limits and delays what nftables sends to its classes.

Blocking and small, the standard library only: the reaper imports it. One htb at the root, whose default is to pass on;
packets get into a class by their priority, which the tables set while they are live:

    H:            root
      H:1         the rate of the limit, without a bound if only a delay is on
        H:10      limited: a short queue
        H:30      limited and delayed: netem
      H:20        delayed: netem

Each of the two parts can come and go while the other stays. A root that the host has given is never touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Final

from raftchaos.faults.network import places
from raftchaos.faults.network.places import CommandFailed, Place

LIMIT: Final = "limit"
DELAY: Final = "delay"
LIMITED: Final = "10"
DELAYED: Final = "20"
BOTH: Final = "30"
_LINK: Final = "1"
_BORROWED: Final = "1000bps"
"""What a class below the link may send without asking the link: next to nothing, so that the link's rate holds."""
_RATE: Final = "rate 12500000000bps"
_UNBOUND: Final = "ceil 12500000000bps cburst 10mb quantum 65536"
"""100 Gbit/s."""
_QUEUE_SECONDS: Final = 0.2
"""How much the queue of a limited class holds, at its rate."""
_QUEUE_PACKETS: Final = 10
"""And at least so many of the largest packets."""
_BURST_SECONDS: Final = 0.004
_DELAYED_PACKETS: Final = 100_000
_WAITING_PACKETS: Final = 100
_NOBODYS: Final = ("0:", "ffff:")
"""Handles of what the kernel gives every interface, and of the place for what comes in."""
_SIOCGIFMTU: Final = 0x8921
_turn: Final = threading.Lock()
"""Held from the look at what is there to the change that follows from it: the parts of one interface come and go in
threads of their own. Each holds it for a few milliseconds, and for a second at most."""


class ForeignQueue(Exception):
    """The interface has a queueing discipline that somebody has configured; says which."""


def handle_of(owner: str) -> str:
    """The handle of one owner's discipline, so that two peers on a machine do not take each other's for their own."""
    number = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:2], "big")
    return f"{0x8000 + number % 0x7F00:x}:"


def classes_of(handle: str, part: str) -> list[tuple[str, str]]:
    """For the rules of a part's table: into which class a packet comes, by the one that it is in ("" for any)."""
    alone, other = (LIMITED, DELAYED) if part == LIMIT else (DELAYED, LIMITED)
    return [(handle + other, handle + BOTH), ("", handle + alone)]


def check(place: Place, interface: str, handle: str) -> set[str] | None:
    """Which of our classes are on the interface; None if our discipline is not. Raises `ForeignQueue`, `PlaceGone`,
    `CommandFailed`."""
    ours = False
    classes = set()
    for each in json.loads(places.run(place, ["tc", "-j", "qdisc", "show", "dev", interface])):
        above = str(each.get("parent", ""))
        if each.get("root") and each["handle"] == handle and each["kind"] == "htb":
            ours = True
        elif above.startswith(handle):
            classes.add(above.removeprefix(handle))  # each has a queue of its own
        elif each["handle"] not in _NOBODYS:
            where = "root" if each.get("root") else f"parent {above}"
            raise ForeignQueue(f"{each['kind']} {each['handle']} {where}")
    return classes if ours else None


def limit(place: Place, interface: str, handle: str, bytes_per_second: int, fds: Sequence[int] = ()) -> None:
    """Put the limit on; the tool inherits `fds`. Raises what `check` raises."""
    with _turn:
        _limit(place, interface, handle, bytes_per_second, fds)


def _limit(place: Place, interface: str, handle: str, bytes_per_second: int, fds: Sequence[int]) -> None:
    there = check(place, interface, handle)
    rate = f"{bytes_per_second}bps"
    burst = str(max(3_000, int(bytes_per_second * _BURST_SECONDS)))
    largest = places.inside(place, lambda: _mtu(interface))
    waiting = max(int(bytes_per_second * _QUEUE_SECONDS), _QUEUE_PACKETS * largest)
    link = f"rate {rate} ceil {rate} burst {burst} cburst {burst} quantum 1514"
    below = f"rate {_BORROWED} ceil {rate} cburst {burst} quantum 1514"
    _tc(
        place,
        *_root(interface, handle, there),
        _class(interface, handle, "", _LINK, link),
        _class(interface, handle, _LINK, LIMITED, below),
        _leaf(interface, handle, LIMITED, f"bfifo limit {waiting}"),
        fds=fds,
    )


def delay(place: Place, interface: str, handle: str, netem: Sequence[str], fds: Sequence[int] = ()) -> None:
    """Put the delay on: `netem` are its words, the tool inherits `fds`. Raises what `check` raises."""
    with _turn:
        _delay(place, interface, handle, netem, fds)


def _delay(place: Place, interface: str, handle: str, netem: Sequence[str], fds: Sequence[int]) -> None:
    there = check(place, interface, handle)
    leaf = f"netem {' '.join(netem)} limit {_DELAYED_PACKETS}"
    # The kernel takes no second netem beside one that duplicates.
    both = f"pfifo limit {_WAITING_PACKETS}" if "duplicate" in netem else leaf
    _tc(
        place,
        *_root(interface, handle, there),
        *([] if LIMITED in (there or ()) else [_class(interface, handle, "", _LINK, f"{_RATE} burst 10mb {_UNBOUND}")]),
        _class(interface, handle, "", DELAYED, f"{_RATE} burst 10mb {_UNBOUND}"),
        _leaf(interface, handle, DELAYED, leaf),
        _class(interface, handle, _LINK, BOTH, f"rate {_BORROWED} burst 1600 {_UNBOUND}"),
        _leaf(interface, handle, BOTH, both),
        fds=fds,
    )


def name_of(place: Place, index: int) -> str | None:
    """The present name of the interface with this number, or None. Raises `PlaceGone`, `CommandFailed`."""
    return dict(places.inside(place, socket.if_nameindex)).get(index)


def remove(place: Place, interface: str, handle: str, part: str) -> None:
    """Take one part away, and everything with the last one. Nothing happens where our discipline is not."""
    with _turn:
        _remove(place, interface, handle, part)


def _remove(place: Place, interface: str, handle: str, part: str) -> None:
    try:
        there = check(place, interface, handle)
    except ForeignQueue:
        return
    if there is None:
        return
    if (DELAYED if part == LIMIT else LIMITED) not in there:
        _tc(place, f"qdisc del dev {interface} root handle {handle}")
    elif part == LIMIT and LIMITED in there:
        link = _class(interface, handle, "", _LINK, f"{_RATE} burst 10mb {_UNBOUND}")
        _tc(place, link, _gone(interface, handle, LIMITED))
    elif part == DELAY:
        _tc(place, *(_gone(interface, handle, name) for name in (BOTH, DELAYED) if name in there))


def _root(interface: str, handle: str, there: set[str] | None) -> list[str]:
    return [f"qdisc add dev {interface} root handle {handle} htb default 0"] if there is None else []


def _class(interface: str, handle: str, above: str, name: str, words: str) -> str:
    return f"class replace dev {interface} parent {handle}{above} classid {handle}{name} htb {words}"


def _leaf(interface: str, handle: str, above: str, words: str) -> str:
    return f"qdisc replace dev {interface} parent {handle}{above} {words}"


def _gone(interface: str, handle: str, name: str) -> str:
    return f"class del dev {interface} classid {handle}{name}"


def _tc(place: Place, *lines: str, fds: Sequence[int] = ()) -> None:
    """Commands of tc, in one go; those after one that fails are not done."""
    places.run(place, ["tc", "-batch", "-"], "\n".join([*lines, ""]), fds)


def _mtu(interface: str) -> int:
    """The largest packet of an interface of this thread's namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16si12x", interface.encode(), 0)
        try:
            return int(struct.unpack("16si12x", fcntl.ioctl(sock, _SIOCGIFMTU, request))[1])
        except OSError as error:
            raise CommandFailed(f"the interface {interface} tells no MTU: {error.strerror}") from None
