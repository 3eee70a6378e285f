"""The small Protocols through which the rooms of one peer meet.

Sibling rooms (api, agent, telemetry, faults, proxy, consensus) never import one another. What one of them needs of
another is named here, and each Protocol has an in-memory twin that passes the same conformance suite as the real part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from raftchaos import limits
from raftchaos.model.resolved import ResolvedStep


class Entry(NamedTuple):
    """One committed command, as the state machine receives it."""

    index: int  # type: ignore[assignment]  # a field here, a method of every tuple
    """Position in the Raft log; grows by at least one from entry to entry (entries of Raft itself are not shown)."""
    term: int
    """Term of the leader that appended it."""
    request_id: str
    """Chosen by the proposer; the same id may arrive twice and must then change nothing."""
    wall_ms: int
    """Milliseconds since 1970-01-01 UTC, read by the leader when it appended the entry. May step backwards."""
    command: bytes
    """`core.commands.encode` of a command."""


class Outcome(NamedTuple):
    """What became of a proposal."""

    index: int  # type: ignore[assignment]  # a field here, a method of every tuple
    """Log index of the entry that carried it."""
    result: dict[str, Any]
    """What `StateMachine.apply` returned on this peer."""


class StateMachine(Protocol):
    """What the replicated log drives. Called from the loop's thread only; deterministic; never raises in `apply`."""

    def apply(self, entry: Entry) -> object:
        """Apply one committed entry; returns the result as a msgpack-able dict."""
        ...

    def snapshot(self) -> bytes:
        """The whole state as bytes, at most `limits.SNAPSHOT`."""
        ...

    def restore(self, data: bytes) -> None:
        """Replace the whole state. Raises ValueError if the bytes are not believable."""
        ...


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who votes and whom of them this peer can reach now."""

    voters: tuple[str, ...]
    """Names of all voting members, sorted."""
    reachable: tuple[str, ...]
    """Voters with a live connection, this peer included if it votes, sorted."""
    has_quorum: bool
    """A majority of the voters is reachable."""
    missing: int
    """How many more voters must be reachable for a majority; 0 if there is one."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One consistent look at the replica."""

    name: str
    role: str
    """`leader`, `follower`, `candidate`, or `observer` for a member that does not vote."""
    term: int
    leader: str | None
    """Name of the leader this peer knows in its term."""
    commit_index: int
    applied_index: int
    last_index: int
    quorum: Quorum
    ready: bool
    """It has caught up with what it saw when it started, and it sees a leader."""
    leader_ready: bool
    """It leads, and an entry of its own term is committed and applied."""
    observers: tuple[str, ...] = ()
    """Names of the members that are sent the log and do not vote, sorted."""


