"""The process that bears one load.

    python -m raftchaos.faults.resources.helper

Its first line on standard input is a JSON object: `load` and `parameters`, `parent` (main's number), `folder` (for its
counts), `cgroup`, `deadline` (seconds of CLOCK_BOOTTIME). Each later line is a later deadline. It ends when the
deadline has passed, when its input ends, and when main does; then it gives back what it holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any, Final

from raftchaos.faults.resources import groups
from raftchaos.faults.resources.counts import Counts, CountsFile
from raftchaos.faults.resources.loads import Load, LoadFailed, make_load
from raftchaos.faults.resources.loads.workers import end_with

_COUNT_EVERY: Final = 0.1
_LINE: Final = 65_536


class Deadline:
    """The end of the lease, as main tells it line by line."""

    def __init__(self, end: float) -> None:
        self._end = end
        self._rest = b""
        self.closed = False
        """Main has nothing more to say."""

    @property
    def passed(self) -> bool:
        """It is over."""
        return self.closed or time.clock_gettime(time.CLOCK_BOOTTIME) > self._end

    def wait(self, seconds: float) -> None:
        """Take what main says within that time."""
        if select.select([0], [], [], seconds)[0]:
            data = os.read(0, _LINE)
            self.closed = not data
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._end = max(self._end, float(line))


def bear(load: Load, counts: CountsFile, deadline: Deadline) -> int:
    """Do the work until the deadline; returns the exit code."""
    try:
        load.start()
        counts.write(Counts(True, "", load.effect()))
        counted = time.monotonic()
        while not deadline.passed:
            deadline.wait(load.work())
            if time.monotonic() - counted >= _COUNT_EVERY:
                counts.write(Counts(True, "", load.effect()))
                counted = time.monotonic()
    except (LoadFailed, OSError) as error:
        counts.write(Counts(False, str(error), load.effect()))
        with contextlib.suppress(OSError):
            load.stop()
        return 1
    with contextlib.suppress(OSError):  # the undo step removes what is left
        load.stop()
    counts.write(Counts(False, "", load.effect()))
    return 0


def prepare(order: dict[str, Any]) -> None:
    """End with main; be nobody who is in the way of others; be the first that the kernel ends if memory is short."""
    end_with(int(order["parent"]))
    if os.sched_getscheduler(0) != os.SCHED_OTHER:  # main may run in real time: its loads must not
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    groups.join(str(order["cgroup"]))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def main() -> int:
    """The process. Returns its exit code."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1)
        if not data:
            return 0
        line += data
    order = json.loads(line)
    prepare(order)
    counts = CountsFile(Path(order["folder"]))
    return bear(make_load(str(order["load"]), order["parameters"]), counts, Deadline(float(order["deadline"])))


if __name__ == "__main__":
    sys.exit(main())
