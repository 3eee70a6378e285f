"""The undo journal stays small, however many runs a node has had."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftchaos.faults import undo
from tests.unit.faults.test_executor import STEP, Bench, NoSocket


async def test_it_is_compacted_while_runs_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "_COMPACT_BYTES", 8 * 1024)
    monkeypatch.setattr(undo, "DONE_KEPT", 10)
    bench = Bench(tmp_path)
    for name in bench.names:
        await bench.proxy.add_proxy(name, "127.0.0.1:1", "127.0.0.1:2", NoSocket())
    sizes, written, before = [], 0, 0
    for number in range(150):
        run = f"t{number}/1/0/a/1"
        await bench.executor.start(run, STEP, await bench.executor.resolve(STEP), 7, lambda: 1003.0)
        assert (await bench.executor.recover(run)).ok
        size = bench.journal.directory.joinpath("journal").stat().st_size
        written += max(0, size - before)
        await bench.executor.forget(run)
        before = bench.journal.directory.joinpath("journal").stat().st_size
        sizes.append(size)
    assert written > 6 * 8 * 1024
    assert max(sizes) < 2 * 8 * 1024
    assert {file.name for file in bench.journal.directory.iterdir()} <= {"journal", "lock", "epoch"}
    bench.executor.close()
    bench.journal.close()