class ReplicatedLog(Protocol):
    """The replicated log as the other rooms see it. All methods are called from the loop's thread."""

    def status(self) -> ReplicaStatus:
        """The present state; cheap."""
        ...

    async def propose(self, request_id: str, command: bytes, *, timeout: float = limits.WRITE_TIMEOUT) -> Outcome:
        """Replicate a command through any peer and wait until it is applied on this one.

        It is forwarded to the leader, and repeated across changes of the leader with the same request id until
        `timeout` seconds have passed. Raises NoQuorum (it certainly did not enter the log), Busy (too many in flight
        here) or OutcomeUnknown.
        """
        ...

    def propose_as_leader(self, request_id: str, command: bytes, term: int) -> bool:
        """Append a command only if this peer leads in exactly `term`; never forwarded nor repeated.

        Returns False if it was not appended.
        """
        ...

    async def read_barrier(self, *, timeout: float) -> int:
        """A linearizable read index; returns once this peer has applied it. Raises NoQuorum."""
        ...

    async def confirm_leadership(self, *, timeout: float) -> int:
        """Leader only: the commit index, after a majority of the voters answered, in this leader's own term, a message
        that was sent after this call. Concurrent callers share a round. Raises NoQuorum.
        """
        ...

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """Send an unreliable application message to a peer (this one included) over the Raft connection.

        Returns False if the peer is not connected. True does not mean that it arrives.
        """
        ...

    def on_message(self, handler: Callable[[str, dict[str, Any]], None]) -> None:
        """Register who takes application messages: called with the sender's name and the message."""
        ...

    def on_applied(self, callback: Callable[[], None]) -> None:
        """Register a callback for after each batch of applied entries and after each restore."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Register a callback for changes of leader, term, connections or quorum."""
        ...

    async def add_voter(self, name: str, raft_address: str, *, timeout: float) -> None:
        """Make a peer, which may be an observer by now, a voting member (leader only, one change at a time).

        Raises Refused above `limits.VOTERS`.
        """
        ...

    async def add_observer(self, name: str, raft_address: str, *, timeout: float) -> None:
        """Make a peer a member that is sent the log and does not vote (leader only, one change at a time)."""
        ...

    async def remove_member(self, name: str, *, timeout: float) -> None:
        """Take a voter or an observer out of the members (leader only; a leader that removes itself hands over)."""
        ...

    def behind(self) -> dict[str, int]:
        """How many committed entries each other member is not known to have; empty unless this peer leads."""
        ...

    def set_address(self, name: str, raft_address: str) -> None:
        """Connect to this peer at `HOST:PORT` from now on."""
        ...

    async def transfer_leadership(self, *, timeout: float) -> bool:
        """Hand leadership to the most advanced reachable voter; False if it did not happen in `timeout` seconds."""
        ...


class Lease(Protocol):
    """This peer's lease, as its keeper knows it (DESIGN: "A lease, exactly")."""

    @property
    def end(self) -> float:
        """When it ends, in seconds of `Clock.boot()`; 0.0 if there never was one. It may have passed."""
        ...

    @property
    def epoch(self) -> int:
        """Its number: grows whenever a new lease begins; one that has ended is never extended. 0 before the first."""
        ...

    def running(self, now: float) -> bool:
        """Whether something may be started at this instant of `Clock.boot()`."""
        ...


NODE_LEASE: Final = "node"
"""The lease that the node has of the cluster: runs of tasks stand under it."""
MAIN_LEASE: Final = "main"
"""The lease that main renews for as long as it runs, whatever the cluster does: what a caller of the toxiproxy API has
set stands under it."""


