"""The table at the end of the demonstration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from raftchaos.cli.output import plain, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from raftchaos.demo.outcome import Outcome
    from raftchaos.demo.statistics import Summary


def outcome_parts(outcome: Outcome) -> list[RenderableType]:
    """Everything that the demonstration found, for people."""
    return [_load(outcome), _nodes(outcome), _left(outcome), *_words(outcome)]


def _load(outcome: Outcome) -> RenderableType:
    numbers = ["requests/s", "p50", "p95", "errors"]
    rows = table("step", "fault", "when", *numbers, title="What the shop's customers saw", right=numbers)
    for step in outcome.steps:
        for when, summary in (("before", step.before), ("during", step.during), ("after", step.after)):
            first = when == "before"
            rows.add_row(
                plain(step.name) if first else "", plain(step.scenario) if first else "", when, *_cells(summary)
            )
    return rows


def _cells(summary: Summary) -> Iterator[str]:
    yield f"{summary.rate:.1f}"
    for latency in (summary.p50, summary.p95):
        yield "-" if latency is None else f"{latency * 1000:.1f} ms"
    share = summary.error_share
    yield "-" if share is None else f"[{'red' if share > 0 else 'green'}]{share * 100:.1f} %[/]"


def _nodes(outcome: Outcome) -> RenderableType:
    numbers = ["seconds", "requests touched"]
    rows = table("step", "node", "run", *numbers, "why", title="What each node did", right=numbers)
    for step in outcome.steps:
        for node in step.nodes:
            touched = "not counted" if node["touched"] is None else str(node["touched"])
            # when a lost run's fault went off is not known here, only when its peer told
            seconds = f"{'≤ ' if node['status'] == 'interrupted' else ''}{node['activeSeconds']:.1f}"
            rows.add_row(
                plain(step.name), plain(node["node"]), word(node["status"]), seconds, touched, plain(node["reason"])
            )
    return rows


def _left(outcome: Outcome) -> RenderableType:
    numbers = ["faults in proxy", "failed requests", "median"]
    rows = table("proxy of", "clean", *numbers, "note", title="Is a fault left behind?", right=numbers)
    for check in outcome.checks:
        rows.add_row(
            plain(check.node),
            "[green]yes[/]" if check.clean else "[red]NO[/]",
            str(len(check.toxics) + len(check.active)),
            str(check.failed),
            f"{check.typical * 1000:.1f} ms",
            plain(check.error),
        )
    return rows


def _words(outcome: Outcome) -> Iterator[str]:
    failover = outcome.failover
    gap = failover.without_leader_seconds * 1000
    yield (
        f"The cluster was without a leader for {gap:.0f} ms: {plain(failover.killed)} was killed in term "
        f"{failover.term_before}, {plain(failover.leader)} leads in term {failover.term_after}; "
        f"{plain(failover.killed)} was back after {outcome.restarted_seconds:.1f} s."
    )
    if failover.fault_off_seconds is not None:
        yield (
            f"The fault of the killed {plain(failover.killed)} was off {failover.fault_off_seconds * 1000:.0f} ms "
            "after the kill: the peer's other processes put it back."
        )
    clean = all(check.clean for check in outcome.checks)
    yield "[green]No fault left behind.[/]" if clean else "[bold red]A FAULT MAY BE LEFT BEHIND.[/]"
    processes = "[green]no process left[/]" if not outcome.left_processes else "[red]processes were left over[/]"
    yield (
        f"The task {word(outcome.task['status'])}, verdict {word(outcome.task['verdict'])}; {processes}; "
        f"{outcome.seconds:.0f} s in all."
    )
    for problem in outcome.problems():
        yield f"[red]not as promised:[/] {plain(problem)}"
