"""Puts the simulated world in the places where the product reads this machine's clock, sockets and disk.

Everything is undone at the end. Product code has no switch for simulations; what is replaced here are module names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

from raftchaos.consensus import handshake, seams
from raftchaos.faults import reaper, undo_plan
from raftchaos.peer import membership
from tests.simulation.joining import ask_once

ProxyAnswer = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""What the proxy process behind a socket path answers to a request; None if none is there. Raises OSError if silent."""


class _Now:
    """Which machine's clock is read outside of an event loop."""

    boot: Callable[[], float] = staticmethod(lambda: 0.0)


def _boot_now() -> float:
    return _Now.boot()


def use_clock(boot: Callable[[], float]) -> None:
    """The reaper that runs now reads this clock."""
    _Now.boot = staticmethod(boot)


class _Undo:
    """Takes back what is on at the simulated machines of the present world."""

    of_world: Callable[[Mapping[str, Any]], dict[str, int]]


def undo_simulated(step: Mapping[str, Any]) -> dict[str, int]:
    """The undo step of the simulated faults that no proxy bears."""
    return _Undo.of_world(step)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def installed(
    proxy_answer: ProxyAnswer, undo: Callable[[Mapping[str, Any]], dict[str, int]], sync: Callable[[int], None]
) -> Iterator[None]:
    """`undo` carries out the undo step of the simulated faults that no proxy bears; `sync` is told of every fsync."""

    def ask_proxy(one_pass: undo_plan.UndoPass, path: str, request: dict[str, Any]) -> dict[str, Any] | None:
        return proxy_answer(path, request)

    _Undo.of_world = staticmethod(undo)
    seams.use_time(_loop_time)
    try:
        with (
            mock.patch.object(reaper, "boot_clock", _boot_now),
            mock.patch.object(undo_plan.UndoPass, "_ask_proxy", ask_proxy),
            mock.patch.dict(undo_plan._STEPS, {"sim.undo": f"{__name__}:undo_simulated"}),
            mock.patch.object(os, "fsync", sync),
            mock.patch.object(os, "fdatasync", sync),
            mock.patch.object(membership, "_ask_to_join", ask_once),
            mock.patch.object(handshake, "time", types.SimpleNamespace(monotonic=lambda: 0.0)),
        ):
            yield
    finally:
        seams.use_time()
