"""`raftchaos analytics forecast` and `trend`: of a CSV file, or of a query to a Prometheus server."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from raftchaos.cli.options import output_option
from raftchaos.errors import UsageError

if TYPE_CHECKING:
    from raftchaos.analytics.series import Series
    from raftchaos.model.findings.forecast import Forecast
    from raftchaos.model.findings.insight import Insight
    from raftchaos.model.findings.trend import Trend

F = TypeVar("F", bound=Callable[..., Any])

_DAY = 86_400.0
_ROWS = 24  # of a table of expected readings
_DRAWN = 3  # times the horizon: so much of the past is drawn beside a forecast
_LEAST_DRAWN = 60


def query_options(function: F) -> F:
    """Adds the query to a Prometheus server whose answer is read, and the times between which."""
    for option in (
        click.option("--until", metavar="TIME", help="Only readings before this time (default: now, or all)."),
        click.option("--since", metavar="TIME", help="Only readings from this time on: ISO 8601, or seconds since the "
                     "epoch (default: a day before --until, or all of a file)."),
        click.option("--step", type=float, metavar="SECONDS", help="Step of the query (default: by the range)."),
        click.option("--query", metavar="PROMQL", help="The query; it has to give one series."),
        click.option("--prometheus", "url", metavar="URL", help="A Prometheus server, such as http://127.0.0.1:9090."),
    ):  # fmt: skip
        function = option(function)
    return function


def source_options(function: F) -> F:
    """Adds where the readings come from, and from which time."""
    return click.option("--csv", "file", metavar="FILE", type=click.Path(path_type=Path), help="A file of "
                        "`timestamp,value`; `-` reads standard input.")(query_options(function))  # fmt: skip


@click.command("forecast")
@source_options
@click.option("--horizon", type=click.IntRange(1, 10_080), required=True, metavar="N", help="How many steps ahead.")
@click.option("--period", "periods", type=click.IntRange(2), multiple=True, metavar="STEPS", help="A season of the "
              "readings, in steps; may be repeated (default: found).")  # fmt: skip
@click.option("--limit", type=float, metavar="VALUE", help="Tell how probable it is that a reading gets above it.")
@output_option
def forecast(horizon: int, periods: tuple[int, ...], limit: float | None, output: str, **source: Any) -> None:
    """Forecast the next N readings, with intervals that hold 80 and 95 % of them.

    \b
    Example:
      raftchaos analytics forecast --csv requests.csv --horizon 24
      raftchaos analytics forecast --prometheus http://127.0.0.1:9090 --query 'sum(rate(http_requests_total[5m]))'
          --horizon 60 --limit 500
    """
    from raftchaos.analytics.forecasts.findings import finding, insight
    from raftchaos.analytics.forecasts.forecast import fit
    from raftchaos.cli.output import show

    name, series, notes = read_series(latest=True, **source)
    model = fit(series, horizon, periods or None)
    told = model.predict(horizon)
    found = finding(name, model, told)
    found = found.model_copy(update={"notes": (*notes, *found.notes)})
    advice = insight(name, told, limit=limit) if limit is not None else None
    data = {"forecast": found.model_dump(by_alias=True), "insight": advice and advice.model_dump(by_alias=True)}
    show(output, data, *_forecast_parts(series, found, advice))


@click.command("trend")
@source_options
@output_option
def trend(output: str, **source: Any) -> None:
    """Tell whether the readings rise, fall, stay or swing, how fast, how sure that is, and where they changed.

    \b
    Example:
      raftchaos analytics trend --csv requests.csv
      raftchaos analytics trend --prometheus http://127.0.0.1:9090 --query up --since 2026-01-31T00:00:00Z
    """
    from raftchaos.analytics.trends.trend import find_trend
    from raftchaos.cli.output import show

    name, series, notes = read_series(latest=False, **source)
    found = find_trend(series, name)
    show(output, {"trend": found.model_dump(by_alias=True), "notes": notes}, *_trend_parts(series, found, notes))


def read_series(
    *, latest: bool, file: Path | None, url: str | None, query: str | None, step: float | None,
    since: str | None, until: str | None,
) -> tuple[str, Series, list[str]]:  # fmt: skip
    """The name, the readings and what was done to have them. Raises UsageError."""
    begin, end = _moment(since, "--since"), _moment(until, "--until")
    if begin is not None and end is not None and begin >= end:
        raise UsageError(f"found --since {since} and --until {until}, expected the first before the second")
    if (file is None) == (url is None):
        raise UsageError(
            "found " + ("no source" if file is None else "two sources") + ", expected a file or --prometheus"
        )
    if file is not None:
        if query is not None or step is not None:
            raise UsageError("found --query or --step beside --csv, expected them with --prometheus only")
        return _from_file(file, begin, end, latest)
    if query is None or url is None:
        raise UsageError("found --prometheus without --query, expected the query of one series")
    from raftchaos.analytics.sources.prometheus import query_range

    end = time.time() if end is None else end
    return query, *query_range(url, query, end - _DAY if begin is None else begin, end, step)


def _from_file(file: Path, begin: float | None, end: float | None, latest: bool) -> tuple[str, Series, list[str]]:
    from raftchaos.analytics.sources.csv import Notes, read_rows
    from raftchaos.analytics.sources.series import Collector
    from raftchaos.cli.analytics import read_file

    notes, collector = Notes(), Collector(latest=latest)
    with read_file(file) as stream:
        for row in read_rows(stream, str(file), notes):
            if (begin is None or row.time >= begin) and (end is None or row.time < end):
                collector.add(row.time, row.value)
    series, more = collector.series(str(file))
    return file.stem if str(file) != "-" else "value", series, notes.sentences() + more


def _moment(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"found {option} {text!r}, expected ISO 8601 (2026-01-31T10:00:00Z) or seconds since the epoch"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _forecast_parts(series: Series, found: Forecast, advice: Insight | None) -> list[Any]:
    from raftchaos.cli.output import plain, room, table
    from raftchaos.cli.plot import plot

    past = series.values[-max(_LEAST_DRAWN, _DRAWN * len(found.expected)) :].tolist()
    drawn = plot(
        [*past, *(one.value for one in found.expected)],
        width=min(room(), 100),
        marks=([one.low95 for one in found.expected], [one.high95 for one in found.expected]),
        start=len(past),
    )
    rows = table("time (UTC)", "expected", "80 %", "95 %", "naive", right=("expected", "naive"))
    every = -(-len(found.expected) // _ROWS)
    for one in found.expected[every - 1 :: every]:
        middle, wide = f"{one.low80:.5g} to {one.high80:.5g}", f"{one.low95:.5g} to {one.high95:.5g}"
        rows.add_row(_at(one.at), f"{one.value:.5g}", middle, wide, f"{one.naive:.5g}")
    failed = [f"{name} was left out: {why}" for name, why in found.failures.items()]
    told = [plain(line) for line in (*found.notes, *failed, f"by {found.models}")]
    return [*drawn, rows, *told, *([plain(advice.recommendation)] if advice else [])]


def _trend_parts(series: Series, found: Trend, notes: list[str]) -> list[Any]:
    from raftchaos.analytics.trends.trend import condensed
    from raftchaos.cli.output import plain, room, table
    from raftchaos.cli.plot import plot

    drawn = plot(condensed(series.times, series.values, series.step)[1].tolist(), width=min(room(), 100))
    rows = table("direction", "confidence", "an hour", "95 %", "p", "readings", "independent", right=("confidence",))
    interval = f"{found.rate_low:.4g} to {found.rate_high:.4g}"
    rows.add_row(
        found.direction, f"{100 * found.confidence:.1f} %", f"{found.rate_per_hour:.4g}", interval,
        f"{found.p_value:.2g}", str(found.readings), f"{found.independent:.0f}",
    )  # fmt: skip
    changes = [
        f"changed at {_at(one.at)}: {one.before:.5g} before, {one.after:.5g} after" for one in found.change_points
    ]
    return [*drawn, rows, *map(plain, (*notes, *changes, found.sentence))]
