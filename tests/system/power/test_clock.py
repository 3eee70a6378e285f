"""Somebody sets a machine's clock while faults are on: leases and durations do not care, only deadlines do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raftchaos import limits
from tests.system.guests import Said
from tests.system.power.virtual_machine import VirtualMachine, make_disk, missing

PATIENCE = 200.0
BOUND = 3 * (limits.LEASE + limits.REVERT)
HOUR = 3600
SECONDS = 6
"""How long the faults are to last."""


@pytest.mark.timeout(600)
def test_setting_the_clock_moves_deadlines_and_nothing_else(
    require: Callable[[bool, str], None], tmp_path: Path
) -> None:
    require(not missing(), missing())
    disk = make_disk(tmp_path / "disk")
    with VirtualMachine(tmp_path / "machine", disk, "tests.system.power.guest", "clock") as machine:
        output = machine.wait(PATIENCE, done=...).what["done"]
    for task, direction in (("forth", 1), ("back", -1), ("due", 1), ("early", -1)):
        (stepped,), (ended,) = machine.said(stepped=task), machine.said(ended=task)
        assert abs(stepped.what["seconds"] - direction * HOUR) < 60
        assert ended.what["node"] == "active", ended
        assert_fault(machine, stepped, cut_short=task == "due")
        if task == "due":
            assert ended.what["verdict"] == "failed", ended
            assert "deadline" in ended.what["reason"], ended
        else:
            assert ended.what["verdict"] == "passed", ended
            assert set(ended.what["runs"]) == {"succeeded"}, ended
    assert "leaseEnded" not in output, output


def assert_fault(machine: VirtualMachine, stepped: Said, *, cut_short: bool) -> None:
    """Seen from outside, by the clock of this machine: the fault stayed on over the step, and ended in time."""
    changes = machine.said(proxy=...)
    on = [one for one in changes if one.at <= stepped.at + 1][-1]
    assert on.what["proxy"] == 503, f"it was on when the clock was set: {changes}"
    off = next((one for one in changes if one.at > on.at), None)
    assert off is not None, f"it did not end: {changes}"
    assert off.what["proxy"] == 200, changes
    lasted = off.at - on.at
    if cut_short:
        assert lasted < BOUND, "the deadline has passed, so the fault goes"
    else:
        assert SECONDS - 1 < lasted < SECONDS + BOUND, f"it was to last {SECONDS} s and lasted {lasted:.1f}"
