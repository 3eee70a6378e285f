"""Files of `timestamp,value`, read row by row: each row is checked, and nothing is kept but the row before.

What can be understood is read and counted in `Notes`: missing values, gaps, rows of the same time, clocks put back.
What cannot be is refused with the number of the line.
"""

from __future__ import annotations

import csv
import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from raftchaos import limits
from raftchaos.errors import UsageError

COLUMNS = ("timestamp", "value")
MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
GAP_STEPS = 3.0  # a row later than this many times the median of the last 31 steps follows a gap
_MILLISECONDS = 1e11  # as seconds the year 5138, as milliseconds 1973
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_HEADER_HINT = "the first line must be `timestamp,value`"

ISO, ISO_ZONE, SECONDS, MILLISECONDS = (
    "ISO 8601 without a zone",
    "ISO 8601 with a zone",
    "seconds since the epoch",
    "milliseconds since the epoch",
)


class Row(NamedTuple):
    """One row of a file, as text and as numbers. `value` is NaN where the file has none."""

    line: int
    timestamp: str
    text: str
    time: float
    value: float


@dataclass(slots=True)
class Notes:
    """What was found in a file: counts of rows, and what is told about them."""

    form: str = ""
    rows: int = 0
    missing: int = 0
    repeated: int = 0
    same_time: int = 0
    backwards: int = 0
    gaps: int = 0
    longest_gap: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=31), repr=False)

    def add(self, row: Row, before: Row | None) -> None:
        """Count a row that comes after `before`."""
        self.rows += 1
        if math.isnan(row.value):
            self.missing += 1
        else:
            self.least, self.most = min(self.least, row.value), max(self.most, row.value)
        if before is None:
            return
        step = row.time - before.time
        if step <= 0:
            self.backwards += step < 0
            self.repeated += repeats(row, before)
            self.same_time += step == 0 and not repeats(row, before)
            return
        if self._steps and step > GAP_STEPS * sorted(self._steps)[len(self._steps) // 2]:
            self.gaps += 1
            self.longest_gap = max(self.longest_gap, step)
        self._steps.append(step)

    @property
    def constant(self) -> bool:
        """Whether all values are one and the same."""
        return self.least == self.most

    def sentences(self) -> list[str]:
        """What a person is told about the file, whatever is done with it."""
        told = [f"{_rows(self.rows)}, timestamps in {self.form}{', taken as UTC' if self.form == ISO else ''}"]
        if self.gaps:
            told.append(f"{_count(self.gaps, 'gap')}, the longest of {self.longest_gap:.10g} s; no row was put in")
        if self.missing:
            told.append(f"{_rows(self.missing)} without a value")
        if self.repeated:
            told.append(f"{_rows(self.repeated)} that repeat the one before")
        if self.same_time:
            told.append(
                f"{_rows(self.same_time)} of the same time as the one before, with another value: each is a reading"
            )
        if self.backwards:
            told.append(f"{_rows(self.backwards)} earlier than the one before, taken in the order of the file")
        return told


def repeats(row: Row, before: Row | None) -> bool:
    """Whether a row says once more what the row before it said."""
    return before is not None and row.time == before.time and row.text == before.text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rows(number: int) -> str:
    return _count(number, "row")


def read_rows(stream: BinaryIO, name: str, notes: Notes) -> Iterator[Row]:
    """The rows of a file, while `notes` counts what is odd about them. Values that are empty or NaN are NaN.

    Timestamps are ISO 8601 (with T or a space, with a zone or as UTC), or seconds or milliseconds since the epoch; the
    first row says which. Raises UsageError, with the line, for another header, a row without both columns, a value that
    is no number, a timestamp of another form, one that is earlier than any before by more than an hour, a line of more
    than 64 KiB, and a file without rows.
    """
    lines = _lines(stream, name)
    order = _header(next(lines, None), name)
    before: Row | None = None
    latest = -math.inf
    for number, text in lines:
        cells = _cells(text, number, name)
        if len(cells) != len(COLUMNS):
            raise UsageError(
                f"{name}:{number}: found {_count(len(cells), 'cell')}, expected 2", hint="each row is `timestamp,value`"
            )
        stamp, shown = cells[order[0]].strip(), cells[order[1]].strip()
        time = _time(stamp, number, name, notes)
        if time < latest - limits.CSV_BACKWARDS:
            raise UsageError(
                f"{name}:{number}: found the timestamp {_short(stamp)} after later ones, expected ascending times",
                hint="sort the rows by time",
            )
        latest = max(latest, time)
        row = Row(number, stamp, shown, time, _value(shown, number, name))
        notes.add(row, before)
        before = row
        yield row
    if not notes.rows:
        raise UsageError(f"{name}: found a header and no rows, expected at least one reading")


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    number = 0
    while data := stream.readline(limits.CSV_LINE + 1):
        number += 1
        if len(data) > limits.CSV_LINE:
            raise UsageError(
                f"{name}:{number}: found a line of more than {limits.CSV_LINE:,} bytes, expected `timestamp,value`",
                hint="each reading has a line of its own",
            )
        try:
            text = data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UsageError(
                f"{name}:{number}: found bytes that are not UTF-8, expected text", hint="unpack or convert the file"
            ) from None
        if text.strip():
            yield number, text


def _cells(text: str, number: int, name: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(f"{name}:{number}: found no CSV: {error}", hint="each row is `timestamp,value`") from None


def _header(first: tuple[int, str] | None, name: str) -> tuple[int, int]:
    """Where the timestamp and the value stand in a row."""
    if first is None:
        raise UsageError(f"{name}: found an empty file, expected the header `timestamp,value`", hint=_HEADER_HINT)
    number, text = first
    found = [cell.strip().lower() for cell in _cells(text, number, name)]
    if sorted(found) == sorted(COLUMNS):
        return found.index(COLUMNS[0]), found.index(COLUMNS[1])
    missing = [column for column in COLUMNS if column not in found]
    if len(missing) == len(COLUMNS):
        raise UsageError(f"{name}:{number}: found {_short(text)}, expected a header", hint=_HEADER_HINT)
    if missing:
        raise UsageError(f"{name}:{number}: found no column {missing[0]!r} in {_short(text)}", hint=_HEADER_HINT)
    unknown = [column for column in found if column not in COLUMNS] or found
    raise UsageError(
        f"{name}:{number}: found the columns {_short(', '.join(unknown))} besides timestamp and value",
        hint=_HEADER_HINT,
    )


def _time(stamp: str, number: int, name: str, notes: Notes) -> float:
    """Seconds since the epoch."""
    if _NUMBER.fullmatch(stamp):
        time = float(stamp)
        form = MILLISECONDS if abs(time) >= _MILLISECONDS else SECONDS
        seconds = time / 1000 if form == MILLISECONDS else time
    else:
        try:
            moment = datetime.fromisoformat(stamp)
            form = ISO if moment.tzinfo is None else ISO_ZONE
            seconds = (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
        except (ValueError, OverflowError):
            raise UsageError(
                f"{name}:{number}: found the timestamp {_short(stamp)}, expected ISO 8601 (2026-01-31T10:00:00Z), or "
                "seconds or milliseconds since the epoch"
            ) from None
    if not abs(seconds) < _MILLISECONDS:
        raise UsageError(f"{name}:{number}: found the timestamp {_short(stamp)}, which is no time of this world")
    if not notes.form:
        notes.form = form
    elif form != notes.form:
        raise UsageError(
            f"{name}:{number}: found the timestamp {_short(stamp)} in {form}, expected {notes.form} as before",
            hint="write all timestamps of a file in one form",
        )
    return seconds


def _value(text: str, number: int, name: str) -> float:
    """The number of a cell, NaN where there is none."""
    if text.lower() in MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise UsageError(
            f"{name}:{number}: found the value {_short(text)}, expected a number, or nothing where it is missing"
        ) from None
    return value if math.isfinite(value) else math.nan


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
