"""Debian's kernel, unpacked and not installed, and what it needs to find this machine's files: kept in `build/`."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.system.guests import PROJECT

SHARER: Final = "/usr/lib/qemu/virtiofsd"
SYSTEMD: Final = "/lib/systemd/systemd"
_PACKAGES: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    SHARER: "qemu-system-common",
    SYSTEMD: "systemd",
    "busybox": "busybox-static",
    "modprobe": "kmod",
    "cpio": "cpio",
    "apt-get": "apt",
    "mkfs.ext4": "e2fsprogs",
    "ip": "iproute2",
    "nft": "nftables",
}
_META: Final = "linux-image-cloud-amd64"
"""Small, and it has all that the checks need."""
_MODULES: Final = ("virtio_pci", "virtiofs", "overlay")
_APPLETS: Final = ("sh", "mount", "mkdir", "insmod", "switch_root", "cat")
_INIT: Final = """#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for module in $(cat /modules/order); do insmod "/modules/$module"; done
mount -t virtiofs -o ro host /lower
mount -t tmpfs tmpfs /overlay; mkdir /overlay/upper /overlay/work
mount -t overlay -o lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work root /root
for place in dev proc sys; do mount --move "/$place" "/root/$place"; done
exec switch_root /root "$checks"
"""
"""The root is this machine's, and what is written to it is forgotten. `checks` is a word of the kernel's command line:
the program that is process 1."""


class Kernel(NamedTuple):
    """What boots."""

    version: str
    image: Path
    initrd: Path
    modules: Path
    """What is to be at /lib/modules/<version>."""


def missing() -> str:
    """What this machine lacks, and how to get it; empty if nothing."""
    if os.geteuid() != 0:
        return "the rights of root, to share this machine's files with a virtual one"
    if os.uname().machine != "x86_64":
        return "an x86-64 processor, whose kernel the virtual machine runs"
    lacking = sorted({package for program, package in _PACKAGES.items() if shutil.which(program) is None})
    return f"what a virtual machine needs: apt-get install {' '.join(lacking)}" if lacking else ""


def prepared(cache: Path = PROJECT / "build" / "debian") -> Kernel:
    """The kernel, from the cache or from Debian's archive. Raises CalledProcessError."""
    if not (cache / "version").exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        version = _fetch(cache)
        _make_initrd(cache, version)
        (cache / "version").write_text(version)
    version = (cache / "version").read_text()
    tree = cache / "kernel"
    return Kernel(version, tree / f"boot/vmlinuz-{version}", cache / "initrd", tree / f"lib/modules/{version}")


def _fetch(cache: Path) -> str:
    """Download and unpack; the version. A list of packages that is too old is renewed."""
    try:
        package = _download(cache)
    except subprocess.CalledProcessError:
        _run(["apt-get", "update", "-q"])
        package = _download(cache)
    (archive,) = cache.glob("*.deb")
    _run(["dpkg-deb", "-x", str(archive), str(cache / "kernel")])
    archive.unlink()
    version = package.removeprefix("linux-image-")
    _run(["depmod", "-b", str(cache / "kernel"), version])
    return version


def _download(cache: Path) -> str:
    depends = _run(["apt-cache", "depends", _META]).split()
    package = next(word for word in depends if word.startswith("linux-image-6") or word.startswith("linux-image-7"))
    _run(["apt-get", "download", "-q", package], cache)
    return package


def _make_initrd(cache: Path, version: str) -> None:
    """What loads the modules that the files of this machine are reached by, and goes on from there."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("bin", "dev", "proc", "sys", "modules", "lower", "overlay", "root"):
            (tree / name).mkdir()
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, tree / "bin" / "busybox")
        for name in _APPLETS:
            (tree / "bin" / name).symlink_to("busybox")
        order: dict[str, Path] = {}
        for module in _MODULES:
            told = _run(["modprobe", "-d", str(cache / "kernel"), "-S", version, "--show-depends", module])
            files = [Path(line.split()[1]) for line in told.splitlines() if line.startswith("insmod ")]
            order |= {file.name: file for file in files}
        for file in order.values():
            shutil.copy(file, tree / "modules")
        (tree / "modules" / "order").write_text("\n".join(order))
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        packed = subprocess.run(
            ["cpio", "-oH", "newc", "--quiet"], cwd=tree, input=names.encode(), capture_output=True, check=True
        )
        (cache / "initrd").write_bytes(gzip.compress(packed.stdout, 1))


def _run(words: list[str], folder: Path | None = None) -> str:
    """A command's output."""
    return subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
