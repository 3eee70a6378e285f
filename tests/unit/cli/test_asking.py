"""The commands that ask a peer, over real HTTP: what they show, and how they end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from raftchaos import limits
from raftchaos.cli.main import main
from raftchaos.client import Client
from raftchaos.core import commands
from raftchaos.core.service_records import SeenFault
from tests.unit.api.conftest import served  # noqa: F401 - a fixture
from tests.unit.api.fake_peer import Served, TaskDriver, until
from tests.unit.cli.conftest import Done

Ask = Callable[..., Awaitable[Done]]

EXPERIMENT = """\
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata: {name: slow-payments}
spec:
  targetNodes: {names: [node-1, node-2]}
  steps: [{name: slow, scenario: latency, durationSeconds: 10}]
"""


@pytest.fixture
async def ask(served: Served, capsys: pytest.CaptureFixture[str]) -> Ask:  # noqa: F811
    """Runs the command line against the served peers, beside the loop that serves them."""

    async def run(*words: str) -> Done:
        code = await asyncio.to_thread(main, [*words, "--peer", ",".join(served.addresses)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Done(code, out, err)

    return run


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    file = tmp_path / "experiment.yaml"
    file.write_text(EXPERIMENT)
    return str(file)


async def test_a_fault_is_put_on_as_a_task_and_taken_back(served: Served, ask: Ask) -> None:  # noqa: F811
    settings = ["--set", "latencyMs=250", "--set", "proxy=payments", "--set", "pulse.activeSeconds=5"]
    settings += ["--set", "pulse.dormantSeconds=2", "--duration", "30"]
    done = await ask("fault", "inject", "latency", "--node", "node-2", *settings, "-o", "json")
    assert done.code == 0, done.err
    task = served.peers[0].state.tasks[json.loads(done.out)["id"]]
    (step,) = task.orchestration.steps
    assert task.targets == ("node-2",)
    assert step.duration_seconds == 30
    assert step.faults[0].parameters["latencyMs"] == 250
    assert step.faults[0].parameters["proxy"] == ["payments"]
    assert step.faults[0].parameters["pulse"]["dormantSeconds"] == 2
    run = f"{task.id}/1/0/node-2/1"
    done = await ask("fault", "recover", run)
    assert done.code == 0, done.err
    assert served.peers[0].state.tasks[task.id].status == "recovering"


@pytest.mark.parametrize("setting", ["latencyMs", "=5", "pulse..x=1"])
async def test_a_setting_that_is_none(served: Served, ask: Ask, setting: str) -> None:  # noqa: F811
    done = await ask("fault", "inject", "latency", "--node", "node-2", "--set", setting)
    assert done.code == 2
    assert "expected NAME=VALUE" in done.err


async def test_what_is_on_is_listed_with_what_differs(served: Served, ask: Ask) -> None:  # noqa: F811
    for number, peer in enumerate(served.peers):  # a registered address has no port of the test
        served.log.append(commands.RegisterNode(peer.name, 2, "d" * 32, "h:1", served.addresses[number]))
    assert (await ask("fault", "list")).out == "no fault is on\n"
    served.peers[1].seen = [SeenFault("t/1/0/n/1", "latency", "proxy:a", True, "", {"touched": 3})]
    done = await ask("fault", "list", "-o", "json")
    assert done.code == 0, done.err
    (fault,) = json.loads(done.out)["faults"]
    assert (fault["node"], fault["target"], fault["effect"]) == (served.peers[1].name, "proxy:a", {"touched": 3})
    served.peers[1].seen.append(SeenFault("t/2/0/n/1", "custom", "plugin:p", True, SeenFault.UNREADABLE))
    done = await ask("fault", "list")
    assert done.code == 0
    assert "cannot be read back" in done.out
    served.peers[1].seen.append(SeenFault("stranger", "latency", "proxy:b", False, SeenFault.LEFT_OVER))
    done = await ask("fault", "list", "--node", served.peers[1].name)
    assert done.code == 6
    assert "leftOver" in done.out
    assert (await ask("fault", "list", "--node", "nobody")).code == 2


async def test_status(served: Served, ask: Ask) -> None:  # noqa: F811
    done = await ask("status")
    assert done.code == 0, done.err
    for word in (served.peers[0].cluster, "node-1 in term 3", "3 of 3 voters", "leader", "payments"):
        assert word in done.out, (word, done.out)
    data = json.loads((await ask("status", "-o", "json")).out)
    assert data["leader"] == "node-1"
    assert [node["name"] for node in data["nodeList"]] == ["node-1", "node-2", "node-3"]


async def test_without_a_quorum_reads_answer_and_writes_say_who_is_missing(served: Served, ask: Ask) -> None:  # noqa: F811
    for peer in served.peers:
        peer.quorum = False
    done = await ask("status")
    assert done.code == 0
    assert "no quorum" in done.out
    assert "stale" in done.out
    done = await ask("node", "drain", "node-2", "-o", "json")
    assert done.code == 3
    assert json.loads(done.out)["code"] == "no-quorum"
    done = await ask("halt", "--reason", "now")
    assert done.code == 0
    assert "no quorum" in done.out


async def test_nodes(ask: Ask) -> None:
    assert "node-3" in (await ask("node", "list")).out
    assert "127.0.0.1:7490" in (await ask("node", "show", "node-2")).out
    assert "{" not in (await ask("node", "show", "node-2")).out
    assert json.loads((await ask("node", "drain", "node-2", "-o", "json")).out)["drained"] is True
    assert "drained" in (await ask("node", "list")).out
    assert json.loads((await ask("node", "drain", "node-2", "--undo", "-o", "json")).out)["drained"] is False
    assert "node-3" in (await ask("node", "remove", "node-3")).out
    assert "node-3" not in (await ask("node", "list")).out
    missing = await ask("node", "show", "node-9")
    assert missing.code == 2
    assert "node-9" in missing.err


async def test_proxies(ask: Ask) -> None:
    added = await ask("proxy", "add", "web", "127.0.0.1:9101", "127.0.0.1:9001")
    assert added.code == 0, added.err
    assert "127.0.0.1:9101" in (await ask("proxy", "list")).out
    taken = await ask("proxy", "add", "web", "127.0.0.1:9102", "127.0.0.1:9001")
    assert taken.code == 5
    assert (await ask("proxy", "add", "web", "here", "127.0.0.1:9001")).code == 2
    assert (await ask("proxy", "remove", "web")).code == 0
    assert (await ask("proxy", "remove", "web")).code == 2


async def test_halt_and_resume(ask: Ask, experiment: str) -> None:
    assert (await ask("halt", "--reason", "customers [all] complain")).code == 0
    status = await ask("status")
    assert "customers [all] complain" in status.out
    refused = await ask("run", experiment, "--wait")
    assert refused.code == 5
    assert "raftchaos resume" in refused.err
    assert "lifted" in (await ask("resume")).out
    assert (await ask("run", experiment)).code == 0


async def test_a_dry_run_submits_nothing(served: Served, ask: Ask, experiment: str) -> None:  # noqa: F811
    done = await ask("run", experiment, "--dry-run")
    assert done.code == 0, done.err
    assert "node-1, node-2" in done.out
    assert "latencyMs=100, jitterMs=0" in done.out
    assert "at most 2 of 3 active nodes under faults at once" in done.out
    assert "would be accepted" in done.out
    assert not served.peers[0].state.tasks


async def test_a_dry_run_of_what_would_be_refused(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "nobody.yaml"
    file.write_text(EXPERIMENT.replace("node-1, node-2", "node-9"))
    done = await ask("run", str(file), "--dry-run")
    assert done.code == 5
    assert "node-9" in done.out


async def test_run_wait_follows_the_task_to_its_verdict(served: Served, ask: Ask, experiment: str) -> None:  # noqa: F811
    waiting = asyncio.create_task(ask("run", experiment, "--wait", "-o", "json"))
    state = served.peers[0]
    await until(lambda: state.state.tasks)
    driver = TaskDriver(served.log, next(iter(state.state.tasks)))
    driver.plan("node-1", "node-2")
    for node in ("node-1", "node-2"):
        driver.start(node)
        driver.end(node)
    driver.finish()
    done = await asyncio.wait_for(waiting, 20)
    assert done.code == 0, done.err
    (task,) = json.loads(done.out)["tasks"]
    assert task["verdict"] == "passed"
    shown = await ask("task", "show", task["id"])
    for word in ("slow", "node-2", "succeeded", "passed"):
        assert word in shown.out, (word, shown.out)
    assert task["id"] in (await ask("task", "list")).out


async def test_waiting_has_an_end_and_the_task_goes_on(ask: Ask, experiment: str) -> None:
    done = await ask("run", experiment, "--wait", "--timeout", "0.2", "-o", "json")
    assert done.code == 4
    assert "task cancel" in done.err
    task = json.loads(done.out)["details"]["task"]
    assert json.loads((await ask("task", "show", task, "-o", "json")).out)["id"] == task


async def test_a_wait_for_several_tasks_names_those_that_were_not_waited_for(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(EXPERIMENT + "---\n" + EXPERIMENT.replace("slow-payments", "slower-payments"))
    done = await ask("run", str(file), "--wait", "--timeout", "0.2", "-o", "json")
    assert done.code == 4
    problem = json.loads(done.out)
    (other,) = problem["details"]["others"]
    assert other.startswith("slower-payments-")
    assert f"so do {other}" in problem["hint"]


async def test_a_wait_whose_peers_are_gone_says_that_the_task_goes_on(
    served: Served,  # noqa: F811
    ask: Ask,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Client.__init__
    monkeypatch.setattr(Client, "__init__", lambda self, peers, **more: opened(self, peers, timeout=0.3, **more))
    waiting = asyncio.create_task(ask("run", experiment, "--wait"))
    await until(lambda: served.peers[0].state.tasks)
    for place in range(len(served.peers)):
        await served.stop(place)
    done = await asyncio.wait_for(waiting, 30)
    assert done.code == 3, done.err
    assert f"raftchaos task watch {next(iter(served.peers[0].state.tasks))}" in done.err


async def test_as_many_tasks_can_be_listed_as_a_peer_gives(ask: Ask) -> None:
    assert (await ask("task", "list", "--limit", str(limits.PAGE))).code == 0
    assert (await ask("task", "list", "--limit", str(limits.PAGE + 1))).code == 2


async def test_ctrl_c_ends_the_wait_and_says_how_to_end_the_task(served: Served, experiment: str) -> None:  # noqa: F811
    words = ("-m", "raftchaos.cli.main", "run", experiment, "--wait", "--peer", ",".join(served.addresses))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert process.stderr is not None
    first = await asyncio.wait_for(process.stderr.readline(), 20)  # it waits, and shows the task
    task = next(iter(served.peers[0].state.tasks))
    assert task in first.decode()
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert f"raftchaos task cancel {task}" in err.decode()
    assert "Traceback" not in (out + err).decode()
    assert task in served.peers[0].state.tasks


async def test_pause_resume_and_cancel(ask: Ask, served: Served, experiment: str) -> None:  # noqa: F811
    assert (await ask("run", experiment)).code == 0
    task = next(iter(served.peers[0].state.tasks))
    TaskDriver(served.log, task).plan("node-1")
    paused = await ask("task", "pause", task)
    assert paused.code == 0, paused.err
    assert (await ask("task", "resume", task)).code == 0
    cancelled = await ask("task", "cancel", task, "--reason", "enough", "-o", "json")
    assert cancelled.code == 0, cancelled.err
    assert (await ask("task", "cancel", "no-such-task")).code == 2


async def test_watch_writes_events_as_they_come(
    served: Served,  # noqa: F811
    ask: Ask,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (await ask("run", experiment)).code == 0
    task = next(iter(served.peers[0].state.tasks))
    streams: list[str] = []
    for peer in served.peers:
        told = peer.events
        monkeypatch.setattr(peer, "events", lambda after, told=told: streams.append(str(after)) or told(after))
    watching = asyncio.create_task(ask("task", "watch", task, "-o", "json"))
    driver = TaskDriver(served.log, task)
    await until(lambda: streams)
    driver.plan("node-1", "node-2")
    for node in ("node-1", "node-2"):
        driver.start(node)
        driver.end(node, touched=0)
    driver.finish()
    done = await asyncio.wait_for(watching, 20)
    assert done.code == 4, done.err  # nothing was touched, so nothing was shown
    events = [json.loads(line) for line in done.out.splitlines()]
    assert {event["type"] for event in events} >= {"runStatus", "taskStatus"}
    assert (events[-1]["type"], events[-1]["task"]["verdict"]) == ("task", "inconclusive")
    again = await ask("task", "watch", task, "-o", "json")  # it has ended: only the task is told
    assert [json.loads(line)["task"]["id"] for line in again.out.splitlines()] == [task]


async def test_two_orchestrations_in_one_file(served: Served, ask: Ask, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "two.yaml"
    file.write_text(EXPERIMENT + "---\n" + EXPERIMENT.replace("slow-payments", "slower-payments"))
    done = await ask("run", str(file), "-o", "json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["tasks"]) == 2
    assert len(served.peers[0].state.tasks) == 2


async def test_a_file_of_scenarios_alone_runs_nothing(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "scenarios.yaml"
    file.write_text(
        "apiVersion: raftchaos.io/v1\nkind: ChaosScenario\nmetadata: {name: slow}\n"
        "spec: {faults: [{type: latency, parameters: {latencyMs: 300}}]}\n"
    )
    done = await ask("run", str(file))
    assert done.code == 2
    assert "ChaosOrchestration" in done.err


async def test_scenarios_of_another_file_travel_with_the_orchestration(
    served: Served,  # noqa: F811
    ask: Ask,
    tmp_path: Path,
) -> None:
    scenarios, experiment = tmp_path / "scenarios.yaml", tmp_path / "experiment.yaml"
    scenarios.write_text(
        "apiVersion: raftchaos.io/v1\nkind: ChaosScenario\nmetadata: {name: treacle}\n"
        "spec: {faults: [{type: latency, parameters: {latencyMs: 321}}]}\n"
    )
    experiment.write_text(EXPERIMENT.replace("scenario: latency", "scenario: treacle"))
    assert (await ask("run", str(experiment), str(scenarios))).code == 0
    (task,) = served.peers[0].state.tasks.values()
    assert task.orchestration.steps[0].faults[0].parameters["latencyMs"] == 321
