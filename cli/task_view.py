"""How a task is shown: its steps, its runs, and what each of them did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from raftchaos.cli.output import plain, room, table, word
from raftchaos.model.tasks import TaskStatus, Verdict, exit_code

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]
WIDE = 130  # letters: on a narrower terminal the counts beside `touched` would fold everything else


def task_exit_code(view: Json) -> int:
    """The exit code of a command that waited for this task."""
    verdict = view.get("verdict")
    return exit_code(TaskStatus(view["status"]), Verdict(verdict) if verdict else None)


def task_parts(view: Json) -> list[RenderableType]:
    """A task for people: one line about it and a table of its runs."""
    head = f"[bold]{plain(view['id'])}[/] ({plain(view['mode'])}): {word(view['status'])}"
    if view.get("verdict"):
        head += f", verdict {word(view['verdict'])}"
    if view.get("reason"):
        head += f" ({plain(view['reason'])})"
    numbers = ["attempt", "seconds", "touched"]
    wide = room() >= WIDE
    columns = [
        "step",
        "fault",
        "node",
        "attempt",
        "status",
        "seconds",
        "touched",
        *(["effect"] if wide else []),
        "reason",
    ]
    rows = table(*columns, right=numbers, firm=["node", "status"])
    for step, run in runs_of(view):
        rows.add_row(
            plain(step["name"]),
            plain(faults_of(step)),
            plain(run["node"]),
            str(run["attempt"]),
            word(run["status"]),
            seconds_active(run),
            str(touched(run)) if run["effects"] else "-",
            *([plain(effect_words(run))] if wide else []),
            plain(run["reason"]),
        )
    parts: list[RenderableType] = [head, *disarmed_part(view), *([rows] if rows.row_count else [])]
    if view.get("shed"):
        parts.append(
            f"[dim]the cluster keeps 4 KiB of an ended task; left out for its size: {', '.join(view['shed'])}[/]"
        )
    return parts


def disarmed_part(view: Json) -> list[RenderableType]:
    """A line that says which safety nets a task, or a preview of one, does without."""
    nets = view.get("disarmed")
    return [f"[yellow]without the safety net {plain(', '.join(nets))}[/]"] if nets else []


def runs_of(view: Json) -> Iterator[tuple[Json, Json]]:
    """Every run of a task with its step, in order."""
    for step in view.get("steps", []):
        for run in step.get("runs", []):
            yield step, run


def faults_of(step: Json) -> str:
    """The types of a step's faults: a finished task keeps only these."""
    types = [fault if isinstance(fault, str) else fault["type"] for fault in step.get("faults", [])]
    return ", ".join(types) or str(step.get("scenario", ""))


def touched(run: Json) -> int:
    """How many requests, connections or pieces of data the faults of a run really changed."""
    return sum(int(effect.get("touched", 0)) for effect in run["effects"])


def effect_words(run: Json) -> str:
    """The other counts of a run: `requests 120, bytes 4096`."""
    totals: dict[str, int] = {}
    for effect in run["effects"]:
        for key, value in effect.items():
            if key != "touched":
                totals[key] = totals.get(key, 0) + int(value)
    return ", ".join(f"{key} {value}" for key, value in totals.items())


def seconds_active(run: Json) -> str:
    """How long the fault was on, as far as the cluster knows."""
    if not run["activeMs"] or not run["endedMs"]:
        return "-"
    return f"{max(0, run['endedMs'] - run['activeMs']) / 1000:.1f}"
