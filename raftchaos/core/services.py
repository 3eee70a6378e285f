"""What the HTTP API needs of the peer that it belongs to.

The composition root implements `PeerServices` over the replica, the replicated state, the agent and the proxies; the
API and its tests know nothing else of a peer. All methods are called from the loop's thread. Properties and plain
methods are cheap, do no I/O and never raise; what may wait is `async` and raises subclasses of `RaftchaosError` only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from raftchaos import limits
from raftchaos.core.interfaces import Outcome, ReplicaStatus
from raftchaos.core.service_records import (
    ActiveFault,
    EventId,
    Gap,
    HaltAnswer,
    Health,
    IssuedToken,
    JoinAnswer,
    JoinRequest,
    ProxyRecord,
    SeenFault,
)
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.errors import error_of_code
from raftchaos.model.events import Event
from raftchaos.model.resolved import ResolvedOrchestration


class AccessServices(Protocol):
    """Tokens and certificates, as the API sees them. Writes wait and raise as those of `PeerServices`; without TLS
    (--insecure) they raise Refused."""

    @property
    def certificate(self) -> bytes:
        """What this peer shows to who connects to its API, as DER; empty without TLS."""
        ...

    async def create_token(self, name: str, role: str, seconds: float) -> IssuedToken:
        """Give a caller an API token. Raises Conflict for a name that is taken."""
        ...

    async def create_certificate(self, name: str, role: str, seconds: float, request: str) -> tuple[str, str]:
        """Give a caller a certificate instead of a token: it is listed and revoked as one. `request` is PKCS #10, PEM.

        Returns the certificate with that of its CA, and the CAs to trust, both PEM. Refused on a peer without the CA
        key.
        """
        ...

    async def create_join_token(self, seconds: float, single: bool) -> IssuedToken:
        """Make a token with which peers join: any number of them, or one."""
        ...

    async def revoke_token(self, token: str) -> str:
        """End a token, named by its id or its name; returns the id. Raises NotFound."""
        ...

    async def rotate(self) -> str:
        """Begin to replace the CA; returns the fingerprint of the new one. Refused on a peer without the CA key."""
        ...


class AnalystServices(Protocol):
    """The analyst process of the peer, as the API asks it."""

    async def ask(self, what: str, **fields: Any) -> Any:
        """The answer to a question, as plain data. Raises AnalystUnavailable, and what the analyst refuses."""
        ...


class PeerServices(Protocol):
    """One peer, as its API sees it.

    Every method that writes works on any peer (it is forwarded to the leader), waits at most `limits.WRITE_TIMEOUT`
    seconds unless it says otherwise, and raises

    * the error that a rejected result names (`raise_for_result` does that): NotFound, Conflict, Refused, Halted …;
    * `NoQuorum` if it certainly was not written; its message says how many peers are missing (`no_quorum_message`);
    * `OutcomeUnknown` if nobody can tell, `Busy` if too many writes are in flight here.

    The returned `Outcome` has the index that carried the command; it is applied on this peer.
    """

    # ---- who this is -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of this peer and of its node."""
        ...

    @property
    def cluster(self) -> str:
        """Id of the cluster; empty until this peer is a member of one."""
        ...

    @property
    def insecure(self) -> bool:
        """Whether it was started with --insecure."""
        ...

    @property
    def certificate_end(self) -> float:
        """When its certificate ends, in seconds since 1970; 0 if it has none."""
        ...

    @property
    def access(self) -> AccessServices:
        """Tokens and certificates."""
        ...

    @property
    def analyst(self) -> AnalystServices:
        """Who explains what this peer has recorded."""
        ...

    @property
    def durability(self) -> str:
        """What an answered write survives here: "process" or "disk"."""
        ...

    # ---- reads -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ClusterState:
        """The newest applied state; belongs to `applied_index` when both are read without an await between them."""
        ...

    @property
    def applied_index(self) -> int:
        """Raft index that `state` shows."""
        ...

    def state_hash(self) -> str:
        """Hash of `state` in hexadecimal: equal on all peers at equal index."""
        ...

    def status(self) -> ReplicaStatus:
        """The replica: role, term, leader, quorum, indexes."""
        ...

    def behind(self) -> Mapping[str, int]:
        """How many committed entries each other member is not known to have; empty unless this peer leads."""
        ...

    def health(self) -> Health:
        """Whether it works; for /healthz and /readyz."""
        ...

    def active_faults(self) -> Sequence[ActiveFault]:
        """The faults that are on at this peer now, by run."""
        ...

    async def seen_faults(self) -> Sequence[SeenFault]:
        """What is on at this peer as read back from the world, beside what its undo journal says."""
        ...

    @property
    def unable(self) -> Mapping[str, str]:
        """The fault types that this peer's machine cannot do, and why not."""
        ...

    def local_halts(self) -> Sequence[HaltRecord]:
        """The halts that this peer obeys although the state does not hold them (yet)."""
        ...

    async def read_barrier(self, *, timeout: float = limits.WRITE_TIMEOUT) -> int:
        """Waits until this peer has applied everything that was committed before this call.

        Returns that index. Raises NoQuorum.
        """
        ...

    def backup(self) -> bytes:
        """The state as `core.backup` encodes it: consistent, with a checksum, at most `backup.LARGEST` bytes."""
        ...

    def events(self, after: EventId | None) -> AsyncGenerator[Event | Gap, None]:
        """The events after that place, in order, for ever; from now on if it is None.

        Yields a `Gap` wherever events are missing. Ends when the peer stops. Bounded by itself: a reader that is slow
        gets a gap, it does not make the peer grow. The iterator is closed with `aclose()`.
        """
        ...

    async def metrics_text(self) -> str:
        """All metrics of this peer in the Prometheus text format 0.0.4."""
        ...

    # ---- tasks -------------------------------------------------------------------------------------------------

    async def check(self, task: str, orchestration: ResolvedOrchestration) -> None:
        """Asks every target whether it can do its steps; a task that exists is not looked at again.

        Raises Refused with what each of them lacks, or that it is active and does not answer. Changes nothing; who is
        known to be down is not waited for.
        """
        ...

    async def submit(self, task: str, orchestration: Mapping[str, Any]) -> Outcome:
        """Accepts a `ResolvedOrchestration.to_dict()` as the task of this id.

        The id is the request id for ever: the same id with the same orchestration is answered with the task that
        exists. Raises Conflict if it belongs to another orchestration or has left the history, Halted, Refused.
        """
        ...

    async def cancel_task(self, task: str, reason: str) -> Outcome:
        """Recovers what is active and ends it as cancelled."""
        ...

    async def pause_task(self, task: str) -> Outcome:
        """Recovers what is active and keeps the task for `resume_task`."""
        ...

    async def resume_task(self, task: str) -> Outcome:
        """Takes up a paused task."""
        ...

    # ---- nodes -------------------------------------------------------------------------------------------------

    async def drain_node(self, name: str, drained: bool) -> Outcome:
        """Gives the node no new runs (True), or gives it runs again (False)."""
        ...

    async def remove_node(self, name: str, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> Outcome:
        """Takes the node out of the registry and out of the members, whether it votes or observes.

        Refused while it is not failed and has live runs, and for the last voter. Repeating it is harmless.
        """
        ...

    async def promote_node(self, name: str, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> Outcome:
        """Lets an observer vote. Repeating it is harmless. Raises NotFound, and Refused above `limits.VOTERS`."""
        ...

    async def join(self, request: JoinRequest, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> JoinAnswer:
        """Makes a new peer a member; through the leader, whichever peer is asked.

        The same request again is answered the same. Raises Conflict if another data directory has the name.
        """
        ...

    # ---- halt and resume ---------------------------------------------------------------------------------------

    async def halt(self, reason: str, halt_id: str = "") -> HaltAnswer:
        """Stops everything: reverts the faults of this peer, remembers the halt on disk, tells every peer that it
        reaches, and puts it into the log if there is a quorum.

        Works without a quorum and never raises NoQuorum. `halt_id` is chosen by a caller who may have to repeat the
        request; empty: the peer makes one.
        """
        ...

    async def resume(self, halts: Sequence[str] | None) -> Sequence[str]:
        """Lifts these halts, or all that this peer knows; returns the ids that were lifted.

        Raises NotFound for an id that is not in force.
        """
        ...

    # ---- proxies of this node ----------------------------------------------------------------------------------

    async def proxies(self) -> Sequence[ProxyRecord]:
        """The proxies of this node, by name."""
        ...

    async def add_proxy(
        self, name: str, listen: str, upstream: str, certificate: str = "", key: str = ""
    ) -> ProxyRecord:
        """Starts a proxy and keeps it in the data directory; the answer has the port that a `:0` became.

        With the paths of a certificate and its key on this machine it ends TLS; they are checked.

        The same proxy again is answered the same. Raises Conflict if the name has other values, MachineUnusable if the
        address cannot be listened on, UsageError for addresses that are none.
        """
        ...

    async def remove_proxy(self, name: str) -> None:
        """Stops a proxy and forgets it. Raises NotFound, and Refused while a fault is on in it."""
        ...


def raise_for_result(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the result of an applied command, or raises the error that a rejected one names.

    A rejected result is `{"ok": False, "code": ..., "error": ...}` and may have a `hint`; whatever else it holds
    becomes the details of the error.
    """
    if result.get("ok", False):
        return result
    message = str(result.get("error") or "the cluster declined the command")
    details = {key: value for key, value in result.items() if key not in ("ok", "code", "error", "hint")}
    raise error_of_code(str(result.get("code", "refused")), message, hint=result.get("hint"), details=details)


def no_quorum_message(status: ReplicaStatus) -> str:
    """What a write without a quorum is told: who is missing, in words."""
    quorum = status.quorum
    voters, reachable = len(quorum.voters), len(quorum.reachable)
    if quorum.has_quorum:
        return f"no leader: {reachable} of {voters} voting peers are reachable and an election is under way"
    away = ", ".join(name for name in quorum.voters if name not in quorum.reachable) or "unknown"
    missing = "1 peer is missing" if quorum.missing == 1 else f"{quorum.missing} peers are missing"
    return f"no quorum: {missing} for a majority of {voters}, found {reachable} (not reachable: {away})"
