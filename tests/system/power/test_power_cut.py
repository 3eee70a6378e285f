"""The power fails amid a load of writes: what `--durability` promises, on a real kernel and a real disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.power.virtual_machine import VirtualMachine, make_disk, missing

GUEST = "tests.system.power.guest"
PATIENCE = 200.0
"""Seconds for what takes five on a quiet machine."""
WRITES = 150


@pytest.mark.timeout(600)
def test_what_was_answered_survives_a_power_cut(require: Callable[[bool, str], None], tmp_path: Path) -> None:
    require(not missing(), missing())
    disk, answered = make_disk(tmp_path / "disk"), tmp_path / "answered"
    with VirtualMachine(tmp_path / "first", disk, GUEST, "load") as machine:
        fault = machine.wait(PATIENCE, fault="on").what
        wanted = lambda: {way: machine.said(answered=..., by=way) for way in ("disk", "process")}  # noqa: E731
        machine.until(lambda: all(len(said) >= WRITES for said in wanted().values()), PATIENCE, "enough writes")
    tasks = {way: [one.what["answered"] for one in said] for way, said in wanted().items()}
    answered.write_text(json.dumps(tasks))
    with VirtualMachine(tmp_path / "second", disk, GUEST, "look", str(answered)) as machine:
        alone = machine.wait(PATIENCE, peer="process-1").what
    assert_nothing_lost(machine, tasks["disk"])
    assert_fault_gone(machine, fault["undo"])
    # Without syncs the end of the log may be lost, never its middle, and never so that the peer does not notice.
    kept = len(tasks["process"]) - len(alone["missing"])
    print(f"\nall {len(tasks['disk'])} writes kept with disk, {kept} of {len(tasks['process'])} with process")
    assert alone["ended"] in (None, 5), alone
    assert "Traceback" not in alone["output"], alone


def assert_nothing_lost(machine: VirtualMachine, tasks: list[str]) -> None:
    """Every peer starts from what its disk has, all have every write, and they agree."""
    peers = [one.what for one in machine.said(peer=..., missing=...) if one.what["peer"].startswith("disk")]
    assert len(peers) == 3
    for peer in peers:
        assert not peer["missing"], f"{peer['peer']} lost {len(peer['missing'])} of {len(tasks)}"
        assert "ERROR" not in peer["output"], peer["output"]
        assert "Traceback" not in peer["output"], peer["output"]
    assert machine.said(hashes=...)


def assert_fault_gone(machine: VirtualMachine, runs: list[str]) -> None:
    """The fault died with its machine, its undo record did not, and the next start has closed it."""
    (before,) = machine.said(undo=..., when="before")
    assert before.what["undo"] in (runs, []), machine  # a starved peer may have lost its lease before the cut
    assert machine.said(undo=[], when="after", proxy=200), machine
    assert machine.said(fault="interrupted"), machine
