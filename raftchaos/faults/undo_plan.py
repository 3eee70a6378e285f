"""Carries out undo plans, without the cluster and without main.

A plan is data: each step is idempotent, and its target being gone is a success. Synchronous and small: the reaper, the
start of a peer and `raftchaos fault recover` use it.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import struct
from collections.abc import Callable, Container
from typing import Any, Final

import msgpack

from raftchaos.errors import MachineUnusable
from raftchaos.faults import effects as effects_of
from raftchaos.faults.records import Effects, Step, UndoRecord
from raftchaos.faults.undo import UndoJournal

STEP_TIMEOUT: Final = 0.7
"""A process that does not answer within this is asked again in the next pass, not in this one."""
_ANSWER_MAX: Final = 1024 * 1024
PLUGIN_STEP: Final = "plugin:"
"""An undo step `plugin:<type>` is carried out by the installed package that has the fault of this type."""

_STEPS: Final[dict[str, str]] = {
    "network.queue": "raftchaos.faults.network.undo:remove_queue",
    "network.table": "raftchaos.faults.network.undo:delete_table",
    "plugins.recover": "raftchaos.faults.plugins.executables:recover",
    "processes.resume": "raftchaos.faults.processes.undo:resume",
    "resources.end": "raftchaos.faults.resources.undo:end",
    "resources.restore_files": "raftchaos.faults.resources.undo:restore_files",
    "resources.restore_io": "raftchaos.faults.resources.undo:restore_io",
}
"""Where each undo step of the other faults is carried out, as `module:function`: it takes the step, returns what was
done, and raises `StepFailed` if it is to be tried again. Loaded when the first such step is met."""


_ORDER: Final = ("proxy.", "processes.", "network.", "resources.restore", "resources.end")
"""The kinds of undo steps as a pass takes them: what others wait for first, and last what others wrote and may hang."""


class StepFailed(Exception):
    """A step did not work; it is tried again."""


class UndoPass:
    """One pass over open records. Keeps a connection to each proxy process, and gives up on a silent one at once, so
    that many records of a hung process take no longer than one."""

    def __init__(self) -> None:
        self._proxies: dict[str, socket.socket | None] = {}
        self._silent: dict[str, str] = {}

    def __enter__(self) -> UndoPass:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._proxies.values():
            if connection is not None:
                connection.close()

    def undo(self, record: UndoRecord) -> tuple[Effects, str]:
        """Carry out the plan of a record, last step first, those of plug-ins after the others. Returns what each fault
        did, and why it is not all undone ("" if it is). Every step is tried, whatever became of the others."""
        totals: dict[int, dict[str, int]] = {}
        failures: list[str] = []
        backwards = record.plan[::-1]
        for step in sorted(backwards, key=lambda step: _place(step) == len(_ORDER)):
            total = totals.setdefault(int(step.get("fault", 0)), {"touched": 0})
            try:
                effects_of.add(total, self._action(str(step.get("do")))(step))
            except StepFailed as error:
                failures.append(str(error))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one step, the others are to be undone
                failures.append(f"the undo step {step.get('do')} failed: {type(error).__name__}: {error}")
        effects = tuple(totals.get(index, {"touched": 0}) for index in range(max(totals, default=-1) + 1))
        return effects, "; ".join(dict.fromkeys(failures))

    def _action(self, name: str) -> Callable[[Step], dict[str, int]]:
        if name == "proxy.recover":
            return self.recover_on_proxy
        if name.startswith(PLUGIN_STEP):
            from raftchaos.faults.plugins.packages import undo_of

            return undo_of(name.removeprefix(PLUGIN_STEP))
        place = _STEPS.get(name)
        if place is None:
            raise StepFailed(f"this release knows no undo step {name!r}")
        module, _, function = place.partition(":")
        action: Callable[[Step], dict[str, int]] = getattr(importlib.import_module(module), function)
        return action

    def recover_on_proxy(self, step: Step) -> dict[str, int]:
        """Take a fault off a proxy. A process that is gone has none."""
        path, key = str(step["socket"]), str(step["key"])
        if path in self._silent:
            raise StepFailed(self._silent[path])
        try:
            answer = self._ask_proxy(path, {"id": 1, "do": "recover", "run": key})
        except (OSError, ValueError, EOFError, msgpack.exceptions.UnpackException) as error:
            self._silent[path] = f"the proxy process behind {path} does not answer: {error or type(error).__name__}"
            raise StepFailed(self._silent[path]) from error
        if answer is None:
            return {}
        if not answer.get("ok"):
            raise StepFailed(f"the proxy process could not recover {key}: {answer.get('error')}")
        return {str(name): int(count) for name, count in dict(answer.get("effect") or {}).items()}

    def _ask_proxy(self, path: str, request: dict[str, Any]) -> dict[str, Any] | None:
        for attempt in (1, 2):
            if path not in self._proxies:
                self._proxies[path] = _connect(path)
            connection = self._proxies[path]
            if connection is None:
                return None
            try:
                return _exchange(connection, request)
            except (EOFError, ConnectionError):
                connection.close()
                del self._proxies[path]  # it may just have died: then the next connect says so
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")


class Undoer:
    """Undoes open records and marks them as done, again and again until all are."""

    def __init__(self, journal: UndoJournal, by: str) -> None:
        self._journal = journal
        self._by = by
        self._unmarked: dict[str, Effects] = {}

    def undo_open(self, only: Container[str] | None = None) -> dict[str, str]:
        """One pass over the open records, or those of the runs in `only` (needs the journal's lock), in the order of
        their kinds of steps: nothing waits for a plug-in that hangs.

        Returns why each that is still open is. Nobody undoes a record that is marked done.
        """
        left: dict[str, str] = {}
        with UndoPass() as one_pass:
            for record in sorted(self._journal.open_records(), key=_last_place):
                if only is not None and record.run not in only:
                    continue
                problem = self._undo(one_pass, record)
                if problem:
                    left[record.run] = problem
        return left

    def _undo(self, one_pass: UndoPass, record: UndoRecord) -> str:
        effects = self._unmarked.get(record.run)
        if effects is None:
            effects, problem = one_pass.undo(record)
            if problem:
                return problem
        try:
            self._journal.mark_done(record.run, effects, self._by)
        except MachineUnusable as error:  # a full disk: the world is as it should be, only the mark is missing
            self._unmarked[record.run] = effects
            return str(error)
        self._unmarked.pop(record.run, None)
        return ""


def _place(step: Step) -> int:
    name = str(step.get("do"))
    return next((place for place, kind in enumerate(_ORDER) if name.startswith(kind)), len(_ORDER))


def _last_place(record: UndoRecord) -> int:
    return max(map(_place, record.plan), default=0)


def _connect(path: str) -> socket.socket | None:
    """A connection to a control socket; None if nobody listens there."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connection.settimeout(STEP_TIMEOUT)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        stack.pop_all()
        return connection


def _exchange(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    payload = msgpack.packb(request)
    connection.sendall(struct.pack(">I", len(payload)) + payload)
    (length,) = struct.unpack(">I", _read(connection, 4))
    if length > _ANSWER_MAX:
        raise ValueError(f"it announced an answer of {length} bytes")
    answer = msgpack.unpackb(_read(connection, length))
    if not isinstance(answer, dict):
        raise ValueError("it answered something that is no map")
    return answer


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("it closed the connection")
        data += part
    return data
