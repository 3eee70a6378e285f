"""What faults need of a machine has a name, and a machine that lacks it does not offer the fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftchaos.clock import SystemClock
from raftchaos.core.meter import NullMeter
from raftchaos.errors import NotFound
from raftchaos.faults import FAULT_MODULES, build_faults, needs, undo_plan
from raftchaos.faults.base import Host
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.needs import NEEDS, Need
from raftchaos.faults.records import UndoRecord
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.undo_plan import Undoer, UndoPass
from raftchaos.model.faults import FAULTS
from raftchaos.model.resolved import ResolvedFault, ResolvedStep


class NoReaper:
    standing = False
    lease_end = 0.0


def host(folder: Path) -> Host:
    return Host(proxy=InMemoryProxy(SystemClock()), data_dir=folder, meter=NullMeter())


def test_every_need_of_the_catalogue_is_explained() -> None:
    assert {need for fault in FAULTS.values() for need in fault.needs} <= set(NEEDS)
    assert all(need.meaning and need.how for need in NEEDS.values())


def test_every_probe_answers_in_words() -> None:
    for name in NEEDS:
        answer = needs.lacks(name)
        assert isinstance(answer, str)
        assert "\n" not in answer


def test_a_lack_is_told_with_what_to_do_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEEDS, "gold", Need("gold", "gold", "dig", lambda: "there is no gold here"))
    assert needs.why_not(["proxy", "gold"]) == "there is no gold here (dig)"


async def test_what_the_machine_cannot_do_is_not_offered(tmp_path: Path) -> None:
    faults = build_faults(host(tmp_path), ("latency", "http_error"))
    faults["latency"].why_not = lambda: "no proxy was ever built for it"  # type: ignore[method-assign]
    executor = FaultExecutor(
        host(tmp_path), node="a", clock=SystemClock(), reaper=NoReaper(), proxies=tuple, faults=faults
    )
    assert executor.types == ("http_error",)
    assert executor.unable == {"latency": "no proxy was ever built for it"}
    with pytest.raises(NotFound, match="no proxy was ever built"):
        await executor.resolve(ResolvedStep("s", "latency", (ResolvedFault("latency", {}),), 1.0))
    executor.close()


def test_every_fault_says_the_same_as_its_entry(tmp_path: Path) -> None:
    built = build_faults(host(tmp_path))
    assert set(built) == set(FAULT_MODULES) == set(FAULTS)
    for name, fault in built.items():
        entry = FAULTS[name]
        assert (fault.type, fault.kind, fault.recovery_seconds) == (entry.type, entry.kind, entry.recovery_seconds)


# ---- undo steps

GONE: list[str] = []


def gone(step: dict[str, object]) -> dict[str, int]:
    GONE.append(str(step["what"]))
    return {"touched": 1}


def broken(step: dict[str, object]) -> dict[str, int]:
    raise ZeroDivisionError("a defect")


def test_a_step_is_found_by_its_place_and_a_broken_one_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(undo_plan._STEPS, "test.gone", f"{__name__}:gone")
    monkeypatch.setitem(undo_plan._STEPS, "test.broken", f"{__name__}:broken")
    plan = ({"do": "test.gone", "what": "a"}, {"do": "test.broken", "fault": 1}, {"do": "test.none", "fault": 1})
    with UndoPass() as one_pass:
        effects, problem = one_pass.undo(UndoRecord("r", 0, "continuous", plan))
    assert GONE == ["a"]
    assert effects == ({"touched": 1}, {"touched": 0})
    assert "ZeroDivisionError: a defect" in problem
    assert "knows no undo step 'test.none'" in problem


def test_plug_ins_are_taken_back_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("plugins.recover", "resources.end", "resources.restore_io", "network.queue", "processes.resume")
    for name in names:
        monkeypatch.setitem(undo_plan._STEPS, name, f"{__name__}:gone")
    GONE.clear()
    journal = UndoJournal(tmp_path)
    with journal.lock(1.0):
        journal.record_open(
            "mixed", "continuous", [{"do": names[1], "what": "mixed"}, {"do": names[0], "what": "last"}]
        )
        for name in names:
            journal.record_open(name, "continuous", [{"do": name, "what": name}])
        assert Undoer(journal, "reaper").undo_open() == {}
    journal.close()
    assert [*reversed(names[1:]), "mixed", "last", names[0]] == GONE


def test_every_place_of_an_undo_step_exists() -> None:
    with UndoPass() as one_pass:
        assert all(callable(one_pass._action(name)) for name in undo_plan._STEPS)
