"""How tasks, previews and errors are shown."""

from __future__ import annotations

from typing import Any

import pytest

from raftchaos.cli.display import Bars, Lines, bar, behind, fitting, share
from raftchaos.cli.dry_run import preview_parts
from raftchaos.cli.main import problem_of, wanted_output
from raftchaos.cli.output import ago, plain, render, value_words
from raftchaos.cli.task_view import effect_words, task_exit_code, task_parts, touched
from raftchaos.errors import NoQuorum, all_errors


def run(**more: Any) -> dict[str, Any]:
    return {
        "id": "t/1/0/node-1/1", "node": "node-1", "attempt": 1, "status": "active", "reason": "", "activeMs": 1_000,
        "endedMs": 0, "durationSeconds": 10.0, "effects": [], **more,
    }  # fmt: skip


def task(*runs: dict[str, Any], **more: Any) -> dict[str, Any]:
    steps = [{"index": 0, "name": "slow [web]", "scenario": "latency", "runs": list(runs)}]
    return {
        "id": "t", "mode": "parallel", "status": "running", "verdict": None, "reason": "", "stepCount": 1,
        "progress": 0.5, "nowMs": 0, "steps": steps, **more,
    }  # fmt: skip


def test_a_task_with_its_runs(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(status="succeeded", endedMs=11_200, effects=[{"touched": 7, "requests": 9}, {"touched": 1}])
    render(*task_parts(task(done, status="completed", verdict="passed")))
    shown = capsys.readouterr().out
    for word in ("slow [web]", "node-1", "succeeded", "10.2", " 8 ", "requests 9", "passed"):
        assert word in shown, word
    assert touched(done) == 8
    assert effect_words(done) == "requests 9"


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        ("completed", "passed", 0),
        ("failed", "failed", 1),
        ("aborted", "failed", 1),
        ("completed", "inconclusive", 4),
        ("cancelled", "inconclusive", 4),
        ("halted", None, 4),
        ("recoveryFailed", "failed", 6),
    ],
)
def test_exit_codes_of_tasks(status: str, verdict: str | None, code: int) -> None:
    assert task_exit_code(task(status=status, verdict=verdict)) == code


def test_lines_tell_each_change_once() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.update(task(run(status="granted")))
    lines.update(task(run(status="granted")))
    lines.update(task(run(status="interrupted", reason="halted"), status="halted"))
    assert said == [
        "task t: running",
        "step 1/1 slow [web]: node-1 granted",
        "task t: halted",
        "step 1/1 slow [web]: node-1 interrupted (halted)",
    ]


def test_a_bar_grows_with_the_clock() -> None:
    assert share(run(), 1_000) == 0
    assert share(run(), 6_000) == 0.5
    assert share(run(), 60_000) == 1
    assert share(run(activeMs=0), 6_000) == 0
    assert share(run(endedMs=2_000), 1_500) == 1
    assert "50 %" in bar(0.5)
    bars = Bars()
    bars.render()  # before anything is known
    bars.update(task(run()))
    bars.render()


def test_a_preview(capsys: pytest.CaptureFixture[str]) -> None:
    step = {
        "name": "slow", "scenario": "latency", "faults": [{"type": "latency", "parameters": {"latencyMs": 100}}],
        "durationSeconds": 30.0, "delayBeforeSeconds": 0.0, "continueOnFailure": False,
        "runs": [{"run": "p/1/0/*/1", "node": "*", "durationSeconds": 30.0}],
    }  # fmt: skip
    preview = {
        "accepted": False, "refusals": [{"code": "halted", "error": "the cluster is halted", "hint": "resume it"}],
        "name": "x", "mode": "peerToPeer", "deadlineSeconds": 3600.0, "targets": ["a", "b"], "takers": 1,
        "limits": {"activeNodes": 3, "maxNodes": None, "maxPercent": 50, "atOnce": 1}, "steps": [step],
        "disarmed": ["selfHarm"],
    }  # fmt: skip
    render(*preview_parts(preview))
    shown = capsys.readouterr().out
    for word in ("a, b", "1 of 3", "maxPercent 50", "latencyMs=100", "whichever asks first", "halted", "selfHarm"):
        assert word in shown, word


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["status", "-o", "json"], "json"),
        (["status", "--output=json"], "json"),
        (["-ojson"], "json"),
        (["status", "-o", "yaml", "json"], "yaml"),
        (["run", "-o"], "table"),
        (["run", "json"], "table"),
    ],
)
def test_which_output_words_ask_for(words: list[str], output: str) -> None:
    assert wanted_output(words) == output


