"""From a selection to the processes that are meant, and never to those that must not be touched."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from raftchaos import limits
from raftchaos.errors import NotFound, Refused
from raftchaos.faults.processes import containers, listening
from raftchaos.faults.processes.proc import Handle, Process, processes
from raftchaos.faults.resources import marks
from raftchaos.files import read_regular
from raftchaos.model.faults.selection import ProcessSelection

_TARGET: Final = 2 * limits.NAME
"""Characters of a target, as the cluster takes it."""


def select(selection: ProcessSelection, own: Collection[int]) -> list[Process]:
    """The processes that fulfil a selection, in the order of their numbers.

    `own` are the processes of the peer; this one, and those that bear a load for a peer, are among them in any case.
    Raises `NotFound` if none is there, `Refused` if one of them must not be touched.
    """
    everybody = list(processes())
    found = list(matching(everybody, selection.name, selection.command_line))
    if selection.pid_file is not None:
        pid = pid_in(selection.pid_file)
        found = [each for each in found if each.pid == pid]
    leader = 0
    if selection.container is not None or selection.container_label is not None:
        inside = containers.processes_in(selection.container, selection.container_label, found)
        found = [each for each in found if each.pid in inside]
        leader = min(inside, default=0)
    if selection.port is not None:
        users = listening.on_port(selection.port, found, of=leader)
        found = [each for each in found if each.pid in users]
    loads = {each.pid for each in found if marks.bears(each.pid)}
    return guarded(found, {*own, *loads, os.getpid()}, selection.text())


def matching(everybody: Iterable[Process], name: str | None, command_line: str | None) -> Iterable[Process]:
    """Those whose name, or program's file name, and whose command line match the patterns; None matches all."""
    for each in everybody:
        program = each.words[0].rpartition("/")[2] if each.words else ""
        if name is not None and not any(fnmatch.fnmatchcase(text, name) for text in (each.name, program)):
            continue
        if command_line is not None and not fnmatch.fnmatchcase(" ".join(each.words), command_line):
            continue
        yield each


def guarded(found: Sequence[Process], own: Collection[int], text: str) -> list[Process]:
    """The same processes without threads of the kernel, which take no signals. Raises as `select` does."""
    meant = [each for each in found if not each.kernel]
    if not meant:
        only = ", only threads of the kernel" if found else ""
        raise NotFound(f"found no process for {text}{only}", hint="`ps -e -o pid,comm,args` lists those of the node")
    peers = [each for each in meant if each.pid in own]
    if peers:
        raise Refused(
            f"{text} matches this peer itself: process {peers[0]}",
            hint="say more exactly which processes are meant; a peer never harms its own",
        )
    if meant[0].pid == 1:
        raise Refused(f"{text} matches process {meant[0]}, the first of this machine", hint="it is never touched")
    if len(meant) > limits.RUN_TARGETS:
        raise Refused(
            f"{text} matches {len(meant)} processes, expected at most {limits.RUN_TARGETS}",
            hint="say more exactly which processes are meant",
        )
    return meant


def permitted(found: Iterable[Process]) -> list[Process]:
    """The processes that are still there. Raises `Refused` if this peer may not signal one of them."""
    there = []
    for each in found:
        with Handle(each.pid, each.start) as handle:
            try:
                if handle.send(0):
                    there.append(each)
            except PermissionError:
                raise Refused(
                    f"this peer may not signal process {each}: it belongs to another user, and the peer lacks the "
                    "capability CAP_KILL",
                    hint="start the peer as root, or with AmbientCapabilities=CAP_KILL in its systemd unit",
                ) from None
    return there


def pid_in(path: str) -> int:
    """The number that a PID file holds. Raises `NotFound` if there is no such file, `Refused` if it holds none."""
    try:
        words = read_regular(Path(path), 64).split()
    except FileNotFoundError:
        raise NotFound(f"found no PID file {path} on this node") from None
    except OSError as error:
        raise Refused(f"the PID file {path} cannot be read: {error.strerror}", hint="start the peer as root") from None
    if not words or not words[0].isdigit():
        raise Refused(f"the PID file {path} does not begin with a number", hint="name the file that its daemon writes")
    return int(words[0])


def target(kind: str, text: str) -> str:
    """`<kind>:<text>`, shortened to what the cluster takes, and different for different texts all the same."""
    name = f"{kind}:{text}"
    if len(name) <= _TARGET:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{name[: _TARGET - len(digest) - 1]}~{digest}"
