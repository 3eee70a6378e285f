"""What a load has done so far, in a small file that main and the reaper read, also when its process was killed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_SIZE: Final = 512
"""Bytes of the file, from the first write on: a full disk cannot take them away again."""
_NAME: Final = "counts"


@dataclass(frozen=True, slots=True)
class Counts:
    """One look at a load."""

    on: bool = False
    """It is at work."""
    problem: str = ""
    """Why it is not, in words."""
    effect: Mapping[str, int] = field(default_factory=dict)


class CountsFile:
    """The writer's side. Every write is one call of `pwrite` of the same size."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / _NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, counts: Counts) -> None:
        """Replace what stands there."""
        text = json.dumps({"on": counts.on, "problem": counts.problem[: _SIZE // 2], "effect": dict(counts.effect)})
        with contextlib.suppress(OSError):  # what stood there stays
            os.pwrite(self._fd, text.encode().ljust(_SIZE), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def read(folder: Path) -> Counts:
    """What stands there now; nothing at all if nothing was written."""
    for _ in range(3):  # a look may fall amid a write
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads((folder / _NAME).read_bytes())
            effect = {str(name): int(count) for name, count in found["effect"].items()}
            return Counts(bool(found["on"]), str(found["problem"]), effect)
    return Counts()
