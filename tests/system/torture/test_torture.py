"""The real thing: five peers on five machines, everything that can go wrong, and the guarantees held against it.

`make torture MINUTES=10` is the same for longer and with another seed each time; SEED=n repeats one.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftchaos import limits
from tests.system.torture.checkers import check
from tests.system.torture.history import ABSENT, FINAL, History
from tests.system.torture.nemesis import Nemesis
from tests.system.torture.schedule import Schedule, draw
from tests.system.torture.theatre import PEERS, Theatre
from tests.system.torture.traffic import close_all, watchers
from tests.system.torture.workload import clients

MINUTES = float(os.environ.get("RAFTCHAOS_TORTURE_MINUTES") or 0)
SEED = int(os.environ.get("RAFTCHAOS_TORTURE_SEED") or (secrets.randbelow(10**6) if MINUTES else 4))
SECONDS = MINUTES * 60 or 100.0


@pytest.fixture
def theatre(require: Callable[[bool, str], None]) -> Any:
    """Five ready peers."""
    require(os.geteuid() == 0, "the rights of root: run this test as root, for network namespaces and mounts")
    for word, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables"), ("cc", "gcc")):
        require(shutil.which(word) is not None, f"the command {word}: apt-get install {package}")
    require(Path("/usr/include/dlfcn.h").exists(), "the headers of the C library: apt-get install libc6-dev")
    with Theatre() as made:
        yield made


@pytest.mark.timeout(SECONDS + 600)
def test_every_guarantee_holds_under_torture(theatre: Theatre) -> None:
    schedule = draw(SEED, SECONDS, range(1, PEERS + 1))
    print(f"\ntorture with {schedule}", flush=True)
    nemesis = Nemesis(schedule, theatre.machines, theatre.network, theatre.history)
    problems: list[str] = []
    try:
        torture(theatre, nemesis, schedule)
        theatre.heal()
        final = with_forgotten(theatre.settle(), theatre.history)
        theatre.history.injections = theatre.injections()
        problems += check(theatre.history, final)
        problems += theatre.defects()
        problems += theatre.stop()
    except BaseException as error:
        problems.append(f"{type(error).__name__}: {error}")
        raise
    finally:
        print("\n".join(nemesis.log))
        print(summary(theatre.history), flush=True)
        if problems:
            tell(theatre, schedule, nemesis, problems)
    assert not problems, f"seed {SEED}:\n" + "\n".join(problems[:40])


def torture(theatre: Theatre, nemesis: Nemesis, schedule: Schedule) -> None:
    """Clients, watchers and nemesis together, for as long as the schedule says."""
    watching = watchers(theatre.machines, theatre.history)
    working = clients(theatre.machines, schedule.seed, theatre.history)
    for worker in (*watching, *working):
        worker.start()
    try:
        nemesis.start()
        threading.Event().wait(schedule.seconds)
        nemesis.join()
    finally:
        nemesis.close()
        close_all([*working, *watching])
    if nemesis.errors:
        raise nemesis.errors[0]


def with_forgotten(final: dict[str, str], history: History) -> dict[str, str]:
    """A cluster keeps so many ended tasks. Of those that went since, the ending that a client saw counts."""
    if len(final) <= limits.TASKS_FINISHED:
        return final
    seen = {one.task: one.status for one in history.operations if one.status in FINAL}
    return {task: seen.get(task, status) if status == ABSENT else status for task, status in final.items()}


def summary(history: History) -> str:
    """What was done, in numbers: a torture in which nothing happened proves nothing."""
    kinds: dict[str, int] = {}
    for one in history.operations:
        key = f"{one.kind} {one.outcome}"
        kinds[key] = kinds.get(key, 0) + 1
    faults = [sample for sample in history.samples if sample.task]
    caught = sum(
        any(sample.node == span.node and span.begin - 0.5 < sample.end < span.begin for sample in faults)
        for span in history.cut
    )
    return (
        f"operations: {kinds}\n{len(history.samples)} requests through proxies, {len(faults)} met a fault; "
        f"{len(history.injections)} runs were injected; {len(history.sightings)} looks at peers; "
        f"of {len(history.cut)} times that a node was cut off, dead or frozen, {caught} were in the middle of a fault"
    )


def tell(theatre: Theatre, schedule: Schedule, nemesis: Nemesis, problems: list[str]) -> None:
    """Keep everything and print the most important of it."""
    theatre.kept = True
    (theatre.root / "nemesis.log").write_text(f"{schedule}\n\n" + "\n".join(nemesis.log) + "\n")
    (theatre.root / "problems.txt").write_text("\n".join(problems) + "\n")
    theatre.history.save(theatre.root / "history.jsonl")
    print(f"seed {SEED}; the peers' logs and the history are kept in {theatre.root}")
    print("\n".join(problems[:40]))
    print(theatre.logs(), flush=True)
