"""process_kill: a signal to processes of the node, SIGKILL unless another is wanted."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import FaultType, OneShotParameters
from raftchaos.model.faults.selection import ProcessSelection, must_select

SIGNALS: Final = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
    "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGURG", "SIGXCPU", "SIGXFSZ",
    "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
)  # fmt: skip
"""Every signal of signal(7) but those that stop a process: what was stopped has to go on again."""
_STOPPING: Final = ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU")


def _signal(text: str) -> str:
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name in _STOPPING:
        raise PydanticCustomError("rule", "a signal that stops no process; the fault process_pause stops and continues")
    if name not in SIGNALS:
        raise PydanticCustomError("rule", "the name of a signal, such as SIGTERM or HUP")
    return name


class ProcessKillParameters(ProcessSelection, OneShotParameters):
    """Sends a signal to processes, once or again and again."""

    signal: Annotated[str, AfterValidator(_signal)] = Field(
        default="SIGKILL", description="The signal's name, with or without SIG; default SIGKILL."
    )
    count: Annotated[int, Field(ge=1, le=limits.RUN_TARGETS)] | None = Field(
        default=None,
        description="How many of the processes are signalled each time, drawn by the task's seed; absent: all.",
    )

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        must_select(self)
        return self


FAULT = FaultType(
    type="process_kill",
    kind="oneShot",
    parameters=ProcessKillParameters,
    summary="processes are sent a signal, once or again and again",
    needs=(),
    protocol=None,
    recovery_seconds=0.5,
    deed="when it was to be signalled",
    example={"name": "checkout*"},
)
