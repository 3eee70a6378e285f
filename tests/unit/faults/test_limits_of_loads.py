"""The pure parts of the loads: limits of disks and of open files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raftchaos.faults.disk_throttle import inside, unified
from raftchaos.faults.file_descriptors import limit_that_leaves
from raftchaos.faults.resources import counts, io_limits, marks, undo
from raftchaos.faults.resources.counts import Counts, CountsFile
from raftchaos.faults.undo_plan import StepFailed


@pytest.mark.parametrize(
    ("free", "taken", "limit"),
    [(0, {0, 1, 2}, 3), (0, {0, 1, 2, 9}, 3), (2, {0, 1, 2}, 5), (1, {0, 2}, 3), (0, set(), 0), (3, {1}, 4)],
)
def test_a_limit_leaves_so_many_numbers(free: int, taken: set[int], limit: int) -> None:
    assert limit_that_leaves(free, frozenset(taken)) == limit
    assert len(set(range(limit)) - taken) == free


def group(folder: Path, limit: str, stat: str) -> Path:
    (folder / "io.max").write_text(limit)
    (folder / "io.stat").write_text(stat)
    return folder


def test_limits_of_a_disk(tmp_path: Path) -> None:
    stat = "8:16 rbytes=1 wbytes=1 rios=1 wios=1\n8:0 rbytes=4096 wbytes=100 rios=7 wios=3 dbytes=0 dios=0\n"
    place = group(tmp_path, "8:0 rbps=max wbps=1048576 riops=max wiops=max\n", stat)
    assert io_limits.read(place, "8:0") == {"rbps": "max", "wbps": "1048576", "riops": "max", "wiops": "max"}
    assert io_limits.read(place, "9:0") == dict.fromkeys(io_limits.WORDS, "max")
    assert io_limits.passed(place, "8:0", {"rbytes": 96, "rios": 2}) == {
        "read_bytes": 4000,
        "written_bytes": 100,
        "touched": 8,
    }
    io_limits.write(place, "8:0", {"rbps": 5, "wiops": "max"})
    assert (place / "io.max").read_text() == "8:0 rbps=5 wiops=max"


def test_limits_of_a_group_that_is_gone_are_off(tmp_path: Path) -> None:
    step = {"group": str(tmp_path / "gone"), "device": "8:0", "before": {"rbps": "max"}, "passed": {}}
    assert undo.restore_io(step) == {}
    (tmp_path / "io.stat").write_text("")
    (tmp_path / "io.max").mkdir()
    with pytest.raises(StepFailed, match="cannot be taken back"):
        undo.restore_io({**step, "group": str(tmp_path)})


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ENXIO])
def test_limits_of_a_disk_that_is_gone_are_off(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    place = group(tmp_path, "", "")
    monkeypatch.setattr(io_limits, "write", write)
    assert undo.restore_io({"group": str(place), "device": "8:0", "before": {}, "passed": {}}) == {}


def test_groups_of_a_process() -> None:
    assert unified("1:cpu:/x\n0::/system.slice/a.service\n") == "/system.slice/a.service"
    assert unified("1:cpu:/x\n") == "/"
    assert inside("/a", "/a/b")
    assert inside("/a", "/a")
    assert not inside("/a", "/ab")


def test_counts_outlive_their_writer(tmp_path: Path) -> None:
    assert counts.read(tmp_path) == Counts()
    file = CountsFile(tmp_path)
    file.write(Counts(True, "", {"cpu_ms": 123_456_789}))
    file.write(Counts(False, "x" * 1000, {"cpu_ms": 5}))
    file.close()
    found = counts.read(tmp_path)
    assert (found.on, found.effect) == (False, {"cpu_ms": 5})
    assert (tmp_path / "counts").stat().st_size == 512
    (tmp_path / "counts").write_bytes(b"damaged")
    assert counts.read(tmp_path) == Counts()


def test_marks_differ_by_use() -> None:
    tokens = {marks.token_of(key, target) for key in ("a#0", "a#1") for target in ("cpu", "path:/x")}
    assert len(tokens) == 4
    assert marks.bearers(marks.token_of("nobody", "nothing")) == []


def test_what_comes_faster_than_it_is_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([[], [7], [7]])
    monkeypatch.setattr(marks, "bearers", lambda token: next(found))
    assert marks.end_bearers("0" * 24, -1.0) == [7]


def test_ending_what_never_began_is_a_success(tmp_path: Path) -> None:
    step = {"token": "0" * 24, "cgroup": "", "folder": str(tmp_path / "f"), "files": [str(tmp_path / "x")]}
    assert undo.end(step) == {}
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").write_text("z")
    assert undo.end(step) == {}
    assert not (tmp_path / "x").exists()
