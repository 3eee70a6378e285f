"""The undo journal: what survives a crash at every byte, and what is not believed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftchaos.errors import DataCorrupt
from raftchaos.faults import records
from raftchaos.faults.undo import DONE_KEPT, LockTimeout, UndoJournal

PLAN = [{"do": "proxy.recover", "socket": "/x/proxy.sock", "key": "t/1/0/a/1#0@web", "fault": 0}]


def filled(data_dir: Path) -> UndoJournal:
    journal = UndoJournal(data_dir)
    with journal.lock(1):
        journal.record_open("t/1/0/a/1", "continuous", PLAN)
        journal.record_open("t/1/1/a/1", "continuous", PLAN)
        assert journal.mark_done("t/1/0/a/1", ({"touched": 3},), "main")
    return journal


def test_what_is_open_and_what_is_done_is_read_by_another_process(tmp_path: Path) -> None:
    filled(tmp_path)
    other = UndoJournal(tmp_path)
    assert [record.run for record in other.open_records()] == ["t/1/1/a/1"]
    done = other.records()["t/1/0/a/1"]
    assert (done.done, done.effects, done.by, list(done.plan)) == (True, ({"touched": 3},), "main", PLAN)


def test_a_run_is_opened_once_and_done_once(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    with journal.lock(1):
        with pytest.raises(ValueError, match="already"):
            journal.record_open("t/1/0/a/1", "continuous", PLAN)
        assert not journal.mark_done("t/1/0/a/1", (), "reaper")
        assert not journal.mark_done("never/1/0/a/1", (), "reaper")
    assert journal.records()["t/1/0/a/1"].by == "main"


def test_nothing_is_written_without_the_lock(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    with pytest.raises(RuntimeError, match="lock"):
        journal.record_open("t/1/0/a/1", "continuous", PLAN)


def test_the_lock_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    mine, other = UndoJournal(tmp_path), UndoJournal(tmp_path)
    with mine.lock(1):
        assert not other.try_lock()
        with pytest.raises(LockTimeout), other.lock(0.05):
            pass
    assert other.try_lock()


def test_a_helper_that_inherited_the_lock_keeps_it(tmp_path: Path) -> None:
    mine, other = UndoJournal(tmp_path), UndoJournal(tmp_path)
    assert mine.try_lock()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[mine.lock_fd]) as helper:
        mine.close()
        assert not other.try_lock()
        helper.communicate(b"\n")
    assert other.try_lock()


def test_the_epoch_is_raised_under_the_lock_and_seen_by_others(tmp_path: Path) -> None:
    mine, other = UndoJournal(tmp_path), UndoJournal(tmp_path)
    assert other.epoch == 0
    with mine.lock(1):
        assert mine.raise_epoch() == 1
        assert mine.raise_epoch() == 2
    assert other.epoch == 2


def test_a_damaged_epoch_is_refused_but_one_that_was_never_written_is_none(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    (tmp_path / "undo" / "epoch").write_bytes(b"\0" * 21)
    assert journal.epoch == 0
    (tmp_path / "undo" / "epoch").write_bytes(b"seven")
    with pytest.raises(DataCorrupt, match="epoch"):
        _ = journal.epoch


def test_a_crash_at_any_byte_leaves_the_records_before_it_and_takes_the_next(tmp_path: Path) -> None:
    filled(tmp_path / "whole")
    data = (tmp_path / "whole" / "undo" / "journal").read_bytes()
    seen = set()
    for cut in range(len(data) + 1):
        folder = tmp_path / str(cut)
        (folder / "undo").mkdir(parents=True)
        (folder / "undo" / "journal").write_bytes(data[:cut])
        journal = UndoJournal(folder)
        before = list(journal.records().values())
        seen.add(tuple((record.run, record.done) for record in before))
        with journal.lock(1):
            journal.record_open("next/1/0/a/1", "continuous", PLAN)
        after = list(UndoJournal(folder).records().values())
        assert after[:-1] == before
        assert after[-1].run == "next/1/0/a/1"
        journal.close()
    assert seen == {
        (),
        (("t/1/0/a/1", False),),
        (("t/1/0/a/1", False), ("t/1/1/a/1", False)),
        (("t/1/0/a/1", True), ("t/1/1/a/1", False)),
    }


def test_blocks_that_never_arrived_are_cut(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    file = tmp_path / "undo" / "journal"
    file.write_bytes(file.read_bytes() + b"\0" * 512)
    assert len(journal.records()) == 2


def test_every_flipped_bit_before_the_last_record_is_found(tmp_path: Path) -> None:
    filled(tmp_path)
    file = tmp_path / "undo" / "journal"
    data = file.read_bytes()
    last = len(records.done_entry("t/1/0/a/1", ({"touched": 3},), "main"))
    for at in range(len(data) - last):
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(DataCorrupt, match="journal") as raised:
            UndoJournal(tmp_path).records()
        assert str(file) in raised.value.hint


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(records.Damaged):
        records.scan(records.MAGIC + data)


def test_a_compaction_keeps_what_is_open_and_the_newest_that_are_done(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    with journal.lock(1):
        journal.record_open("open/1/0/a/1", "continuous", PLAN)
        for number in range(DONE_KEPT + 5):
            journal.record_open(f"done/1/{number}/a/1", "continuous", PLAN)
            journal.mark_done(f"done/1/{number}/a/1", (), "main")
        journal.compact(forget=[f"done/1/{DONE_KEPT + 4}/a/1"])
    kept = UndoJournal(tmp_path).records()
    assert [record.run for record in journal.open_records()] == ["open/1/0/a/1"]
    assert len(kept) == 1 + DONE_KEPT
    assert "done/1/3/a/1" not in kept
    assert f"done/1/{DONE_KEPT + 4}/a/1" not in kept
    with journal.lock(1):
        journal.record_open("after/1/0/a/1", "continuous", PLAN)
    assert len(UndoJournal(tmp_path).records()) == 2 + DONE_KEPT


def test_what_stood_for_a_process_pushes_out_no_run(tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path)
    with journal.lock(1):
        journal.record_open("t/1/0/a/1", "oneShot", PLAN)
        journal.mark_done("t/1/0/a/1", (), "reaper")
        for number in range(DONE_KEPT + 5):
            journal.record_open(f"own/{number}", "continuous", PLAN, "7 7")
            if number:
                journal.mark_done(f"own/{number}", (), "reaper")
        journal.compact()
    assert list(UndoJournal(tmp_path).records()) == ["t/1/0/a/1", "own/0"]


def test_the_reaper_imports_nothing_heavy() -> None:
    heavy = ["asyncio", "pydantic", "aiohttp", "pysyncobj", "yaml", "uvloop", "psutil", "prometheus_client"]
    code = f"import sys, raftchaos.faults.reaper; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
