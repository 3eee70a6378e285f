"""What was recorded, and questions about it: `ChaosAnalytics`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from raftchaos import limits
from raftchaos.analytics.recording import metrics
from raftchaos.analytics.recording.buckets import GAUGES, RESOLUTIONS, Ring
from raftchaos.analytics.recording.busiest import Busiest
from raftchaos.analytics.recording.columns import Columns
from raftchaos.analytics.recording.counting import Addition, addition_of_cell, additions
from raftchaos.analytics.recording.events import Batch, ChaosEvent, Names
from raftchaos.analytics.recording.spans import Spans
from raftchaos.analytics.series import Series
from raftchaos.clock import Clock, SystemClock
from raftchaos.core.cells import Cell
from raftchaos.errors import DataCorrupt, UsageError

_VERSION: Final = 1


class ChaosAnalytics:
    """Events and readings in buckets of a second (kept for an hour), a minute (two days), five minutes (seven days), an
    hour (thirty days) and a day (a year), in bounded memory.

    Events may come late and in any order: they go to the buckets of their time that are still kept. With a `clock`, as
    in a peer, that clock is the present, and what is more than five minutes ahead of it is dropped; so a clock that was
    wrong for a while leaves nothing behind that stays. Without one the newest event is the present, for data of any
    time.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._follows_data = clock is None
        self._columns = Columns(self._moved)
        self._endpoints = self._columns.dimensions["endpoint"].names
        self._busiest = Busiest(limits.EVENT_ENDPOINTS + 1, self._set_owners)
        self._rings = [Ring(resolution, self._columns.count) for resolution in RESOLUTIONS]
        self._columns_used = 0
        self._share_memory()
        self._pending: list[ChaosEvent] = []
        self._spans = Spans()
        self.recent: deque[ChaosEvent] = deque(maxlen=limits.EVENTS_RECENT)
        """Single events, the newest last: some of those of cells, and those that were recorded one by one."""
        self.dropped = {"late": 0, "ahead": 0, "unsampled": 0}
        """Events that are in no bucket: none of their time is kept any more, or their clock was wrong; and those of
        cells that were counted but not kept as single events."""

    # ---- recording

    def record_event(
        self,
        type: str,
        *,
        at: float | None = None,
        fault: str = "",
        endpoint: str = "",
        protocol: str = "",
        node: str = "",
        status: int = 0,
        latency_ms: float = math.nan,
        error: bool = False,
    ) -> None:
        """Record one event; see `ChaosEvent`. Without `at` it happened now. Raises UsageError."""
        when = self._clock.wall() if at is None else at
        event = ChaosEvent(when, type, fault, endpoint, protocol, node, status, latency_ms, error).checked()
        self._pending.append(event)
        if len(self._pending) >= limits.EVENTS_PENDING:
            self._count_pending()

    def record_events(self, at: npt.ArrayLike, type: Names, **columns: Any) -> None:
        """Record a batch: `at` for each event, and columns by the names that `record_event` has, each with one value
        for all events or one for each. Raises UsageError, and records nothing then.
        """
        batch = Batch.of_columns(at, {"type": type, **columns})
        for begin in range(0, len(batch.at), limits.EVENTS_BATCH):
            self._count(batch.rows(begin, begin + limits.EVENTS_BATCH))

    def record_cell(self, cell: Cell, node: str = "") -> None:
        """Record what was folded elsewhere, there on this node if the cell does not say where. Raises UsageError, and
        records nothing then.
        """
        samples = [ChaosEvent.read(sample) for sample in cell.samples]
        if node and "node" not in cell.counts:
            errors = sum(errors for _, errors in cell.counts.get("type", {}).values())
            cell.counts["node"] = {node: (cell.events, errors)}
        self._add(addition_of_cell(cell, self._columns, self._busiest), cell.at + cell.step - 1)
        self._columns.admit(cell.at)
        self.dropped["unsampled"] += cell.unsampled
        self.recent.extend(samples)

    def record_reading(self, at: float, **values: float) -> None:
        """Record readings of the machine at this time: any of `cpu_percent`, `memory_percent`, `disk_percent`,
        `open_files`. Raises UsageError.
        """
        unknown = set(values) - set(GAUGES)
        if unknown or not all(math.isfinite(value) for value in (at, *values.values())):
            raise UsageError(f"found the reading {values} at {at}, expected finite numbers of {', '.join(GAUGES)}")
        row = np.array([values.get(name, math.nan) for name in GAUGES])
        if not self._ahead(at):
            present = self._arrived(at)
            for ring in self._rings:
                place = ring.place(at, present)
                if place is not None:
                    ring.add_gauges(place, row)

    # ---- questions

    def metrics(self) -> list[str]:
        """The names of all metrics that there are."""
        self._count_pending()
        return metrics.known(self._columns)

    def counts(self, start: float, end: float, step: int = 60) -> dict[str, dict[str, int]]:
        """Events by dimension and name in the buckets of `step` seconds that begin from `start` to before `end`."""
        ring, numbers, present = self._asked(start, end, step)
        places = ring.kept(numbers, present)
        sums = ring.counts[:, places[places >= 0]].sum(axis=1)
        found: dict[str, dict[str, int]] = {}
        for dimension, name, column in self._columns.named():
            if sums[column]:
                found.setdefault(dimension, {})[name] = int(sums[column])
        return found

    def series(self, metric: str, start: float, end: float, step: int = 60) -> Series:
        """A metric in buckets of `step` seconds, from the one in which `start` lies to the last that begins before
        `end`, read from the coarsest buckets whose step divides `step`.

        A count is 0 where nothing happened, and NaN where nothing was recorded (the recorder was not there, or the
        bucket is no longer kept); a ratio, a quantile and a reading are NaN where there was nothing to measure. Raises
        NotFound with the known metrics, or UsageError.
        """
        self._count_pending()
        found = metrics.find(metric, self._columns)
        ring, numbers, present = self._asked(start, end, step)
        places = ring.kept(numbers, present)
        covered = self._spans.covers(numbers * ring.step, ring.step, present)
        covered &= ring.keeps(numbers, present)
        rows = step // ring.step
        values = found.values(ring, places.reshape(-1, rows))
        values[~(covered | (places >= 0)).reshape(-1, rows).any(axis=1)] = np.nan
        return Series.regular(float(numbers[0] * ring.step) if len(numbers) else start, step, values)

    def cells(self, start: float, end: float, step: int = 60) -> list[Cell]:
        """What was recorded, as cells of a resolution's step, for `record_cell` of another: so recordings merge."""
        ring, numbers, present = self._asked(start, end, step)
        if ring.step != step:
            raise UsageError(f"found a step of {step} s, expected one of {', '.join(str(r.step) for r in self._rings)}")
        names = list(self._columns.named())
        owners = dict(zip(self._endpoints.serials, self._endpoints.names, strict=True)) | {0: ""}
        places = ring.kept(numbers, present)
        return [ring.cell(int(place), names, owners) for place in places[places >= 0]]

    def gap(self) -> None:
        """Nothing was recorded from the last event until now: buckets of that time are unknown, not empty."""
        self._count_pending()
        self._spans.end(self._present())

    # ---- keeping

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain data, for `storage` or another process."""
        self._count_pending()
        return {
            "version": _VERSION,
            "names": {name: table.names.snapshot() for name, table in self._columns.dimensions.items()},
            "weights": self._busiest.weights.tolist(),
            "rings": [ring.snapshot() for ring in self._rings],
            "spans": self._spans.snapshot(self._present()),
            "dropped": dict(self.dropped),
        }

    @classmethod
    def restored(cls, data: Mapping[str, Any], clock: Clock | None = None) -> ChaosAnalytics:
        """What a snapshot says; the time since then is a gap. Raises DataCorrupt if it is none of ours."""
        self = cls(clock)
        try:
            if data["version"] != _VERSION:
                raise ValueError(f"version {data['version']!r}")
            for name, table in self._columns.dimensions.items():
                table.names.restore(data["names"][name])
            self._share_memory()
            self._busiest.restore(data["weights"])
            for ring, part in zip(self._rings, data["rings"], strict=True):
                ring.restore(part)
            self._spans.restore(data["spans"])
            self.dropped.update({name: int(data["dropped"][name]) for name in self.dropped})
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise DataCorrupt(f"the recording is damaged: found {error!r}, expected what a snapshot says") from None
        return self

    @property
    def present(self) -> float:
        """What counts as now, seconds since the epoch: see the class."""
        self._count_pending()
        return self._present()

    @property
    def began(self) -> float:
        """The oldest time that anything was recorded of, seconds since the epoch; the present if nothing was."""
        self._count_pending()
        return self._spans.oldest if self._spans.newest else self._present()

    def busiest(self) -> list[str]:
        """The endpoints whose latencies are kept apart, the busiest first."""
        self._count_pending()
        names = self._endpoints.names
        chosen = sorted(self._busiest.chosen, key=lambda number: -self._busiest.weights[number])
        return [names[number] for number in chosen]

    # ---- inside

    def _present(self) -> float:
        return self._spans.newest if self._follows_data else self._clock.wall()

    def _ahead(self, at: float) -> bool:
        return not self._follows_data and at > self._clock.wall() + limits.EVENT_AHEAD

    def _arrived(self, at: float) -> float:
        """Something came of this time; the present."""
        self._spans.extend(at)
        return self._present()

    def _count_pending(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, []
            self.recent.extend(pending[-limits.EVENTS_RECENT :])
            self._count(Batch.of_events(pending))

    def _count(self, batch: Batch) -> None:
        for addition in additions(batch, self._columns, self._busiest):
            self._add(addition, addition.at)
        self._columns.admit(self._spans.newest)

    def _add(self, addition: Addition, last: float) -> None:
        """Add to every ring whose buckets can hold it; `last` is the newest second that it may be of."""
        if self._ahead(addition.at):
            self.dropped["ahead"] += addition.events
            return
        self._arrived(addition.at)
        present = self._arrived(last)
        kept = False
        for ring in self._rings:
            place = ring.place(addition.at, present) if ring.step % addition.step == 0 else None
            if place is not None:
                ring.add(place, addition.columns, addition.counts, addition.cells, addition.numbers)
                kept = True
        if not kept:
            self.dropped["late"] += addition.events
        self._columns.seen(addition.columns, addition.at)
        self._share_memory()

    def _share_memory(self) -> None:
        """What counts do not need is for histograms."""
        used = self._columns.used
        if used != self._columns_used:
            self._columns_used = used
            left = limits.RECORDING_MEMORY - used * sum(ring.column_bytes for ring in self._rings)
            for ring in self._rings:
                ring.latencies.set_room(int(left * ring.share))

    def _set_owners(self) -> None:
        owners = [self._endpoints.serials[number] for number in self._busiest.chosen]
        for ring in self._rings:
            ring.latencies.set_owners(owners)

    def _moved(self, column: int, into: int) -> None:
        for ring in self._rings:
            ring.move(column, into)
        table = self._columns.dimensions["endpoint"]
        number, is_errors = divmod(column - table.first, 2)
        if 0 < number < len(table.names) and not is_errors:
            self._busiest.forget(number)

    def _asked(self, start: float, end: float, step: int) -> tuple[Ring, npt.NDArray[np.int64], float]:
        """The ring that answers, the numbers of its buckets, whole multiples of `step`, and the present."""
        self._count_pending()
        if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
            raise UsageError(
                f"found the range {start} to {end}, expected seconds since the epoch, the end not before the start"
            )
        if type(step) is not int or step < 1:
            raise UsageError(f"found a step of {step!r} s, expected a whole number of seconds, 1 or more")
        if (end - start) / step > limits.SERIES_VALUES:
            raise UsageError(
                f"found a range of {(end - start) / step:.0f} steps, expected at most {limits.SERIES_VALUES}"
            )
        ring = [ring for ring in self._rings if step % ring.step == 0][-1]
        first, last = int(start // step), math.ceil(end / step)
        factor = step // ring.step
        return ring, np.arange(first * factor, last * factor, dtype=np.int64), self._present()
