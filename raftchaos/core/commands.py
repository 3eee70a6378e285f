"""The language of the cluster: every change of the replicated state is one of these commands.

A command is data. Whoever proposes it evaluates everything that could differ between peers (clocks, templates, cron,
schemas); `apply` only compares and copies. On the wire and in the Raft log a command is msgpack
`[version, kind, fields]`, and `[version, kind, fields, caller]` if somebody asked for it.

What a kind means and which fields it has never changes once a release has gone out: another field or another meaning is
another kind, with the release that brought it as `since`. What a peer says before anybody knows its release
(`RegisterNode`, `AdmitNode`), and `Halt`, stay as they are for ever.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgpack

from raftchaos.core.callers import Caller, UnknownRole
from raftchaos.errors import RaftchaosError, UsageError

VERSION = 1
"""What this release reads and writes."""
FIRST = "0.1.0"
"""The first release: every other one knows its commands."""


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands."""

    kind: ClassVar[str] = ""
    since: ClassVar[str] = FIRST
    """The release that brought this kind: it is proposed once all nodes run that one or a later one."""


@dataclass(frozen=True, slots=True)
class LeaderStarted(Command):
    """A leader's first command: announces its term. Commands with a `term` below it are refused from then on."""

    kind: ClassVar[str] = "leaderStarted"
    term: int
    leader: str


@dataclass(frozen=True, slots=True)
class AdmitNode(Command):
    """A new peer is about to become a member: its name belongs to this data directory and this key from now on."""

    kind: ClassVar[str] = "admitNode"
    name: str
    directory: str
    raft_address: str
    api_address: str
    key: str = ""
    """SHA-256 of the public key of its certificate request; empty if it asks for no certificate."""


@dataclass(frozen=True, slots=True)
class RegisterNode(Command):
    """A peer started: this is its new incarnation. It has undone what an earlier one left."""

    kind: ClassVar[str] = "registerNode"
    name: str
    incarnation: int
    directory: str
    raft_address: str
    api_address: str
    labels: dict[str, str] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)
    proxies: list[str] = field(default_factory=list)
    version: str = ""


@dataclass(frozen=True, slots=True)
class UpdateProxies(Command):
    """The names of a node's proxies have changed."""

    kind: ClassVar[str] = "updateProxies"
    name: str
    incarnation: int
    proxies: list[str]


@dataclass(frozen=True, slots=True)
class NodeFailed(Command):
    """The leader has not been able to answer this incarnation for longer than its lease and its time to revert."""

    kind: ClassVar[str] = "nodeFailed"
    term: int
    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class NodeActive(Command):
    """A failed incarnation answers again and has applied its own NodeFailed."""

    kind: ClassVar[str] = "nodeActive"
    term: int
    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class NodeDegraded(Command):
    """A node answers but is not well (`reasons`), or is well again (no reasons)."""

    kind: ClassVar[str] = "nodeDegraded"
    term: int
    name: str
    incarnation: int
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class DrainNode(Command):
    """Gives a node no new runs (`drained`), or gives it runs again."""

    kind: ClassVar[str] = "drainNode"
    name: str
    drained: bool


@dataclass(frozen=True, slots=True)
class RemoveNode(Command):
    """Takes a node out of the registry. Refused while it is not failed and has live runs."""

    kind: ClassVar[str] = "removeNode"
    name: str


@dataclass(frozen=True, slots=True)
class SubmitTask(Command):
    """Accepts an orchestration as a task. `id` is chosen by the submitter and is its request id for ever."""

    kind: ClassVar[str] = "submitTask"
    id: str
    orchestration: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CancelTask(Command):
    """Recovers what is active and ends the task as cancelled."""

    kind: ClassVar[str] = "cancelTask"
    id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PauseTask(Command):
    """Recovers what is active; `ResumeTask` plans new attempts for the time that is left."""

    kind: ClassVar[str] = "pauseTask"
    id: str


@dataclass(frozen=True, slots=True)
class ResumeTask(Command):
    """Takes up a paused task."""

    kind: ClassVar[str] = "resumeTask"
    id: str


@dataclass(frozen=True, slots=True)
class PlanRuns(Command):
    """The planner's next runs of a task: pairs of a run id and its duration in seconds."""

    kind: ClassVar[str] = "planRuns"
    term: int
    task: str
    runs: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class SkipRun(Command):
    """A planned run that will not take place."""

    kind: ClassVar[str] = "skipRun"
    term: int
    run: str
    reason: str


@dataclass(frozen=True, slots=True)
class WindDownTask(Command):
    """The planner ends a task: `final` is what it becomes once everything is recovered."""

    kind: ClassVar[str] = "windDownTask"
    term: int
    id: str
    final: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FinishTask(Command):
    """Every run of the task has ended: gives it its final status and its verdict."""

    kind: ClassVar[str] = "finishTask"
    term: int
    id: str


@dataclass(frozen=True, slots=True)
class StartRun(Command):
    """A node asks to be granted a run, with the targets that it resolved. The answer is `granted` or a refusal."""

    kind: ClassVar[str] = "startRun"
    run: str
    node: str
    incarnation: int
    directory: str
    targets: list[str]


