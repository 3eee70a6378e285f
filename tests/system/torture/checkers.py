"""The guarantees, held against a recorded history. Pure; each checker returns what it found wrong, in words.

Linearizability is checked without a search: every answer says which index of the log it shows, so the order that a
search would have to find is in the history. What remains is to hold that order against real time and against the
values. (PyPI has no maintained checker of histories; Knossos and Porcupine are of other worlds.)
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping

from raftchaos import limits
from tests.system.torture.history import ABSENT, FAIL, FINAL, OK, HaltOrder, History, Operation, Sample, Span

BOUND = (limits.LEASE + limits.REVERT) * limits.FAILURE_MARGIN
"""Seconds after which nothing may be on at a node that has no quorum, or in a cluster that is halted."""
MARGIN = 1.0
"""For a machine that is busy."""
AT_ONCE = 3.0
"""A halt is obeyed within one second where it is given; three times that."""


def check(history: History, final: Mapping[str, str]) -> list[str]:
    """Everything. `final` is the status of each task at the end, by a strong read; `absent` if it does not exist."""
    return [
        *answered_submits_end(history, final),
        *refused_submits_never_were(history, final),
        *one_injection_a_run(history.injections),
        *equal_hashes(history),
        *one_leader_a_term(history),
        *linearizable(history),
        *one_ending_a_task(history, final),
        *reads_go_on(history.operations),
        *one_node_at_a_time(history),
        *halts_are_total(history),
        *nothing_outlives_its_lease(history),
    ]


# ---- G4: what was accepted ends --------------------------------------------------------------------------------------


def answered_submits_end(history: History, final: Mapping[str, str]) -> list[str]:
    """G4. A task that was accepted is there and has ended."""
    return [
        f"G4: the submit of {task} was answered, and at the end it is {final.get(task, ABSENT)}"
        for task in sorted(_submits(history, OK))
        if final.get(task, ABSENT) not in FINAL
    ]


def refused_submits_never_were(history: History, final: Mapping[str, str]) -> list[str]:
    """A definite error says that the operation certainly did not happen."""
    refused = _submits(history, FAIL) - {
        operation.task for operation in history.operations if operation.kind == "submit" and operation.outcome != FAIL
    }
    return [
        f"definite: every submit of {task} was refused, and at the end it is {final[task]}"
        for task in sorted(refused)
        if final.get(task, ABSENT) != ABSENT
    ]


def _submits(history: History, outcome: str) -> set[str]:
    return {one.task for one in history.operations if one.kind == "submit" and one.outcome == outcome}


# ---- G3, G8: runs and replicas ---------------------------------------------------------------------------------------


def one_injection_a_run(injections: Mapping[str, int]) -> list[str]:
    """G3."""
    return [f"G3: {run} was injected {count} times" for run, count in sorted(injections.items()) if count > 1]


def equal_hashes(history: History) -> list[str]:
    """G8, at every index at which two looks happened to meet."""
    seen: dict[int, dict[str, str]] = defaultdict(dict)
    for sighting in history.sightings:
        seen[sighting.index].setdefault(sighting.state_hash, sighting.peer)
    return [f"G8: at index {index} the states differ: {hashes}" for index, hashes in seen.items() if len(hashes) > 1]


def one_leader_a_term(history: History) -> list[str]:
    """Raft's own promise."""
    leaders: dict[int, set[str]] = defaultdict(set)
    for sighting in history.sightings:
        if sighting.role == "leader":
            leaders[sighting.term].add(sighting.peer)
    return [f"term {term} has the leaders {sorted(names)}" for term, names in leaders.items() if len(names) > 1]


# ---- histories of clients --------------------------------------------------------------------------------------------


def linearizable(history: History) -> list[str]:
    """Writes and strong reads: an answer shows everything that was answered before its question was asked."""
    strong = [one for one in history.operations if one.kind != "read" and one.outcome == OK]
    return [*_indexes_in_real_time(strong), *_values_in_real_time(history.operations), *_values_by_index(history)]


def _indexes_in_real_time(strong: Iterable[Operation]) -> list[str]:
    shown = [one for one in strong if one.index]
    by_end = sorted(shown, key=lambda one: one.completed)
    ends = [one.completed for one in by_end]
    newest = list(itertools.accumulate(by_end, _newer))
    found = []
    for one in shown:
        before = bisect.bisect_left(ends, one.invoked)
        if before and newest[before - 1].index > one.index:
            found.append(f"linearizability: {_told(one)} shows less than {_told(newest[before - 1])} did before it")
    return found


def _newer(one: Operation, other: Operation) -> Operation:
    return one if one.index >= other.index else other


def _rank(operation: Operation) -> int:
    """How far a task has come: there is none, it lives, it has ended. It never goes back."""
    return 0 if operation.status == ABSENT else 2 if operation.status in FINAL else 1


def _values_in_real_time(operations: Iterable[Operation]) -> list[str]:
    """The same by what the answers say, task by task, without believing any index."""
    found = []
    for ones in _by_task(operations).values():
        answered = sorted((one for one in ones if one.outcome == OK), key=lambda one: one.completed)
        furthest: list[Operation] = []
        for one in answered:
            furthest.append(one if not furthest or _rank(one) > _rank(furthest[-1]) else furthest[-1])
        ends = [one.completed for one in answered]
        begun = min((one.invoked for one in ones if one.kind == "submit"), default=float("inf"))
        for one in answered:
            if _rank(one) and one.completed < begun:
                found.append(f"linearizability: {_told(one)} shows a task that nobody has submitted yet")
            if one.kind == "read":
                continue
            before = bisect.bisect_left(ends, one.invoked)
            if before and _rank(furthest[before - 1]) > _rank(one):
                found.append(f"linearizability: {_told(one)} goes back behind {_told(furthest[before - 1])}")
    return found


