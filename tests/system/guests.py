"""What every virtual machine of the tests has in common: what its guest says reaches us, and its power can be cut.

SIGKILL is a power cut: what the guest's kernel has not written to its disk was in the guest's memory, and is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

PROJECT: Final = Path(__file__).parents[2]
_MARK: Final = b"--> "


class Said(NamedTuple):
    """What the guest has said, and when that reached us."""

    at: float
    what: dict[str, Any]


def say(**what: Any) -> None:
    """In the guest: tell this to the outside. Once this returns, no power cut takes it back."""
    os.write(1, b"\n" + _MARK + json.dumps(what).encode() + b"\n")  # a line of its own


class Guest(ABC):
    """One boot, from `with` to its end, which is a power cut."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets what the kernel says."""
        self.folder = folder
        self._changed = threading.Condition()
        self._said: list[Said] = []
        self._rest: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare `folder`; the words that boot. What the guest says is to be their output."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    @property
    def log(self) -> Path:
        """What the kernel, or the program that runs it, has complained about."""
        return self.folder / "kernel.log"

    def said(self, **wanted: Any) -> list[Said]:
        """All that was said so far and has these fields; `...` stands for any value."""
        return [one for one in list(self._said) if _fits(one.what, wanted)]

    def wait(self, seconds: float, **wanted: Any) -> Said:
        """The first thing said that has these fields."""
        self.until(lambda: bool(self.said(**wanted)), seconds, str(wanted))
        return self.said(**wanted)[0]

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until what was said makes the condition true. Fails the test if that takes too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition() or self._failed(), seconds) or not condition():
                raise AssertionError(f"waited {seconds:g} s for {what}; the guest said:\n{self}")

    def cut(self) -> None:
        """Cut the power."""
        if self._process is None:
            return
        # The kernel and the processes of its programs, all at once: none of these may run on without its kernel.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None
        self._reader.join(10)

    def __str__(self) -> str:
        said = [str(one.what) for one in self._said[-40:]]
        return "\n".join([*said, *self._rest[-100:], self.log.read_text(errors="replace")[-1000:]])

    def _failed(self) -> bool:
        return not self._reader.is_alive() or bool(self.said(failed=...))

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._changed:
                    if line.startswith(_MARK):
                        self._said.append(Said(time.monotonic(), json.loads(line.removeprefix(_MARK))))
                    else:
                        self._rest.append(line.decode(errors="replace").rstrip())
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def _fits(what: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(name in what and value in (..., what[name]) for name, value in wanted.items())
