"""The one flag of the transcripts."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/simulation --rewrite` writes the output of every transcript as it is now; review the diff."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the transcripts in tests/simulation/testdata")
