"""Requests folded into cells of a second: how many, how they ended, how long they took, by endpoint.

A request counts in the second in which the last byte of its response leaves for the client, faults included, and took
from the moment its head was complete until then.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from math import ceil, log
from typing import Any, Final

from raftchaos import limits
from raftchaos.core.cells import ALL, OTHER, RATE_LIMITED, REQUEST, SHAPED, Cell
from raftchaos.core.histogram import LOWEST, SCALE, LogHistogram, bucket_of
from raftchaos.proxy.http1 import RequestHead
from raftchaos.proxy.matching import path_of
from raftchaos.proxy.table import Effects

FAULT: Final = "fault"
"""The type of what a fault did that neither limits a rate nor shapes."""
CONNECTION: Final = "connection"
"""The type of a connection that speaks what is not HTTP/1.1."""
_TYPES: Final = {"rate_limit": RATE_LIMITED} | dict.fromkeys(("latency", "bandwidth", "slicer", "slow_close"), SHAPED)
_BY_BYTES: Final = ("bandwidth", "corrupt")  # their `touched` are bytes, which are no events
_PROTOCOLS: Final = {"skipped_tls": "tls", "skipped_http2": "http2", "skipped_websock": "websocket"}
_FAILED: Final = 500
_SHIFT: Final = -log(LOWEST / 1e3) * SCALE  # for seconds
_STATUS: Final = 2048
_ID: Final = re.compile(r"\d+|[0-9a-fA-F-]{8,}|(?=[^/]*\d)[\w.~+=-]{16,}|[^/]{33,}")


class Folding:
    """The cell of this second. It has no clock: whoever has one says when the second is over."""

    def __init__(self) -> None:
        self._by_target: dict[tuple[str, bytes], defaultdict[int, int]] = {}
        self._by_endpoint: dict[str, defaultdict[int, int]] = {}  # requests by status * _STATUS + bucket of the latency
        self._protocols: dict[str, int] = {}
        self._samples: list[dict[str, Any]] = []
        self._effects: dict[str, Effects] = {}
        self._faults: dict[str, str] = {}

    def ended(self, head: RequestHead, status: int, seconds: float) -> None:
        """A request was answered with this status; 0: it never was, its connection broke."""
        counts = self._by_target.get((head.method, head.target))
        if counts is None:
            counts = self._first(head, status, seconds)
        bucket = ceil(log(seconds) * SCALE + _SHIFT) if 1e-6 < seconds < 1e6 else bucket_of(seconds * 1e3)
        key = status * _STATUS + bucket
        counts[key] += 1

    def connection(self, kind: str) -> None:
        """A connection turned out to speak what is not HTTP/1.1: `kind` as `Tracker.kind` says it."""
        protocol = _PROTOCOLS.get(kind, "tcp")
        self._protocols[protocol] = self._protocols.get(protocol, 0) + 1

    def fault(self, run: str, kind: str) -> None:
        """A fault of this type is put on."""
        self._faults[run] = kind

    def close(self, at: int, effects: Mapping[str, Effects]) -> Cell:
        """The second that began at this wall-clock time is over. `effects` are those of all runs so far."""
        cell = Cell(at)
        self._put_requests(cell)
        for protocol, count in self._protocols.items():
            _add(cell, "type", CONNECTION, count)
            _add(cell, "protocol", protocol, count)
        self._put_faults(cell, effects)
        cell.samples = [{**sample, "at": float(at)} for sample in self._samples]
        cell.unsampled = cell.counts.get("type", {}).get(REQUEST, (0, 0))[0] - len(cell.samples)
        self._by_target, self._by_endpoint, self._protocols, self._samples = {}, {}, {}, []
        return cell

    def _first(self, head: RequestHead, status: int, seconds: float) -> defaultdict[int, int]:
        """The counts of an endpoint of which a target comes for the first time in this second."""
        endpoint = endpoint_of(head.method, path_of(head))
        if len(self._samples) < limits.CELL_SAMPLES:
            told = {"status": status, "latency_ms": seconds * 1e3} if status else {"error": True}
            self._samples.append({"type": REQUEST, "endpoint": endpoint, "protocol": "http", **told})
        if endpoint not in self._by_endpoint and len(self._by_endpoint) >= limits.CELL_ENDPOINTS:
            endpoint = OTHER
        counts = self._by_endpoint.setdefault(endpoint, defaultdict(int))
        if len(self._by_target) < limits.CELL_TARGETS:
            self._by_target[head.method, head.target] = counts
        return counts

    def _put_requests(self, cell: Cell) -> None:
        """The busiest endpoints; the rest as OTHER."""
        ordered = sorted(self._by_endpoint.items(), key=lambda item: -sum(item[1].values()))
        whole = LogHistogram()
        for place, (endpoint, counts) in enumerate(ordered):
            name = endpoint if place < limits.EVENT_ENDPOINTS else OTHER
            histogram = LogHistogram()
            for key, count in counts.items():
                status, bucket = divmod(key, _STATUS)
                errors = count if status >= _FAILED or not status else 0
                for dimension, value in (("type", REQUEST), ("protocol", "http"), ("endpoint", name)):
                    _add(cell, dimension, value, count, errors)
                if status:
                    _add(cell, "status", _status(cell, status), count, errors)
                    histogram.counts[bucket] = histogram.counts.get(bucket, 0) + count
            whole.merge(histogram)
            if histogram.counts:
                cell.latencies.setdefault(name, LogHistogram()).merge(histogram)
        if whole.counts:
            cell.latencies[ALL] = whole

    def _put_faults(self, cell: Cell, effects: Mapping[str, Effects]) -> None:
        """What faults have done since the last cell."""
        self._faults = {run: fault for run, fault in self._faults.items() if run in effects}
        for run, fault in self._faults.items():
            count = _events(fault, effects[run]) - _events(fault, self._effects.get(run, {}))
            if count > 0:
                _add(cell, "type", _TYPES.get(fault, FAULT), count)
                _add(cell, "fault", fault, count)
        self._effects = dict(effects)


@lru_cache(maxsize=4096)
def endpoint_of(method: str, path: str) -> str:
    """Method and path, with `{id}` for each segment that looks like an identifier: digits, a UUID or other hexadecimal
    number, a long token. What is left is one name for all requests of one kind.
    """
    segments = ["{id}" if _ID.fullmatch(segment) else segment for segment in path.split("/")]
    text = f"{method} {'/'.join(segments)}".replace('"', "'")  # names stand between quotes in the labels of metrics
    return "".join(character if character.isprintable() else "?" for character in text)[: limits.ENDPOINT]


def _add(cell: Cell, dimension: str, name: str, events: int, errors: int = 0) -> None:
    counts = cell.counts.setdefault(dimension, {})
    before = counts.get(name, (0, 0))
    counts[name] = (before[0] + events, before[1] + errors)


def _status(cell: Cell, status: int) -> str:
    known = cell.counts.get("status", {})
    name = str(status)
    return name if name in known or len(known) < limits.EVENT_STATUSES else OTHER


def _events(fault: str, effect: Mapping[str, int]) -> int:
    return effect.get("connections" if fault in _BY_BYTES else "touched", 0)
