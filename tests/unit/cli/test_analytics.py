"""`raftchaos analytics detect` on files good and bad."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

HEAD = "timestamp,value\n"


def written(file: Path, rows: int, seed: int = 1) -> str:
    """A file of readings five minutes apart with one great spike."""
    values = np.random.default_rng(seed).normal(100, 3, rows)
    values[-20] = 300
    text = HEAD + "".join(f"{1_700_000_000 + 300 * row},{value:.3f}\n" for row, value in enumerate(values))
    file.write_text(text)
    return text


def test_a_row_for_each_row_with_its_score(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file, out = tmp_path / "data.csv", tmp_path / "scores.csv"
    text = written(file, 400)
    done = raftchaos("analytics", "detect", str(file), "--out", str(out))
    assert done.code == 0, done.err
    assert done.out == ""
    lines = out.read_text().splitlines()
    assert lines[0] == "timestamp,value,anomaly_score"
    assert [line.rsplit(",", 1)[0] for line in lines[1:]] == text.splitlines()[1:]
    scores = [float(line.rsplit(",", 1)[1]) for line in lines[1:]]
    assert all(0 <= score <= 1 for score in scores)
    assert scores.index(max(scores)) == 380
    assert max(scores) >= 0.5
    assert "400 rows" in done.err
    assert raftchaos("analytics", "detect", str(file)).out == out.read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_beginning_of_a_file_has_the_beginning_of_its_scores(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "data.csv"
    text = written(file, 300)
    whole = raftchaos("analytics", "detect", str(file)).out
    file.write_text("".join(text.splitlines(keepends=True)[:151]))
    assert whole.startswith(raftchaos("analytics", "detect", str(file)).out)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "".join(f"{row},5\n" for row in range(200)), "the value never changes"),
        (HEAD + "".join(f"{row},{row % 3}\n" for row in range(10)), "fewer than 100 readings"),
        (HEAD + "1,2\n2,\n3,nan\n4,2\n", "2 rows without a value"),
        (HEAD + "1,\n2,\n", "2 rows without a value"),
        (HEAD + "1,2\n1,2\n1,3\n", "1 row that repeat"),
        (HEAD + "1,2\n2,2\n90,2\n", "1 gap"),
    ],
)
def test_what_is_odd_is_told_and_scored(raftchaos, tmp_path: Path, text: str, told: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "data.csv"
    file.write_text(text)
    done = raftchaos("analytics", "detect", str(file))
    assert done.code == 0
    assert told in done.err
    assert done.out.splitlines()[1:] == [f"{row},0.000000" for row in text.splitlines()[1:]]


@pytest.mark.parametrize(
    "text", ["", "1,2\n2,3\n", "timestamp,value,x\n1,2,3\n", HEAD + "9999,1\n1,2\n", HEAD + "a,1\n", "y" * 70_000]
)
def test_bad_files_are_refused_and_leave_nothing(raftchaos, tmp_path: Path, text: str) -> None:  # type: ignore[no-untyped-def]
    file, out = tmp_path / "data.csv", tmp_path / "scores.csv"
    file.write_text(text)
    done = raftchaos("analytics", "detect", str(file), "--out", str(out))
    assert done.code == 2
    assert str(file) in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_files_that_cannot_be_read_or_written(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "data.csv"
    assert "cannot read" in raftchaos("analytics", "detect", str(file)).err
    written(file, 120)
    for out in (tmp_path / "missing" / "scores.csv", file, tmp_path):
        done = raftchaos("analytics", "detect", str(file), "--out", str(out))
        assert done.code == 2
        assert str(out) in done.err
    assert file.read_text().startswith(HEAD + "17")


def test_standard_input(raftchaos, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((HEAD + "1,2\n").encode())))
    done = raftchaos("analytics", "detect", "-")
    assert done.out.splitlines() == ["timestamp,value,anomaly_score", "1,2,0.000000"]


async def test_the_answer_of_a_prometheus_is_scored(raftchaos) -> None:  # type: ignore[no-untyped-def]
    values = [[1_700_000_000 + 60 * row, "NaN" if row == 3 else "100"] for row in range(150)]
    result = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
    body = json.dumps({"status": "success", "data": result}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = ("--prometheus", url, "--query", "up", "--step", "60", "--since", "1700000000", "--until", "1700008941")
        done = await asyncio.to_thread(raftchaos, "analytics", "detect", *words)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "timestamp,value,anomaly_score"
    assert lines[1] == "2023-11-14T22:13:20Z,100.0,0.000000"
    assert len(lines) == 151
    assert "the value never changes" in done.err


def test_one_source_is_expected(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "no source" in raftchaos("analytics", "detect").err
    assert "expected one source" in raftchaos("analytics", "detect", str(tmp_path / "a.csv"), "--query", "up").err
