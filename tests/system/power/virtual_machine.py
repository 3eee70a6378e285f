"""A virtual machine of one process: Linux in user mode. Its power can be cut, and its clock can be set.

The kernel runs as a program of this machine, so its Python is nearly as fast as ours. Its root is this machine's, read
only; its disk is a file, mounted at `DISK`. It runs one module of this project, which prints what it has to say to us.

SIGKILL is a power cut: what the guest's kernel has not written to the disk was in the guest's memory, and is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

DISK: Final = Path("/mnt")
"""Where the guest has its disk."""
KERNEL: Final = "linux.uml"
_PROJECT: Final = Path(__file__).parents[3]
_MARK: Final = b"--> "
_INIT: Final = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
mkdir /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
ip link set lo up
mount /dev/ubda {disk} && cd {project} && {python} -m {module} {words}
sleep infinity
"""


class Said(NamedTuple):
    """What the guest has said, and when that reached us."""

    at: float
    what: dict[str, Any]


def say(**what: Any) -> None:
    """In the guest: tell this to the outside. Once this returns, no power cut takes it back."""
    os.write(1, _MARK + json.dumps(what).encode() + b"\n")


def missing() -> str:
    """What this machine lacks, and how to get it; empty if nothing."""
    if os.geteuid() != 0:
        return "the rights of root, to give a virtual machine a disk"
    packages = {KERNEL: "user-mode-linux", "mkfs.ext4": "e2fsprogs", "ip": "iproute2"}
    lacking = [package for command, package in packages.items() if shutil.which(command) is None]
    return f"what a virtual machine needs: apt-get install {' '.join(lacking)}" if lacking else ""


def make_disk(path: Path, megabytes: int = 512) -> Path:
    """An empty disk with a file system. Takes no more room than what is written to it."""
    with path.open("xb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, timeout=60)
    return path


class VirtualMachine:
    """One boot, from `with` to its end, which is a power cut."""

    def __init__(self, folder: Path, disk: Path, module: str, *words: str, megabytes: int = 1024) -> None:
        """Runs `python -m module words…`. `folder` gets what the kernel says."""
        self.folder, self.disk, self.megabytes = folder, disk, megabytes
        self._run = {"module": module, "words": " ".join(words), "python": sys.executable}
        self._changed = threading.Condition()
        self._said: list[Said] = []
        self._rest: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        init = self.folder / "init"
        init.write_text(_INIT.format(disk=DISK, project=_PROJECT, **self._run))
        init.chmod(0o755)
        options = f"""mem={self.megabytes}M root=/dev/root rootfstype=hostfs rootflags=/ ro ubd0={self.disk}
            init={init} con=null con0=fd:0,fd:1 ssl=null quiet"""
        with (self.folder / "kernel.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["nice", "-n", "-10", KERNEL, *options.split()],  # a starved machine is no subject of these tests
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

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
        return "\n".join([*said, *self._rest[-100:], (self.folder / "kernel.log").read_text(errors="replace")[-1000:]])

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
