"""Network namespaces: which one is meant, finding it again, and running nft, tc and ip in it.

Blocking and small, the standard library only: the reaper imports it. A namespace is known by its inode, so that the
undo finds it also when its name or the process that it was found by is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

NAMED: Final = "/run/netns"
"""Where `ip netns` keeps the namespaces that have names."""
TIMEOUT: Final = 1.0
"""Seconds for one command; they take a few milliseconds."""
_CLONE_NEWNET: Final = 0x4000_0000
_NOTHING: Final = ("No such file or directory", "Cannot find device", "No such device")
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Where the tools of the network are looked for, beside the peer's own path."""


class CommandFailed(Exception):
    """A tool of the network did not do what it was asked for; says what it said."""

    def __init__(self, message: str, *, said: str = "") -> None:
        """`said` are all the words of the tool, if it ran."""
        super().__init__(message)
        self._said = said

    @property
    def nothing_there(self) -> bool:
        """What the tool was to work on is not there."""
        return any(text in self._said for text in _NOTHING)


class PlaceGone(Exception):
    """The network namespace is not there any more."""


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace, and a path by which it was found."""

    inode: int
    path: str

    @property
    def own(self) -> bool:
        """It is the namespace of this process."""
        return self.inode == _inode("/proc/self/ns/net")


def own() -> Place:
    """The namespace of this process."""
    return Place(_inode("/proc/self/ns/net"), "/proc/self/ns/net")


def named(name: str) -> Place:
    """A namespace with a name. Raises `PlaceGone`, PermissionError."""
    return _at(f"{NAMED}/{name}")


def of_process(pid: int) -> Place:
    """The namespace that a process is in. Raises `PlaceGone`, PermissionError."""
    return _at(f"/proc/{pid}/ns/net")


def everywhere() -> list[Place]:
    """Every namespace that has a name or a process that this one may look at, once each."""
    found: dict[int, Place] = {}
    for path in _paths():
        with contextlib.suppress(OSError):
            found.setdefault(_inode(path), Place(_inode(path), path))
    return list(found.values())


def run(place: Place, command: Sequence[str], text: str = "", fds: Sequence[int] = ()) -> str:
    """Run a tool in a namespace, with `text` as its input; returns what it wrote. It inherits `fds`.

    Raises `PlaceGone` for a namespace that is not there any more, `CommandFailed` with what the tool said.
    """
    words = [tool(command[0]), *command[1:]]
    return inside(place, lambda: _call(words, text, fds))


def inside(place: Place, function: Callable[[], T]) -> T:
    """What a function returns in a namespace: called in a thread of its own, which moves there and ends. Processes that
    it starts are there, too. Raises `PlaceGone`, `CommandFailed`, and what the function raises."""
    if place.own:
        return function()
    answer: Future[T] = Future()

    def work() -> None:
        try:
            enter(place)
            answer.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            answer.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answer.result()


def enter(place: Place) -> None:
    """Move this thread into a namespace (setns(2)). Raises `PlaceGone` and `CommandFailed`."""
    fd = opened(place)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise CommandFailed(f"{place.path} cannot be entered: {os.strerror(ctypes.get_errno())} (CAP_SYS_ADMIN)")
    finally:
        os.close(fd)


def tool(name: str) -> str:
    """The path of a program. Raises `CommandFailed`."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if found is None:
        raise CommandFailed(f"{name} is not installed")
    return found


def _call(words: list[str], text: str, fds: Sequence[int]) -> str:
    try:
        done = subprocess.run(
            words,
            input=text,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            pass_fds=fds,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed(f"{Path(words[0]).name} does not run: {error}") from None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise CommandFailed(f"{Path(words[0]).name}: {said.splitlines()[0]}", said=said)
    return done.stdout


def opened(place: Place) -> int:
    """A file descriptor of the namespace, by its path or by any other that leads to it."""
    for path in (place.path, *_paths()):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            if path == place.path:
                raise CommandFailed(
                    f"this process may not open {path}: it lacks the capability CAP_SYS_PTRACE"
                ) from None
            continue
        except OSError:
            continue
        if os.fstat(fd).st_ino == place.inode:
            return fd
        os.close(fd)
    raise PlaceGone(f"the network namespace {place.path} is gone")


def _paths() -> Iterator[str]:
    """Every path that leads to a network namespace: mounts (those with names are among them), then processes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split(" ")
            if fields[3].startswith("net:["):
                yield fields[4].replace("\\040", " ")
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield f"/proc/{name}/ns/net"


def _at(path: str) -> Place:
    try:
        return Place(_inode(path), path)
    except (FileNotFoundError, ProcessLookupError):
        raise PlaceGone(f"found no network namespace {path}") from None


def _inode(path: str) -> int:
    return os.stat(path).st_ino
