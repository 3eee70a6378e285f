"""Good documents: what they mean, what their defaults are, and that nothing is lost on the way to a cluster."""

# ruff: noqa: E501 - a case is a line

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.errors import InvalidDocument, NotFound
from raftchaos.model import yaml_text
from raftchaos.model.documents import DOCUMENT_KINDS, ChaosOrchestration, ChaosScenario
from raftchaos.model.faults import FAULTS
from raftchaos.model.loading import load_documents, load_files, parse_document, parse_submission, resolve, submission
from raftchaos.model.problems import Problems
from raftchaos.model.resolved import (
    CoordinationMode,
    OnNoTargets,
    ResolvedFault,
    ResolvedOrchestration,
    SafetyLimits,
    TargetRule,
    seed_of_name,
)
from raftchaos.model.scenarios import BUILT_IN, SUMMARIES, known_scenarios
from raftchaos.model.schema import document_schema, fault_schema
from raftchaos.model.templates import TEMPLATES, template

EXAMPLES = Path(__file__).parents[3] / "examples"

SHORTEST = """\
apiVersion: raftchaos.io/v1
kind: ChaosOrchestration
metadata: {name: shortest}
spec:
  steps: [{name: test, scenario: latency}]
"""

SCENARIO = """\
apiVersion: raftchaos.io/v1
kind: ChaosScenario
metadata: {name: slow-backend}
spec:
  faults:
    - {type: latency, parameters: {latencyMs: 300, jitterMs: 20}}
    - {type: http_error, parameters: {statusCode: 500, probability: 0.5}}
"""


def one(text: str) -> ResolvedOrchestration:
    (resolved,) = resolve(load_documents(text, "test.yaml"))
    return resolved


def orchestration(**spec: Any) -> dict[str, Any]:
    spec.setdefault("steps", [{"name": "one", "scenario": "latency"}])
    return {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": "test"},
        "spec": spec,
    }


def test_the_shortest_spec_means_all_nodes_all_proxies_100_ms_60_seconds() -> None:
    resolved = one(SHORTEST)
    (step,) = resolved.steps
    assert step.faults[0].type == "latency"
    assert step.faults[0].parameters["latencyMs"] == 100
    assert "proxy" not in step.faults[0].parameters
    assert (step.duration_seconds, step.delay_before_seconds, step.continue_on_failure, step.retries) == (
        60,
        0,
        False,
        1,
    )
    assert resolved.mode is CoordinationMode.PARALLEL
    assert resolved.targets == TargetRule()
    assert resolved.limits == SafetyLimits()
    assert resolved.deadline_seconds == limits.DEADLINE_DEFAULT
    assert resolved.on_no_targets is OnNoTargets.FAIL
    assert resolved.seed == seed_of_name("shortest") == 3894701509050598


def test_every_field_at_work_arrives() -> None:
    resolved = parse_submission(
        orchestration(
            description="d",
            coordinationMode="peerToPeer",
            targetNodes={
                "selector": {"zone": "eu-1", "kubernetes.io/arch": "amd64"},
                "count": 3,
                "onNoTargets": "skip",
            },
            steps=[
                {
                    "name": "slow payments",
                    "scenario": "latency",
                    "durationSeconds": 30,
                    "delayBeforeSeconds": 1.5,
                    "continueOnFailure": True,
                    "retries": 4,
                    "parameters": {"proxy": "payments", "latencyMs": 7, "direction": "both"},
                }
            ],
            safety={"maxNodes": 2, "maxPercent": 50, "deadlineSeconds": 900},
            seed=7,
        ),
        "request",
    )
    assert resolved.to_dict() == {
        "name": "test",
        "mode": "peerToPeer",
        "targets": {
            "names": [],
            "selector": {"zone": "eu-1", "kubernetes.io/arch": "amd64"},
            "count": 3,
            "percent": None,
        },
        "steps": [
            {
                "name": "slow payments",
                "scenario": "latency",
                "faults": [
                    {
                        "type": "latency",
                        "parameters": {
                            "proxy": ["payments"],
                            "probability": 1.0,
                            "nameFault": False,
                            "latencyMs": 7.0,
                            "jitterMs": 0.0,
                            "distribution": "uniform",
                            "direction": "both",
                        },
                    }
                ],
                "durationSeconds": 30.0,
                "delayBeforeSeconds": 1.5,
                "continueOnFailure": True,
                "retries": 4,
            }
        ],
        "limits": {"maxNodes": 2, "maxPercent": 50},
        "deadlineSeconds": 900.0,
        "seed": 7,
        "description": "d",
        "onNoTargets": "skip",
    }


