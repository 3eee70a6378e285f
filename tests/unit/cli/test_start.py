"""The start of the command line costs nothing that is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raftchaos.cli.main import COMMANDS, cli

HEAVY = ("aiohttp", "pydantic", "pysyncobj", "statsmodels", "numpy", "rich", "yaml", "asyncio", "psutil", "uvloop")


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from raftchaos.cli.main import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        f"sys.exit(','.join(m for m in {HEAVY!r} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "raftchaos" in done.stdout


def test_the_list_of_commands_and_the_commands_agree() -> None:
    context = cli.make_context("raftchaos", ["--help"], resilient_parsing=True)
    for name in COMMANDS:
        command = cli.get_command(context, name)  # type: ignore[attr-defined]
        assert command is not None
        assert command.name == name


def test_every_command_has_help_with_an_example(raftchaos) -> None:  # type: ignore[no-untyped-def]
    for name in COMMANDS:
        done = raftchaos(name, "--help")
        assert done.code == 0, name
        assert done.out.startswith(f"Usage: raftchaos {name}")
        if "COMMAND" not in done.out.splitlines()[0]:
            assert f"raftchaos {name}" in done.out.split("\n", 1)[1], f"{name} shows no example"


@pytest.mark.parametrize("words", [["task"], ["node"], ["proxy"], ["fault"]])
def test_every_subcommand_has_help_with_an_example(raftchaos, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    context = cli.make_context("raftchaos", ["--help"], resilient_parsing=True)
    group = cli.get_command(context, words[0])  # type: ignore[attr-defined]
    for name in group.list_commands(context):  # type: ignore[union-attr]
        done = raftchaos(*words, name, "--help")
        assert done.code == 0, name
        assert f"raftchaos {words[0]} {name}" in done.out.split("\n", 1)[1], f"{words[0]} {name} shows no example"


def test_a_typo_is_told_with_the_word_that_was_meant(raftchaos) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("staus")
    assert done.code == 2
    assert "error: " in done.err
    assert "'status'" in done.err
    assert "hint: " in done.err


@pytest.mark.parametrize(
    "words",
    [["run"], ["validate"], ["status", "--nothing"], ["task", "show"], ["status", "-o", "xml"], ["proxy", "add", "a"]],
)
def test_wrong_words_end_with_two(raftchaos, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos(*words)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "--help" in done.err
