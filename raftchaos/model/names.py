"""What a name may look like: of nodes, orchestrations and scenarios; of proxies; of steps; of labels."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from raftchaos import limits

NAME_RULE: Final = f"a name of at most {limits.NAME} lower-case letters, digits and inner hyphens"
PROXY_NAME_RULE: Final = f"a name of at most {limits.PROXY_NAME} letters, digits, and inner . _ : -"
STEP_NAME_RULE: Final = f"a name of at most {limits.NAME} printable characters, without / and outer spaces"
LABEL_RULE: Final = f"at most {limits.LABEL} letters, digits, and . _ - / within"

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_PROXY_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._:-]*[A-Za-z0-9_])?")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")


def is_name(text: str) -> bool:
    """Whether the text is a DNS label, as every name of a node, orchestration or scenario is."""
    return len(text) <= limits.NAME and _NAME.fullmatch(text) is not None


def is_proxy_name(text: str) -> bool:
    """Whether the text can be the name of a proxy. Clients of toxiproxy's API say `mysql_master` or `redis:6379`."""
    return len(text) <= limits.PROXY_NAME and _PROXY_NAME.fullmatch(text) is not None


def is_step_name(text: str) -> bool:
    """Whether the text can be the name of a step: short, printable, no slash, no space at its ends."""
    return 0 < len(text) <= limits.NAME and text.isprintable() and text == text.strip() and "/" not in text


def is_label(text: str) -> bool:
    """Whether the text can be the key or the value of a label."""
    return len(text) <= limits.LABEL and _LABEL.fullmatch(text) is not None


def _name(text: str) -> str:
    if not is_name(text):
        raise PydanticCustomError("rule", NAME_RULE)
    return text


def _proxy_name(text: str) -> str:
    if not is_proxy_name(text):
        raise PydanticCustomError("rule", PROXY_NAME_RULE)
    return text


def _step_name(text: str) -> str:
    if not is_step_name(text):
        raise PydanticCustomError("rule", STEP_NAME_RULE)
    return text


def _label(text: str) -> str:
    if not is_label(text):
        raise PydanticCustomError("rule", LABEL_RULE)
    return text


def unique(names: list[str]) -> list[str]:
    """The same list. Raises pydantic's error if a name stands in it twice."""
    if len(set(names)) != len(names):
        raise PydanticCustomError("rule", "each name once")
    return names


Name = Annotated[str, AfterValidator(_name)]
"""A DNS label."""
ProxyName = Annotated[str, AfterValidator(_proxy_name)]
"""The name of a proxy of a node."""
StepName = Annotated[str, AfterValidator(_step_name)]
"""Free text in one line."""
Label = Annotated[str, AfterValidator(_label)]
"""The key or the value of a label of a node."""
