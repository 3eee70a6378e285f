"""Elections that nobody needed: an idle cluster of three real peers beside processes that keep cores busy.

    python benchmarks/elections.py [--phase MINUTES:CORES]... [--nice N]       default: 60:1 and 5:2

Every change of the Raft term of a cluster in which nothing dies is one too many. The busy processes have the priority
of the peers unless `--nice` says otherwise. Jumps of the clock and stalls of the whole machine are told beside them: a
virtual machine that is paused looks to its peers like a leader that hangs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import machine, show, table
from tests.system.harness import ApiError, Cluster

LOOK = 1.0
STALL = 0.3
"""An onlooker that is woken this much too late tells of a machine that had no core for it, or of none at all."""
JUMP = 0.2
BURN = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: sum(range(2000))"
LATE = "raftchaos_event_loop_late_seconds"


@contextlib.contextmanager
def busy(cores: int, seconds: float, nice: int) -> Iterator[None]:
    """So many processes that want a core each, for that long at most."""
    words = ["nice", "-n", str(nice), sys.executable, "-c", BURN, str(seconds)]
    burning = [subprocess.Popen(words) for _ in range(cores)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


class Onlooker:
    """Asks every peer for its term, again and again, and notes what is out of the ordinary."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.notes: list[dict[str, Any]] = []
        self.stalls: list[float] = []
        self.loads: list[float] = []
        self.term = self.first_term = self._newest_term()

    def _newest_term(self) -> int:
        found = [0]
        for peer in self.cluster.running():
            with contextlib.suppress(OSError, http.client.HTTPException, ApiError):
                found.append(peer.status()["term"])
        return max(found)

    def watch(self, seconds: float) -> None:
        """For that long."""
        began = time.monotonic()
        clocks = time.monotonic(), time.time()
        while (at := time.monotonic()) < began + seconds:
            time.sleep(LOOK)
            late = time.monotonic() - at - LOOK
            if late > STALL:
                self.stalls.append(round(late, 3))
                self._note(began, f"the onlooker was woken {late:.2f} s too late")
            present = time.monotonic(), time.time()
            jump = (present[1] - clocks[1]) - (present[0] - clocks[0])
            if abs(jump) > JUMP:
                self._note(began, f"the wall clock jumped by {jump:.2f} s")
            clocks = present
            self.loads.append(os.getloadavg()[0])
            term = self._newest_term()
            if term > self.term:
                self._note(began, f"term {term} after {self.term}")
                self.term = term

    def _note(self, began: float, what: str) -> None:
        self.notes.append(
            {"at_s": round(time.monotonic() - began, 1), "what": what, "load": round(os.getloadavg()[0], 2)}
        )
        print(self.notes[-1], file=sys.stderr, flush=True)


def lateness(cluster: Cluster) -> dict[str, dict[str, float]]:
    """How often the event loop of each peer was at most so late since it started, by its own measurement."""
    found = {}
    for peer in cluster.running():
        lines = peer.get("/metrics").splitlines()
        found[peer.name] = {
            line.split('le="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(f"{LATE}_bucket")
        }
    return found


def phase(minutes: float, cores: int, nice: int) -> dict[str, Any]:
    """One cluster, idle for that long beside busy cores."""
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root))
        try:
            cluster.start(3)
            with busy(cores, minutes * 60 + 60, nice):
                onlooker = Onlooker(cluster)
                onlooker.watch(minutes * 60)
            return {
                "minutes": minutes,
                "busy_cores": cores,
                "nice": nice,
                "term_changes": onlooker.term - onlooker.first_term,
                "mean_load": round(sum(onlooker.loads) / len(onlooker.loads), 2),
                "max_load": round(max(onlooker.loads), 2),
                "stalls": len(onlooker.stalls),
                "longest_stall_s": max(onlooker.stalls, default=0.0),
                "notes": onlooker.notes,
                "loop_late_at_most_s": lateness(cluster),
            }
        finally:
            cluster.end()


def main() -> None:
    """Watch and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phase", action="append", metavar="MINUTES:CORES", help="may be given several times")
    parser.add_argument("--nice", type=int, default=0, help="of the busy processes")
    options = parser.parse_args()
    wanted = [each.split(":") for each in options.phase or ["60:1", "5:2"]]
    phases = [phase(float(minutes), int(cores), options.nice) for minutes, cores in wanted]
    head = ("minutes", "busy cores", "terms too many", "load, mean", "load, max", "stalls", "longest stall s")
    columns = ("minutes", "busy_cores", "term_changes", "mean_load", "max_load", "stalls", "longest_stall_s")
    rows = [[each[column] for column in columns] for each in phases]
    show({"machine": machine(), "phases": phases}, table(head, rows))


if __name__ == "__main__":
    main()
