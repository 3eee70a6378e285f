"""toxiproxy's toxics: their attributes with toxiproxy's names and units, and the faults that do the same here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from raftchaos import limits
from raftchaos.api.toxiproxy.words import Json, bad_body, fields_of, invalid_stream, invalid_type, shown, text_of
from raftchaos.core.caller_proxies import WantedFault

_LARGEST_PIECE: Final = 64 * 1024  # of the fault slicer; larger pieces are hardly ever read at once
_STREAMS: Final = ("upstream", "downstream")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A whole number from `least` to `most`; 0 if it is not said, as in toxiproxy."""

    name: str
    most: int
    least: int = 0

    def read(self, value: Any) -> int:
        """The number that was said. Raises `UsageError`."""
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not self.least <= value <= self.most:
            expected = f"a whole number from {self.least} to {self.most}"
            raise bad_body(f"{self.name} is {shown(value)}, expected {expected}")
        return int(value)


_MS: Final = int(limits.FAULT_DELAY_MS)
_BYTES: Final = limits.TRAFFIC_BYTES

ATTRIBUTES: Final[dict[str, tuple[Attribute, ...]]] = {
    "latency": (Attribute("latency", _MS), Attribute("jitter", _MS)),
    "bandwidth": (Attribute("rate", _BYTES // 1000),),
    "slow_close": (Attribute("delay", _MS),),
    "timeout": (Attribute("timeout", _MS),),
    "reset_peer": (Attribute("timeout", _MS),),
    "slicer": (
        Attribute("average_size", _BYTES, 1),
        Attribute("size_variation", _BYTES),
        Attribute("delay", _MS * 1000),
    ),
    "limit_data": (Attribute("bytes", _BYTES),),
}
"""By type: rate in kilobytes (1000 bytes) a second, the slicer's delay in microseconds, all other times in
milliseconds."""


@dataclass(frozen=True, slots=True)
class Toxic:
    """A toxic on one proxy."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Mapping[str, int]
    key: str = ""
    """By which the peer knows it, once it is on."""

    def view(self) -> Json:
        """As clients read it."""
        said: Json = {"attributes": dict(self.attributes), "name": self.name, "type": self.type}
        return {**said, "stream": self.stream, "toxicity": self.toxicity}

    def faults(self) -> tuple[WantedFault, ...]:
        """What does the same here."""
        type_, parameters = _MADE[self.type](self.attributes)
        where = {"probability": self.toxicity, "direction": self.stream.lower()}
        return (WantedFault(type_, {**where, **parameters}),)


def read_toxic(value: Any) -> Toxic:
    """A new toxic, from a body. Raises `UsageError`. Its attributes are not looked at: see `with_attributes`."""
    fields = fields_of(value)
    type_, stream = text_of(fields, "type"), text_of(fields, "stream", "downstream")
    if stream.lower() not in _STREAMS:
        raise invalid_stream()
    name = text_of(fields, "name") or f"{type_}_{stream}"
    if type_ not in ATTRIBUTES:
        raise invalid_type()
    if len(name) > limits.TOXIC_NAME or not name.isprintable() or "/" in name:
        raise bad_body(f"name is {shown(name)}, expected at most {limits.TOXIC_NAME} printable characters without /")
    return Toxic(name, type_, stream, 1, {attribute.name: 0 for attribute in ATTRIBUTES[type_]})


def with_attributes(toxic: Toxic, value: Any) -> Toxic:
    """The toxic with what a body says of its attributes and toxicity; what it does not name stays. Raises
    `UsageError`."""
    fields = fields_of(value)
    toxicity = fields.get("toxicity", toxic.toxicity)
    if isinstance(toxicity, bool) or not isinstance(toxicity, int | float) or not 0 <= toxicity <= 1:
        raise bad_body(f"toxicity is {shown(toxicity)}, expected a number from 0 to 1")
    said = {**toxic.attributes, **fields_of(fields.get("attributes", {}), "attributes")}
    attributes = {attribute.name: attribute.read(said[attribute.name]) for attribute in ATTRIBUTES[toxic.type]}
    if toxic.type == "slicer" and attributes["size_variation"] >= attributes["average_size"]:
        raise bad_body(f"size_variation is {attributes['size_variation']}, expected less than average_size")
    return Toxic(toxic.name, toxic.type, toxic.stream, toxicity, attributes, toxic.key)


Made = tuple[str, dict[str, Any]]
"""The type of a fault, and its parameters without those that all have."""


def _bandwidth(said: Mapping[str, int]) -> Made:
    if said["rate"] == 0:  # nothing comes through, and nothing is lost
        return "timeout", {}
    return "bandwidth", {"kilobytesPerSecond": said["rate"]}


def _slicer(said: Mapping[str, int]) -> Made:
    average = min(said["average_size"], _LARGEST_PIECE)
    sizes = {"averageBytes": average, "variationBytes": min(said["size_variation"], average - 1)}
    return "slicer", {**sizes, "delayMs": said["delay"] / 1000}


_MADE: Final[dict[str, Callable[[Mapping[str, int]], Made]]] = {
    "latency": lambda said: ("latency", {"latencyMs": said["latency"], "jitterMs": said["jitter"]}),
    "bandwidth": _bandwidth,
    "slow_close": lambda said: ("slow_close", {"delayMs": said["delay"]}),
    "timeout": lambda said: ("timeout", {"timeoutMs": said["timeout"], "afterwards": "close"}),
    "reset_peer": lambda said: ("reset_peer", {"afterMs": said["timeout"], "since": "firstByte"}),
    "slicer": _slicer,
    "limit_data": lambda said: ("limit_data", {"limitBytes": said["bytes"]}),
}

DISABLED: Final = (
    WantedFault("refuse", {}),
    WantedFault("timeout", {"timeoutMs": 0.001, "direction": "both"}),
)
"""A proxy that is disabled: whoever connects is refused, and open connections are closed at once."""
