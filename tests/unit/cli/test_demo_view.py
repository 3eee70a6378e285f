"""How the demonstration is shown, while it plays and at its end."""

from __future__ import annotations

import time

import pytest

from raftchaos.cli.demo_screen import LiveScreen, PlainScreen
from raftchaos.cli.demo_view import outcome_parts
from raftchaos.cli.output import render
from raftchaos.demo.checks import ProxyCheck
from raftchaos.demo.load import Sample
from tests.unit.cli.test_views import run, task
from tests.unit.demo.test_outcome import NODES, outcome


def test_the_table_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    render(*outcome_parts(outcome()))
    shown = capsys.readouterr().out
    figures = ("before", "during", "after", "2.0 ms", "0.0 %", "without a leader for 50 ms")
    for word in ("slow payments", "http_error", *figures, "No fault left behind", "no process left", *NODES):
        assert word in shown, word
    assert "not as promised" not in shown


def test_what_is_not_as_promised_stands_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [ProxyCheck("node-1", 7, ("run-1",), (), 3, 0.2, "")]
    render(*outcome_parts(outcome(checks=checks, left_processes=["process 7 still runs"])))
    shown = capsys.readouterr().out
    for word in ("NO", "A FAULT MAY BE LEFT BEHIND", "processes were left over", "not as promised", "node-1"):
        assert word in shown, word


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    screen.say("the shop is [open]")
    screen.task(task(run()))
    screen.sample(Sample(0, 0, 200))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "the shop is [open]" in shown.err
    assert "node-1 active" in shown.err


def test_the_live_screen_shows_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    screen = LiveScreen()
    render(screen.render())
    screen.say("the shop is [open]")
    screen.task(task(run()))
    for n in range(20):
        screen.sample(Sample(time.time() - 1 - n / 20, 0.005, 200 if n % 2 else 503))
    render(screen.render())
    shown = capsys.readouterr().out
    for word in ("the shop is [open]", "slow [web]", "p50 5 ms", "50 % errors"):
        assert word in shown, word