def _values_by_index(history: History) -> list[str]:
    """What is there at an index is there at every later one, whoever is asked and however."""
    found = []
    for ones in _by_task(history.operations).values():
        shown = sorted(
            (one for one in ones if one.outcome == OK and one.index), key=lambda one: (one.index, _rank(one))
        )
        for one, other in itertools.pairwise(shown):
            if one.index < other.index and _rank(one) > _rank(other):
                found.append(f"linearizability: {_told(other)} is behind {_told(one)}, of a lesser index")
            reads = {one.kind, other.kind} <= {"read", "strong"}
            if reads and one.index == other.index and one.status != other.status:
                found.append(f"linearizability: {_told(one)} and {_told(other)} differ at the same index")
    return found


def one_ending_a_task(history: History, final: Mapping[str, str]) -> list[str]:
    """A task that has ended has ended for good, in one way."""
    found = []
    for task, ones in _by_task(history.operations).items():
        endings = {one.status for one in ones if one.status in FINAL} | ({final[task]} if task in final else set())
        if len(endings) > 1 and endings - set(FINAL):
            found.append(f"{task} was seen as {sorted(endings & set(FINAL))} and is {final[task]} at the end")
        elif len(endings) > 1:
            found.append(f"{task} was seen to end in several ways: {sorted(endings)}")
    return found


def reads_go_on(operations: Iterable[Operation]) -> list[str]:
    """A read shows what its client has seen before, or says that it is stale."""
    return [
        f"{_told(one)} goes back behind index {one.least}, which the client had seen, and does not say so"
        for one in operations
        if one.kind == "read" and one.outcome == OK and one.index and one.index < one.least and not one.stale
    ]


def _by_task(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = defaultdict(list)
    for one in operations:
        found[one.task].append(one)
    return found


def _told(one: Operation) -> str:
    return f"{one.kind} of {one.task} by {one.client} at {one.peer} ({one.invoked:.2f}-{one.completed:.2f}, index {one.index}, {one.status or one.outcome})"  # noqa: E501


# ---- faults, as the requests through the proxies met them ------------------------------------------------------------


def _faults(history: History) -> list[Sample]:
    return [sample for sample in history.samples if sample.task]


def one_node_at_a_time(history: History) -> list[str]:
    """G5. From the end of the first request that a task's fault answered on a node to the start of the last one, the
    node was in the task's hands; for no two nodes do these times meet."""
    found = []
    spans: dict[str, dict[str, Span]] = defaultdict(dict)
    touched: dict[str, list[Sample]] = defaultdict(list)
    for sample in _faults(history):
        if sample.task not in history.sequential:
            continue
        touched[sample.task].append(sample)
        span = spans[sample.task].setdefault(sample.node, Span(sample.node, sample.end, sample.start, sample.task))
        span.begin, span.end = min(span.begin, sample.end), max(span.end, sample.start)
    for task, nodes in spans.items():
        for one, other in itertools.combinations(nodes.values(), 2):
            met = next((sample for sample in touched[task] if _amid(sample, one, other)), None)
            if max(one.begin, other.begin) < min(one.end, other.end):
                found.append(f"G5: {task} had {_span(one)} and {_span(other)} at once")
            elif met is not None:
                found.append(f"G5: {task} was on {met.node} at {met.start:.2f}, amid {_span(one)} or {_span(other)}")
    return found


def _amid(sample: Sample, one: Span, other: Span) -> bool:
    """Whether one of the nodes was touched in the middle of the other one's time."""
    return any(
        sample.node == here.node and there.begin <= sample.start and sample.end <= there.end
        for here, there in ((one, other), (other, one))
    )


def halts_are_total(history: History) -> list[str]:
    """G6. Nothing is on at the peer that was asked after a moment, and nowhere after L + R, until somebody resumes."""
    return [
        f"G6: {sample.task} was on {sample.node} at {sample.start:.2f}, {sample.start - halt.answered:.2f} s after "
        f"{halt.id} was answered at {halt.peer}"
        for halt in history.halts
        for sample in _faults(history)
        if _too_late(history, halt, sample)
    ]


def _too_late(history: History, halt: HaltOrder, sample: Sample) -> bool:
    if not halt.logged or sample.end >= halt.resumed:
        return False
    at_once = sample.node == halt.peer and not _within(history.cut, sample.node, halt.invoked, sample.end)
    return sample.start > halt.answered + (AT_ONCE if at_once else BOUND + MARGIN)


def nothing_outlives_its_lease(history: History) -> list[str]:
    """G1. A node without a quorum, and one whose main is dead or frozen, is clean after L + R."""
    return [
        f"G1: {sample.task} was on {sample.node} at {sample.start:.2f}, {sample.start - span.begin:.2f} s into: "
        f"{span.what}"
        for span in history.cut
        for sample in _faults(history)
        if sample.node == span.node and span.begin + BOUND + MARGIN < sample.start and sample.end < span.end
    ]


def _within(spans: Iterable[Span], node: str, begin: float, end: float) -> bool:
    """Whether the node was in such a state at some time between both."""
    return any(span.node == node and span.begin < end and begin < span.end for span in spans)


def _span(span: Span) -> str:
    return f"{span.node} ({span.begin:.2f}-{span.end:.2f})"
