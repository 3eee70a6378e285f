"""Every kind of bad input: refused, never with a traceback, always with file, path, line, what was found and expected."""

# ruff: noqa: E501 - a case is a line

from __future__ import annotations

import pytest
import yaml

from raftchaos import limits
from raftchaos.errors import InvalidDocument
from raftchaos.model import yaml_text
from raftchaos.model.loading import check_size, load_documents, load_files

HEAD = "apiVersion: raftchaos.io/v1\nkind: ChaosOrchestration\nmetadata: {name: test}\n"
STEP = "spec:\n  steps:\n    - name: one\n      scenario: latency\n"  # its further fields stand on line 8
SCENARIO = "apiVersion: raftchaos.io/v1\nkind: ChaosScenario\nmetadata: {name: slow}\n"


def problems_of(text: str | bytes, source: str = "test.yaml") -> list[dict[str, object]]:
    with pytest.raises(InvalidDocument) as caught:
        load_documents(text, source)
    problems: list[dict[str, object]] = caught.value.details["problems"]
    for problem in problems:
        assert problem["file"] == source
        assert problem["path"]
        assert isinstance(problem["line"], int)
        assert problem["found"]
        assert problem["expected"]
        assert f"{source}:{problem['line']}: {problem['path']}: found {problem['found']}, " in caught.value.message
    assert caught.value.details["count"] >= len(problems)
    return problems


