"""Shows a task while it goes on: bars on a terminal, a line a change elsewhere. Always on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from raftchaos.cli.output import plain, word
from raftchaos.cli.task_view import runs_of

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]
BAR = 24
OTHER_LINES = 4  # of the screen: the task, what is hidden, the command, and one to breathe
FEWEST_LINES = 5


class Display(Protocol):
    """Takes the whole task after every change."""

    def update(self, view: Json) -> None:
        """Shows what is new."""


@contextmanager
def task_display() -> Iterator[Display]:
    """The display that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    bars = Bars()
    with Live(console=Console(stderr=True), get_renderable=bars.render, refresh_per_second=8, transient=True):
        yield bars


def to_stderr(line: str) -> None:
    """Writes a line to stderr."""
    print(line, file=sys.stderr, flush=True)


class Lines:
    """A line for each change of the task or of a run."""

    def __init__(self, say: Callable[[str], None] = to_stderr) -> None:
        self._say = say
        self._known: dict[str, str] = {}

    def update(self, view: Json) -> None:
        """Writes what differs from what was told before."""
        count = view.get("stepCount", len(view.get("steps", [])))
        self._tell("task", view["status"], f"task {view['id']}: {view['status']}")
        for step, run in runs_of(view):
            reason = f" ({run['reason']})" if run["reason"] else ""
            place = f"step {step['index'] + 1}/{count} {step['name']}"
            self._tell(run["id"], run["status"], f"{place}: {run['node']} {run['status']}{reason}")

    def _tell(self, key: str, status: str, line: str) -> None:
        if self._known.get(key) != status:
            self._known[key] = status
            self._say(line)


class Bars:
    """A bar for each run; between the changes it grows by this machine's clock."""

    def __init__(self) -> None:
        self._view: Json | None = None
        self._ahead_ms = 0.0

    def update(self, view: Json) -> None:
        """Takes the task; the next refresh shows it."""
        # how far the peer's wall clock is ahead of ours
        self._ahead_ms = view["nowMs"] - time.time() * 1000 if view.get("nowMs") else self._ahead_ms
        self._view = view

    def render(self) -> RenderableType:
        """What the terminal shows now."""
        from rich.table import Table

        view = self._view
        grid = Table.grid(padding=(0, 1))
        if view is None:
            grid.add_row("waiting for the cluster")
            return grid
        now = time.time() * 1000 + self._ahead_ms
        grid.add_row(f"[bold]{plain(view['id'])}[/]", word(view["status"]), bar(behind(view, now)), "")
        shown, hidden = fitting(list(runs_of(view)), shutil.get_terminal_size().lines - OTHER_LINES)
        if hidden:
            grid.add_row(f"  … {hidden} more runs", "", "", "")
        for step, run in shown:
            name = f"  {step['index'] + 1} {plain(step['name'])}"
            grid.add_row(name, plain(run["node"]), bar(share(run, now)), word(run["status"]))
        return grid


def behind(view: Json, now_ms: float) -> float:
    """How much of a task is behind it, 0 to 1: what its peer said, and what its runs have gained since."""
    told: float = view.get("progress", 0.0)
    then = view.get("nowMs") or now_ms
    steps = view.get("steps", [])
    seconds = sum(step.get("durationSeconds", 0.0) + step.get("delayBeforeSeconds", 0.0) for step in steps)
    if not seconds:
        return told
    everybody = view["mode"] in ("parallel", "sequential")
    for step, run in runs_of(view):
        beside = len(view.get("targets", ())) if everybody else len({one["node"] for one in step["runs"]})
        gained = share(run, now_ms) - share(run, then)
        told += gained * step.get("durationSeconds", 0.0) / seconds / max(beside, 1)
    return min(told, 1.0)


def fitting(runs: list[tuple[Json, Json]], lines: int) -> tuple[list[tuple[Json, Json]], int]:
    """As many runs as fit on so many lines, in order: those that go on, then the latest that ended; and the rest."""
    room = max(lines, FEWEST_LINES)
    if len(runs) <= room:
        return runs, 0
    going = [place for place, (_, run) in enumerate(runs) if not run["endedMs"]]
    ended = [place for place, (_, run) in enumerate(runs) if run["endedMs"]]
    chosen = sorted([*going, *reversed(ended)][:room])
    return [runs[place] for place in chosen], len(runs) - room


def share(run: Json, now_ms: float) -> float:
    """How much of a run is behind it, 0 to 1."""
    if run["endedMs"]:
        return 1.0
    if not run["activeMs"] or run["durationSeconds"] <= 0:
        return 0.0
    behind: float = (now_ms - run["activeMs"]) / 1000 / run["durationSeconds"]
    return min(1.0, max(0.0, behind))


def bar(part: float) -> str:
    """A bar that is full to this part."""
    full = round(BAR * min(1.0, max(0.0, part)))
    return f"[cyan]{'━' * full}[/][dim]{'─' * (BAR - full)}[/] {part * 100:3.0f} %"
