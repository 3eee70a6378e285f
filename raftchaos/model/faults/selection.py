"""Which processes of a node are meant: what the parameters of several faults have in common."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from raftchaos import limits
from raftchaos.model.faults.base import Parameters

SELECTORS: Final = ("pid_file", "name", "command_line", "port", "container", "container_label")
SELECTION_RULE: Final = (
    "pidFile, name, commandLine, port, container or containerLabel, to say which processes are meant"
)


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise PydanticCustomError("rule", "an absolute path without ..")
    return text


def _pattern(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise PydanticCustomError("rule", "printable text, with * and ? for what may be there")
    return text


def _word(text: str) -> str:
    if not text.isprintable() or any(character.isspace() for character in text):
        raise PydanticCustomError("rule", "printable text without spaces")
    return text


AbsolutePath = Annotated[str, Field(max_length=limits.FAULT_PATH), AfterValidator(_path)]
"""A path from the root of the file system."""
Pattern = Annotated[str, Field(max_length=limits.FAULT_PATTERN), AfterValidator(_pattern)]
"""A shell-style pattern: `*`, `?` and `[...]` stand for characters; the whole text must match."""
Word = Annotated[str, Field(min_length=1, max_length=limits.FAULT_PATTERN), AfterValidator(_word)]
"""A name that stands in no shell."""
Bytes = Annotated[int, Field(ge=1, le=limits.FAULT_SPACE)]
"""A number of bytes, up to a pebibyte."""
Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
"""Above 0, at most 100."""


class ProcessSelection(Parameters):
    """Processes of the node that fulfil everything that is said here."""

    pid_file: AbsolutePath | None = Field(default=None, description="A file that holds the process's number.")
    name: Pattern | None = Field(
        default=None, description="A pattern of the process's name, or of its program's file name, e.g. nginx or java*."
    )
    command_line: Pattern | None = Field(
        default=None,
        description="A pattern of the whole command line, its words joined by spaces, e.g. *checkout.jar*.",
    )
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None,
        description="A TCP port that the process listens on, on the host, or within the container if one is given.",
    )
    container: Word | None = Field(
        default=None,
        description="Name of a Docker, Podman or containerd container on this host, or at least 12 characters of its "
        "id: all its processes.",
    )
    container_label: Word | None = Field(
        default=None, description="A label of containers on this host, as key=value or key: all their processes."
    )

    @property
    def selects(self) -> bool:
        """Whether anything is said."""
        return any(getattr(self, name) is not None for name in SELECTORS)

    def text(self) -> str:
        """The selection in one line, as a target names it."""
        said = ((type(self).model_fields[name].alias or name, getattr(self, name)) for name in SELECTORS)
        return ",".join(f"{name}={value}" for name, value in said if value is not None)


def must_select(parameters: ProcessSelection) -> None:
    """Raises pydantic's error if no process is said."""
    if not parameters.selects:
        raise PydanticCustomError("rule", SELECTION_RULE)