# id, text, path, line, part of what is found or expected, suggestion
CASES: list[tuple[str, str | bytes, str, int, str, str | None]] = [
    ("empty file", "", "(document)", 1, "an empty file", None),
    ("only comments", "# nothing\n\n---\n", "(document)", 1, "an empty file", None),
    ("not YAML", "spec: [1, 2\nkind: }", "(document)", 2, "no YAML", None),
    ("a tab", "spec:\n\t- 1\n", "(document)", 2, "no YAML", None),
    ("binary", b"\x89PNG\r\n\x1a\n\x00\x00", "(document)", 1, "the byte 0x89", None),
    ("binary in the middle", b"kind: x\n\xff\xfe", "(document)", 2, "the byte 0xff", None),
    ("control character", "kind: x\nname: \x07", "(document)", 2, "U+0007", None),
    ("UTF-16", "kind: x".encode("utf-16"), "(document)", 1, "0xff", None),
    ("a text", "hello world", "(document)", 1, 'the text "hello world"', None),
    ("a list", "- a\n- b", "(document)", 1, "a list of 2", None),
    ("no kind", "apiVersion: raftchaos.io/v1", "kind", 1, "nothing", None),
    ("unknown kind", "apiVersion: raftchaos.io/v1\nkind: ChaosOrchestraton", "kind", 2, "the text", "ChaosOrchestration"),
    ("unknown version", HEAD.replace("v1", "v2") + STEP, "apiVersion", 1, "raftchaos.io/v1", None),
    ("name not a label", HEAD.replace("test", "Te st") + STEP, "metadata.name", 3, "lower-case letters", None),
    ("long name", HEAD.replace("test", "x" * 64) + STEP, "metadata.name", 3, "at most 63", None),
    ("name a number", HEAD.replace("test", "5") + STEP, "metadata.name", 3, "text", None),
    ("no spec", HEAD, "spec", 1, "nothing", None),
    ("empty spec", HEAD + "spec:", "spec", 4, "nothing (null)", None),
    ("no steps", HEAD + "spec: {}", "spec.steps", 4, "nothing", None),
    ("empty steps", HEAD + "spec: {steps: []}", "spec.steps", 4, "at least one entry", None),
    ("many steps", HEAD + f"spec: {{steps: [{'{name: a, scenario: latency},' * 201}]}}", "spec.steps", 4, "most 200", None),
    ("unknown field", HEAD + STEP + "      duratonSeconds: 5", "spec.steps[0].duratonSeconds", 8, "an unknown field", "durationSeconds"),
    ("snake case", HEAD + STEP + "      duration_seconds: 5", "spec.steps[0].duration_seconds", 8, "unknown", "durationSeconds"),
    ("field in wrong place", HEAD + STEP + "maxNodes: 5", "maxNodes", 8, "unknown", None),
    ("negative duration", HEAD + STEP + "      durationSeconds: -5", "spec.steps[0].durationSeconds", 8, "above 0", None),
    ("zero duration", HEAD + STEP + "      durationSeconds: 0", "spec.steps[0].durationSeconds", 8, "above 0", None),
    ("long duration", HEAD + STEP + "      durationSeconds: 86401", "spec.steps[0].durationSeconds", 8, "at most 86400", None),
    ("NaN", HEAD + STEP + "      durationSeconds: .nan", "spec.steps[0].durationSeconds", 8, "nan", None),
    ("NaN as text", HEAD + STEP + "      durationSeconds: NaN", "spec.steps[0].durationSeconds", 8, 'the text "NaN"', None),
    ("infinity", HEAD + STEP + "      durationSeconds: -.inf", "spec.steps[0].durationSeconds", 8, "infinity", None),
    ("overflow", HEAD + STEP + "      durationSeconds: 1e999", "spec.steps[0].durationSeconds", 8, "infinity", None),
    ("boolean as number", HEAD + STEP + "      durationSeconds: true", "spec.steps[0].durationSeconds", 8, "found true", None),
    ("text as number", HEAD + STEP + '      durationSeconds: "5"', "spec.steps[0].durationSeconds", 8, 'the text "5"', None),
    ("1:30", HEAD + STEP + "      durationSeconds: 1:30", "spec.steps[0].durationSeconds", 8, 'the text "1:30"', None),
    ("huge integer", HEAD + STEP + f"      durationSeconds: 1{'0' * 38}", "spec.steps[0].durationSeconds", 8, "at most 86400", None),
    ("enormous integer", HEAD + STEP + f"      durationSeconds: {'9' * 9000}", "spec.steps[0].durationSeconds", 8, "9000 digits", None),
    ("yes as boolean", HEAD + STEP + "      continueOnFailure: yes", "spec.steps[0].continueOnFailure", 8, "true or false", None),
    ("number as boolean", HEAD + STEP + "      continueOnFailure: 1", "spec.steps[0].continueOnFailure", 8, "true or false", None),
    ("fraction as count", HEAD + STEP + "  targetNodes: {count: 1.5}", "spec.targetNodes.count", 8, "a whole number", None),
    ("percent over 100", HEAD + STEP + "  targetNodes: {percent: 101}", "spec.targetNodes.percent", 8, "at most 100", None),
    ("no names", HEAD + STEP + "  targetNodes: {names: []}", "spec.targetNodes.names", 8, "at least one entry", None),
    ("a name twice", HEAD + STEP + "  targetNodes: {names: [a, a]}", "spec.targetNodes.names", 8, "each name once", None),
    ("names and selector", HEAD + STEP + "  targetNodes: {names: [a], selector: {}}", "spec.targetNodes", 8, "not both", None),
    ("count and percent", HEAD + STEP + "  targetNodes: {count: 1, percent: 5}", "spec.targetNodes", 8, "not both", None),
    ("label a number", HEAD + STEP + "  targetNodes: {selector: {zone: 1}}", "spec.targetNodes.selector.zone", 8, "text", None),
    ("unknown mode", HEAD + STEP + "  coordinationMode: peer-to-peer", "spec.coordinationMode", 8, "parallel", "peerToPeer"),
    ("long description", HEAD + STEP + f"  description: {'x' * 5000}", "spec.description", 8, "4096", None),
    ("negative seed", HEAD + STEP + "  seed: -1", "spec.seed", 8, "at least 0", None),
    ("a step's name twice", HEAD + STEP + "    - {name: one, scenario: latency}", "spec.steps[1].name", 8, "again", None),
    ("a slash in a step's name", HEAD + STEP.replace("one", "a/b"), "spec.steps[0].name", 6, "without /", None),
    ("unknown scenario", HEAD + STEP.replace("latency", "latncy"), "spec.steps[0].scenario", 7, "unknown scenario", "latency"),
    ("fault by another name", HEAD + STEP.replace("latency", "http-error"), "spec.steps[0].scenario", 7, "unknown", "http_error"),
    ("unknown parameter", HEAD + STEP + "      parameters: {latencyMS: 5}", "spec.steps[0].parameters.latencyMS", 8, "unknown parameter of latency", "latencyMs"),
    ("bad parameter", HEAD + STEP + "      parameters:\n        latencyMs: -5", "spec.steps[0].parameters.latencyMs", 9, "at least 0", None),
    ("bad direction", HEAD + STEP + "      parameters: {direction: up}", "spec.steps[0].parameters.direction", 8, "downstream, upstream or both", None),
    ("probability below 0", HEAD + STEP + "      parameters: {probability: -0.1}", "spec.steps[0].parameters.probability", 8, "at least 0", None),
    ("nothing delayed", HEAD + STEP + "      parameters: {latencyMs: 0}", "spec.steps[0].parameters", 8, "above 0", None),
    ("bad proxy", HEAD + STEP + "      parameters: {proxy: [a, B c]}", "spec.steps[0].parameters.proxy[1]", 8, "letters, digits", None),
    ("on as a parameter", HEAD + STEP + "      parameters: {on: true}", "spec.steps[0].parameters.on", 8, "unknown parameter", None),
    ("parameters null", HEAD + STEP + "      parameters:", "spec.steps[0].parameters", 8, "a mapping", None),
    ("a template", HEAD + STEP + '      parameters: {latencyMs: "{{ d }}"}', "spec.steps[0].parameters.latencyMs", 8, "not supported yet", None),
    ("a template without quotes", HEAD + STEP + "      parameters: {latencyMs: {{ d }}}", "spec.steps[0].parameters.latencyMs", 8, "in quotes", None),
    ("valueFrom", HEAD + STEP + "      parameters: {proxy: {valueFrom: {env: A}}}", "spec.steps[0].parameters.proxy", 8, "not supported yet", None),
    ("too short a deadline", HEAD + STEP + "  safety: {deadlineSeconds: 59}", "spec.safety.deadlineSeconds", 8, "take 60 seconds", None),
    ("duplicate key", HEAD + STEP + "      scenario: latency", "spec.steps[0].scenario", 8, "line 7 already", None),
    ("an anchor", HEAD + STEP + "      parameters: &a {}", "spec.steps[0].parameters", 8, "the anchor &a", None),
    ("a tag", HEAD + STEP + "      durationSeconds: !!float 5", "spec.steps[0].durationSeconds", 8, "the tag", None),
    ("a dangerous tag", HEAD + STEP + '      parameters: !!python/object/apply:os.system ["id"]', "spec.steps[0].parameters", 8, "the tag", None),
    ("a number as a field", HEAD + STEP + "      5: a", "spec.steps[0]", 8, "as the name of a field", None),
    ("a list as a field", HEAD + STEP + "      ? [a]\n      : b", "spec.steps[0]", 8, "as the name of a field", None),
    ("deep nesting", HEAD + STEP + "      parameters: {proxy: " + "[" * 40 + "]" * 40 + "}", "spec.steps[0].parameters", 8, "more than 32 levels", None),
    ("very deep nesting", "[" * 100_000, "[0][0][0][0]", 1, "more than 32 levels", None),
    ("very deep blocks", "- " * 100_000, "[0][0][0][0]", 1, "more than 32 levels", None),
    ("too large", "#" * (limits.DOCUMENT + 1), "(document)", 1, "262,145 bytes", None),
    ("unknown fault", SCENARIO + "spec:\n  faults:\n    - type: latancy", "spec.faults[0].type", 6, "unknown fault", "latency"),
    ("bad scenario parameter", SCENARIO + "spec: {faults: [{type: latency, parameters: {jitterMs: x}}]}", "spec.faults[0].parameters.jitterMs", 4, "a number", None),
    ("scenario called like a fault", SCENARIO.replace("slow", "latency") + "spec: {faults: [{type: latency}]}", "metadata.name", 3, "fault type", None),
    ("both statuses", SCENARIO + "spec: {faults: [{type: http_error, parameters: {statusCode: 500, statusCodes: [501]}}]}", "spec.faults[0].parameters", 4, "not both", None),
    ("no error status", SCENARIO + "spec: {faults: [{type: http_error, parameters: {statusCode: 200}}]}", "spec.faults[0].parameters.statusCode", 4, "at least 400", None),
    ("a document twice", HEAD + STEP + "---\n" + HEAD + STEP, "metadata.name", 11, "test.yaml:3", None),
]  # fmt: skip


