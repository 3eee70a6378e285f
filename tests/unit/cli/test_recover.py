"""`raftchaos fault recover`: what a dead peer left on is taken back without a cluster."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftchaos.faults import by_hand
from raftchaos.faults.undo import UndoJournal
from tests.unit.cli.conftest import Done
from tests.unit.faults.proxy_stub import ProxyThread

RUN = "t/1/0/a/1"
Command = Callable[..., Done]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[UndoJournal]:
    """A journal with one open run, whose fault is on a proxy."""
    made = UndoJournal(tmp_path)
    plan = [{"do": "proxy.recover", "fault": 0, "socket": str(tmp_path / "p"), "key": "k"}]
    with made.lock(1):
        made.record_open(RUN, "continuous", plan)
    yield made
    made.close()


def test_a_fault_whose_proxy_process_is_gone_is_off(raftchaos: Command, journal: UndoJournal, tmp_path: Path) -> None:
    done = raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path), "-o", "json")
    assert (done.code, json.loads(done.out)) == (0, {"dataDir": str(tmp_path), "undone": [RUN], "left": {}})
    assert [(record.done, record.by) for record in journal.records().values()] == [(True, "command")]
    assert journal.epoch == 1
    again = raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path))
    assert (again.code, again.out) == (0, "no fault was on\n")


def test_what_cannot_be_taken_back_is_told(
    raftchaos: Command, journal: UndoJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hand, "PATIENCE", 0.0)
    proxy = ProxyThread(tmp_path / "p")
    proxy.refusing = True
    try:
        done = raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path))
        assert done.code == 6
        assert RUN in done.err
        assert "could not recover k" in done.err
        proxy.refusing = False
        assert raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path)).code == 0
    finally:
        proxy.close()


def test_a_peer_that_is_injecting_is_waited_for(
    raftchaos: Command, journal: UndoJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hand, "LOCK_WAIT", 0.05)
    with journal.lock(1):
        done = raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path))
    assert done.code == 3
    assert "try again" in done.err
    assert len(journal.open_records()) == 1


def test_folders_without_a_journal_and_damaged_ones(raftchaos: Command, journal: UndoJournal, tmp_path: Path) -> None:
    done = raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path / "elsewhere"))
    assert done.code != 0
    assert "found no undo journal" in done.err
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "undo" / "journal").write_bytes(b"something else")
    done = raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path))
    assert done.code == 5
    assert "is damaged" in done.err


def test_a_recovery_of_nothing_in_particular_is_refused(raftchaos: Command) -> None:
    done = raftchaos("fault", "recover")
    assert done.code == 2
    assert "--all" in done.err


def test_a_full_disk_stops_no_undoing(
    raftchaos: Command, journal: UndoJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: UndoJournal) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UndoJournal, "raise_epoch", full)
    assert raftchaos("fault", "recover", "--all", "--data-dir", str(tmp_path)).code == 0
    assert not journal.open_records()
