"""One tree of errors.

Every error that a user can meet is a subclass of `RaftchaosError` and has an entry of data: a stable code, the HTTP
status, the exit code of the command line, a hint that says what to do next, and whether it is *definite*. A definite
error says that the operation certainly did not happen; after any other nobody can tell, and the caller repeats it with
the same request id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """What is the same for every error of one class."""

    code: str
    http_status: int
    exit_code: int
    definite: bool
    hint: str


class RaftchaosError(Exception):
    """Base of all errors with a message for people.

    `message` says what was found and what was expected; `hint` what to do next (the class has a default);
    `details` is data for programs and travels in the problem+json answer.
    """

    spec: ClassVar[ErrorSpec] = ErrorSpec("internal", 500, 1, False, "this is a defect of raftchaos; please report it")

    def __init__(self, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.spec.hint
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return self.message


class InvalidDocument(RaftchaosError):
    """A document that cannot be accepted. `details["problems"]` lists every problem found, as dicts."""

    spec = ErrorSpec("invalid-document", 422, 2, True, "correct the file; `raftchaos validate FILE` checks it again")


class UsageError(RaftchaosError):
    """A request or a command line whose words are wrong."""

    spec = ErrorSpec("usage", 400, 2, True, "see --help")


class TooLarge(UsageError):
    """A request that is larger than any that makes sense."""

    spec = ErrorSpec("too-large", 413, 2, True, "split it, or leave out what is not needed")


class NotFound(RaftchaosError):
    """The named task, node or proxy does not exist."""

    spec = ErrorSpec("not-found", 404, 2, True, "list what exists and correct the name")


class Conflict(RaftchaosError):
    """The request contradicts what is there: a name that is taken, a task id that belongs to another document."""

    spec = ErrorSpec("conflict", 409, 5, True, "use another name, or remove what is there first")


class Refused(RaftchaosError):
    """The cluster understood and declined: limits, halted, drained, live runs."""

    spec = ErrorSpec("refused", 409, 5, True, "the message says which rule declined it")


class Unauthenticated(RaftchaosError):
    """The caller has not said who it is, or by something that is good for nothing (any more)."""

    spec = ErrorSpec(
        "unauthenticated",
        401,
        5,
        True,
        "run the command as the user of the peer on its machine, or `raftchaos login HOST:PORT` with a token from "
        "`raftchaos token create`",
    )


class Forbidden(RaftchaosError):
    """The caller is known and may not do this."""

    spec = ErrorSpec("forbidden", 403, 5, True, "an admin can give a token of another role: `raftchaos token create`")


class TooManyFailures(RaftchaosError):
    """Too many requests from this address have failed to say who makes them."""

    spec = ErrorSpec("too-many-failures", 429, 5, True, "wait a minute, and look at the token that is used")


class Halted(Refused):
    """Nothing starts while the cluster is halted."""

    spec = ErrorSpec("halted", 409, 5, True, "`raftchaos status` shows why; `raftchaos resume` lifts the halt")


class NoQuorum(RaftchaosError):
    """No leader or no majority; the write certainly did not enter the log."""

    spec = ErrorSpec("no-quorum", 503, 3, True, "start the missing peers; reads and `raftchaos halt` work meanwhile")


class OutcomeUnknown(RaftchaosError):
    """The write may or may not be committed: the leader changed or the time ran out."""

    spec = ErrorSpec("outcome-unknown", 503, 3, False, "repeat it with the same request id: it is applied at most once")


class Busy(RaftchaosError):
    """Too many writes are in flight on this peer."""

    spec = ErrorSpec("busy", 503, 3, True, "wait a moment and repeat the request")


class Unreachable(RaftchaosError):
    """No peer answered."""

    spec = ErrorSpec("unreachable", 503, 3, False, "name a live peer with --peer HOST:PORT or RAFTCHAOS_PEER")


class MachineUnusable(RaftchaosError):
    """This machine cannot run the peer: a port is taken, a directory cannot be written."""

    spec = ErrorSpec("machine-unusable", 500, 5, True, "the message names the address or the folder")


class DataCorrupt(MachineUnusable):
    """A file of the data directory does not pass its checks. The peer never starts empty in its place."""

    spec = ErrorSpec(
        "data-corrupt",
        500,
        5,
        True,
        "restore the data directory, or remove the node from the cluster and let it join again with an empty one",
    )


class FaultRefused(Refused):
    """The proxy process did not begin a fault: the lease has ended, the run is over, a parameter is unusable."""

    spec = ErrorSpec("fault-refused", 409, 5, True, "the message says why; nothing was changed")


class ProxyUnavailable(RaftchaosError):
    """The proxy process does not answer; whether it did what it was asked nobody can tell."""

    spec = ErrorSpec("proxy-unavailable", 503, 3, False, "the peer starts it again by itself; repeat the request")


class AnalystUnavailable(RaftchaosError):
    """The analyst process does not answer; it only looks, so nothing has happened."""

    spec = ErrorSpec(
        "analyst-unavailable", 503, 3, True, "the peer starts it again by itself; repeat the request in a few seconds"
    )


class RecoveryFailed(RaftchaosError):
    """A fault could not be taken back."""

    spec = ErrorSpec(
        "recovery-failed", 500, 6, False, "look at the named target; `raftchaos fault recover --all` tries again"
    )


class InjectionFailed(RaftchaosError):
    """A fault could not be put on. What was on of its run is taken back."""

    spec = ErrorSpec("injection-failed", 500, 1, False, "the message names the fault, its target and what went wrong")


def all_errors() -> dict[str, type[RaftchaosError]]:
    """Every error class by its code."""
    found: dict[str, type[RaftchaosError]] = {}
    pending: list[type[RaftchaosError]] = [RaftchaosError]
    while pending:
        cls = pending.pop()
        found[cls.spec.code] = cls
        pending.extend(cls.__subclasses__())
    return found


def error_of_code(
    code: str, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None
) -> RaftchaosError:
    """The error of that code. A code that this release does not know gives a plain `RaftchaosError`."""
    cls = all_errors().get(code)
    if cls is None:
        return RaftchaosError(message, hint=hint or f"its code is {code!r}", details=details)
    return cls(message, hint=hint, details=details)
