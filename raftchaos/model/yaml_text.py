"""YAML text into plain data that remembers its lines.

The parser's events are read one by one, so nothing is built that was not asked for: aliases are never expanded, tags
never obeyed, depth is bounded, and a key that stands twice is seen. Plain scalars follow YAML 1.2: only true and false
are booleans, and on, no or 1:30 are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from raftchaos import limits
from raftchaos.model.problems import Origin, Path, Problems, shown

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_WORDS: Final[dict[str, object]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
}  # fmt: skip
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The parser in C, where libyaml was there when PyYAML was built.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TooDeep(Exception):
    """The text nests deeper than any document does; the rest of it is not read."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One document as plain data (dicts with text keys, lists, texts, numbers, booleans, None) and where it stands."""

    data: Any
    origin: Origin


def read_yaml(text: str, file: str, problems: Problems) -> list[RawDocument]:
    """The documents of a text that are not empty, as far as they can be read; what is wrong goes to `problems`."""
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        line = text.count("\n", 0, unprintable.start()) + 1
        found = f"the control character U+{ord(unprintable.group()):04X}"
        problems.add(Origin(file, {(): line}), (), found, "text in YAML")
        return []
    reader = _Reader(file, problems)
    try:
        for event in (events := iter(yaml.parse(text, Loader=_LOADER))):
            if isinstance(event, yaml.DocumentStartEvent):
                reader.document(events)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        problems.add(Origin(file, {(): line}), (), f"no YAML ({error.problem or error.context})", "a YAML document")
    except yaml.YAMLError as error:
        problems.add(Origin(file, {(): 1}), (), f"no YAML ({str(error).splitlines()[0]})", "a YAML document")
    except _TooDeep:
        pass
    return [document for document in reader.documents if document.data is not None]


@dataclass(slots=True)
class _Reader:
    """Builds the documents from the events. One for each text."""

    file: str
    problems: Problems
    documents: list[RawDocument] = field(default_factory=list)
    _lines: dict[Path, int] = field(default_factory=dict)
    _spoiled: set[Path] = field(default_factory=set)
    _origin: Origin = field(default_factory=lambda: Origin(""))

    def document(self, events: Iterator[Any]) -> None:
        self._lines, self._spoiled = {}, set()
        self._origin = Origin(self.file, self._lines, self._spoiled)
        event = next(events)
        self._lines[()] = event.start_mark.line + 1
        data = self._value(event, events, ())
        self.documents.append(RawDocument(data, self._origin))

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        self._lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            self._spoil(
                path, f"the alias *{str(event.anchor)[:20]}", "the value itself, written out (aliases are not taken)"
            )
            return None
        if event.anchor is not None:
            self._note(
                path, f"the anchor &{str(event.anchor)[:20]}", "the value alone (anchors and aliases are not taken)"
            )
        if event.tag is not None:
            self._note(path, f"the tag {str(event.tag)[:40]}", "the value alone (tags are not taken)")
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else self._plain(event.value, path)
        if len(path) >= limits.DOCUMENT_DEPTH:
            self._note(path[:4], f"more than {limits.DOCUMENT_DEPTH} levels", "a document of a few levels")
            raise _TooDeep
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        return self._mapping(events, path)

    def _sequence(self, events: Iterator[Any], path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._value(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self._key(event, events, path, line)
            if key is None or key in mapping:
                if key is not None:
                    self._twice((*path, key), line)
                # Its place is that of nothing that is kept.
                self._value(next(events), events, (*path, f"{key} (line {line})"))
                continue
            self._lines[(*path, key)] = line
            mapping[key] = self._value(next(events), events, (*path, key))
        return mapping

    def _key(self, event: Any, events: Iterator[Any], path: Path, line: int) -> str | None:
        """The name of a field, or None if it is not a text."""
        if isinstance(event, yaml.ScalarEvent) and event.tag is None and event.anchor is None:
            plain = event.value if event.style else self._plain(event.value, (*path, event.value))
            if isinstance(plain, str):
                return plain
            self._at(line, path, f"{shown(plain)} as the name of a field", f'text, in quotes: "{event.value}"')
            return None
        here = (*path, f"(line {line})")
        value = self._value(event, events, here)
        if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            self._at(
                line, path, f"{shown(value)} as the name of a field", "text (a template {{ … }} must be in quotes)"
            )
            self._spoiled.add(path)
        return None

    def _plain(self, text: str, path: Path) -> Any:
        """What a scalar without quotes is in YAML 1.2."""
        if text in _WORDS:
            return _WORDS[text]
        if len(text) > limits.DIGITS:
            if _FLOAT.fullmatch(text) or _HEXADECIMAL.fullmatch(text) or _OCTAL.fullmatch(text):
                self._spoil(path, f"a number of {len(text)} digits", f"a number of at most {limits.DIGITS}")
                return None
            return text
        if _INTEGER.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _INFINITY.fullmatch(text):
            return float(text.replace(".", ""))
        return text

    def _twice(self, path: Path, line: int) -> None:
        first = self._lines.get(path, 0)
        self._at(line, path, f"this field again (it stands in line {first} already)", "each field once")

    def _at(self, line: int, path: Path, found: str, expected: str) -> None:
        self.problems.add(Origin(self.file, {path: line}), path, found, expected)

    def _note(self, path: Path, found: str, expected: str) -> None:
        self.problems.add(self._origin, path, found, expected)

    def _spoil(self, path: Path, found: str, expected: str) -> None:
        self._note(path, found, expected)
        self._spoiled.add(path)
