"""Takes back by hand, without a cluster, what the undo journal of a data directory says is on."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftchaos.errors import Busy, NotFound
from raftchaos.faults.undo import LockTimeout, UndoJournal
from raftchaos.faults.undo_plan import Undoer

LOCK_WAIT: Final = 5.0  # an injection of a live main takes less
PATIENCE: Final = 10.0
"""Seconds for which what cannot be taken back is tried again."""
_RETRY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of the open records of a data directory."""

    undone: tuple[str, ...]
    """Runs whose faults are off now."""
    left: dict[str, str]
    """Runs that could not be taken back, and why."""


def recover_all(data_dir: Path) -> Recovered:
    """Carry out every open undo plan; a peer that runs there notices, and its runs end as interrupted.

    Raises `NotFound` where no peer ever kept an undo journal, `Busy` while another process injects, `DataCorrupt` if
    the journal is damaged, `MachineUnusable` if it cannot be written.
    """
    if not (data_dir / "undo").is_dir():
        raise NotFound(
            f"found no undo journal in {data_dir}", hint="say --data-dir as the peer that is to be cleaned up has it"
        )
    journal = UndoJournal(data_dir)
    try:
        return _recover(journal, time.monotonic() + PATIENCE)
    except LockTimeout as error:
        raise Busy(f"{error}: its peer is injecting or taking back", hint="wait a few seconds and try again") from error
    finally:
        journal.close()


def _recover(journal: UndoJournal, until: float) -> Recovered:
    undoer = Undoer(journal, "command")
    found: dict[str, None] = {}
    while True:
        with journal.lock(LOCK_WAIT):
            with contextlib.suppress(OSError):  # a full disk stops no undoing; main sees the records marked done too
                journal.raise_epoch()
            found.update((record.run, None) for record in journal.open_records())
            left = undoer.undo_open()
        if not left or time.monotonic() >= until:
            return Recovered(tuple(run for run in found if run not in left), left)
        time.sleep(_RETRY)
