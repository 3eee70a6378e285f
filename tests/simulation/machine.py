"""A simulated machine: its clocks, its folder, its three processes, and what is done to it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.agent.data_directory import DataDirectory, Identity
from raftchaos.errors import MachineUnusable
from tests.simulation.effects import Effect
from tests.simulation.peer import PeerProcess
from tests.simulation.proxy_process import ProxyProcess
from tests.simulation.reaper_process import ReaperProcess
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

WALL = 1_700_000_000.0


class Machine:
    """Implements `raftchaos.clock.Clock` for its processes. All instants it is asked for are its own."""

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        self.cluster, self.name, self.folder = cluster, name, folder
        self.world: World = cluster.world
        self.chance = self.world.chance(f"machine {name}")
        self.offset = self.chance.uniform(100.0, 1_000.0)
        self.rate = self.chance.choice((0.99, 0.995, 1.0, 1.005, 1.01)) if cluster.drift else 1.0
        self.wall_step = 0.0
        self.off = False
        """The machine as a whole is frozen."""
        self.removed = False
        self.observer = False
        """It asks for no vote when it joins; until somebody is told that it was promoted."""
        self.version = VERSION
        """The release that it runs, and says so."""
        self.incarnation = 0
        self.lives = 1
        self.slowest_disk = 0.004
        self.main: PeerProcess | None = None
        self.proxy: ProxyProcess | None = None
        self.reaper: ReaperProcess | None = None
        self.effects: dict[str, Effect] = {}
        self.trap: Callable[[], None] | None = None
        """Done right after the next injection."""
        self.recovering: set[str] = set()
        """Faults that main has begun to take back."""
        self.inject_fails = False
        self.undo_fails = False
        self.slowest_recovery = 0.5
        self.slowest_undo = 0.0
        self.able_since = 0.0
        """Own time from which on, without a break, somebody could take things back here."""
        self._able = True
        folder.mkdir(parents=True, exist_ok=True)

    # ---- clocks and time

    def boot(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return self.offset + self.rate * self.world.now

    def wall(self) -> float:
        """Seconds since 1970; may step."""
        return WALL + self.rate * self.world.now + self.wall_step

    async def wait(self, least: float, most: float) -> None:
        """Something takes main a random time."""
        await asyncio.sleep(self.chance.uniform(least, most))

    def send(self, deliver: Callable[[], object]) -> None:
        """A message between two processes of this machine."""
        self.world.at(self.chance.uniform(0.0002, 0.003), deliver)

    # ---- processes

    def install(self, *, member_of: str = "") -> None:
        """Its data directory, as the first start makes it: of a member of this cluster, or of a machine that asks to
        join. Its random id and its incarnations, which are instants, are such that a simulation can be repeated.
        """
        directory = DataDirectory(self.folder)
        was_let_in = bool(member_of)
        id_ = f"directory-of-{self.name}-{self.lives}"
        directory._write(Identity(self.name, member_of, was_let_in, was_let_in, id_, self.incarnation))
        directory.close()
        self.cluster.platter.sync_all(self.folder)

    @property
    def proxy_socket(self) -> str:
        """Names the proxy process in undo plans."""
        return f"/simulated/{self.name}/proxy"

    def start_main(self) -> None:
        """A new incarnation of the peer."""
        if self.main is not None or self.removed or self.off:
            return
        self.incarnation += 1
        self.world.note(self.name, f"starts, incarnation {self.incarnation}")
        self.main = PeerProcess(self)
        self.look_who_is_able()

    def kill_main(self, process: PeerProcess | None = None) -> None:
        """SIGKILL of main."""
        main = process or self.main
        if main is None or main.dead:
            return
        self.world.note(self.name, "main is killed")
        self._tear(main)
        main.kill()
        self.main_gone(main)

    def main_gone(self, main: PeerProcess) -> None:
        """It has ended, one way or the other."""
        self.cluster.checks.peer_ended(main)
        if self.main is main:
            self.main = None
        self.look_who_is_able()
        self.cluster.main_gone(self)

    def start_proxy(self) -> ProxyProcess:
        """Main starts one if there is none."""
        self.proxy = ProxyProcess(self)
        self.look_who_is_able()
        return self.proxy

    def kill_proxy(self) -> None:
        """SIGKILL of the proxy process: its faults are gone with it, and come back if main sets them again."""
        if self.proxy is not None:
            self.world.note(self.name, "the proxy process is killed, and its faults with it")
            self.proxy.dead = True
            self.proxy = None
            self.look_who_is_able()

    def start_reaper(self, lease_end: float) -> ReaperProcess:
        """Main or the proxy process starts one."""
        self.reaper = ReaperProcess(self, self.main, lease_end)
        self.look_who_is_able()
        return self.reaper

    def kill_reaper(self) -> None:
        """SIGKILL of the reaper."""
        if self.reaper is not None:
            self.world.note(self.name, "the reaper is killed")
            self.reaper.end()

    def reaper_gone(self, reaper: ReaperProcess) -> None:
        """It has ended."""
        if self.reaper is reaper:
            self.reaper = None
        self.look_who_is_able()

    def freeze_main(self) -> None:
        """SIGSTOP."""
        if self.main is not None and not self.main.loop.frozen:
            self.world.note(self.name, "main is frozen")
            self.main.loop.freeze()
            self.look_who_is_able()

    def thaw_main(self) -> None:
        """SIGCONT."""
        if self.main is not None and self.main.loop.frozen and not self.off:
            self.world.note(self.name, "main goes on")
            self.main.loop.thaw()
            self.look_who_is_able()

    def freeze(self) -> None:
        """The machine as a whole stops; its CLOCK_BOOTTIME goes on."""
        self.world.note(self.name, "the machine is frozen")
        self.off = True
        if self.main is not None:
            self.main.loop.freeze()
        self.look_who_is_able()

    def thaw(self) -> None:
        """The machine goes on."""
        if self.off:
            self.world.note(self.name, "the machine goes on")
            self.off = False
            if self.main is not None:
                self.main.loop.thaw()
            if self.proxy is not None:
                self.proxy.thaw()
            self.look_who_is_able()

    def begin_anew(self) -> None:
        """After its removal: a machine of the same name and without its data directory asks to join."""
        if not self.removed or self.main is not None:
            return
        self.world.note(self.name, "comes back without its data directory")
        self.kill_proxy()
        self.kill_reaper()
        for key in list(self.effects):
            self.ended(key, "the new installation")
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.incarnation, self.lives = 0, self.lives + 1
        self.install()
        self.removed = False
        self.cluster.removed.discard(self.name)
        self.cluster.checks.log.forget(self.name)
        self.start_main()

    def freeze_reaper(self) -> None:
        """SIGSTOP."""
        if self.reaper is not None:
            self.world.note(self.name, "the reaper is frozen")
            self.reaper.frozen = True
            self.look_who_is_able()

    def thaw_reaper(self) -> None:
        """SIGCONT."""
        if self.reaper is not None and self.reaper.frozen:
            self.world.note(self.name, "the reaper goes on")
            self.reaper.frozen = False
            self.look_who_is_able()

    def freeze_proxy(self) -> None:
        """SIGSTOP."""
        if self.proxy is not None:
            self.world.note(self.name, "the proxy process is frozen")
            self.proxy.frozen = True

    def thaw_proxy(self) -> None:
        """SIGCONT."""
        if self.proxy is not None and self.proxy.frozen:
            self.world.note(self.name, "the proxy process goes on")
            self.proxy.thaw()

    def let_undo_fail(self, fails: bool) -> None:
        """From now on nothing but what a proxy bears can be taken back here; or it can again."""
        self.undo_fails = fails
        if not fails:  # whoever tries again and again may be in its longest pause
            self.able_since = self.boot() + limits.RECOVERY_RETRY_MAX

    def power_cut(self) -> None:
        """The machine is off and comes back: what was not synced may be gone, its clock begins anew."""
        self.world.note(self.name, "the power fails")
        if self.proxy is not None:
            self.proxy.dead, self.proxy = True, None
        if self.reaper is not None:
            self.reaper.end()
        main = self.main
        if main is not None:
            main.kill(silently=True)
        for key in list(self.effects):
            self.ended(key, "the power cut")
        self.cluster.platter.cut(self.folder, self.chance)
        if not self.cluster.synced:
            self.cluster.checks.log.forget(self.name)
        self.offset = self.chance.uniform(5.0, 20.0) - self.rate * self.world.now
        self.able_since, self.off = self.boot(), False
        if main is not None:
            self.main_gone(main)
        self.look_who_is_able()

    @property
    def main_runs(self) -> bool:
        """Main is there and not frozen."""
        return self.main is not None and not self.main.dead and not self.main.loop.frozen

    def look_who_is_able(self) -> None:
        """G1 holds while somebody can take things back; after that, from when somebody can again."""
        able = not self.off and (self.main_runs or (self.reaper is not None and self.reaper.runs))
        if able and not self._able:
            self.able_since = self.boot()
        self._able = able

    @property
    def able(self) -> bool:
        """Somebody can take things back here."""
        return self._able

    def _tear(self, main: PeerProcess) -> None:
        """A process that is killed amid a write leaves a part of it."""
        journal = self.folder / "undo" / "journal"
        before = journal.stat().st_size if journal.exists() else 0
        main.finish_threads()
        grown = (journal.stat().st_size if journal.exists() else 0) - before
        if before and grown > 0 and self.chance.random() < 0.5:
            os.truncate(journal, before + self.chance.randrange(grown))
        data = main.unwritten()
        if data and self.chance.random() < 0.7:
            with open(self.folder / "raft" / "log", "ab") as file:
                file.write(data[: self.chance.randrange(len(data) + 1)])

    # ---- what is done to it

    def prepared(self, key: str, target: str, kind: str) -> Effect:
        """Main is about to do this under its present lease."""
        main = self.main
        assert main is not None
        run = key.partition("#")[0]
        lease = main.keeper.lease
        return Effect(key, run, target, kind, main.incarnation, lease.epoch, main.leases, 0.0, 3)

    def put_on(self, key: str, target: str, kind: str) -> None:
        """Main does it now."""
        self.began(self.prepared(key, target, kind))

    def began(self, effect: Effect) -> None:
        """It is on."""
        effect.began = self.boot()
        again = effect.key in self.effects
        self.effects[effect.key] = effect
        if not again:
            self.world.note(self.name, f"INJECT {effect.key}")
            self.cluster.checks.injected(self, effect)
            trap, self.trap = self.trap, None
            if trap is not None:
                self.world.at(0.0, trap)

    def strike(self, key: str) -> None:
        """Something that cannot be taken back is done now."""
        self.world.note(self.name, f"STRIKE {key}")
        self.cluster.checks.faults.struck(self, key)
        trap, self.trap = self.trap, None
        if trap is not None:
            self.world.at(0.0, trap)

    def take_off(self, key: str, by: str = "main") -> dict[str, int]:
        """It is off, and what it did. Raises MachineUnusable while this machine cannot take anything back."""
        if self.undo_fails:
            raise MachineUnusable("the simulated machine cannot take it back")
        effect = self.effects.get(key)
        self.ended(key, by)
        return {"touched": effect.touched if effect is not None else 0}

    def ended(self, key: str, by: str) -> None:
        """It is off."""
        if self.effects.pop(key, None) is not None:
            self.world.note(self.name, f"RECOVER {key} by {by}")
            self.cluster.checks.recovered(self, key)

    def active(self) -> list[Effect]:
        """What is on at this instant, in truth."""
        if self.off:
            return []
        on = self.proxy.faults if self.proxy is not None else {}
        return [effect for effect in self.effects.values() if effect.kind == "process" or effect.key in on]
