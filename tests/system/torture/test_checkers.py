"""Each checker finds what it is there to find, and nothing in a history in which nothing is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.torture import checkers
from tests.system.torture.history import ABSENT, FAIL, UNKNOWN, HaltOrder, History, Operation, Sample, Sighting, Span
from tests.system.torture.nemesis import hears_not, minority
from tests.system.torture.schedule import HARM, PARTITIONS, draw

NODES = (1, 2, 3, 4, 5)


def operation(kind: str, begin: float, end: float, index: int, status: str, **more: Any) -> Operation:
    fields = {"client": "client-1", "peer": "node-1", "task": "t", "outcome": "ok"} | more
    return Operation(kind=kind, invoked=begin, completed=end, index=index, status=status, **fields)


def good() -> History:
    """One of everything, and all of it right."""
    return History(
        operations=[
            operation("submit", 0, 1, 10, "pending"),
            operation("strong", 2, 3, 12, "running"),
            operation("read", 2, 3, 10, "pending", client="client-2", peer="node-2", least=10),
            operation("cancel", 4, 5, 14, "recovering"),
            operation("strong", 6, 7, 16, "cancelled"),
            operation("submit", 0, 1, 0, "", task="refused", outcome=FAIL),
        ],
        samples=[
            Sample("node-1", "queue", 2.0, 2.1, "fault s"),
            Sample("node-1", "queue", 3.0, 3.1, "fault s"),
            Sample("node-2", "queue", 4.0, 4.1, "fault s"),
            Sample("node-2", "queue", 5.0, 5.1, "ok"),
        ],
        sightings=[
            Sighting("node-1", 1.0, 10, "abc", "leader", 3),
            Sighting("node-2", 1.0, 10, "abc", "follower", 3),
            Sighting("node-2", 2.0, 20, "def", "leader", 4),
        ],
        halts=[HaltOrder("h", "node-1", 20.0, 20.1, True, 40.0)],
        cut=[Span("node-2", 10.0, 30.0, "alone")],
        sequential={"s"},
        injections={"t/1/0/node-1/1": 1},
    )


FINAL = {"t": "cancelled", "refused": ABSENT}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert checkers.check(good(), FINAL) == []


def fault(node: str, begin: float, end: float) -> Callable[[History], object]:
    return lambda history: history.samples.append(Sample(node, "queue", begin, end, "fault s"))


def asked(*things: Any, **more: Any) -> Callable[[History], object]:
    return lambda history: history.operations.append(operation(*things, **more))


WRONG: dict[str, tuple[Callable[[History], object], str]] = {
    "a run was injected twice": (lambda history: history.injections.update({"r": 2}), "G3: r was injected 2 times"),
    "an answered submit is lost": (asked("submit", 8, 9, 20, "pending", task="lost"), "G4: the submit of lost"),
    "states differ": (
        lambda history: history.sightings.append(Sighting("node-3", 9.0, 10, "xyz", "follower", 3)),
        "G8: at index 10",
    ),
    "a term has two leaders": (
        lambda history: history.sightings.append(Sighting("node-3", 9.0, 11, "xyz", "leader", 3)),
        "term 3 has the leaders",
    ),
    "two nodes are under a sequential task": (fault("node-1", 4.5, 4.6), "G5: s was on node-2"),
    "a node is under a task that another one holds": (fault("node-3", 2.2, 2.3), "G5: s was on node-3"),
    "a fault is on long after a halt": (fault("node-3", 30.0, 30.1), "G6: s was on node-3"),
    "a fault is on where the halt was given": (fault("node-1", 24.0, 24.1), "G6: s was on node-1"),
    "a fault is on at a node that is cut off": (fault("node-2", 17.0, 17.1), "G1: s was on node-2"),
    "a strong read shows an old index": (asked("strong", 8, 9, 15, "cancelled"), "shows less than"),
    "a strong read shows an old value": (asked("strong", 8, 9, 17, "running"), "goes back behind"),
    "a strong read finds nothing": (asked("strong", 8, 9, 0, ABSENT), "goes back behind"),
    "a task is there before it was submitted": (
        asked("strong", -2, -1, 9, "running"),
        "shows a task that nobody has submitted yet",
    ),
    "a later index shows an earlier value": (asked("read", 8, 9, 18, "running"), "of a lesser index"),
    "two values stand at one index": (asked("read", 8, 9, 12, "paused"), "differ at the same index"),
    "a task ends twice": (asked("read", 8, 9, 16, "completed"), "was seen to end in several ways"),
    "a read goes back": (asked("read", 8, 9, 10, "pending", least=14), "goes back behind index 14"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str) -> None:
    history = good()
    do, expected = WRONG[name]
    do(history)
    assert any(expected in problem for problem in checkers.check(history, FINAL)), checkers.check(history, FINAL)


def test_what_was_certainly_refused_does_not_exist() -> None:
    found = checkers.check(good(), FINAL | {"refused": "completed"})
    assert found == ["definite: every submit of refused was refused, and at the end it is completed"]
    history = good()
    history.operations.append(operation("submit", 2, 3, 0, "", task="refused", outcome=UNKNOWN))
    assert checkers.check(history, FINAL | {"refused": "completed"}) == []


def test_a_stale_read_that_says_so_may_go_back() -> None:
    history = good()
    history.operations.append(operation("read", 8, 9, 10, "pending", least=14, stale=True))
    assert checkers.check(history, FINAL) == []


def test_a_seed_gives_one_schedule_with_everything_in_it() -> None:
    schedule = draw(1, 100, NODES)
    assert schedule == draw(1, 100, NODES)
    assert schedule != draw(2, 100, NODES)
    assert {item.kind for item in schedule.network} == set(PARTITIONS)
    assert {item.kind for item in schedule.harm} == set(HARM)
    assert len(schedule.halts) >= 2
    for track in (schedule.network, schedule.harm, schedule.halts):
        assert all(one.ends < other.at for one, other in itertools.pairwise(track)), "one after another"


def test_partitions_separate_whom_they_say() -> None:
    halves = hears_not("halves", (1, 2), NODES)
    assert halves == {1: {3, 4, 5}, 2: {3, 4, 5}, 3: {1, 2}, 4: {1, 2}, 5: {1, 2}}
    assert minority(halves, NODES) == [1, 2]
    bridged = hears_not("bridged halves", (3, 1, 2, 4, 5), NODES)
    assert bridged == {1: {4, 5}, 2: {4, 5}, 4: {1, 2}, 5: {1, 2}}
    assert minority(bridged, NODES) == []
    assert hears_not("one way", (1, 2), NODES) == {1: {2}}
    assert minority(hears_not("one way", (1, 2), NODES), NODES) == []
    assert minority(hears_not("leader alone", (4,), NODES), NODES) == [4]
