"""Prints docs/faults.md: `python -m raftchaos.faults.page > docs/faults.md`."""

from __future__ import annotations

import sys

from raftchaos.faults.needs import NEEDS
from raftchaos.model.faults import FAULTS
from raftchaos.model.faults.described import page
from raftchaos.model.scenarios import BUILT_IN, SUMMARIES


def faults_page() -> str:
    """The page as it is to stand in the documentation."""
    scenarios = {name: SUMMARIES.get(name, "") for name in BUILT_IN}
    return page(FAULTS.values(), lambda need: (NEEDS[need].meaning, NEEDS[need].how), scenarios)


if __name__ == "__main__":
    sys.stdout.write(faults_page())
