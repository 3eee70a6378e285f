"""What travels over the control socket: proxies and faults as plain data, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from raftchaos.core.interfaces import MAIN_LEASE, NODE_LEASE
from raftchaos.errors import UsageError

LEASES = (NODE_LEASE, MAIN_LEASE)
_INTEGER_BITS = 64


def split_address(address: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`; an IPv6 host stands in brackets. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"{address!r} is no address, expected HOST:PORT")
    return host, int(port)


def text(fields: Mapping[str, Any], name: str) -> str:
    """The non-empty text `name`. Raises UsageError."""
    value = fields.get(name)
    if not isinstance(value, str) or not value or len(value) > 1024:
        raise UsageError(f"{name} is {value!r}, expected a text")
    return value


def instant(fields: Mapping[str, Any], name: str) -> float:
    """The CLOCK_BOOTTIME instant `name`, in seconds. Raises UsageError."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise UsageError(f"{name} is {value!r}, expected an instant in seconds")
    return float(value)


def lease_name(fields: Mapping[str, Any]) -> str:
    """The lease that is meant, absent the node's. Raises UsageError."""
    value = fields.get("lease", NODE_LEASE)
    if value not in LEASES:
        raise UsageError(f"lease is {value!r}, expected one of {', '.join(LEASES)}")
    return str(value)


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """A proxy: where it listens and to which service it relays, both `HOST:PORT`."""

    name: str
    listen: str
    upstream: str
    certificate: str = ""
    """Path of the certificate with which it ends TLS; empty: it does not."""
    key: str = ""
    """Path of its key."""

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From a request. Raises UsageError."""
        paths = {name: text(fields, name) for name in ("certificate", "key") if fields.get(name)}
        spec = cls(text(fields, "name"), text(fields, "listen"), text(fields, "upstream"), **paths)
        split_address(spec.listen)
        if split_address(spec.upstream)[1] == 0:
            raise UsageError(f"upstream {spec.upstream!r} has no port")
        return spec

    def fields(self) -> dict[str, Any]:
        """As plain data, for a message."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One run's fault on one proxy. A run on several proxies is several of these."""

    run: str
    fault: str
    """Type of the fault."""
    proxy: str
    """Name of the proxy."""
    parameters: Mapping[str, Any]
    """By the names that documents use."""
    seed: int
    lease_end: float
    """CLOCK_BOOTTIME instant at which its lease ends, in seconds, as far as was known."""
    began: float = 0.0
    """CLOCK_BOOTTIME instant at which it began first, in seconds, by which its pulse goes, also in a process that was
    started since; 0: now."""
    lease: str = NODE_LEASE
    """Under which it stands: one of `LEASES`."""

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From a request. Raises UsageError."""
        parameters, seed = fields.get("parameters", {}), fields.get("seed", 0)
        if not isinstance(parameters, Mapping):
            raise UsageError("parameters is no map")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed.bit_length() > _INTEGER_BITS:
            raise UsageError(f"seed is {seed!r}, expected a whole number of at most {_INTEGER_BITS} bits")
        run, fault, proxy = (text(fields, name) for name in ("run", "fault", "proxy"))
        began = instant({"began": 0.0, **fields}, "began")
        return cls(run, fault, proxy, parameters, seed, instant(fields, "lease_end"), began, lease_name(fields))

    def fields(self) -> dict[str, Any]:
        """As plain data, for a message."""
        return {**asdict(self), "parameters": dict(self.parameters)}

    def same_fault(self, other: FaultSpec) -> bool:
        """The same thing is done to the same proxy; leases change, and an earlier beginning stays."""
        return (self.run, self.fault, self.proxy, self.seed) == (other.run, other.fault, other.proxy, other.seed) and (
            dict(self.parameters) == dict(other.parameters)
        )