@pytest.fixture(params=["C", "Python"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser in C and the one that is used where there is none."""
    if request.param == "Python":
        monkeypatch.setattr(yaml_text, "_LOADER", yaml.SafeLoader)


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "path", "line", "part", "suggestion"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_is_refused_with_its_place(text: str | bytes, path: str, line: int, part: str, suggestion: str | None) -> None:
    problems = problems_of(text)
    matching = [p for p in problems if p["path"] == path and p["line"] == line]
    assert matching, problems
    told = [p for p in matching if part in f"found {p['found']}, expected {p['expected']}"]
    assert told, matching
    assert told[0]["suggestion"] == suggestion


NOT_YET = [
    ("variables", "{a: 1}"), ("steadyState", "[{name: a}]"), ("hooks", "[{}]"), ("assertions", "[{}]"),
    ("schedule", '"0 2 * * *"'), ("concurrencyPolicy", "Allow"), ("maxIterations", "2"), ("maxIterations", "true"),
    ("stepsInParallel", "true"), ("enableReporting", "false"), ("targetServices", "[{name: a}]"),
    ("schedule", "5"), ("hooks", "null"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), NOT_YET)
def test_known_but_unbuilt_field_is_refused_as_such(field: str, value: str) -> None:
    (problem,) = problems_of(HEAD + STEP + f"  {field}: {value}")
    assert problem["path"] == f"spec.{field}"
    assert problem["line"] == 8
    assert "not supported yet" in str(problem["expected"])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (HEAD + STEP + "      when: a > b", "spec.steps[0].when"),
        (HEAD + STEP + "  safety: {abortOnHealthBelow: 40}", "spec.safety.abortOnHealthBelow"),
        (HEAD.replace("name: test", "name: test, namespace: a") + STEP, "metadata.namespace"),
        (HEAD.replace("name: test", "name: test, labels: {a: b}") + STEP, "metadata.labels"),
    ],
)
def test_known_but_unbuilt_field_inside_is_refused_as_such(text: str, path: str) -> None:
    (problem,) = problems_of(text)
    assert problem["path"] == path
    assert "not supported yet" in str(problem["expected"])


def test_unbuilt_fields_are_taken_with_their_defaults() -> None:
    defaults = (
        "variables: {}, steadyState: [], hooks: [], assertions: [], schedule: null, concurrencyPolicy: Forbid, "
        "maxIterations: 1, stepsInParallel: false, enableReporting: true, targetServices: []"
    )
    load_documents(HEAD + f"spec: {{steps: [{{name: a, scenario: latency, when: null}}], {defaults}}}", "test.yaml")


def test_all_problems_are_told_at_once_in_the_order_of_the_lines() -> None:
    text = (
        HEAD
        + "spec:\n  coordinationMode: x\n  steps:\n    - {name: a, scenario: nope, durationSeconds: -1}\n"
        + "    - {name: a, scenario: latency, parameters: {wrong: 1, jitterMs: x}}\n  hooks: [1]\n---\nkind: Nope\n"
    )
    problems = problems_of(text)
    assert [(p["line"], p["path"]) for p in problems] == [
        (5, "spec.coordinationMode"),
        (7, "spec.steps[0].durationSeconds"),
        (7, "spec.steps[0].scenario"),
        (8, "spec.steps[1].parameters.wrong"),
        (8, "spec.steps[1].parameters.jitterMs"),
        (8, "spec.steps[1].name"),
        (9, "spec.hooks"),
        (11, "kind"),
        (11, "apiVersion"),
    ]


def test_what_stands_before_a_syntax_error_is_checked_too() -> None:
    problems = problems_of(HEAD + STEP + "  seed: -1\n---\n}")
    assert [(p["line"], p["path"]) for p in problems] == [(8, "spec.seed"), (10, "(document)")]


def test_an_alias_bomb_is_not_expanded() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    problems = problems_of(bomb + HEAD + STEP)
    assert {"the anchor &a", "the alias *a"} <= {p["found"] for p in problems}


def test_an_alias_is_told_once_and_nothing_about_what_it_would_have_been() -> None:
    (problem, alias) = problems_of(HEAD + STEP + "      durationSeconds: &d 5\n      delayBeforeSeconds: *d\n")
    assert problem["found"] == "the anchor &d"
    assert (alias["line"], alias["path"]) == (9, "spec.steps[0].delayBeforeSeconds")


def test_a_merge_key_is_refused() -> None:
    problems = problems_of("base: &b {}\n" + HEAD + STEP + "      <<: *b\n")
    assert (9, "the alias *b") in {(p["line"], p["found"]) for p in problems}


def test_a_file_of_nothing_but_typos_is_cut_short() -> None:
    text = HEAD + STEP + "      parameters:\n" + "".join(f"        latencyM{i}: 1\n" for i in range(10_000))
    with pytest.raises(InvalidDocument) as caught:
        load_documents(text, "test.yaml")
    assert len(caught.value.details["problems"]) == limits.PROBLEMS_SHOWN
    assert caught.value.details["count"] > 10_000
    assert "more" in caught.value.message.splitlines()[-1]
    assert len(caught.value.message) < 20_000


def test_a_message_holds_nothing_that_a_terminal_obeys() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_documents(HEAD + STEP + '      "\\e[31m\\u202e": "\\e[0m"\n      scenari: "\\x9b"', "test\x1b.yaml")
    assert all(line.isprintable() for line in caught.value.message.splitlines())


def test_size_is_refused_before_anything_is_read() -> None:
    check_size(limits.DOCUMENT, "a.yaml")
    with pytest.raises(InvalidDocument, match=r"a\.yaml:1: \(document\): found 52,428,800 bytes, expected .*262,144"):
        check_size(50 * 1024 * 1024, "a.yaml")
    with pytest.raises(InvalidDocument, match="bytes"):
        load_documents("é" * (limits.DOCUMENT // 2 + 1), "a.yaml")  # few characters, too many bytes


def test_problems_of_several_files_are_told_together() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_files(
            [("b.yaml", HEAD + STEP + "  seed: -1"), ("a.yaml", SCENARIO + "spec: {faults: []}"), ("c.yaml", "")]
        )
    assert [(p["file"], p["line"]) for p in caught.value.details["problems"]] == [
        ("b.yaml", 8),
        ("a.yaml", 4),
        ("c.yaml", 1),
    ]
    assert caught.value.message.startswith("3 problems in b.yaml, a.yaml, c.yaml")


def test_the_error_carries_exit_code_and_status() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_documents("", "a.yaml")
    assert caught.value.spec.exit_code == 2
    assert caught.value.spec.http_status == 422
    assert caught.value.message == (
        "1 problem in a.yaml\n"
        "  a.yaml:1: (document): found an empty file, expected a document with apiVersion, kind, metadata and spec"
    )
