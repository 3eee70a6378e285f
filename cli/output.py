"""How answers are shown: tables for people, JSON and YAML for programs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from raftchaos.errors import ErrorSpec, RaftchaosError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

STYLES = {
    "active": "green",
    "succeeded": "green",
    "done": "green",
    "completed": "green",
    "passed": "green",
    "leader": "bold",
    "running": "cyan",
    "granted": "cyan",
    "recovering": "yellow",
    "degraded": "yellow",
    "interrupted": "yellow",
    "inconclusive": "yellow",
    "paused": "yellow",
    "drained": "yellow",
    "cancelled": "yellow",
    "halted": "red",
    "failed": "red",
    "aborted": "red",
    "recoveryFailed": "bold red",
}

PLAIN_WIDTH = 160  # where no terminal says how wide it is


class OutputClosed(Exception):
    """Whoever read our output has gone; there is nobody to tell anything."""


class OutputFailed(RaftchaosError):
    """stdout does not take what is to be said: the disk is full, or it was closed before the start."""

    spec = ErrorSpec("output-failed", 500, 5, False, "send the output elsewhere; what was asked for has been done")


def emit(text: str) -> None:
    """Writes text to stdout. Raises `OutputClosed` if nobody reads it any more, `OutputFailed` if it takes nothing."""
    if sys.stdout is None:
        raise OutputFailed("stdout is closed, so the answer can be shown nowhere")
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise OutputFailed(f"the answer could not be written to stdout: {error.strerror}") from error


def show(output: str, data: Any, *parts: RenderableType) -> None:
    """Shows `data` as JSON or YAML, or else the parts that say the same to people."""
    if output == "json":
        emit(json.dumps(data, indent=2, default=str, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        emit(yaml.safe_dump(json.loads(json.dumps(data, default=str)), sort_keys=False, allow_unicode=True))
    else:
        render(*parts)


def render(*parts: RenderableType) -> None:
    """Shows tables and lines: with colours on a terminal, as plain text of full width elsewhere."""
    from rich.console import Console

    terminal = sys.stdout is not None and sys.stdout.isatty()
    buffer = io.StringIO()
    console = Console(file=buffer, width=room(), force_terminal=terminal, highlight=False, soft_wrap=not terminal)
    for part in parts:
        console.print(part)
    emit("\n".join(line.rstrip() for line in buffer.getvalue().strip("\n").splitlines()))


def room() -> int:
    """How many letters fit on a line of the output."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else PLAIN_WIDTH


def table(*columns: str, title: str | None = None, right: Sequence[str] = (), firm: Sequence[str] = ()) -> Table:
    """An empty table with these column heads; those named in `right` are of numbers.

    Where the terminal is narrow, columns that are neither of numbers nor `firm` are folded.
    """
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=column in right or column in firm)
    return made


def word(value: Any) -> str:
    """A status word in its colour."""
    text = "-" if value in (None, "") else str(value)
    style = STYLES.get(text)
    return f"[{style}]{plain(text)}[/]" if style else plain(text)


def plain(value: Any) -> str:
    """Text in which square brackets are no markup."""
    from rich.markup import escape

    return escape("-" if value is None or value == "" else str(value))


def value_words(value: Any) -> str:
    """A value of a document as a person writes it: no needless decimals, lists and mappings without their brackets."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list | tuple):
        return ", ".join(value_words(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={value_words(one)}" for key, one in sorted(value.items()))
    return "" if value is None else str(value)


def ago(wall_ms: int | float | None, now_ms: float) -> str:
    """How long ago, roughly: `12 s`, `3 min`, `2 h`, `5 d`."""
    if not wall_ms:
        return "-"
    seconds = max(0.0, (now_ms - wall_ms) / 1000)
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
