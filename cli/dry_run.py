"""How a preview is shown: which nodes and runs an orchestration would touch now, and whether it would be accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raftchaos.cli.output import plain, table, value_words
from raftchaos.cli.task_view import disarmed_part

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]
ANYBODY = "*"


def preview_parts(preview: Json) -> list[RenderableType]:
    """A preview for people. Nothing was submitted."""
    parts: list[RenderableType] = [
        f"[bold]{plain(preview['name'])}[/] ({plain(preview['mode'])}), nothing is submitted",
        f"targets: {plain(', '.join(preview['targets']))}; {_limits(preview)}",
    ]
    parts += disarmed_part(preview)
    rows = table("step", "faults", "delay", "seconds", "runs on", right=["delay", "seconds"])
    for step in preview["steps"]:
        nodes = ["whichever asks first" if run["node"] == ANYBODY else run["node"] for run in step["runs"]]
        rows.add_row(
            plain(step["name"]),
            plain("; ".join(_fault(fault) for fault in step["faults"])),
            f"{step['delayBeforeSeconds']:g}",
            f"{step['durationSeconds']:g}",
            plain(", ".join(nodes)),
        )
    parts.append(rows)
    for refusal in preview["refusals"]:
        hint = f" ({plain(refusal['hint'])})" if refusal.get("hint") else ""
        parts.append(f"[red]would be refused:[/] {plain(_told(refusal))}{hint}")
    if preview["accepted"]:
        parts.append("[green]would be accepted[/]")
    return parts


def _limits(preview: Json) -> str:
    limits = preview["limits"]
    said = [f"{key} {limits[key]}" for key in ("maxNodes", "maxPercent") if limits[key]]
    at_once = min(limits["atOnce"], preview.get("takers") or limits["atOnce"])
    given = f" ({', '.join(said)})" if said else " (no limit given)"
    return (
        f"at most {at_once} of {limits['activeNodes']} active nodes under faults at once{given}; "
        f"ended within {preview['deadlineSeconds']:g} s in any case"
    )


def _fault(fault: Json) -> str:
    parameters = ", ".join(f"{key}={value_words(value)}" for key, value in fault["parameters"].items())
    return f"{fault['type']} ({parameters})" if parameters else str(fault["type"])


def _told(refusal: Json) -> str:
    return str(refusal.get("message") or refusal.get("error") or refusal.get("code"))
