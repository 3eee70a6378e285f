"""`raftchaos analytics forecast` and `trend`: on files and on a real Prometheus, and on what is neither."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """A week of hours that rise, with a daily season."""
    file = tmp_path / "requests.csv"
    place = np.arange(168)
    noise = np.random.default_rng(1).normal(size=168)
    values = 100 + 0.2 * place + 20 * np.sin(2 * np.pi * place / 24) + noise
    rows = [f"{(START + timedelta(hours=hour)).isoformat()},{value:.3f}" for hour, value in enumerate(values)]
    file.write_text("\n".join(["timestamp,value", *rows]) + "\n")
    return file


def test_a_forecast_of_a_file(raftchaos, csv: Path) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("analytics", "forecast", "--csv", str(csv), "--horizon", "24", "--limit", "120", "-o", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert len(told["forecast"]["expected"]) == 24
    assert told["forecast"]["periods"] == [24]
    first = told["forecast"]["expected"][0]
    assert first["at"] == (START + timedelta(hours=168)).timestamp()
    assert first["low95"] < 133.6 < first["high95"]
    assert told["insight"]["crossingProbability"] > 0.9
    assert "above 120" in told["insight"]["recommendation"]


def test_a_forecast_is_drawn(raftchaos, csv: Path) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("analytics", "forecast", "--csv", str(csv), "--horizon", "30")
    assert done.code == 0, done.err
    assert any(0x2800 < ord(letter) <= 0x28FF for letter in done.out)
    assert "2026-01-12 01:00:00" in done.out
    assert "168 rows" in done.out


def test_a_trend_of_a_file_and_of_a_part(raftchaos, csv: Path) -> None:  # type: ignore[no-untyped-def]
    told = json.loads(raftchaos("analytics", "trend", "--csv", str(csv), "-o", "json").out)
    assert told["trend"]["direction"] == "increasing"
    assert told["trend"]["rateLow"] < 0.2 < told["trend"]["rateHigh"]
    done = raftchaos("analytics", "trend", "--csv", str(csv), "--since", "2026-01-11T00:00:00Z")
    assert done.code == 0, done.err
    assert "24 steps of 3600 s" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "2026-01-10", "--until", "2026-01-09"], "expected the first before the second"),
        (["--since", "yesterday"], "--since 'yesterday'"),
        (["--query", "up"], "expected them with --prometheus only"),
        (["--prometheus", "http://127.0.0.1:1"], "two sources"),
        (["--until", "2026-01-05T00:30:00Z"], "expected at least two"),
    ],
)
def test_words_that_do_not_fit(raftchaos, csv: Path, words: list[str], told: str) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("analytics", "trend", "--csv", str(csv), *words)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-01-01,1\n2026-01-02,2\n", "expected a header"),
        ("timestamp,value\n" + "".join(f"{60 * n},1\n" for n in range(5)), "found 5 readings, expected at least 10"),
        ("timestamp,value\n", "no rows"),
        ("timestamp,value\n1,one\n", ":2: found the value 'one'"),
    ],
)
def test_files_that_are_no_series(raftchaos, tmp_path: Path, text: str, told: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "bad.csv"
    file.write_text(text)
    done = raftchaos("analytics", "forecast", "--csv", str(file), "--horizon", "3")
    assert done.code == 2
    assert told in done.err


def test_a_file_that_is_not_there_and_no_source(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("analytics", "forecast", "--csv", str(tmp_path / "none.csv"), "--horizon", "3")
    assert (done.code, "cannot read" in done.err) == (2, True)
    assert "no source" in raftchaos("analytics", "trend").err
    assert "without --query" in raftchaos("analytics", "trend", "--prometheus", "http://127.0.0.1:1").err


def test_a_trend_of_five_readings_is_unknown(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "short.csv"
    file.write_text("timestamp,value\n" + "".join(f"{60 * n},{n}\n" for n in range(5)))
    done = raftchaos("analytics", "trend", "--csv", str(file))
    assert done.code == 0
    assert "not enough data: 5 readings, 10 are needed" in done.out


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://name:secret@127.0.0.1:1", "found a name or a password"),
        ("ftp://127.0.0.1", "expected http://HOST:PORT"),
        ("http://127.0.0.1:1", "127.0.0.1:1 could not be asked"),
    ],
)
def test_servers_that_cannot_be_asked(raftchaos, url: str, told: str) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("analytics", "trend", "--prometheus", url, "--query", "up")
    assert done.code == 2
    assert told in done.err
    assert "secret" not in done.err + done.out


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not from Prometheus"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"nonsense\r\n\r\n", "could not be asked"),
    ],
)
async def test_answers_that_are_none(raftchaos, answer: bytes, told: str) -> None:  # type: ignore[no-untyped-def]
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        words = ("analytics", "trend", "--prometheus", f"http://127.0.0.1:{port}", "--query", "up")
        done = await asyncio.to_thread(raftchaos, *words)
    assert done.code == 2
    assert told in done.err


@pytest.fixture
def prometheus(require: Callable[[bool, str], None], tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes itself every 200 ms and has done so twenty times."""
    binary = shutil.which("prometheus")
    require(binary is not None, "prometheus (apt-get install prometheus)")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "self", "static_configs": [{"targets": [address]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    words = [str(binary), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            _await_samples(address, process)
            yield f"http://{address}"
        finally:
            process.kill()
            process.wait(10)


def _await_samples(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(
                f"http://{address}/api/v1/query?query=count_over_time(up[1m])", timeout=5
            ) as answer:
                found = json.load(answer)["data"]["result"]
            if found and float(found[0]["value"][1]) >= 20:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus has not scraped itself twenty times in a minute")


def test_a_real_prometheus(raftchaos, prometheus: str) -> None:  # type: ignore[no-untyped-def]
    since = ("--since", str(time.time() - 30), "--step", "1")
    source = ("--prometheus", prometheus, "--query")
    done = raftchaos("analytics", "trend", *source, "time()", *since, "-o", "json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["trend"]
    assert (told["direction"], told["rateLow"]) == ("increasing", pytest.approx(3_600, rel=0.01))
    done = raftchaos("analytics", "forecast", *source, "time()", *since, "--horizon", "3")
    assert done.code == 0, done.err
    assert "expected one" in raftchaos("analytics", "trend", *source, "{job='self'}", *since).err
    assert "gave 0 series" in raftchaos("analytics", "trend", *source, "nothing_of_this_name", *since).err
    assert "answered 400" in raftchaos("analytics", "trend", *source, "sum(", *since).err
    assert "less than 11,000 steps" in raftchaos("analytics", "trend", *source, "up", "--step", "1").err
