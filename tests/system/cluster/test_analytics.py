"""The analyst of a real peer: what its proxies relay is recorded, explained, kept, and never in the way."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import Any

import psutil
import pytest

from tests.system.harness import ApiError, Cluster, PeerProcess, Shop, wait_until, words_of


def analysts(peer: PeerProcess) -> list[psutil.Process]:
    """The analyst processes of a peer."""
    return [child for child in peer.children() if "raftchaos.analytics.analyst" in words_of(child)]


def asked(peer: PeerProcess, what: str) -> Any:
    return peer.get(f"/api/v1/analytics/{what}", timeout=25)


def sample(peer: PeerProcess, name: str) -> float:
    """A series of /metrics."""
    text = peer.get("/metrics")
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not exported"
    return float(found[1])


def test_a_peer_records_explains_and_remembers(cluster: Cluster, shop: Shop) -> None:
    shop.start(1)
    peer = cluster["node-1"]
    (sampler,) = shop.samplers.values()
    wait_until(lambda: analysts(peer), 20, "the analyst is started by the first requests")
    wait_until(
        lambda: any(name.startswith("requests{") for name in asked(peer, "metrics")["metrics"]), 20, "they are recorded"
    )
    health = wait_until(lambda: asked(peer, "health")["health"], 20, "there is a health")
    assert health["score"] == pytest.approx(100 + sum(factor["impact"] for factor in health["factors"]))
    assert {factor["component"] for factor in health["factors"]} >= {"errors", "anomalies"}
    assert asked(peer, "anomalies")["anomalies"] == []
    assert asked(peer, "trends/total_events")["trend"]["metric"] == "total_events"
    assert asked(peer, "insights")["insights"] == []
    assert asked(peer, "correlations")["correlations"] == []
    wait_until(lambda: not math.isnan(sample(peer, 'raftchaos_health_score{component="total"}')), 10, "it is exported")
    assert sample(peer, 'raftchaos_process_resident_memory_bytes{component="analyst"}') > 0
    (analyst,) = analysts(peer)
    assert analyst.nice() >= 10
    # one that is killed is replaced, and the peer goes on meanwhile
    term = peer.status()["term"]
    analyst.kill()
    wait_until(lambda: analysts(peer) and analysts(peer)[0].pid != analyst.pid, 20, "another analyst stands")
    wait_until(lambda: asked(peer, "health")["health"], 20, "it answers")
    assert peer.status()["term"] == term
    # what was recorded is there after a restart
    sampler.close()
    peer.stop()
    peer.wait_childless()
    assert (peer.data / "recording").exists()
    peer.start()
    cluster.wait_ready()
    names = wait_until(lambda: asked(peer, "metrics")["metrics"], 20, "the analyst is asked")
    assert any(name.startswith("requests{endpoint=") for name in names)


def test_bad_questions_are_refused_with_what_to_do(cluster: Cluster) -> None:
    cluster.start(1)
    peer = cluster["node-1"]
    cluster.wait_ready()
    refusals = {
        "trends/nonsense": (404, "expected one of total_events"),
        "trends/total_events?start=20&end=10": (400, "expected a start before its end"),
        "trends/total_events?start=now": (400, "expected seconds since 1970-01-01"),
        "forecasts/total_events?horizon=0": (400, "horizon"),
        "forecasts/total_events": (400, "expected 30 or more"),
        "impact/nothing": (404, "no task 'nothing'"),
    }
    for what, (status, words) in refusals.items():
        with pytest.raises(ApiError) as refused:
            asked(peer, what)
        assert refused.value.status == status, what
        assert words in str(refused.value.body), what


def test_the_command_line_shows_what_a_peer_found(cluster: Cluster, shop: Shop) -> None:
    shop.start(1)
    peer = cluster["node-1"]
    wait_until(lambda: asked(peer, "health")["health"], 30, "there is a health")
    for words, shown in (
        (("health",), "of 100"),
        (("anomalies",), "nothing unusual"),
        (("insights",), "nothing predicted yet"),
        (("correlations",), "no metrics that surely move together"),
    ):
        command = [sys.executable, "-m", "raftchaos.cli.main", "analytics", *words, "--peer", f"127.0.0.1:{peer.api}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout, words