class HasFileno(Protocol):
    """An open socket, without saying more of it."""

    def fileno(self) -> int:
        """Its file descriptor."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class ProxyControl(Protocol):
    """The proxy process, as main commands it.

    The implementation keeps the wanted table (proxies and faults) and sends it again to a restarted process, each fault
    while the lease runs under which it stands (`NODE_LEASE` or `MAIN_LEASE`). A `run` is the key of one fault on one
    proxy: `<run id>#<index of the fault in its step>@<proxy>`.
    Every method raises `RaftchaosError` with the reason when the process could not do it.
    """

    @property
    def ready(self) -> bool:
        """The process runs, answers, and has the whole wanted table."""
        ...

    @property
    def socket_path(self) -> str:
        """Path of its control socket; undo plans name it, so that the reaper finds the process without main."""
        ...

    def set_lease(self, end: float, lease: str = NODE_LEASE) -> None:
        """Tell the process the end of a lease, without waiting. If the end that it had has passed, every fault under it
        is gone from the wanted table and from the process first."""
        ...

    async def inject(
        self,
        run: str,
        fault: str,
        proxy: str,
        parameters: Mapping[str, Any],
        seed: int,
        lease_end: float,
        lease: str = NODE_LEASE,
    ) -> None:
        """Put a fault on a proxy; returns once it is on. Idempotent. Nothing is on if it raises, or it is told so by
        a later `recover`."""
        ...

    async def recover(self, run: str, *, replaced: bool = False) -> dict[str, int]:
        """Take a fault off, and out of the wanted table; returns what it did. Idempotent; {} for an unknown one. A
        process that is gone bears no fault: that is a success with what was last known. With `replaced` another fault
        has taken its place, and its connections go on."""
        ...

    async def effects(self) -> dict[str, dict[str, int]]:
        """What every fault has done that is on, or was recovered and not yet forgotten, by key. The count `touched`
        tells whether it did anything."""
        ...

    async def active(self) -> dict[str, tuple[str, str]]:
        """What is on now, as the process itself says: type and proxy by key. Raises ProxyUnavailable."""
        ...

    async def forget(self, run: str) -> None:
        """Drop the counters of a recovered fault. Idempotent."""
        ...

    async def add_proxy(
        self, name: str, listen: str, upstream: str, sock: HasFileno, certificate: str = "", key: str = ""
    ) -> None:
        """Relay from this listening socket (it stays open here) to `upstream`, ending TLS with the certificate in these
        files if they are named. Idempotent."""
        ...

    async def remove_proxy(self, name: str) -> None:
        """Stop relaying and close the process's copy of the socket. Idempotent."""
        ...

    async def take_sockets(self) -> dict[str, HasFileno]:
        """The listening sockets of a process that outlived its main, by the name of the proxy; {} if there is none."""
        ...

    def take_cells(self) -> list[bytes]:
        """Cells (`core.cells`) of what the proxies relayed, one for each second that nobody has taken yet, oldest
        first; a bounded number of them is kept. Does not block.
        """
        ...

    async def stats(self) -> dict[str, dict[str, int]]:
        """Counters of the traffic of each proxy by name."""
        ...


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of taking back a run."""

    ok: bool
    """Everything is off and the undo journal says so."""
    effects: tuple[dict[str, int], ...]
    """What each fault of the step did, in the step's order; each has `touched`."""
    error: str = ""
    """Why it is not all off."""


class RunExecutor(Protocol):
    """Injects and takes back runs on this machine (`faults.executor`). Keeps the undo journal."""

    @property
    def ready(self) -> bool:
        """A fault may be injected now: the undo journal is ours, a reaper stands and knows the lease, the proxy
        process answers."""
        ...

    @property
    def clean(self) -> bool:
        """What earlier incarnations left has been undone. Until then nothing is registered or injected."""
        ...

    async def resolve(self, step: ResolvedStep) -> tuple[str, ...]:
        """What a step would touch on this node, as sorted targets such as `proxy:payments`. Raises `NotFound` for a
        target that is not here and `UsageError` for parameters that this release does not take."""
        ...

    async def start(
        self, run: str, step: ResolvedStep, targets: tuple[str, ...], seed: int, permit: Callable[[], float]
    ) -> None:
        """Inject all faults of a step once its undo record is on disk; returns when all are on.

        `permit` is called under the undo journal's lock: it returns the end of the lease or raises `Refused`, which
        means that nothing was done. Any other `RaftchaosError` means that something may be on: call `recover`.
        """
        ...

    async def recover(self, run: str) -> Recovery:
        """Take back everything of a run. Idempotent; never raises for a fault that cannot be taken back."""
        ...

    def uses(self, run: str) -> tuple[tuple[str, str], ...]:
        """What a started run does, as pairs of the type of a fault and its target."""
        ...

    def troubles(self) -> Mapping[str, str]:
        """Runs that have failed amid their time, and why: something went off by itself, or could not be switched."""
        ...

    def happened(self) -> dict[str, bool]:
        """One-shot runs of the undo journal that were done (True), or that may have been (False): their peer ended
        between the act and its record."""
        ...

    def untouched(self, run: str) -> str:
        """In a sentence, what did nothing of a run that was taken back; "" if all of it did something."""
        ...

    def undone(self) -> dict[str, tuple[dict[str, int], ...]]:
        """Runs that the undo journal marks as done, with their effects; also what a reaper marked."""
        ...

    def unfinished(self) -> frozenset[str]:
        """Runs whose undo record is open."""
        ...

    async def forget(self, run: str) -> None:
        """The cluster knows the end of this run: its record and counters are not needed any more."""
        ...
