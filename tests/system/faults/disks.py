"""A process that writes to a disk when it is asked to, and tells how long it took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WRITER = """
import mmap, os, sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
block = mmap.mmap(-1, 1 << 20)
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
print("up", flush=True)
for line in sys.stdin:
    began = time.monotonic()
    for index in range(4):
        os.pwrite(fd, block, index << 20)
    print(time.monotonic() - began, flush=True)
"""


class Writer:
    """A process in a control group of its own that writes 4 MiB past the cache when it is asked to."""

    def __init__(self, group: Path, file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(group), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def seconds(self) -> float:
        """How long it takes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
