"""Plays the sockets for an engine, on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raftchaos.model.faults import FAULTS as CATALOGUE
from raftchaos.proxy.commands import (
    DOWNSTREAM,
    UPSTREAM,
    Close,
    Command,
    Connect,
    Pause,
    Reset,
    Resume,
    Send,
    Shutdown,
    Wake,
)
from raftchaos.proxy.delayline import Budget
from raftchaos.proxy.engine import Engine
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.stats import Stats
from raftchaos.proxy.toxic import Fault


def complete(kind: str, given: Mapping[str, object]) -> dict[str, object]:
    """All parameters of a fault: the fewest that its entry of the catalogue names, and these of a document."""
    fewest = {name: value for name, value in CATALOGUE[kind].example.items() if name != "probability"}
    model = CATALOGUE[kind].parameters
    return model.model_validate(model.merged(fewest, given)).complete()


def fault(kind: str, seed: int = 1, **parameters: object) -> Fault:
    """A fault with the fewest parameters, and these."""
    return FAULTS[kind](complete(kind, parameters), seed)


@dataclass
class Driver:
    """One connection. `sent[UPSTREAM]` is what the service received, `sent[DOWNSTREAM]` what the client did."""

    faults: Sequence[Fault] = ()
    now: float = 1000.0
    stats: Stats = field(default_factory=Stats)
    sent: list[bytes] = field(default_factory=lambda: [b"", b""])
    times: list[tuple[float, int, bytes]] = field(default_factory=list)
    shut: list[bool] = field(default_factory=lambda: [False, False])
    paused: list[bool] = field(default_factory=lambda: [False, False])
    over: type[Command] | None = None
    wake_at: float | None = None
    address: str = "192.0.2.1"

    def __post_init__(self) -> None:
        self.budget = Budget()
        self.engine = Engine(self.stats, self.budget)
        self.run(self.engine.open(self.faults, self.now, self.address))

    def run(self, commands: Iterable[Command]) -> None:
        for command in commands:
            assert self.over is None, "a command after the end"
            match command:
                case Send(direction, data):
                    assert data
                    assert not self.shut[direction], "data after the end of its direction"
                    self.sent[direction] += data
                    self.times.append((self.now, direction, data))
                case Shutdown(direction):
                    assert not self.shut[direction]
                    self.shut[direction] = True
                case Pause(direction):
                    self.paused[direction] = True
                case Resume(direction):
                    self.paused[direction] = False
                case Wake(at):
                    self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
                case Close() | Reset():
                    self.over = type(command)
                case Connect():
                    pass

    def data(self, direction: int, data: bytes) -> None:
        """As `Relay.data`."""
        if self.engine.passive and self.engine.track(direction, data, self.now):
            self.sent[direction] += data
        else:
            self.run(self.engine.receive(direction, data, self.now))

    def client(self, data: bytes) -> None:
        self.data(UPSTREAM, data)

    def service(self, data: bytes) -> None:
        self.data(DOWNSTREAM, data)

    def eof(self, direction: int) -> None:
        self.run(self.engine.eof(direction, self.now))

    def set_faults(self, *faults: Fault) -> None:
        self.run(self.engine.set_faults(faults, self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass; wake the engine when it asked for it."""
        end = self.now + seconds
        while self.wake_at is not None and self.wake_at <= end and self.over is None:
            self.now, self.wake_at = max(self.now, self.wake_at), None
            self.run(self.engine.wake(self.now))
        self.now = end
