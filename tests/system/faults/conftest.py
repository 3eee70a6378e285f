"""Fixtures of several files of faults: a disk of its own, and who writes to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftchaos.faults import needs
from tests.system.faults.disks import Writer

MEBI = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path, require: Callable[[bool, str], None]) -> Iterator[Path]:
    """A file system of 200 MiB of its own, on a loop device."""
    require(os.geteuid() == 0, "the permission to mount (run as root)")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(200 * MEBI)
    try:
        made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_output=True, check=False)
    except FileNotFoundError:
        made = subprocess.CompletedProcess([], 1)
    require(made.returncode == 0, "mkfs.ext4 (install the package e2fsprogs)")
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False)
    require(mounted.returncode == 0, f"loop devices: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def writer(small_disk: Path, require: Callable[[bool, str], None]) -> Iterator[tuple[Path, Writer]]:
    """A process that writes to the small disk, and its group."""
    problem = needs.why_not(["ioController"])
    require(not problem, f"the io controller of cgroup v2: {problem}")
    root = Path("/sys/fs/cgroup")
    before = "io" in (root / "cgroup.subtree_control").read_text().split()
    (root / "cgroup.subtree_control").write_text("+io")
    group = root / f"raftchaos-test-{os.getpid()}"
    group.mkdir()
    made = Writer(group, small_disk / "theirs")
    yield group, made
    made.close()
    group.rmdir()
    if not before:
        (root / "cgroup.subtree_control").write_text("-io")
