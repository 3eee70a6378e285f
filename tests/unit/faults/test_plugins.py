"""Faults of the operator: the examples work, and what is not the operator's own is not run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raftchaos.clock import SystemClock
from raftchaos.errors import InjectionFailed, NotFound, RaftchaosError, Refused
from raftchaos.faults import FAULT_MODULES, build_faults
from raftchaos.faults.base import Fault, Host, NodeContext
from raftchaos.faults.plugins import executables, packages
from raftchaos.faults.resources import marks
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.undo_plan import Undoer
from raftchaos.faults.uses import Use, undo_plan_of
from raftchaos.model.faults import FAULTS

EXAMPLES = Path(__file__).parents[3] / "examples" / "plugins"
NODE = NodeContext("a", ())
KEY, TARGET = "t/1/0/a/1#0", "plugin:maintenance-page"


class Stage:
    """A folder of plug-ins with the example in it, and what is done with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "plugins"
        shutil.copytree(EXAMPLES / "executables", self.folder)
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(0o755)
        self.flag = folder / "flag"
        self.parameters = {"plugin": "maintenance-page", "arguments": {"file": str(self.flag)}}
        self.host = Host(proxy=InMemoryProxy(SystemClock()), data_dir=folder, plugins=self.folder)
        self.fault: Fault = build_faults(self.host, ["custom"])["custom"]

    def script(self, part: str, text: str) -> None:
        path = self.folder / "maintenance-page" / part
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    async def inject(self) -> None:
        await self.fault.inject(KEY, TARGET, self.parameters, 7, 1e12)

    def steps(self) -> list[dict[str, Any]]:
        return undo_plan_of([Use(0, self.fault, TARGET, self.parameters, KEY, 7)])


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_the_example_goes_on_and_off(stage: Stage) -> None:
    assert stage.fault.why_not() == ""
    assert stage.fault.resolve(stage.parameters, NODE) == (TARGET,)
    await stage.inject()
    assert stage.flag.read_text() == KEY
    assert await stage.fault.recover(KEY, TARGET) == {"touched": 1}
    assert not stage.flag.exists()
    assert await stage.fault.recover(KEY, TARGET) == {"touched": 1}


async def test_what_a_recovery_that_was_broken_off_did_counts(stage: Stage) -> None:
    stage.script("recover", """[ -e "$0.begun" ] && exit 0; touch "$0.begun"; sleep 0.2; echo '{"touched": 5}'""")
    await stage.inject()
    begun = stage.folder / "maintenance-page" / "recover.begun"
    recovering = asyncio.create_task(stage.fault.recover(KEY, TARGET))
    async with asyncio.timeout(10):
        while not begun.exists():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
    recovering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recovering
    assert await stage.fault.recover(KEY, TARGET) == {"touched": 5}


async def test_it_is_taken_back_without_the_peer(stage: Stage, tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    with journal.lock(1.0):
        journal.record_open("t/1/0/a/1", "continuous", stage.steps())
        await stage.inject()
        assert Undoer(journal, "reaper").undo_open() == {}
    assert not stage.flag.exists()
    assert journal.records()["t/1/0/a/1"].effects == ({"touched": 1},)
    journal.close()


async def test_what_inject_leaves_running_ends_with_it(stage: Stage) -> None:
    stage.script("inject", "sleep 600 >/dev/null 2>&1 &")
    await stage.inject()
    token = marks.token_of(KEY, TARGET)
    assert len(marks.bearers(token)) == 1
    await stage.fault.recover(KEY, TARGET)
    assert marks.bearers(token) == []


async def test_one_that_fails_says_why(stage: Stage) -> None:
    stage.flag.write_text("somebody else's")
    with pytest.raises(InjectionFailed, match=r"cannot set the flag .*: File exists"):
        await stage.inject()
    await stage.fault.recover(KEY, TARGET)
    assert stage.flag.read_text() == "somebody else's"
    stage.script("recover", "echo it is stuck; exit 3")
    with pytest.raises(RaftchaosError, match="exit code 3: it is stuck"):
        await stage.fault.recover(KEY, TARGET)


async def test_a_recover_that_hangs_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executables, "RECOVER_TIMEOUT", 0.2)
    await stage.inject()
    stage.script("recover", "sleep 600")
    with pytest.raises(RaftchaosError, match="did not end within"):
        await stage.fault.recover(KEY, TARGET)


async def test_a_service_that_recover_starts_again_is_left_running(stage: Stage) -> None:
    await stage.inject()
    pid_file = stage.folder.parent / "pid"
    stage.script("recover", f"sleep 60 & echo $! >{pid_file}; echo '{{\"touched\": 2}}'")
    assert await stage.fault.recover(KEY, TARGET) == {"touched": 2}
    os.kill(int(pid_file.read_text()), signal.SIGKILL)  # it is there: else this fails


