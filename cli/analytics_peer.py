"""What a peer makes of its recording: its anomalies, insights, health, correlations, and the impact of a task."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.options import ask, client_options

if TYPE_CHECKING:
    from rich.table import Table

HOURS = click.option(
    "--hours", type=click.FloatRange(0.02, 720), default=1.0, show_default=True, help="Look back so far."
)


@click.command("anomalies")
@HOURS
@client_options
def anomalies(hours: float, peers: str, output: str) -> None:
    """Show what is unusual at a peer: incidents that no fault explains first, then the worst first.

    \b
    Example:
      raftchaos analytics anomalies --hours 24 --peer 127.0.0.1:7482
    """
    import time

    found = ask(peers, lambda client: client.anomalies(time.time() - hours * 3600))
    rows = _table("id", "type", "metric", "severity", "expected", "since", "until", "explained by")
    for one in found["anomalies"]:
        expected = "yes" if one["expected"] else "[red]no[/]"
        until = _at(one["closedAt"]) if one["closedAt"] else "open"
        causes = _plain(", ".join(one["explainedBy"]))
        rows.add_row(
            one["id"], one["type"], _where(one), f"{one['severity']:.2f}", expected, _at(one["openedAt"]), until, causes
        )
    _show_or_say(output, found, rows, bool(found["anomalies"]), f"nothing unusual in the last {hours:g} h")


@click.command("insights")
@client_options
def insights(peers: str, output: str) -> None:
    """Show what a peer expects of its metrics, what to do about it, and how right it was before.

    \b
    Example:
      raftchaos analytics insights
    """
    found = ask(peers, lambda client: client.insights())
    rows = _table("metric", "for", "predicted", "95 %", "came", "error", "recommendation")
    for one in found["insights"][:50]:
        came = "" if one["actual"] is None else f"{one['actual']:.4g}"
        error = "" if one["errorRatio"] is None else f"{one['errorRatio']:.2f}"
        span = f"{one['low']:.4g} to {one['high']:.4g}"
        rows.add_row(
            _plain(one["metric"]),
            _at(one["dueAt"]),
            f"{one['predicted']:.4g}",
            span,
            came,
            error,
            _plain(one["recommendation"]),
        )
    _show_or_say(output, found, rows, bool(found["insights"]), "nothing predicted yet: half an hour has to be recorded")


@click.command("health")
@client_options
def health(peers: str, output: str) -> None:
    """Show the health score of what a peer recorded in the last five minutes, and what takes from it.

    \b
    Example:
      raftchaos analytics health
    """
    found = ask(peers, lambda client: client.health())
    score = found["health"]
    rows = _table("component", "measured", "points", "weight", "impact")
    for factor in score["factors"] if score else ():
        cells = (
            f"{factor['value']:.4g}",
            f"{factor['points']:.0f}",
            f"{factor['weight']:.0%}",
            f"{factor['impact']:+.2f}",
        )
        rows.add_row(factor["component"], *cells)
    if score:
        rows.title = f"{found['node']}: {score['score']:.2f} of 100" + (
            f" (unknown: {', '.join(score['unknown'])})" if score["unknown"] else ""
        )
    _show_or_say(output, found, rows, score is not None, "nothing was recorded in the last minutes: nobody can tell")


@click.command("correlations")
@HOURS
@client_options
def correlations(hours: float, peers: str, output: str) -> None:
    """Show which metrics of a peer moved together, and which one moved first.

    \b
    Example:
      raftchaos analytics correlations --hours 6
    """
    import time

    found = ask(peers, lambda client: client.correlations(time.time() - hours * 3600))
    rows = _table("first", "then", "lag", "correlation", "p", "what it says")
    for one in found["correlations"]:
        cells = f"{one['lagSeconds']:g} s", f"{one['coefficient']:+.2f}", f"{one['pValue']:.2g}"
        rows.add_row(_plain(one["first"]), _plain(one["second"]), *cells, _plain(one["interpretation"]))
    _show_or_say(output, found, rows, bool(found["correlations"]), "no metrics that surely move together")


@click.command("impact")
@click.argument("task")
@client_options
def impact(task: str, peers: str, output: str) -> None:
    """Show what a task did to latency and errors, as a peer recorded it.

    \b
    Example:
      raftchaos analytics impact checkout-latency-1
    """
    found = ask(peers, lambda client: client.impact(task))
    rows = _table("metric", "while it was on", "afterwards")
    for one in found["impact"]:
        after = "" if one["lasting"] is None else f"{one['lasting']['value']:+.3g} {one['unit']}"
        rows.add_row(_plain(one["metric"]), _plain(one["sentence"]), after)
    _show_or_say(output, found, rows, bool(found["impact"]), "no requests were recorded before and while it was on")


def _show_or_say(output: str, found: Any, rows: Table, any_row: bool, otherwise: str) -> None:
    from raftchaos.cli.output import show

    show(output, found, rows if any_row else f"{_plain(found['node'])}: {otherwise}")


def _table(*names: str) -> Table:
    from raftchaos.cli.output import table

    return table(*names)


def _plain(text: str) -> str:
    from raftchaos.cli.output import plain

    return plain(text)


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _where(one: dict[str, Any]) -> str:
    return _plain(" → ".join(one["affected"]) if len(one["affected"]) > 2 else one["metric"])
