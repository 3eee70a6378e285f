"""The OpenAPI description, built from the table of routes, so that it cannot say anything else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from raftchaos._version import VERSION
from raftchaos.errors import all_errors
from raftchaos.model.documents import ChaosOrchestration, ChaosScenario

if TYPE_CHECKING:
    from raftchaos.api.routes import Route

Json = dict[str, Any]

PROBLEM = "application/problem+json"


def document(routes: Iterable[Route]) -> Json:
    """The whole description (OpenAPI 3.1)."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raftchaos",
            "version": VERSION,
            "description": "Any peer answers everything: writes are forwarded to the leader, reads are local and say "
            "the index that they show.",
        },
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _operation(route: Route) -> Json:
    found: Json = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "x-role": str(route.role),
        "parameters": _parameters(route),
        "responses": {
            "2XX": {"description": "done", "content": {route.media: {"schema": _answer_schema(route)}}},
            "default": {"description": "why not", "content": {PROBLEM: {"schema": _ref("Problem")}}},
        },
    }
    if route.body is not None:
        required = [name.removesuffix("!") for name in route.body if name.endswith("!")]
        schema: Json = {
            "type": "object",
            "additionalProperties": False,
            "properties": {name.removesuffix("!"): dict(value) for name, value in route.body.items()},
        }
        if required:
            schema["required"] = required
        found["requestBody"] = {"required": bool(required), "content": {"application/json": {"schema": schema}}}
    return found


def _operation_id(route: Route) -> str:
    words = re.findall(r"[A-Za-z]+", route.path.removeprefix("/api/v1"))
    return route.method.lower() + "".join(word.capitalize() for word in words)


def _parameters(route: Route) -> list[Json]:
    inside = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    query = [
        {"name": name, "in": "query", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in route.query.items()
    ]
    return inside + query


def _answer_schema(route: Route) -> Json:
    return {"type": "object"} if route.media == "application/json" else {"type": "string"}


def _schemas() -> Json:
    """The documents as pydantic describes them, and the problem."""
    _, described = models_json_schema(
        [(ChaosOrchestration, "validation"), (ChaosScenario, "validation")],
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )
    schemas: Mapping[str, Any] = described.get("$defs", {})
    return {**schemas, "Problem": _problem_schema()}


def _problem_schema() -> Json:
    texts = ("type", "title", "detail", "hint")
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "hint", "details", "definite"],
        "properties": {
            **{name: {"type": "string"} for name in texts},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(all_errors())},
            "details": {"type": "object"},
            "definite": {"type": "boolean", "description": "true: it certainly did not happen"},
        },
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
