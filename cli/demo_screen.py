"""Shows the demonstration while it plays: a live screen on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from raftchaos.cli.display import Bars, Lines
from raftchaos.cli.output import plain
from raftchaos.demo.statistics import Window, summarize

if TYPE_CHECKING:
    from rich.console import RenderableType

    from raftchaos.demo.demonstration import Screen
    from raftchaos.demo.load import Sample

Json = dict[str, Any]
SAID = 8  # messages that stay on the screen
RECENT = 2.0  # seconds of load that the live line shows


@contextmanager
def demo_screen() -> Iterator[Screen]:
    """The screen that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield PlainScreen()
        return
    from rich.console import Console
    from rich.live import Live

    screen = LiveScreen()
    with Live(console=Console(stderr=True), get_renderable=screen.render, refresh_per_second=8, transient=True):
        yield screen


class PlainScreen:
    """A line for everything that happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines = Lines(self.say)

    def say(self, text: str) -> None:
        """Writes a line."""
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", file=sys.stderr, flush=True)

    def task(self, view: Json) -> None:
        """Writes what changed."""
        self._lines.update(view)

    def sample(self, sample: Sample) -> None:
        """Nothing: the table at the end tells the load."""


class LiveScreen:
    """What was said last, a bar for each run, and how the shop does just now."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said: deque[str] = deque(maxlen=SAID)
        self._bars = Bars()
        self._shown = False
        self._samples: deque[Sample] = deque(maxlen=2_000)

    def say(self, text: str) -> None:
        """Takes a message."""
        self._said.append(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {plain(text)}")

    def task(self, view: Json) -> None:
        """Takes the task."""
        self._shown = True
        self._bars.update(view)

    def sample(self, sample: Sample) -> None:
        """Takes one request."""
        self._samples.append(sample)

    def render(self) -> RenderableType:
        """What the terminal shows now."""
        from rich.console import Group

        parts: list[RenderableType] = list(self._said)
        if self._shown:
            parts += ["", self._bars.render()]
        if self._samples:
            parts += ["", self._load_line()]
        return Group(*parts)

    def _load_line(self) -> str:
        now = time.time()
        # the last half second is left out: its requests may still wait
        recent = summarize(list(self._samples), Window(now - RECENT - 0.5, now - 0.5))
        if recent.p50 is None or recent.p95 is None:
            return "shop: no requests"
        share = recent.error_share or 0.0
        colour = "red" if share > 0.01 else "green"
        return (
            f"shop: {recent.rate:.0f} checkouts/s, p50 {recent.p50 * 1000:.0f} ms, p95 {recent.p95 * 1000:.0f} ms, "
            f"[{colour}]{share * 100:.0f} % errors[/]"
        )
