"""The demonstration keeps its promises: all of it works on this machine, in under a minute, and nothing stays."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

MARK = "RAFTCHAOS_TEST_DEMO"
UNDER = 60.0  # seconds: what `raftchaos demo --help` promises


def of_the_demonstration(mark: str) -> list[str]:
    """The processes that still run and inherited the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found


def test_the_demonstration(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "raftchaos.cli.main", "demo", "-o", "json"],
        cwd=tmp_path, env={**os.environ, MARK: str(tmp_path), "TMPDIR": str(tmp_path)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=3 * UNDER, check=False,
    )  # fmt: skip
    took = time.monotonic() - began

    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert of_the_demonstration(str(tmp_path)) == []
    assert list(tmp_path.glob("raftchaos-*")) == []
    told = json.loads(done.stdout)
    assert told["ok"] is True, told["problems"]
    assert told["processesLeft"] == []
    assert took < UNDER, done.stderr
    assert told["seconds"] <= took

    assert (told["task"]["status"], told["task"]["verdict"]) == ("completed", "passed")
    check_steps(told)
    failover = told["failover"]
    assert failover["killed"] != failover["newLeader"]
    assert failover["termAfter"] > failover["termBefore"]
    assert failover["withoutLeaderSeconds"] > 0
    assert failover["faultOffSeconds"] is not None
    left = told["noFaultLeftBehind"]
    assert left["ok"] is True
    assert [proxy["node"] for proxy in left["proxies"]] == ["node-1", "node-2", "node-3"]
    for proxy in left["proxies"]:
        assert (proxy["faultsInProxy"], proxy["activeFaults"], proxy["failedRequests"]) == ([], [], 0), proxy


def check_steps(told: dict[str, Any]) -> None:
    """Each step shows in what the customers saw, while it lasted and only then."""
    slow, failing, cut = told["steps"]
    assert [step["scenario"] for step in (slow, failing, cut)] == ["latency", "http_error", "reset_peer"]
    for step in (slow, failing, cut):
        for when in ("before", "during", "after"):
            summary = step[when]
            assert summary["requests"] > 0, (step["name"], when)
            assert {"ratePerSecond", "p50Ms", "p95Ms", "errorShare"} <= summary.keys()
        assert [node["node"] for node in step["nodes"]] == ["node-1", "node-2", "node-3"]
        assert step["touched"] == sum(node["touched"] or 0 for node in step["nodes"]) > 0
    assert slow["during"]["p50Ms"] > 3 * slow["before"]["p50Ms"]
    for step in (failing, cut):
        assert step["during"]["errorShare"] > 0.05, step["name"]
    by_node = {node["node"]: node for node in failing["nodes"]}
    killed = told["failover"]["killed"]
    assert by_node.pop(killed)["status"] == "interrupted"
    assert {node["status"] for node in by_node.values()} == {"succeeded"}
