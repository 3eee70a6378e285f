"""Single events, and batches of them as columns: checked and bounded where they come in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from raftchaos import limits
from raftchaos.analytics.series import Floats
from raftchaos.core.cells import DIMENSIONS
from raftchaos.errors import UsageError

_LATEST: Final = 2**35  # seconds since the epoch; milliseconds by mistake are more
_FAILED: Final = 500  # this status and above says that the service failed
Names = str | Sequence[str]
"""One name for all rows, or one for each."""


class ChaosEvent(NamedTuple):
    """One thing that happened: a request, a fault that touched something, a rate limit, a shaped response.

    `at` is in seconds since the epoch, `latency_ms` in milliseconds, NaN if it has none. An empty name or a status of 0
    says that the event has none. `error`: it failed; a status of 500 and above says so, too.
    """

    at: float
    type: str
    fault: str = ""
    endpoint: str = ""
    protocol: str = ""
    node: str = ""
    status: int = 0
    latency_ms: float = math.nan
    error: bool = False

    def checked(self) -> Self:
        """This event. Raises UsageError if a part of it is none that an event can have."""
        at, kind, fault, endpoint, protocol, node, status, latency, _ = self
        try:
            names = (kind, fault, endpoint, protocol, node)
            text = "".join(names)  # quicker than to look at the type of each: it takes only text
            short = len(text) <= limits.EVENT_NAME or max(map(len, names)) <= limits.EVENT_NAME
            good = 0 <= at < _LATEST and kind != "" and short and 0 <= status < 1000 and not latency < 0
        except TypeError:
            good = False
        if not good:
            raise UsageError(_what_is_wrong(self))
        return self

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """An event that comes from outside, as a map of its parts. Raises UsageError."""
        unknown = set(fields) - set(cls._fields)
        if unknown:
            raise UsageError(f"found {', '.join(sorted(map(str, unknown)))!r:.80} in an event, expected {cls._fields}")
        if not {"at", "type"} <= set(fields):
            raise UsageError(f"found an event with {sorted(fields)}, expected at least `at` and `type`")
        return cls(**fields).checked()


def _what_is_wrong(event: ChaosEvent) -> str:
    numbers = (int, float)
    if not isinstance(event.at, numbers) or not 0 <= event.at < _LATEST:
        return f"found {event.at!r:.40} as the time of an event, expected seconds since the epoch"
    for name in ("type", "fault", "endpoint", "protocol", "node"):
        value = getattr(event, name)
        if not isinstance(value, str) or len(value) > limits.EVENT_NAME or (name == "type" and not value):
            return (
                f"found {value!r:.40} as {name} of an event, expected a name of at most {limits.EVENT_NAME} characters"
            )
    if not isinstance(event.status, int) or not 0 <= event.status < 1000:
        return f"found {event.status!r:.40} as the status of an event, expected a number from 0 to 999"
    return f"found {event.latency_ms!r:.40} as the latency of an event, expected milliseconds, 0 or more"


class Batch(NamedTuple):
    """Events as columns of the same length, except that one name may stand for all rows."""

    at: Floats
    names: Mapping[str, Names]
    """By dimension."""
    latency_ms: Floats
    error: npt.NDArray[np.bool_]

    @classmethod
    def of_events(cls, events: Sequence[ChaosEvent]) -> Batch:
        """The columns of checked events."""
        at, kind, fault, endpoint, protocol, node, status, latency, error = zip(*events, strict=True)
        states = np.array(status, dtype=np.int64)
        return cls(
            np.array(at, dtype=np.float64),
            {"type": kind, "fault": fault, "endpoint": endpoint, "protocol": protocol, "node": node}
            | {"status": status_names(states)},
            np.array(latency, dtype=np.float64),
            np.array(error, dtype=np.bool_) | (states >= _FAILED),
        )

    @classmethod
    def of_columns(cls, at: npt.ArrayLike, columns: Mapping[str, Any]) -> Batch:
        """The columns of a caller, checked. Raises UsageError."""
        times = np.asarray(at, dtype=np.float64)
        count = len(times)
        if not ((times >= 0) & (times < _LATEST)).all():
            raise UsageError("found a time that is none, expected seconds since the epoch in every row")
        unknown = set(columns) - {*DIMENSIONS, "latency_ms", "error"}
        if unknown or "type" not in columns:
            raise UsageError(
                f"found the columns {sorted(columns)}, expected `type` and some of {ChaosEvent._fields[2:]}"
            )
        status = _numbers(columns.get("status"), 0, count, np.int64)
        if not ((status >= 0) & (status < 1000)).all():
            raise UsageError("found a status out of range, expected numbers from 0 to 999")
        latency = _numbers(columns.get("latency_ms"), math.nan, count, np.float64)
        if (latency < 0).any():
            raise UsageError("found a latency below 0, expected milliseconds, 0 or more, or NaN where there is none")
        names = {
            name: _names(name, columns[name], count) for name in DIMENSIONS if name in columns and name != "status"
        }
        if "status" in columns:
            names["status"] = status_names(status)
        error = _numbers(columns.get("error"), False, count, np.bool_)
        return cls(times, names, latency, error | (status >= _FAILED))

    def rows(self, begin: int, end: int) -> Batch:
        """Some of the rows."""
        names = {name: value if isinstance(value, str) else value[begin:end] for name, value in self.names.items()}
        return Batch(self.at[begin:end], names, self.latency_ms[begin:end], self.error[begin:end])


def status_names(states: npt.NDArray[np.int64]) -> Names:
    """Statuses as names; 0 is none."""
    if not states.any():
        return ""
    return [_STATUS_NAMES[status] for status in states.tolist()]


_STATUS_NAMES: Final = ["", *map(str, range(1, 1000))]


def _numbers(values: Any, default: Any, count: int, dtype: Any) -> npt.NDArray[Any]:
    if values is None:
        return np.full(count, default, dtype=dtype)
    try:
        numbers = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise UsageError(f"found a column that is not of numbers: {error}") from None
    if numbers.ndim == 0:
        return np.full(count, numbers, dtype=dtype)
    if numbers.shape != (count,):
        raise UsageError(f"found a column of shape {numbers.shape} beside {count} times, expected one value for each")
    return numbers


def _names(name: str, values: Any, count: int) -> Names:
    """Checked by the set of them: there are few, however many rows there are."""
    if isinstance(values, str):
        different = {values}
    else:
        if len(values) != count:
            raise UsageError(f"found {len(values)} values of {name} beside {count} times, expected one for each")
        different = set(values)
    for value in different:
        if not isinstance(value, str) or len(value) > limits.EVENT_NAME or (name == "type" and not value):
            raise UsageError(f"found {value!r:.40} in {name}, expected names of at most {limits.EVENT_NAME} characters")
    names: Names = values
    return names
