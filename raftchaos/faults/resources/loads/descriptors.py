"""File descriptors of the host are held."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from typing import Any, Final

from raftchaos.faults.resources.loads import LoadFailed

_SPARE: Final = 32
_PORTION: Final = 2_000
_LOOK: Final = 0.5


def most() -> int:
    """How many descriptors a process of ours can hold."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE


class DescriptorLoad:
    """Holds `count` open files; each is one of those that `fs.file-max` allows the whole machine."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._count = int(parameters["count"])
        self._held: list[int] = []
        self._most = 0

    def start(self) -> None:
        """Open the first of them."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.work()
        if not self._held:
            raise LoadFailed("no file could be opened")

    def work(self) -> float:
        """Some more. When the machine has no more, it waits until somebody gives one back."""
        try:
            for _ in range(min(_PORTION, self._count - len(self._held))):
                self._held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return _LOOK
        finally:
            self._most = max(self._most, len(self._held))
        return 0.0 if len(self._held) < self._count else _LOOK

    def stop(self) -> None:
        """Close them."""
        while self._held:
            os.close(self._held.pop())

    def effect(self) -> dict[str, int]:
        """How many were held."""
        return {"descriptors": self._most, "touched": self._most}
