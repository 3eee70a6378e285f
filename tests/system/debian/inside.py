"""In the virtual machine: pytest with the checks that it was booted for, and each result told to the outside."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.system.guests import say


class Teller:
    """Tells each check when it has ended, its preparation and its tidying up included."""

    def __init__(self) -> None:
        self._bad: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What cannot be imported ends it all."""
        if report.failed:
            say(failed=report.longreprtext)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each of its three parts."""
        if not report.passed:
            self._bad.append(f"{report.when} {report.outcome}: {report.longreprtext}")
        if report.when == "teardown":
            say(check=report.nodeid, bad="\n".join(self._bad))
            self._bad.clear()


_PARTS: Final = "import raftchaos.cli.main, raftchaos.peer.assembly, raftchaos.proxy.__main__, raftchaos.faults.reaper"
"""What a peer reads as it starts: the first time takes the host's time, and is no part of any check."""

if __name__ == "__main__":
    subprocess.run([sys.executable, "-c", _PARTS], check=True, timeout=600)
    code = pytest.main(["-p", "no:cacheprovider", "-q", "-s", *sys.argv[1:]], plugins=[Teller()])
    say(failed=f"pytest has ended with {code!r}") if code not in (0, 1) else say(ended=int(code))