@dataclass(frozen=True, slots=True)
class RunActive(Command):
    """The fault of a granted run is on."""

    kind: ClassVar[str] = "runActive"
    run: str
    node: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class RunFinished(Command):
    """A run has ended and its fault is off (but for `recoveryFailed`). Sent after the recovery."""

    kind: ClassVar[str] = "runFinished"
    run: str
    node: str
    incarnation: int
    status: str
    reason: str = ""
    effects: list[dict[str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Halt(Command):
    """Stops everything until it is lifted. `id` is remembered, so that a late copy halts nothing again."""

    kind: ClassVar[str] = "halt"
    id: str
    reason: str
    origin: str


@dataclass(frozen=True, slots=True)
class Resume(Command):
    """Lifts the named halts; halts that it does not name stay."""

    kind: ClassVar[str] = "resume"
    halts: list[str]


@dataclass(frozen=True, slots=True)
class CreateToken(Command):
    """Gives a caller an API token for so many seconds. `digest` is the SHA-256 of its secret."""

    kind: ClassVar[str] = "createToken"
    id: str
    name: str
    role: str
    digest: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class CreateJoinToken(Command):
    """Lets peers join with a token for so many seconds: any number of them, or one (`single`). `key` is its public
    key."""

    kind: ClassVar[str] = "createJoinToken"
    id: str
    key: bytes
    seconds: float
    single: bool


@dataclass(frozen=True, slots=True)
class RevokeToken(Command):
    """Ends a token, which is named by its id or its name."""

    kind: ClassVar[str] = "revokeToken"
    id: str


@dataclass(frozen=True, slots=True)
class SpendJoinToken(Command):
    """A peer has proved that it has this join token; the answer says whether it is good for it."""

    kind: ClassVar[str] = "spendJoinToken"
    id: str
    name: str
    directory: str


@dataclass(frozen=True, slots=True)
class TrustAuthority(Command):
    """Trust one more CA, or from now on this one alone (`only`)."""

    kind: ClassVar[str] = "trustAuthority"
    fingerprint: str
    certificate: str
    only: bool = False


@dataclass(frozen=True, slots=True)
class SignWith(Command):
    """Have this trusted CA sign from now on."""

    kind: ClassVar[str] = "signWith"
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DropAuthority(Command):
    """Trust this CA no longer."""

    kind: ClassVar[str] = "dropAuthority"
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ReportIdentity(Command):
    """A node tells which CAs it trusts (a voter: and has the keys of), and which has signed its certificate."""

    kind: ClassVar[str] = "reportIdentity"
    name: str
    incarnation: int
    trusts: list[str]
    issuer: str


KINDS: dict[str, type[Command]] = {cls.kind: cls for cls in Command.__subclasses__()}


class UnknownCommand(RaftchaosError):
    """A command of a newer version: a peer that does not know it must not go on, or it would diverge."""


def encode(command: Command, caller: Caller | None = None) -> bytes:
    """The bytes of a command, the same for equal commands on every peer. `caller` is who asked for it."""
    fields = {item.name: getattr(command, item.name) for item in dataclasses.fields(command)}
    by = [] if caller is None else [caller.to_list()]
    packed: bytes = msgpack.packb([VERSION, command.kind, fields, *by])
    return packed


def kind_of(data: bytes) -> type[Command]:
    """The class of an encoded command, without decoding its fields. Raises KeyError for a kind that is not known."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.read_array_header()
    unpacker.skip()
    return KINDS[unpacker.unpack()]


def decode(data: bytes) -> Command:
    """The command in `data`. Raises as `read`."""
    return read(data)[0]


def read(data: bytes) -> tuple[Command, Caller | None]:
    """The command in `data`, and who asked for it. Raises `UnknownCommand` for a kind, a version, a field or a role of
    another release, `UsageError` for anything that is not a command."""
    try:
        version, kind, fields, *more = msgpack.unpackb(data, strict_map_key=False)
        known = KINDS.get(kind)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise UsageError(f"found {len(data)} bytes that are no command ({error})") from None
    if version != VERSION or isinstance(version, bool) or known is None:
        raise _unknown(f"the command {kind!r} of version {version}, this release knows version {VERSION}")
    try:
        if len(more) > 1:
            raise ValueError(f"it has {3 + len(more)} parts")
        return known(**fields), Caller.from_list(more[0]) if more else None
    except UnknownRole as error:
        raise _unknown(f"the command {kind!r}, {error}") from None
    except (TypeError, ValueError) as error:
        strange = set(fields) - {item.name for item in dataclasses.fields(known)} if isinstance(fields, dict) else ()
        if strange:
            shown = ", ".join(sorted(map(str, strange)))
            raise _unknown(f"the command {kind!r} with fields that this release does not know: {shown}") from None
        raise UsageError(f"found wrong fields for the command {kind!r}: {error}") from None


def _unknown(what: str) -> UnknownCommand:
    return UnknownCommand(f"found {what}", hint="upgrade this peer to the release of the others")
