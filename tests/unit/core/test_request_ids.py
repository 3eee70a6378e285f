"""Request ids: never the same twice, not even of another start of the peer."""

from __future__ import annotations

from raftchaos.core.request_ids import RequestIds, of_task


def test_ids_of_all_starts_of_all_peers_differ() -> None:
    counters = [RequestIds(name, incarnation) for name in ("n1", "n2") for incarnation in (1, 2, 12)]
    ids = [counter.next() for counter in counters for _ in range(20)]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "n1:1:1"


def test_the_submit_of_a_task_has_the_same_id_for_ever() -> None:
    assert of_task("nightly-7") == "task:nightly-7"
