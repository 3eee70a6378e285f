"""JSON Schema of the documents, from the same classes that check them."""

from __future__ import annotations

from typing import Any

from raftchaos.model.documents import DOCUMENT_KINDS
from raftchaos.model.faults import FAULTS


def document_schema(kind: str) -> dict[str, Any]:
    """The schema of a kind of document. Raises KeyError for an unknown kind."""
    return DOCUMENT_KINDS[kind].model_json_schema(by_alias=True)


def fault_schema(fault: str) -> dict[str, Any]:
    """The schema of the parameters of a fault type. Raises KeyError for an unknown type."""
    return FAULTS[fault].parameters.model_json_schema(by_alias=True)
