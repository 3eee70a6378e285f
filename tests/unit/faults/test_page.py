"""The page of the faults is printed from the catalogue, and is the one in the documentation."""

from __future__ import annotations

from pathlib import Path

from raftchaos.faults.page import faults_page
from raftchaos.model.faults import FAULTS


def test_the_documentation_has_the_page_of_this_catalogue() -> None:
    page = Path(__file__).parents[3] / "docs" / "faults.md"
    assert page.read_text() == faults_page(), "run: python -m raftchaos.faults.page > docs/faults.md"


def test_every_fault_is_told_with_every_parameter() -> None:
    page = faults_page()
    for fault in FAULTS.values():
        section = page.partition(f"\n## {fault.type}\n")[2].partition("\n## ")[0]
        assert fault.kind in section
        for name in set(fault.parameters.field_names()) - {"pulse", "every"}:
            assert f"| {name} |" in section
