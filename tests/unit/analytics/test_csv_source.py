"""Rows of `timestamp,value`: what is read, what is told about them, and what is refused with its line."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.analytics.sources.csv import Notes, Row, read_rows
from raftchaos.errors import UsageError

HEAD = "timestamp,value\n"


def read(text: str | bytes) -> tuple[list[Row], Notes]:
    notes = Notes()
    data = text.encode() if isinstance(text, str) else text
    return list(read_rows(io.BytesIO(data), "f.csv", notes)), notes


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2026-01-31T10:00:00Z", 1769853600.0),
        ("2026-01-31 10:00:00", 1769853600.0),
        ("2026-01-31T11:00:00.250+01:00", 1769853600.25),
        ("2026-01-31", 1769817600.0),
        ("1769853600", 1769853600.0),
        ("1769853600.5", 1769853600.5),
        ("1769853600250", 1769853600.25),
        ("1.7698536e9", 1769853600.0),
    ],
)
def test_forms_of_timestamps(stamp: str, seconds: float) -> None:
    rows, _ = read(f"{HEAD}{stamp},1\n")
    assert rows[0].time == seconds
    assert rows[0].timestamp == stamp


def test_the_columns_may_be_turned_round_quoted_and_begin_with_a_mark() -> None:
    rows, _ = read('\ufeff"Value", Timestamp\r\n\r\n"1.5",10\r\n2e3,20')
    assert [(row.time, row.value, row.line) for row in rows] == [(10.0, 1.5, 3), (20.0, 2000.0, 4)]


def test_what_is_odd_is_counted_and_told() -> None:
    stamps = [0, 60, 120, 120, 120, 180, 600, 660, 650, 720]
    values = ["1", "", "NaN", "NaN", "3", "inf", "5", "null", "6", "7"]
    rows, notes = read(HEAD + "".join(f"{t},{v}\n" for t, v in zip(stamps, values, strict=True)))
    assert [math.isnan(row.value) for row in rows] == [v in ("", "NaN", "inf", "null") for v in values]
    assert (notes.rows, notes.missing, notes.repeated, notes.same_time, notes.backwards) == (10, 5, 1, 1, 1)
    assert (notes.gaps, notes.longest_gap) == (1, 420.0)
    told = " ".join(notes.sentences())
    for word in ("10 rows", "1 gap", "420 s", "5 rows without a value", "repeat", "another value", "earlier"):
        assert word in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty file"),
        ("\n\n", "empty file"),
        (HEAD, "no rows"),
        ("2026-01-31,1\n2026-02-01,2\n", "expected a header"),
        ("time,value\n1,2\n", "no column 'timestamp'"),
        ("timestamp,count\n1,2\n", "no column 'value'"),
        ("timestamp,value,host\n1,2,a\n", "'host'"),
        ("timestamp;value\n1;2\n", "expected a header"),
        (HEAD + "1,2\n2\n", "f.csv:3: found 1 cell"),
        (HEAD + "1,2,3\n", "f.csv:2: found 3 cells"),
        (HEAD + '1,"2\n', "no CSV"),
        (HEAD + "yesterday,2\n", "expected ISO 8601"),
        (HEAD + "1,two\n", "expected a number"),
        (HEAD + "1e300,2\n", "no time of this world"),
        (HEAD + "2026-01-31,1\n1769853600,2\n", "f.csv:3: found the timestamp '1769853600' in seconds"),
        (HEAD + "1769853600,1\n1769853600000,2\n", "in milliseconds since the epoch, expected seconds"),
        (HEAD + "2026-01-31T10:00:00,1\n2026-01-31T10:00:00Z,2\n", "expected ISO 8601 without a zone"),
        (HEAD + "9000,1\n6000,2\n4000,3\n", "f.csv:4: found the timestamp '4000' after later ones"),
        (b"timestamp,value\n1,\xff\n", "f.csv:2: found bytes that are not UTF-8"),
        (b"\x1f\x8b\x08\x00garbage", "not UTF-8"),
        ("x" * (limits.CSV_LINE + 1), "f.csv:1: found a line of more than 65,536 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(text)
    assert said in raised.value.message


class OneLine(io.RawIOBase):
    """A gigabyte without an end of line, of which is counted what was taken."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        self.taken += len(buffer)
        assert self.taken < 2**20, "more was read than shows that it is no such file"
        buffer[:] = b"7" * len(buffer)
        return len(buffer)


def test_a_gigabyte_of_one_line_is_refused_after_its_first_bytes() -> None:
    with pytest.raises(UsageError, match="more than 65,536 bytes"):
        list(read_rows(io.BufferedReader(OneLine()), "f.csv", Notes()))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        rows, notes = read(HEAD.encode() + data)
    except UsageError:
        return
    assert notes.rows == len(rows) > 0
