"""The recording on disk: written whole or not at all, checked before it is believed, set aside if it is damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from raftchaos import limits
from raftchaos.analytics.recording.analytics import ChaosAnalytics
from raftchaos.clock import Clock
from raftchaos.errors import DataCorrupt, MachineUnusable
from raftchaos.files import read_record, write_record

log = logging.getLogger("raftchaos.analytics")

FILE: Final = "recording"
"""Its name in the data directory."""


def save(analytics: ChaosAnalytics, folder: Path) -> None:
    """Write the recording, with a checksum, atomically. Raises MachineUnusable if that cannot be done."""
    write_record(folder / FILE, analytics.snapshot())


def load(folder: Path, clock: Clock | None = None) -> ChaosAnalytics:
    """The recording of this folder, or an empty one if there is none.

    A damaged file is renamed to `recording.damaged`, in place of an earlier one, and that is logged: a peer without its
    past is of more use than one that does not start. Raises MachineUnusable if the folder cannot be read or written.
    """
    path = folder / FILE
    try:
        _check_size(path)
        data = read_record(path)
        return ChaosAnalytics(clock) if data is None else ChaosAnalytics.restored(data, clock)
    except DataCorrupt as error:
        aside = path.with_name(f"{FILE}.damaged")
        try:
            path.replace(aside)
        except OSError as problem:
            raise MachineUnusable(f"{error}; and it cannot be set aside: {problem.strerror}") from problem
        log.error("%s; it was set aside as %s, and the recording begins anew", error, aside)
        return ChaosAnalytics(clock)


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        return  # `read_record` says why, if it is not just that there is none
    if size > limits.RECORDING_FILE:
        raise DataCorrupt(f"{path} is damaged: found {size} bytes, expected at most {limits.RECORDING_FILE}")