@pytest.mark.parametrize("parser", ["C", "Python"])
def test_plain_scalars_follow_yaml_1_2(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if parser == "Python":
        monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)
    text = (
        "a: [yes, no, on, off, y, 1:30, 2001-01-01, 1_000, '5', \"true\", =, .5e, 0b1]\n"
        "b: [true, False, TRUE, null, ~, null, 007, -5, +5, 0o17, 0x1F, 1., .5, 1e3, -1.5E-2, .inf, -.inf]\n"
        "c:\non: x\n"
        "d: |\n  5\n"
    )  # fmt: skip
    problems = Problems()
    (document,) = yaml_text.read_yaml(text, "a.yaml", problems)
    assert problems.found == []
    assert document.data == {
        "a": ["yes", "no", "on", "off", "y", "1:30", "2001-01-01", "1_000", "5", "true", "=", ".5e", "0b1"],
        "b": [
            True, False, True, None, None, None, 7, -5, 5, 15, 31, 1.0, 0.5, 1000.0, -0.015, float("inf"), -float("inf"),
        ],
        "c": None,
        "on": "x",
        "d": "5\n",
    }  # fmt: skip
    assert [type(value) for value in document.data["b"][:4]] == [bool, bool, bool, type(None)]
    assert document.origin.line(("on",)) == 4
    assert document.origin.line(("a", 3, "nowhere")) == 1


def test_bytes_with_a_byte_order_mark_and_several_documents() -> None:
    documents = load_documents(
        b"\xef\xbb\xbf---\n" + SHORTEST.encode() + b"---\n# nothing\n---\n" + SCENARIO.encode(), "a"
    )
    assert [(document.kind, document.name) for document in documents] == [
        ("ChaosOrchestration", "shortest"),
        ("ChaosScenario", "slow-backend"),
    ]
    assert isinstance(documents[0].model, ChaosOrchestration)
    assert isinstance(documents[1].model, ChaosScenario)
    assert documents[1].origin.line(("spec", "faults", 1)) == 16


def test_a_step_lays_its_parameters_over_those_of_each_fault_that_knows_them() -> None:
    text = SHORTEST.replace(
        "scenario: latency", "scenario: slow-backend, parameters: {proxy: [a, b], latencyMs: 5, probability: 0.25}"
    )
    (step,) = one(text + "---\n" + SCENARIO).steps
    assert step.scenario == "slow-backend"
    latency, error = (fault.parameters for fault in step.faults)
    assert latency.items() >= {"latencyMs": 5.0, "jitterMs": 20.0, "probability": 0.25}.items()
    assert error.items() >= {"statusCode": 500, "probability": 0.25}.items()
    assert latency["proxy"] == error["proxy"] == ["a", "b"]


def test_a_step_may_give_the_status_in_the_other_way() -> None:
    text = SHORTEST.replace("scenario: latency", "scenario: slow-backend, parameters: {statusCodes: [502, 504]}")
    (step,) = one(text + "---\n" + SCENARIO).steps
    parameters = step.faults[1].parameters
    assert (parameters["statusCodes"], parameters["probability"]) == ([502, 504], 0.5)
    assert "statusCode" not in parameters


def test_scenarios_of_other_files_are_found_and_take_the_place_of_built_in_ones() -> None:
    use = SHORTEST.replace("scenario: latency", "scenario: slow-network")
    assert one(use).steps[0].faults[0].parameters["latencyMs"] == 300
    own = SCENARIO.replace("slow-backend", "slow-network").replace("300", "1")
    (resolved,) = resolve(load_files([("a.yaml", use), ("b.yaml", own)]))
    assert resolved.steps[0].faults[0].parameters["latencyMs"] == 1


def test_resolving_without_the_scenario_tells_that_it_is_missing() -> None:
    use = SHORTEST.replace("scenario: latency", "scenario: slow-backend")
    documents = load_files([("a.yaml", use), ("b.yaml", SCENARIO)])
    with pytest.raises(InvalidDocument, match=r"a\.yaml:5: spec\.steps\[0\]\.scenario: found the unknown scenario"):
        resolve(documents[:1])