def test_an_error_as_data() -> None:
    problem = problem_of(NoQuorum("2 peers are missing"))
    assert problem["code"] == "no-quorum"
    assert problem["exitCode"] == 3
    assert problem["definite"] is True
    assert problem["detail"] == "2 peers are missing"


def test_every_error_has_an_exit_code_of_the_documented_ones() -> None:
    assert {error.spec.exit_code for error in all_errors().values()} <= {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (300.0, "300"),
        (0.05, "0.05"),
        (["a", "b"], "a, b"),
        ({"zone": "eu"}, "zone=eu"),
        (True, "true"),
        (None, ""),
        (3, "3"),
    ],
)
def test_values_are_shown_as_people_write_them(value: object, words: str) -> None:
    assert value_words(value) == words


def test_times_and_brackets() -> None:
    assert ago(0, 10_000) == "-"
    assert ago(9_000, 10_000) == "1 s"
    assert ago(1, 600_001) == "10 min"
    assert ago(1, 36_000_001) == "10 h"
    assert ago(1, 864_000_001) == "10 d"
    assert plain(None) == "-"
    assert plain("[red]x") == r"\[red]x"


def test_the_bar_of_the_task_grows_with_its_runs() -> None:
    view = task(run(activeMs=1_000), progress=0.2, nowMs=2_000, mode="parallel", targets=["node-1", "node-2"])
    view["steps"][0]["durationSeconds"] = 10.0
    view["steps"].append({"index": 1, "name": "next", "durationSeconds": 5.0, "delayBeforeSeconds": 5.0, "runs": []})
    assert behind(view, 2_000) == 0.2
    assert behind(view, 6_000) == pytest.approx(0.2 + 0.4 / 2 / 2)  # four of ten seconds, half of the time, one of two
    assert behind(view, 60_000) == pytest.approx(0.2 + 0.9 / 2 / 2)
    assert behind(task(run(), progress=0.7), 9_000) == 0.7  # its steps are not known
    assert behind({**view, "mode": "leaderAssigned", "progress": 0.9}, 60_000) == 1.0


def test_runs_that_do_not_fit_on_the_screen_give_way_to_those_that_go_on() -> None:
    ended = [({"index": n}, run(id=f"e{n}", endedMs=1)) for n in range(8)]
    going = [({"index": 8 + n}, run(id=f"g{n}")) for n in range(3)]
    shown, hidden = fitting([*ended, *going], 6)
    assert [one["id"] for _, one in shown] == ["e5", "e6", "e7", "g0", "g1", "g2"]
    assert hidden == 5
    assert fitting(going, 6) == (going, 0)
    assert len(fitting([*going] * 30, 1)[0]) == 5


def test_a_narrow_terminal_folds_no_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftchaos.cli.task_view.room", lambda: 80)
    monkeypatch.setattr("raftchaos.cli.output.room", lambda: 80)
    done = run(status="recoveryFailed", endedMs=11_200, effects=[{"touched": 7, "requests": 9}], reason="long " * 20)
    render(*task_parts(task(done)))
    shown = capsys.readouterr().out
    assert "recoveryFailed" in shown
    assert "node-1" in shown
    assert "requests 9" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_what_was_left_out_of_an_ended_task_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    render(*task_parts(task(shed=["runs", "node effects"])))
    assert "left out for its size: runs, node effects" in capsys.readouterr().out