async def test_a_recover_whose_output_outlives_it_holds_nobody_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executables, "RECOVER_TIMEOUT", 0.5)
    await stage.inject()
    pid_file = stage.folder.parent / "pid"
    stage.script("recover", f"setsid sh -c 'echo $$ >{pid_file}; exec sleep 20' & sleep 600")
    began = time.monotonic()
    with pytest.raises(RaftchaosError, match="did not end within"):
        await stage.fault.recover(KEY, TARGET)
    assert time.monotonic() - began < 10
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_what_others_could_change_is_not_run(stage: Stage) -> None:
    folder = stage.folder / "maintenance-page"
    for place in (folder / "inject", folder, stage.folder):
        place.chmod(0o777)
        with pytest.raises(Refused, match="can be changed by other users"):
            stage.fault.resolve(stage.parameters, NODE)
        place.chmod(0o755)
    (folder / "recover").rename(folder / "elsewhere")
    (folder / "recover").symlink_to(folder / "elsewhere")
    with pytest.raises(Refused, match="is a symbolic link"):
        stage.fault.resolve(stage.parameters, NODE)


@pytest.mark.parametrize("name", ["other", "..", "maintenance-page/inject", ""])
def test_only_what_is_there_by_its_name(stage: Stage, name: str) -> None:
    with pytest.raises(RaftchaosError) as error:
        stage.fault.resolve({"plugin": name}, NODE)
    if name == "other":
        assert isinstance(error.value, NotFound)
        assert "it has: maintenance-page" in str(error.value)


def test_a_peer_without_a_folder_allows_none(tmp_path: Path) -> None:
    host = Host(proxy=InMemoryProxy(SystemClock()), data_dir=tmp_path)
    assert "--plugins" in build_faults(host, ["custom"])["custom"].why_not()


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ("", {"touched": 0}),
        ("words", {"touched": 0}),
        ("[1]", {"touched": 0}),
        ('first\n{"touched": 3, "bytes": 9, "bad": -1, "x": "y"}\n', {"touched": 3, "bytes": 9}),
    ],
)
def test_counts_of_the_last_line(said: str, counts: dict[str, int]) -> None:
    assert executables.counts_of(said) == counts


# ---- Python packages


def install(folder: Path, *names: str) -> None:
    """As pip would: the example's module, and its entry points."""
    shutil.copy(EXAMPLES / "python" / "raftchaos_flag_file.py", folder)
    info = folder / "raftchaos_flag_file-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: raftchaos-flag-file\nVersion: 1.0\n")
    points = "\n".join(f"{name} = raftchaos_flag_file" for name in names)
    (info / "entry_points.txt").write_text(f"[{packages.GROUP}]\n{points}\n")


def test_the_project_file_of_the_example_has_the_entry_point() -> None:
    text = (EXAMPLES / "python" / "pyproject.toml").read_text()
    assert f'[project.entry-points."{packages.GROUP}"]\nflag_file = "raftchaos_flag_file"' in text


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    install(tmp_path, "flag_file", "another_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    before, modules = dict(FAULTS), dict(FAULT_MODULES)
    monkeypatch.setattr("raftchaos.faults.FAULT_MODULES", FAULT_MODULES)
    refused = packages.load()
    yield refused  # type: ignore[misc]
    for known, kept in ((FAULTS, before), (FAULT_MODULES, modules)):
        known.clear()
        known.update(kept)  # type: ignore[arg-type]
    sys.modules.pop("raftchaos_flag_file", None)


async def test_a_package_brings_its_fault(loaded: dict[str, str], tmp_path: Path) -> None:
    assert list(FAULTS) == sorted(FAULTS)
    assert "expected a FaultType of the type another_name" in loaded["another_name"]
    host = Host(proxy=InMemoryProxy(SystemClock()), data_dir=tmp_path)
    fault = build_faults(host, ["flag_file"])["flag_file"]
    path = tmp_path / "flag"
    parameters = {"path": str(path)}
    (target,) = fault.resolve(parameters, NODE)
    await fault.inject(KEY, target, parameters, 1, 1e12)
    assert path.exists()
    with pytest.raises(Refused, match="exists on a already"):
        fault.resolve(parameters, NODE)
    journal = UndoJournal(tmp_path)
    with journal.lock(1.0):
        journal.record_open("r", "continuous", undo_plan_of([Use(0, fault, target, parameters, KEY, 1)]))
        assert Undoer(journal, "reaper").undo_open() == {}
    assert not path.exists()
    assert journal.records()["r"].effects == ({"touched": 1},)
    journal.close()
    assert await fault.recover(KEY, target) == {"touched": 0}


def test_a_package_that_is_gone_leaves_its_record_open(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    with journal.lock(1.0):
        journal.record_open("r", "continuous", [{"do": "plugin:nobody", "fault": 0}])
        left = Undoer(journal, "command").undo_open()
    assert "no installed package has the fault nobody" in left["r"]
    journal.close()


def test_the_command_line_knows_it(tmp_path: Path) -> None:
    install(tmp_path, "flag_file")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), str(EXAMPLES.parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "raftchaos.cli.main", "fault", "types", "flag_file", "-o", "json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["parameters"][0]["name"] == "path"
