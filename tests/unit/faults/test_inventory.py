"""What is on stands beside what the undo journal says, and every difference is marked."""

from __future__ import annotations

import asyncio
from typing import Any

from raftchaos.core.service_records import SeenFault
from raftchaos.errors import ProxyUnavailable
from raftchaos.faults.inventory import take_inventory
from raftchaos.faults.records import UndoRecord
from raftchaos.faults.uses import Use

RUN = "t/1/0/a/1"


class Readable:
    """A fault of which somebody else says what is on."""

    def __init__(self, type_: str, observed: Any) -> None:
        self.type = type_
        self._observed = observed

    async def observe(self) -> list[tuple[str, str]] | None:
        if isinstance(self._observed, Exception):
            raise self._observed
        if self._observed == "hangs":
            await asyncio.Event().wait()
        return self._observed  # type: ignore[no-any-return]

    async def effects(self, key: str, target: str) -> dict[str, int]:
        return {"touched": 5}


def record(run: str = RUN) -> UndoRecord:
    return UndoRecord(run, 0, "continuous", ())


async def seen(observed: Any, *, on: bool = True, targets: tuple[str, ...] = ("p:a",), run: str = RUN) -> list[Any]:
    fault: Any = Readable("slow", observed)
    uses = {RUN: [Use(0, fault, target, {}, f"{RUN}#0", 1, on=on) for target in targets]}
    found = await take_inventory({"slow": fault}, uses, [record(run)])
    return [(one.run, one.fault, one.target, one.journal, one.mark) for one in found]


async def test_world_and_journal_agree() -> None:
    assert await seen([(f"{RUN}#0", "p:a")]) == [(RUN, "slow", "p:a", True, "")]


async def test_differences_are_marked() -> None:
    assert await seen([]) == [(RUN, "slow", "p:a", True, SeenFault.MISSING)]
    assert await seen([], on=False) == [(RUN, "slow", "p:a", True, SeenFault.DORMANT)]
    assert await seen([(f"{RUN}#0", "p:a")], on=False) == [(RUN, "slow", "p:a", True, SeenFault.LEFT_OVER)]
    assert await seen([("stranger", "p:x")], on=False) == [
        ("stranger", "slow", "p:x", False, SeenFault.LEFT_OVER),
        (RUN, "slow", "p:a", True, SeenFault.DORMANT),
    ]


async def test_each_target_counts() -> None:
    marks = [one[4] for one in await seen([(f"{RUN}#0", "p:b")], targets=("p:a", "p:b"))]
    assert marks == [SeenFault.MISSING, ""]


async def test_what_cannot_be_read_back_is_said_so() -> None:
    for observed in (None, ProxyUnavailable("it does not answer"), "hangs"):
        assert [one[4] for one in await seen(observed)] == [SeenFault.UNREADABLE]


async def test_what_an_earlier_start_left_is_matched_by_its_run() -> None:
    old = "old/1/0/a/1"
    assert await seen([(f"{old}#0", "p:a")], run=old) == [(old, "slow", "p:a", True, "")]
    assert await seen([], run=old) == [(old, "?", "", True, SeenFault.MISSING)]


async def test_what_it_did_so_far_is_told() -> None:
    fault: Any = Readable("slow", [(f"{RUN}#0", "p:a")])
    use = Use(0, fault, "p:a", {}, f"{RUN}#0", 1, on=True, past={"touched": 2})
    (found,) = await take_inventory({"slow": fault}, {RUN: [use]}, [record()])
    assert found.effect == {"touched": 7}
