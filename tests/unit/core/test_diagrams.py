"""The diagrams in the documentation are drawn from the tables that the code obeys."""

from __future__ import annotations

from pathlib import Path

from raftchaos.core.transitions import run_diagram, task_diagram

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"


def test_the_documented_diagrams_are_the_tables() -> None:
    text = PAGE.read_text()
    for diagram in (run_diagram(), task_diagram()):
        assert f"```mermaid\n{diagram.rstrip()}\n```" in text
