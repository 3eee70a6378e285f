"""What is wrong with a document: where it stands, what was found, what was expected, and what was probably meant."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from raftchaos import limits
from raftchaos.errors import InvalidDocument

Path = tuple[str | int, ...]
"""Field names and indexes that lead from the document to a value."""

WHOLE: Final = "(document)"
"""How the path of the document itself is written."""

_SHOWN = 60  # characters of a value that a message shows
_CHOICES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `line` counts from 1 and is None for data that did not come as text."""

    file: str
    path: str
    line: int | None
    found: str
    expected: str
    suggestion: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As data for programs."""
        return {
            "file": self.file,
            "path": self.path,
            "line": self.line,
            "found": self.found,
            "expected": self.expected,
            "suggestion": self.suggestion,
        }

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        meant = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{where}: {self.path}: found {self.found}, expected {self.expected}{meant}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document came from: a file's name, and the line on which each value starts, if it was text.

    `spoiled` are paths that could not be read: their problem is told once, and nothing else at or below them.
    """

    file: str
    lines: Mapping[Path, int] | None = None
    spoiled: Set[Path] = frozenset()

    def line(self, path: Path) -> int | None:
        """The line of a value, or of the nearest thing around it; None for data that was no text."""
        if self.lines is None:
            return None
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1

    def is_spoiled(self, path: Path) -> bool:
        """Whether the value, or something around it, could not be read."""
        return bool(self.spoiled) and any(path[:end] in self.spoiled for end in range(len(path) + 1))


@dataclass(slots=True)
class Problems:
    """Problems as they are found."""

    found: list[Problem] = field(default_factory=list)
    _seen: set[Problem] = field(default_factory=set)

    def add(
        self, origin: Origin, path: Path, found: str, expected: str, *, word: str = "", known: Iterable[str] = ()
    ) -> None:
        """Takes one more problem. With `word` and the `known` words it suggests the one that was probably meant."""
        if origin.is_spoiled(path):
            return
        # A file of nothing but typos must not take seconds to refuse; nobody reads that many suggestions.
        few = len(self.found) < 4 * limits.PROBLEMS_SHOWN
        suggestion = nearest(word, known) if word and few else None
        if suggestion == expected:
            suggestion = None  # it says so already
        where = origin.line(path)
        problem = Problem(
            _printable(origin.file), _printable(path_text(path)), where, _printable(found), expected, suggestion
        )
        if problem not in self._seen:  # two faults of a scenario may both refuse the same parameter
            self._seen.add(problem)
            self.found.append(problem)

    def raise_if_any(self) -> None:
        """Raises InvalidDocument with all problems, in the order of the files and lines."""
        if self.found:
            raise invalid(self.found)


def invalid(problems: Sequence[Problem]) -> InvalidDocument:
    """The error that tells all these problems; `details["problems"]` has them as dicts, in the same order."""
    files = list(dict.fromkeys(problem.file for problem in problems))
    ordered = sorted(problems, key=lambda p: (files.index(p.file), p.line or 0))
    shown = [f"  {problem}" for problem in ordered[: limits.PROBLEMS_SHOWN]]
    if len(ordered) > len(shown):
        shown.append(f"  … and {len(ordered) - len(shown)} more")
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    return InvalidDocument(
        "\n".join([f"{count} in {', '.join(files)}", *shown]),
        details={"problems": [p.to_dict() for p in ordered[: limits.PROBLEMS_SHOWN]], "count": len(ordered)},
    )


def path_text(path: Path) -> str:
    """A path as people write it: spec.steps[1].durationSeconds."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("_", "a").replace("-", "a").isalnum() and len(part) <= _SHOWN:
            text += f".{part}" if text else part
        else:
            text += f"[{_short(json.dumps(part, ensure_ascii=False))}]"
    return text or WHOLE


def shown(value: object) -> str:
    """What a value is, in a few words."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_short(json.dumps(value, ensure_ascii=False))}" if value else "an empty text"
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number (" + ("nan" if math.isnan(value) else "infinity") + ")"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}" if value else "an empty list"
    return f"a {type(value).__name__}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that this one is probably a typo of."""
    if len(word) > 2 * limits.NAME:
        return None
    known = list(known)
    folded = {_fold(candidate): candidate for candidate in known}
    if _fold(word) in folded:
        return folded[_fold(word)]
    close = difflib.get_close_matches(_fold(word), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def choices(words: Iterable[str]) -> str:
    """A list of words for a sentence: one of a, b, c."""
    listed = list(words)
    more = f", … ({len(listed) - _CHOICES_SHOWN} more)" if len(listed) > _CHOICES_SHOWN else ""
    return f"one of {', '.join(listed[:_CHOICES_SHOWN])}{more}" if len(listed) > 1 else ", ".join(listed)


def _fold(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _number(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 126:
        return f"a number of more than {37} digits"
    return repr(value)


def _printable(text: str) -> str:
    """The text with everything escaped that could disturb a terminal or has no place in UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
