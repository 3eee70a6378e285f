"""Text and foreign data into documents, and documents into what a cluster is asked to do.

Nothing here reads a file: whoever does asks `check_size` first, so that a huge file is refused unread. Every function
that raises `InvalidDocument` tells all problems at once, each with its file, path and line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from raftchaos import limits
from raftchaos.model.checking import Document, check_form, check_together, scenarios_used
from raftchaos.model.problems import WHOLE, Origin, Path, Problem, Problems, choices, invalid, shown
from raftchaos.model.resolved import ResolvedOrchestration
from raftchaos.model.yaml_text import read_yaml

__all__ = [
    "Document",
    "check_size",
    "load_documents",
    "load_files",
    "parse_document",
    "parse_submission",
    "resolve",
    "submission",
]


def check_size(size: int, source: str) -> None:
    """Raises InvalidDocument if a file of `size` bytes is too large to be a document."""
    if size > limits.DOCUMENT:
        found, expected = f"{size:,} bytes", f"a document of at most {limits.DOCUMENT:,} bytes"
        raise invalid([Problem(source, WHOLE, 1, found, expected)])


def load_documents(text: str | bytes, source: str) -> list[Document]:
    """The documents of one file. Steps may name the scenarios of this file only; see `load_files`."""
    return load_files([(source, text)])


def load_files(files: Iterable[tuple[str, str | bytes]]) -> list[Document]:
    """The documents of several files (name, text), checked together: steps may name the scenarios of all of them.

    Raises InvalidDocument with the problems of all files.
    """
    problems = Problems()
    documents: list[Document] = []
    for source, text in files:
        check_size(len(text), source)
        decoded = _decoded(text, source, problems)
        if decoded is None:
            continue
        check_size(len(decoded.encode(errors="replace")), source)
        before = len(problems.found)
        raw = read_yaml(decoded, source, problems)
        if not raw and len(problems.found) == before:
            origin = Origin(source, {(): 1})
            problems.add(origin, (), "an empty file", "a document with apiVersion, kind, metadata and spec")
        found = (check_form(one.data, one.origin, problems) for one in raw)
        documents.extend(document for document in found if document is not None)
    check_together(documents, problems)
    problems.raise_if_any()
    return documents


def resolve(documents: Sequence[Document]) -> list[ResolvedOrchestration]:
    """The orchestrations among the documents with every scenario looked up and every default filled in.

    Raises InvalidDocument if a step names a scenario that is not among them, or with a parameter that is wrong.
    """
    problems = Problems()
    resolved = check_together(documents, problems)
    problems.raise_if_any()
    return resolved


def submission(orchestration: Document, documents: Sequence[Document] = ()) -> dict[str, Any]:
    """What a client sends as the document of a task: the orchestration and the scenarios it uses, as JSON data."""
    used = [dict(scenario.data) for scenario in scenarios_used(orchestration, documents)]
    return {"orchestration": dict(orchestration.data), "scenarios": used}


def parse_document(data: object, source: str) -> Document:
    """One document that came as data, such as JSON. Its steps may name faults and built-in scenarios only.

    Raises InvalidDocument; its problems have paths and no lines.
    """
    problems = Problems()
    document = _parsed(data, Origin(source), problems)
    check_together([document] if document is not None else [], problems)
    problems.raise_if_any()
    return cast(Document, document)  # without a document there is a problem


def parse_submission(data: object, source: str) -> ResolvedOrchestration:
    """What `submission` made, or a ChaosOrchestration alone, as it arrives at a peer. Raises InvalidDocument."""
    problems = Problems()
    origin = Origin(source)
    documents: list[Document | None] = []
    if isinstance(data, Mapping) and "orchestration" in data:
        known = ["orchestration", "scenarios"]
        for key in sorted(map(str, data.keys() - set(known))):
            problems.add(origin, (key,), "an unknown field", choices(known), word=key, known=known)
        documents.append(_parsed(data["orchestration"], origin, problems, ("orchestration",), "ChaosOrchestration"))
        scenarios = data.get("scenarios", [])
        if not isinstance(scenarios, list):
            problems.add(origin, ("scenarios",), shown(scenarios), "a list of ChaosScenario documents")
            scenarios = []
        for index, one in enumerate(scenarios):
            documents.append(_parsed(one, origin, problems, ("scenarios", index), "ChaosScenario"))
    else:
        documents.append(_parsed(data, origin, problems, (), "ChaosOrchestration"))
    resolved = check_together([document for document in documents if document is not None], problems)
    problems.raise_if_any()
    return resolved[0]


def _parsed(
    data: object, origin: Origin, problems: Problems, prefix: Path = (), kind: str | None = None
) -> Document | None:
    if _too_deep(data):
        problems.add(origin, prefix, f"more than {limits.DOCUMENT_DEPTH} levels", "a document of a few levels")
        return None
    document = check_form(data, origin, problems, prefix)
    if document is not None and kind is not None and document.kind != kind:
        problems.add(origin, (*prefix, "kind"), shown(document.kind), kind)
        return None
    return document


def _decoded(text: str | bytes, source: str, problems: Problems) -> str | None:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{text[error.start]:02x}, which is no UTF-8"
        problems.add(Origin(source, {(): line}), (), found, "text in YAML, encoded as UTF-8")
        return None


def _too_deep(data: object) -> bool:
    """Whether data nests deeper than documents do; without recursion, for it may nest deeper than Python does."""
    level = [data]
    for _ in range(limits.DOCUMENT_DEPTH + 1):
        level = [
            inner
            for value in level
            if isinstance(value, Mapping | list)
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]
        if not level:
            return False
    return True
