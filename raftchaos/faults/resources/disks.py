"""The room of a file system, as a user who is not root has it."""

from __future__ import annotations

import os


def free(path: str) -> int:
    """Bytes that are free for everybody. Raises OSError."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def size(path: str) -> int:
    """Bytes of the whole file system. Raises OSError."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


def kind(path: str) -> str:
    """The type of the file system below a path, as the kernel names it; "" if it cannot be told. Raises OSError."""
    number = os.stat(path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split(" ")
            if fields[2] == name:
                return fields[fields.index("-") + 1]
    return ""
