"""Commands that need no cluster: validate, template, fault types; and files that are no documents."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from raftchaos import limits
from raftchaos.model.faults import FAULTS
from raftchaos.model.templates import TEMPLATES

GOOD = """\
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata: {name: good}
spec:
  steps: [{name: test, scenario: latency}]
"""


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_template_is_valid(raftchaos, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    printed = raftchaos("template", name)
    assert printed.code == 0
    file = tmp_path / "experiment.yaml"
    file.write_text(printed.out)
    done = raftchaos("validate", str(file))
    assert done.code == 0, done.err
    assert "valid" in done.out


def test_an_unknown_template(raftchaos) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("template", "paralel")
    assert done.code == 2
    assert "parallel" in done.err


def test_validate_as_json_and_yaml(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    expected = {"file": str(file), "kind": "ChaosOrchestration", "name": "good", "valid": True}
    assert json.loads(raftchaos("validate", str(file), "-o", "json").out) == {"documents": [expected]}
    assert yaml.safe_load(raftchaos("validate", str(file), "-o", "yaml").out) == {"documents": [expected]}


def test_all_problems_of_all_files_at_once(raftchaos, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(GOOD.replace("latency", "latncy"))
    second.write_text(GOOD.replace("name: test", "name: test, durationSeconds: -1").replace("good", "other"))
    done = raftchaos("validate", str(first), str(second), "-o", "json")
    assert done.code == 2
    assert f"{first}:5" in done.err
    assert f"{second}:5" in done.err
    problem = json.loads(done.out)
    assert problem["code"] == "invalid-document"
    assert len(problem["details"]["problems"]) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"{{{", "YAML"),
        (b"kind: Nothing", "ChaosOrchestration"),
        (b"- 1\n- 2\n", "mapping"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_files_that_are_no_documents(raftchaos, tmp_path: Path, command: str, content: bytes, words: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "experiment.yaml"
    file.write_bytes(content)
    done = raftchaos(command, str(file))
    assert done.code == 2
    assert words in done.err
    assert str(file) in done.err


@pytest.mark.parametrize("command", ["validate", "run"])
def test_files_that_cannot_be_read(raftchaos, tmp_path: Path, command: str) -> None:  # type: ignore[no-untyped-def]
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    missing = tmp_path / "missing.yaml"
    done = raftchaos(command, str(large), str(missing), str(tmp_path))
    assert done.code == 2
    for path in (large, missing, tmp_path):
        assert str(path) in done.err
    assert "52,428,800" in done.err


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
def test_a_device_without_end_is_not_read_to_its_end(raftchaos) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("validate", "/dev/zero")
    assert done.code == 2
    assert f"{limits.DOCUMENT:,}" in done.err


def test_fault_types(raftchaos) -> None:  # type: ignore[no-untyped-def]
    listed = raftchaos("fault", "types")
    assert listed.code == 0
    for name, fault in FAULTS.items():
        assert name in listed.out
        shown = raftchaos("fault", "types", name)
        for field in fault.parameters.field_names():
            assert field in shown.out
        data = json.loads(raftchaos("fault", "types", name, "-o", "json").out)
        assert data["type"] == name
        assert data["parameters"]


def test_an_unknown_fault(raftchaos) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("fault", "types", "latncy")
    assert done.code == 2
    assert "latency" in done.err


@pytest.mark.parametrize("command", ["status", "halt", "task list", "node list", "proxy list", "resume"])
def test_no_cluster_ends_with_three(raftchaos, command: str) -> None:  # type: ignore[no-untyped-def]
    # port 1 is privileged and nobody listens there
    done = raftchaos(*command.split(), "--peer", "127.0.0.1:1", "-o", "json")
    assert done.code == 3
    assert "127.0.0.1:1" in done.err
    assert json.loads(done.out)["exitCode"] == 3


@pytest.mark.parametrize("peer", ["nothing", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ",", "::1:7480"])
def test_addresses_that_are_none(raftchaos, peer: str) -> None:  # type: ignore[no-untyped-def]
    done = raftchaos("status", "--peer", peer)
    assert done.code == 2
    assert done.err.startswith("error: ")