def test_a_submission_carries_the_scenarios_it_uses_and_resolves_to_the_same() -> None:
    use = SHORTEST.replace("scenario: latency", "scenario: slow-backend")
    unused = SCENARIO.replace("slow-backend", "unused")
    documents = load_documents("---\n".join([use, SCENARIO, unused]), "a.yaml")
    sent = json.loads(json.dumps(submission(documents[0], documents)))
    assert [scenario["metadata"]["name"] for scenario in sent["scenarios"]] == ["slow-backend"]
    assert parse_submission(sent, "request") == resolve(documents)[0]


@pytest.mark.parametrize(
    ("data", "path", "part"),
    [
        (None, "(document)", "nothing (null)"),
        ([], "(document)", "an empty list"),
        ("x", "(document)", "a mapping"),
        ({"kind": "ChaosScenario"}, "apiVersion", "nothing"),
        (orchestration(seed=True), "spec.seed", "found true"),
        (orchestration(seed=2**53), "spec.seed", "9007199254740991"),
        (orchestration(steps=[{"name": "a", "scenario": "latency", "durationSeconds": 10**400}]), "spec.steps[0].durationSeconds", "digits"),
        (orchestration(steps=[{"name": "a", "scenario": "latency", "durationSeconds": float("nan")}]), "spec.steps[0].durationSeconds", "nan"),
        (orchestration(steps=[5, {"name": "a", "scenario": "latency"}]), "spec.steps[0]", "a mapping"),
        (orchestration(steps={"a": 1}), "spec.steps", "a list"),
        ({"orchestration": orchestration(seed=-1)}, "orchestration.spec.seed", "at least 0"),
        ({"orchestration": orchestration(), "scenarios": {}}, "scenarios", "a list"),
        ({"orchestration": orchestration(), "scenarios": [orchestration()]}, "scenarios[0].kind", "ChaosScenario"),
        ({"orchestration": orchestration(), "scenario": []}, "scenario", "an unknown field"),
        ({"orchestration": None}, "orchestration", "nothing (null)"),
    ],
)  # fmt: skip
def test_bad_data_is_told_with_paths_and_without_lines(data: object, path: str, part: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_submission(data, "request")
    (problem, *_) = [p for p in caught.value.details["problems"] if p["path"] == path]
    assert problem["line"] is None
    assert part in f"found {problem['found']}, expected {problem['expected']}"
    assert f"request: {path}: found" in caught.value.message


def test_data_that_nests_deeper_than_python_does_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidDocument, match="more than 32 levels"):
        parse_document(orchestration(hooks=deep), "request")


def test_one_document_from_data() -> None:
    document = parse_document(yaml.safe_load(SCENARIO), "request")
    assert (document.kind, document.name, document.origin.line(())) == ("ChaosScenario", "slow-backend", None)
    with pytest.raises(InvalidDocument, match="the unknown scenario"):
        parse_document(orchestration(steps=[{"name": "a", "scenario": "slow-backend"}]), "request")


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_is_valid_and_stands_in_the_examples(name: str) -> None:
    assert resolve(load_documents(template(name), f"{name}.yaml"))
    assert (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8") == template(name)


def test_the_templates_show_all_modes() -> None:
    assert {one(template(name)).mode for name in TEMPLATES} == set(CoordinationMode)


def test_every_example_file_is_valid() -> None:
    files = sorted(EXAMPLES.glob("*.yaml"))
    assert files
    for path in files:
        load_documents(path.read_bytes(), path.name)


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="did you mean peer-to-peer"):
        template("peer2peer")


def test_built_in_scenarios_are_valid_and_named_unlike_faults() -> None:
    assert not set(BUILT_IN) & set(FAULTS)
    assert set(SUMMARIES) == set(BUILT_IN)
    for name in known_scenarios():
        parameters = json.dumps(dict(FAULTS[name].example) if name in FAULTS else {})
        text = SHORTEST.replace("scenario: latency", f"scenario: {name}, parameters: {parameters}")
        assert one(text).steps[0].faults


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_all_about_itself(name: str) -> None:
    fault = FAULTS[name]
    assert fault.type == name
    assert fault.recovery_seconds + limits.LATENESS <= limits.REVERT
    complete = fault.parameters.model_validate(dict(fault.example)).complete()
    assert fault.parameters.model_validate(complete).complete() == complete
    properties = fault_schema(name)["properties"]
    assert set(properties) == set(fault.parameters.field_names())
    assert all(part["description"] for part in properties.values())
    assert "_" not in "".join(properties)


