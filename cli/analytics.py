"""`raftchaos analytics`: what a peer makes of its recording, and the same for anybody's data."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from raftchaos.cli.analytics_peer import anomalies, correlations, health, impact, insights
from raftchaos.cli.analytics_series import forecast, query_options, read_series, trend
from raftchaos.errors import UsageError

if TYPE_CHECKING:
    from raftchaos.analytics.series import Series
    from raftchaos.analytics.sources.csv import Notes, Row

CSV_FILE = click.argument("file", metavar="[FILE.csv]", required=False, type=click.Path(path_type=Path))


@click.group("analytics")
def command() -> None:
    """Show what a peer makes of what it has recorded, or analyse data of your own (detect, forecast, trend).

    \b
    Example:
      raftchaos analytics anomalies --hours 24
      raftchaos analytics detect requests.csv --out scores.csv
      raftchaos analytics forecast --csv requests.csv --horizon 24
    """


for _command in (anomalies, insights, health, correlations, impact):
    command.add_command(_command)
command.add_command(forecast)
command.add_command(trend)


@command.command("detect")
@CSV_FILE
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the scores into this file instead "
              "of stdout.")  # fmt: skip
@query_options
def detect(file: Path | None, out: Path | None, **query: Any) -> None:
    """Score every row of FILE.csv (`timestamp,value`) or of a query from 0 to 1; 0.5 and above is an alarm.

    Writes `timestamp,value,anomaly_score`, a row for each row and in their order. No score depends on a later row, so
    that the scores of a file that grows do not change. `-` reads standard input. What was found in the file (gaps,
    missing values, repeated rows) is told on stderr.

    \b
    Example:
      raftchaos analytics detect requests.csv --out scores.csv
      raftchaos analytics detect --prometheus http://127.0.0.1:9090 --query 'sum(rate(http_requests_total[5m]))'
    """
    from raftchaos.analytics.sources.csv import Notes, read_rows

    notes = Notes()
    if file is None:
        name, series, told = read_series(latest=False, file=None, **query)
        with _written(out, None) as target:
            alarms = _score(_rows_of(series, notes), target)
    elif any(value is not None for value in query.values()):
        raise UsageError("found FILE.csv and options of a query, expected one source")
    else:
        with read_file(file) as source, _written(out, file) as target:
            alarms = _score(read_rows(source, str(file), notes), target)
        name, told = str(file), notes.sentences()
    if notes.rows - notes.missing < 100:
        told.append("fewer than 100 readings: too few to tell what is unusual, so every score is 0")
    elif notes.constant:
        told.append("the value never changes, so every score is 0")
    told.append(f"{alarms:,} alarm{'' if alarms == 1 else 's'} (scores of 0.5 and above)")
    tell(name, told)


@contextlib.contextmanager
def read_file(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a file that a person has named; `-` is standard input. Raises UsageError if it cannot be read."""
    if str(file) == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed", hint="name a file, or give it something to read")
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")  # noqa: SIM115 - closed below; only errors of opening are the caller's
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="correct the name of the file") from error
    with stream:
        yield stream


def tell(source: str, sentences: list[str]) -> None:
    """Say on stderr what was found in a source and what was done about it."""
    for sentence in sentences:
        print(f"{source}: {sentence}", file=sys.stderr)


def _rows_of(series: Series, notes: Notes) -> Iterator[Row]:
    """The readings of a series as rows of a file with them; a gap is a row without a value."""
    from raftchaos.analytics.sources.csv import Row

    before: Row | None = None
    for number, (time, value) in enumerate(zip(series.times.tolist(), series.values.tolist(), strict=True)):
        stamp = datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
        row = Row(number, stamp, "" if math.isnan(value) else repr(value), time, value)
        notes.add(row, before)
        before = row
        yield row


def _score(rows: Iterable[Row], target: TextIO) -> int:
    """Write the scores of all rows, and return how many are alarms."""
    from raftchaos.analytics.anomalies.detector import ALARM, Detector
    from raftchaos.analytics.sources.csv import repeats

    detector, alarms, score = Detector(), 0, 0.0
    before: Row | None = None
    target.write("timestamp,value,anomaly_score\n")
    for row in rows:
        if not repeats(row, before):
            score = detector.update(row.time, row.value)
            alarms += score >= ALARM
        before = row
        target.write(f"{row.timestamp},{row.text},{score:.6f}\n")
    return alarms


@contextlib.contextmanager
def _written(out: Path | None, source: Path | None) -> Iterator[TextIO]:
    """A text to write into: stdout, or a file that appears when it is whole."""
    if out is None:
        with _stdout() as text:
            yield text
        return
    if out.exists() and (not out.is_file() or (source is not None and source.exists() and out.samefile(source))):
        raise UsageError(f"{out} is the file that is read, or no file", hint="name another one with --out")
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with open(part, "w", encoding="utf-8") as file:
            yield file
        os.replace(part, out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}", hint="name another file with --out") from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _stdout() -> Iterator[TextIO]:
    """stdout for many lines. Raises what `output.emit` raises when nobody takes them."""
    from raftchaos.cli.output import OutputClosed, OutputFailed

    if sys.stdout is None:
        raise OutputFailed("stdout is closed, so the scores can be shown nowhere")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise OutputFailed(f"the scores could not be written to stdout: {error.strerror}") from error
