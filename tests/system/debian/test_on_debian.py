"""The tests of faults that need what a small machine's kernel may lack, run by pytest on Debian's kernel, in one boot.

What is listed here are tests of `tests/system/faults`: netem, the io controller of cgroup v2, systemd as the first
process. They skip on a machine without these; here each must pass. An emulated peer takes half a minute to start, so
SIGSTOP of main, which ends as SIGKILL does, is left to machines that need no emulation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.system.debian import kernel
from tests.system.debian.machine import DebianMachine
from tests.system.faults.netem import Checks

PATIENCE: Final = 900.0
"""Seconds for what takes twenty on a quiet machine."""
FAULTS: Final = "tests/system/faults"
CHECKS: Final = (
    *(f"{FAULTS}/test_network.py::test_netem[{name}]" for name in Checks.NAMES),
    f"{FAULTS}/test_resources.py::test_writes_are_throttled",
    f"{FAULTS}/test_resources.py::test_no_throttle_where_the_peer_is",
    f"{FAULTS}/test_resources.py::test_a_load_has_a_control_group_of_its_own[cpu_load]",
    f"{FAULTS}/test_resources.py::test_a_load_has_a_control_group_of_its_own[memory_pressure]",
    f"{FAULTS}/test_processes.py::test_a_unit_is_restarted",
    *(
        f"{FAULTS}/test_kernel_endings.py::test_whatever_is_killed_the_host_is_as_before[{harm}]"
        for harm in ("kill_main", "kill_all")
    ),
    f"{FAULTS}/test_kernel_endings.py::test_they_stay_on_without_proxy_and_reaper_and_end_with_their_steps",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianMachine]:
    """The virtual machine, which does one check after the other."""
    words = ("--timeout=300", *CHECKS)
    with DebianMachine(
        tmp_path_factory.mktemp("debian"), kernel.prepared(), "tests.system.debian.inside", *words
    ) as it:
        yield it


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("check", CHECKS)
def test_on_debian(check: str, require: Callable[[bool, str], None], request: pytest.FixtureRequest) -> None:
    require(not kernel.missing(), kernel.missing())
    machine: DebianMachine = request.getfixturevalue("machine")
    bad = machine.wait(PATIENCE, check=check).what["bad"]
    assert not bad, bad
