"""What the tests of the command line share: a way to run it in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from raftchaos.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def raftchaos(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs the command line as the entry point does, errors and exit codes included."""

    def run(*words: str) -> Done:
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Done(code, out, err)

    return run
