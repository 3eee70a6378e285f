"""From parameters to a network namespace, an interface and the name of a target."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from raftchaos.errors import NotFound, Refused, UsageError
from raftchaos.faults import needs
from raftchaos.faults.network import places
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone
from raftchaos.faults.processes.selecting import target as shortened
from raftchaos.model.faults.network import Namespace, NamespaceParameters

_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def place_of(namespace: Namespace | None) -> Place:
    """The namespace that is meant. Raises `NotFound`, and `Refused` with the capability that is missing."""
    if namespace is None:
        return places.own()
    try:
        place = places.named(namespace.name) if namespace.name is not None else places.of_process(namespace.pid or 0)
    except PlaceGone as error:
        raise NotFound(str(error), hint="`ip netns list` shows those with names; or give a pid") from None
    except PermissionError:
        raise Refused(
            f"this peer may not look at the network namespace of process {namespace.pid}: it lacks the capability "
            "CAP_SYS_PTRACE",
            hint="start the peer as root",
        ) from None
    lacking = "" if place.own else needs.why_not(["sysAdmin"])
    if lacking:
        raise Refused(f"the network namespace {namespace.text()} cannot be entered: {lacking}")
    return place


def interfaces(place: Place) -> list[str]:
    """The network interfaces of a namespace. Raises `Refused` if nobody tells."""
    return sorted(indexes(place))


def indexes(place: Place) -> dict[str, int]:
    """The numbers of the interfaces of a namespace by name. Raises `Refused` if nobody tells."""
    try:
        return {name: index for index, name in places.inside(place, socket.if_nameindex)}
    except (CommandFailed, PlaceGone) as error:
        raise Refused(f"the network namespace {place.path} cannot be looked at: {error}") from None


def check_interface(place: Place, name: str) -> None:
    """Raises `NotFound` if the namespace has no such interface."""
    known = interfaces(place)
    if name not in known:
        raise NotFound(
            f"there is no network interface {name}; there are: {', '.join(known)}",
            hint="name another, or leave it out for whatever interface the packets take",
        )


def way_out(place: Place) -> list[str]:
    """The interfaces of the default routes. Raises `UsageError` if there is none, `Refused` if nobody tells."""
    routes = [*_ask(place, "-4", "route", "show", "default"), *_ask(place, "-6", "route", "show", "default")]
    found = sorted({str(route["dev"]) for route in routes if "dev" in route})
    if not found:
        known = ", ".join(interfaces(place))
        raise UsageError(
            "no interface is named, and no default route says which one is meant",
            hint=f"say which interface; there are: {known}",
        )
    return found


def ephemeral_ports() -> tuple[int, int]:
    """The ports that connections of this machine come from."""
    first, last = _EPHEMERAL.read_text().split()
    return int(first), int(last)


def target(kind: str, place: Place, wanted: NamespaceParameters, hosts: Sequence[str] | None) -> str:
    """What is touched, in few words: the namespace, the interface, hosts, ports. Other packets are another target."""
    said = said_of(place)
    said += [interface] if (interface := getattr(wanted, "interface", None)) else []
    said += hosts or ()
    for name, what in (("ports", "port"), ("local_ports", "localPort")):
        said += [f"{what}={port}" for port in getattr(wanted, name, None) or ()]
    said += [protocol] if (protocol := getattr(wanted, "protocol", None)) else []
    return shortened(kind, ",".join(said) or "all")


def interface_target(place: Place, interface: str) -> str:
    """`interface:<name>`, with the namespace before it."""
    return f"interface:{','.join([*said_of(place), interface])}"


def said_of(place: Place) -> list[str]:
    """A namespace in the name of a target: by its inode, so that it is the same however it was found; nothing for the
    peer's own."""
    return [] if place.own else [f"netns={place.inode}"]


def _ask(place: Place, *words: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(places.run(place, ["ip", "-j", *words]) or "[]")
    except (CommandFailed, PlaceGone, ValueError) as error:
        raise Refused(f"the network namespace {place.path} cannot be looked at: {error}") from None
    return [each for each in found if isinstance(each, dict)]
