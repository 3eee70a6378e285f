"""What every fault is: inject and recover for one target. Loops, leases, pulses and retries live elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from raftchaos.core.interfaces import ProxyControl
from raftchaos.core.meter import Meter, NullMeter
from raftchaos.errors import UsageError
from raftchaos.faults import needs
from raftchaos.faults.records import Step
from raftchaos.model.faults.base import FaultType, Parameters

P = TypeVar("P", bound=Parameters)

Lost = Mapping[tuple[str, str], str]
"""Uses that are off although nobody took them back, by key and target, and why."""


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What a fault may know of the node when it resolves its targets."""

    name: str
    proxies: tuple[str, ...]
    """Names of the node's proxies, sorted."""
    disarmed: tuple[str, ...] = ()
    """Names of the safety nets that the experiment does without, as `model.safety` has them."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a fault may use of the peer and the machine that it runs on."""

    proxy: ProxyControl
    data_dir: Path
    """The peer's own folder; a fault may keep small files in `data_dir/faults`."""
    plugins: Path | None = None
    """Folder of the executables that the operator of this peer allows as faults; None if there is none."""
    own_pids: Callable[[], frozenset[int]] = frozenset
    """The peer's own processes as they are now: main, proxy, reaper, and whatever else it needs."""
    cluster_addresses: Callable[[], tuple[str, ...]] = tuple
    """HOST:PORT of the Raft and the API address of every node as the state knows them now. A fault that would cut this
    peer off from one of them is refused unless the experiment disarms that net."""
    meter: Meter = field(default_factory=NullMeter)
    inherited: list[int] = field(default_factory=list)
    """File descriptors that a short-lived process of an injection inherits: while it lives, the undo journal's lock is
    held, also when main was killed amid the injection, so that nothing is undone before it is done."""


class Fault(Protocol):
    """One type of fault. `key` names one use of it: one fault of one run on one target."""

    @property
    def type(self) -> str:
        """Its name in documents."""
        ...

    @property
    def kind(self) -> str:
        """`continuous` (has an undo, lives on a lease) or `oneShot` (neither)."""
        ...

    @property
    def recovery_seconds(self) -> float:
        """How long `recover` takes at most; with `limits.LATENESS` it fits into `limits.REVERT`."""
        ...

    @property
    def pulses_itself(self) -> bool:
        """Whether `inject` takes the parameter `pulse` and does it; else the executor switches the fault."""
        ...

    @property
    def holds_deadline(self) -> bool:
        """Whether something outside of main (the kernel, a child process) knows the end of the lease and is told of
        later ones by `renew`."""
        ...

    def why_not(self) -> str:
        """Why this machine cannot do it, in words and with what to do about it; "" if it can. Probed, not guessed; may
        block for some tenths of a second, and is asked once at the start of a peer."""
        ...

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The targets on this node, sorted, as `<what>:<name>`. Called in a thread, and may block for some tenths of a
        second: it changes nothing, here or elsewhere. Nothing has changed before: raises `NotFound` for one
        that is not here, `UsageError` for parameters that it does not take, `Refused` for what must not be done."""
        ...

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """What undoes it, as idempotent steps that `faults.undo_plan` knows, in the order of the injection. A one-shot
        fault has none. A step that has a field `parameters` is given those of its use there."""
        ...

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Do it to one target; returns once it is on. Raises `RaftchaosError` if it cannot; it may be on then. A pulse
        injects the same key again after each `recover`."""
        ...

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Take it back from one target; returns what it did since the last `inject` of the key, `touched` among it.
        Idempotent; raises `RaftchaosError` if it is still on. A target that is gone is a success. Of a one-shot fault
        it only returns what was done."""
        ...

    async def forget(self, key: str, target: str) -> None:
        """Nobody will ask for its effect any more."""
        ...

    async def renew(self, lease_end: float) -> None:
        """The lease ends later now: tell whatever holds the deadline, for everything of this type that is on. Called
        under the undo journal's lock, every half second, while something is on; be quick."""
        ...

    async def lost(self) -> Lost:
        """What has gone off amid its run, as far as that is known without much ado: asked every half second, while
        something is on. Its run fails with these words; it is not put on again, for whoever ended it may have meant it.
        """
        ...

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """What it has done so far, while it is on."""
        ...

    async def observe(self) -> list[tuple[str, str]] | None:
        """What of this type is on now, as read back from the kernel, the processes or the proxy, not from memory: pairs
        of key and target, exactly as they were injected. What cannot be told to be of a run of ours has any text that
        names it for its key. None if it cannot be read back at all."""
        ...


class CatalogueFault(Generic[P]):
    """What a fault gets from its entry of the catalogue. Subclasses add resolve, undo_steps, inject and recover."""

    pulses_itself = False
    holds_deadline = False

    def __init__(self, catalogue: FaultType, parameters: type[P], host: Host) -> None:
        """`parameters` is the entry's class of parameters again, so that `read` has its type."""
        self._catalogue = catalogue
        self._parameters = parameters
        self._host = host

    @property
    def type(self) -> str:
        """Its name in documents."""
        return self._catalogue.type

    @property
    def kind(self) -> str:
        """`continuous` or `oneShot`, as its entry says."""
        return self._catalogue.kind

    @property
    def recovery_seconds(self) -> float:
        """How long a recovery takes at most."""
        return self._catalogue.recovery_seconds

    def why_not(self) -> str:
        """What this machine lacks of the entry's needs; "" if nothing."""
        return needs.why_not(self._catalogue.needs)

    def read(self, parameters: Mapping[str, Any]) -> P:
        """The parameters, checked as this release knows them. Raises `UsageError`."""
        try:
            return self._parameters.model_validate(dict(parameters))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "its parameters"
            raise UsageError(
                f"the fault {self.type} does not take what {where} holds here: {problem['msg']}",
                hint="this node may run another release than the one that took the task",
            ) from None

    async def forget(self, key: str, target: str) -> None:
        """Nothing is kept, unless a subclass says so."""

    async def renew(self, lease_end: float) -> None:
        """Nothing outside of main holds a deadline, unless a subclass says so."""

    async def lost(self) -> Lost:
        """Nothing is noticed, unless a subclass says so."""
        return {}

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """Nothing is known before the recovery, unless a subclass says so."""
        return {}

    async def observe(self) -> list[tuple[str, str]] | None:
        """Nothing can be read back, unless a subclass says so."""
        return None
