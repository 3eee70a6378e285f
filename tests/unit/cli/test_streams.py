"""Standard streams that are closed, full, gone or of few letters: told in words, never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = """\
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata: {name: good}
spec:
  steps: [{name: test, scenario: latency}]
"""


def run(shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line within a shell line, as `raftchaos`."""
    command = f'raftchaos() {{ "{sys.executable}" -m raftchaos.cli.main "$@"; }}\n{shell}'
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("shell", "code", "told"),
    [
        ("raftchaos fault types >&-", 5, "stdout is closed"),
        ("raftchaos fault types -o json >&-", 5, "stdout is closed"),
        ("raftchaos --help > /dev/full", 5, "No space left on device"),
        ("raftchaos fault types > /dev/full", 5, "No space left on device"),
        ("raftchaos validate nothing.yaml -o json > /dev/full", 5, "No space left on device"),
        ("raftchaos validate - <&-", 2, "standard input is closed"),
        ("raftchaos fault types | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("raftchaos validate nothing.yaml -o json | true; exit ${PIPESTATUS[0]}", 141, "nothing.yaml"),
        ("raftchaos validate nothing.yaml 2>&-", 2, ""),
        ("raftchaos validate nothing.yaml 2>/dev/full", 2, ""),
    ],
)
def test_streams_that_take_or_give_nothing(shell: str, code: int, told: str) -> None:
    done = run(shell)
    assert done.returncode == code, done
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr


def test_letters_that_the_terminal_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "süß.yaml"
    file.write_text(DOCUMENT, encoding="utf-8")
    done = run(f"raftchaos validate '{file}' '{file}.nicht-da'; raftchaos validate '{file}'", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done
    assert "s??.yaml" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["", "task", "node", "proxy", "fault"])
def test_a_group_without_its_command_shows_its_help(words: str) -> None:
    done = run(f"raftchaos {words}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Usage: raftchaos {words}".strip())
    assert done.stdout == ""


def test_errors_as_yaml() -> None:
    done = run("raftchaos validate nothing.yaml -o yaml")
    assert done.returncode == 2
    assert "code: usage" in done.stdout
    assert "exitCode: 2" in done.stdout
