"""Which processes belong to a container: by its id, which their control group names; the id of a name or a label is
asked of the container runtime with one read."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raftchaos import limits
from raftchaos.errors import NotFound, Refused
from raftchaos.faults.processes import containerd
from raftchaos.faults.processes.proc import Process

ENGINES: Final = ("/run/docker.sock", "/run/podman/podman.sock")
"""Sockets that speak Docker's HTTP API."""
_ID: Final = re.compile(r"[0-9a-f]{12,64}")
_FULL_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Container:
    """A running container, as its runtime tells it."""

    id: str
    names: frozenset[str]
    labels: frozenset[str]
    """As `key=value`."""

    def answers_to(self, name: str | None, label: str | None) -> bool:
        """Whether it has this name, or an id that begins so, and this label (`key=value` or `key`)."""
        named = (
            name is None
            or name in self.names
            or name == self.id
            or (_ID.fullmatch(name) is not None and self.id.startswith(name))
        )
        labelled = label is None or label in self.labels or any(each.startswith(f"{label}=") for each in self.labels)
        return named and labelled


def processes_in(name: str | None, label: str | None, among: Iterable[Process]) -> frozenset[int]:
    """The processes of the containers that are meant. Raises `NotFound` and `Refused`."""
    groups = {each.pid: groups_of(each.pid) for each in among if not each.kernel}
    if label is None and name is not None and _ID.fullmatch(name):
        inside = {pid for pid, paths in groups.items() if any(id_.startswith(name) for id_ in ids_in(paths))}
        if inside:
            return frozenset(inside)
    ids = {each.id for each in _running() if each.answers_to(name, label)}
    said = " and ".join(text for text in (name, label and f"the label {label}") if text)
    if not ids:
        raise NotFound(f"found no running container {said} on this node")
    return frozenset(pid for pid, paths in groups.items() if any(belongs(paths, id_) for id_ in ids))


def groups_of(pid: int) -> str:
    """The control groups of a process, as /proc tells them; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    except OSError:
        return ""


def ids_in(groups: str) -> set[str]:
    """The full container ids that control groups name."""
    return set(_FULL_ID.findall(groups))


def belongs(groups: str, container: str) -> bool:
    """Whether control groups are those of a container: a part of a path is its id, or ends with it (`docker-ID.scope`,
    `cri-containerd-ID.scope`, `system.slice:docker:ID`)."""
    for line in groups.splitlines():
        for part in line.split(":", 2)[-1].split("/"):
            name = part.removesuffix(".scope")
            if name == container or name.endswith((f"-{container}", f":{container}")):
                return True
    return False


def _running() -> list[Container]:
    """The running containers of every runtime of this host. Raises `Refused` if there is none that answers."""
    found: list[Container] = []
    troubles: list[str] = []
    asked = 0
    for place in ENGINES:
        if Path(place).is_socket():
            asked += 1
            try:
                found += engine_list(place)
            except (OSError, ValueError, http.client.HTTPException) as error:
                troubles.append(f"{place}: {error}")
    for place in containerd.SOCKETS:
        if Path(place).is_socket():
            asked += 1
            try:
                found += [_of_containerd(id_, labels) for id_, labels in containerd.containers(place)]
            except (OSError, ValueError) as error:
                troubles.append(f"{place}: {error}")
    if asked == len(troubles):
        what = "; ".join(troubles) or "it has no Docker, Podman or containerd"
        raise Refused(
            f"the containers of this node cannot be listed: {what}",
            hint="start the peer as root, or name at least 12 characters of the container's id",
        )
    return found


def engine_list(place: str) -> list[Container]:
    """The running containers of a Docker or Podman engine. Raises OSError, ValueError and HTTPException."""
    connection = _UnixConnection(place)
    try:
        connection.request("GET", "/containers/json", headers={"Host": "localhost"})
        answer = connection.getresponse()
        body = answer.read(limits.RUNTIME_LIST + 1)
    finally:
        connection.close()
    if answer.status != 200 or len(body) > limits.RUNTIME_LIST:
        raise ValueError(f"it answered {answer.status} with {len(body)} bytes")
    return of_engine(json.loads(body))


def of_engine(listed: Sequence[Any]) -> list[Container]:
    """The containers in an answer of Docker's API. Raises ValueError for one that is none."""
    try:
        return [
            Container(
                str(each["Id"]),
                frozenset(str(name).lstrip("/") for name in each.get("Names") or ()),
                frozenset(f"{key}={value}" for key, value in (each.get("Labels") or {}).items()),
            )
            for each in listed
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it answered something that is no list of containers: {error!r}") from None


def _of_containerd(id_: str, labels: dict[str, str]) -> Container:
    names = {labels[key] for key in containerd.NAME_LABELS if key in labels}
    return Container(id_, frozenset(names), frozenset(f"{key}={value}" for key, value in labels.items()))


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, place: str) -> None:
        super().__init__("localhost", timeout=limits.RUNTIME_ANSWER)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._place)
