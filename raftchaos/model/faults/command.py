"""A command of the operator's, as parameters name it: a file name of the plug-in folder, and arguments."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from raftchaos import limits

_PROGRAM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def _command(words: list[str]) -> list[str]:
    if _PROGRAM.fullmatch(words[0]) is None:
        raise PydanticCustomError("rule", "a file name of the peer's plug-in folder first, then the arguments")
    if any("\0" in word for word in words):
        raise PydanticCustomError("rule", "words without NUL characters")
    return words


Command = Annotated[
    list[Annotated[str, Field(max_length=limits.FAULT_PATH)]],
    Field(min_length=1, max_length=32),
    AfterValidator(_command),
]
