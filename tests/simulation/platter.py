"""What a power cut leaves of a folder: of each file what was synced and perhaps more, of each folder the synced names.

A rename that was not synced has happened or has not; what a file has beyond its synced length is there up to some
sector, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

SECTOR = 512


class Platter:
    """Stands in the place of fsync and fdatasync for all machines of a simulation."""

    def __init__(self) -> None:
        self._synced: dict[int, int] = {}
        """Length of each inode that is safe."""
        self._names: dict[int, dict[str, int]] = {}
        """For each folder (by inode) the inode of each name that is safe."""
        self._held: dict[int, int] = {}
        """Open files of safe names, so that a file which was renamed over can still be read."""

    def sync(self, fd: int) -> None:
        """What this descriptor is open on is safe as it is now."""
        status = os.fstat(fd)
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path.is_dir():
            self._sync_folder(status.st_ino, path)
        else:
            self._synced[status.st_ino] = status.st_size

    def sync_all(self, folder: Path) -> None:
        """Everything under this folder is safe: a machine before its first start."""
        for path in [folder, *sorted(folder.rglob("*"))]:
            fd = os.open(path, os.O_RDONLY)
            try:
                self.sync(fd)
            finally:
                os.close(fd)

    def _sync_folder(self, inode: int, folder: Path) -> None:
        before = self._names.get(inode, {})
        now = {entry.name: entry.inode() for entry in os.scandir(folder) if entry.is_file()}
        for name, file in now.items():
            if file not in self._held:
                self._held[file] = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
        for file in set(before.values()) - set(now.values()):
            with contextlib.suppress(KeyError):
                os.close(self._held.pop(file))
        self._names[inode] = now

    def cut(self, folder: Path, chance: random.Random) -> None:
        """The power of this machine fails: its folder is what the disk has. Nothing may have it open any more."""
        for each in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
            self._cut_folder(each, chance)
        self.sync_all(folder)

    def _cut_folder(self, folder: Path, chance: random.Random) -> None:
        current = {entry.name: entry.inode() for entry in os.scandir(folder) if entry.is_file()}
        safe = self._names.get(folder.stat().st_ino, {})
        chosen = safe if chance.random() < 0.5 else current
        content = {}
        for name, inode in sorted(chosen.items()):
            data = self._read(folder / name, inode)
            content[name] = self._shortened(data, self._synced.get(inode, 0), chance)
        for name in current:
            (folder / name).unlink()
        for name, data in content.items():
            (folder / name).write_bytes(data)

    def _read(self, path: Path, inode: int) -> bytes:
        held = self._held.get(inode)
        if held is None:
            return path.read_bytes()
        return os.pread(held, os.fstat(held).st_size, 0)

    @staticmethod
    def _shortened(data: bytes, synced: int, chance: random.Random) -> bytes:
        if synced >= len(data) or chance.random() < 0.3:
            return data
        if chance.random() < 0.4:
            return data[:synced]
        sectors = range(synced // SECTOR + 1, len(data) // SECTOR + 1)
        return data[: chance.choice(sectors) * SECTOR] if sectors else data[:synced]

    def close(self) -> None:
        """Let go of everything."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()