def test_which_proxies_a_fault_means() -> None:
    parameters = FAULTS["latency"].parameters
    assert parameters.model_validate({}).proxies(["a", "b"]) == ["a", "b"]
    assert parameters.model_validate({"proxy": "c"}).proxies(["a", "b"]) == ["c"]
    assert FAULTS["http_error"].parameters.model_validate({"statusCodes": [500, 501]}).codes() == [500, 501]
    assert FAULTS["http_error"].parameters.model_validate({}).codes() == [503]


@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
def test_the_schema_describes_every_field(kind: str) -> None:
    schema = document_schema(kind)
    json.dumps(schema)
    for part in [schema, *schema["$defs"].values()]:
        assert part["additionalProperties"] is False
        assert all(entry.keys() & {"description", "$ref"} for entry in part["properties"].values()), part


NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
SECONDS = st.floats(min_value=0.001, max_value=10)
FAULT = st.one_of(
    st.builds(lambda ms, d: ("latency", {"latencyMs": ms, "direction": d}), st.floats(0.1, 600_000), st.sampled_from(["upstream", "both"])),
    st.builds(lambda codes: ("http_error", {"statusCodes": codes}), st.lists(st.integers(400, 599), min_size=1, max_size=5)),
    st.builds(lambda p: ("reset_peer", {"probability": p}), st.floats(0.001, 1)),
    st.just(("slow-network", {})),
)  # fmt: skip


@st.composite
def orchestrations(draw: st.DrawFn) -> dict[str, Any]:
    """Valid documents with every field that is at work."""
    steps = []
    for number in range(draw(st.integers(1, 4))):
        scenario, parameters = draw(FAULT)
        step = {
            "name": f"step {number}",
            "scenario": scenario,
            "parameters": parameters,
            "durationSeconds": draw(SECONDS),
        }
        steps.append({**step, "delayBeforeSeconds": draw(SECONDS), "continueOnFailure": draw(st.booleans())})
    targets = draw(
        st.one_of(
            st.fixed_dictionaries({"names": st.lists(NAMES, min_size=1, max_size=5, unique=True)}),
            st.fixed_dictionaries(
                {"selector": st.dictionaries(NAMES, NAMES, max_size=3), "percent": st.integers(1, 100)}
            ),
            st.fixed_dictionaries({}, optional={"count": st.integers(1, 9), "onNoTargets": st.just("skip")}),
        )
    )
    return orchestration(
        steps=steps,
        targetNodes=targets,
        coordinationMode=draw(st.sampled_from([mode.value for mode in CoordinationMode])),
        description=draw(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=50)),
        seed=draw(st.none() | st.integers(0, 2**53 - 1)),
    )


@given(orchestrations())
def test_what_is_resolved_survives_json_and_yaml(data: dict[str, Any]) -> None:
    resolved = parse_submission(data, "request")
    assert ResolvedOrchestration.from_dict(json.loads(json.dumps(resolved.to_dict()))) == resolved
    text = json.dumps(data, ensure_ascii=False, indent=1)  # JSON is YAML
    assert resolve(load_documents(text, "a.yaml")) == [resolved]


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_input_does_anything_but_be_refused(text: bytes | str) -> None:
    with pytest.raises(InvalidDocument):
        load_documents(text, "a.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "scenario", "type", "parameters", "steps", "faults", "latencyMs", "proxy"]), inner, max_size=3),
    max_leaves=15,
)  # fmt: skip


@given(JSON, st.sampled_from(["ChaosOrchestration", "ChaosScenario"]))
def test_no_data_does_anything_but_be_refused(spec: Any, kind: str) -> None:
    data = {"apiVersion": "raftchaos.io/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    try:
        document = parse_document(data, "request")
    except InvalidDocument as error:
        message = error.message.encode()
    else:
        assert document.model is not None
        return
    assert b"request: " in message


def test_plain_data_that_is_no_orchestration_is_a_value_error() -> None:
    good = one(SHORTEST).to_dict()
    for broken in ({}, {**good, "steps": 5}, {**good, "mode": "x"}, {**good, "targets": None}, {**good, "seed": None}):
        with pytest.raises(ValueError):
            ResolvedOrchestration.from_dict(broken)
    with pytest.raises(ValueError):
        ResolvedFault.from_dict({"type": "latency"})
