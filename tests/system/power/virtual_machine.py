"""A virtual machine of one process: Linux in user mode. Its power can be cut, and its clock can be set.

The kernel runs as a program of this machine, so its Python is nearly as fast as ours. Its root is this machine's, read
only; its disk is a file, mounted at `DISK`. It runs one module of this project, which prints what it has to say to us.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.system.guests import PROJECT, Guest

DISK: Final = Path("/mnt")
"""Where the guest has its disk."""
KERNEL: Final = "linux.uml"
_INIT: Final = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
mkdir /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
ip link set lo up
mount /dev/ubda {disk} && cd {project} && {python} -m {module} {words}
sleep infinity
"""


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


class VirtualMachine(Guest):
    """Linux in user mode, with one disk."""

    def __init__(self, folder: Path, disk: Path, module: str, *words: str, megabytes: int = 1024) -> None:
        """Runs `python -m module words…`."""
        super().__init__(folder)
        self.disk, self.megabytes = disk, megabytes
        self._run = {"module": module, "words": " ".join(words), "python": sys.executable}

    def command(self) -> list[str]:
        init = self.folder / "init"
        init.write_text(_INIT.format(disk=DISK, project=PROJECT, **self._run))
        init.chmod(0o755)
        options = f"""mem={self.megabytes}M root=/dev/root rootfstype=hostfs rootflags=/ ro ubd0={self.disk}
            init={init} con=null con0=fd:0,fd:1 ssl=null quiet"""
        # A starved machine is no subject of these tests.
        return ["nice", "-n", "-10", KERNEL, *options.split()]
