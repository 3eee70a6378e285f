"""One client for everything that is written to over HTTP: `h2load`, a process of its own in C.

It speaks HTTP/1.1, one request at a time on each connection, and gRPC as HTTP/2, many on one connection, as the
official clients of etcd do. It takes a few percent of what a server takes for the same request; how much of a core it
took is told with every figure.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.report import quantiles

WARM_UP = 1  # seconds, not counted
GRPC = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
PLAIN = ["--h1", "-H", "content-type: application/json"]


@dataclass(frozen=True)
class Target:
    """Where a write is asked for, and with what."""

    url: str
    body: bytes
    grpc: bool = False


def cpu(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds of these processes so far."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def _children() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def load(target: Target, flight: int, seconds: int, servers: Sequence[psutil.Process]) -> dict[str, float]:
    """Writes with `flight` of them under way at any time. Raises SystemExit if one of them failed."""
    if shutil.which("h2load") is None:
        raise SystemExit("found no h2load: install Debian's nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(target.body)
        many = ["-c1", f"-m{flight}"] if target.grpc else [f"-c{flight}", "-m1"]
        words = ["h2load", "-D", str(seconds), "--warm-up-time", str(WARM_UP), *many, "--log-file", str(log)]
        words += [*(GRPC if target.grpc else PLAIN), "-d", str(body), target.url]
        before, own = cpu(servers), _children()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        took, client = cpu(servers) - before, _children() - own
        answers = [line.split() for line in log.read_text().splitlines()]
    bad = {status for _, status, _ in answers if status != "200"}
    if bad or not answers:
        raise SystemExit(f"found {len(answers)} answers of {target.url}, among them some of status {sorted(bad)}")
    passed = seconds + WARM_UP
    return {
        "per_second": round(len(answers) / seconds),
        **quantiles([int(micros) / 1e6 for _, _, micros in answers]),
        "server_us": round(took / passed * seconds / len(answers) * 1e6),  # of CPU for each write, on all members
        "client_cores": round(client / passed, 2),
    }
