"""The handlers that change something. Each of them may be called twice: the second call changes nothing."""

from __future__ import annotations

import base64
import json
import re
import secrets
from typing import Any

from aiohttp import web

from raftchaos import limits
from raftchaos.api.context import Context, answer, written
from raftchaos.api.reads import no_node
from raftchaos.api.requests import flag_field, json_body, name_field, task_id, text_field
from raftchaos.api.tasks_view import find_task, preview_view
from raftchaos.api.views import node_view, proxy_view
from raftchaos.core.callers import CALLER, Caller
from raftchaos.core.service_records import JoinRequest
from raftchaos.errors import Conflict, Forbidden, Refused, Unauthenticated, UsageError
from raftchaos.identity.tokens import proves
from raftchaos.model.loading import check_size, parse_submission
from raftchaos.model.resolved import ResolvedOrchestration
from raftchaos.model.roles import Role

SOURCE = "request"
"""How the messages about a document call where it came from."""
ADDRESS = 300  # characters: a host name and a port
HALTS = 1_000
_DIRECTORY = re.compile(r"[0-9a-f]{32}")
HOSTS = 8  # names and addresses of one peer


async def submit(context: Context, request: web.Request) -> web.StreamResponse:
    """Accepts a document as a task; answers an id that exists with the task that has it.

    Without an id one is made; such a request cannot be repeated safely.
    """
    body = await json_body(request, ("document", "scenarios", "id"), required=("document",))
    chosen = task_id(body["id"]) if "id" in body else ""
    orchestration = _resolved(body)
    task = chosen or f"{orchestration.name}-{secrets.token_hex(4)}"
    state = context.services.state
    known = task in state.tasks or task in state.finished
    await context.services.check(task, orchestration)
    await written(context, context.services.submit(task, orchestration.to_dict()))
    return _task(context, task, status=200 if known else 201)


async def preview(context: Context, request: web.Request) -> web.StreamResponse:
    """What a document would do now; changes nothing."""
    orchestration = _resolved(await json_body(request, ("document", "scenarios"), required=("document",)))
    view = preview_view(context.services.state, orchestration, context.now_ms())
    if view["accepted"]:
        try:
            await context.services.check("", orchestration)
        except Refused as error:
            refusal = {"code": error.spec.code, "error": str(error), "hint": error.hint}
            view = {**view, "accepted": False, "refusals": [*view["refusals"], refusal]}
    return answer({**_index(context), **view})


async def cancel(context: Context, request: web.Request) -> web.StreamResponse:
    """Recovers what is active and ends the task as cancelled."""
    reason = text_field(await json_body(request, ("reason",)), "reason")
    task = _known_task(context, request)
    await written(context, context.services.cancel_task(task, reason))
    return _task(context, task)


async def pause(context: Context, request: web.Request) -> web.StreamResponse:
    """Recovers what is active and keeps the task."""
    await json_body(request, ())
    task = _known_task(context, request)
    _refuse_ended(context, task, "paused")
    await written(context, context.services.pause_task(task))
    return _task(context, task)


async def resume_task(context: Context, request: web.Request) -> web.StreamResponse:
    """Takes up a paused task."""
    await json_body(request, ())
    task = _known_task(context, request)
    _refuse_ended(context, task, "resumed")
    await written(context, context.services.resume_task(task))
    return _task(context, task)


async def drain(context: Context, request: web.Request) -> web.StreamResponse:
    """Gives the node no new runs."""
    await json_body(request, ())
    return await _drained(context, request.match_info["name"], True)


async def undrain(context: Context, request: web.Request) -> web.StreamResponse:
    """Gives the node runs again."""
    await json_body(request, ())
    return await _drained(context, request.match_info["name"], False)


async def remove_node(context: Context, request: web.Request) -> web.StreamResponse:
    """Takes a node out of the cluster."""
    name = request.match_info["name"]
    await written(context, context.services.remove_node(name), timeout=limits.MEMBERSHIP_TIMEOUT)
    return answer({**_index(context), "removed": name})


async def promote(context: Context, request: web.Request) -> web.StreamResponse:
    """Lets an observer vote."""
    await json_body(request, ())
    name = request.match_info["name"]
    await written(context, context.services.promote_node(name), timeout=limits.MEMBERSHIP_TIMEOUT)
    return _node(context, name)


async def join(context: Context, request: web.Request) -> web.StreamResponse:
    """Makes a new peer a member, for an admin or for who proves to have a join token."""
    names = (
        "name",
        "directory",
        "raftAddress",
        "apiAddress",
        "version",
        "observer",
        "request",
        "hosts",
        "token",
        "proof",
    )
    body = await json_body(request, names, required=names[:4])
    token = _proved(context, body)
    if token:
        CALLER.set(Caller(name_field(body, "name"), Role.VIEWER, request.remote or "", f"join-token {token}"))
    wanted = JoinRequest(
        name=name_field(body, "name"),
        directory=_directory(body),
        raft_address=_address(body, "raftAddress"),
        api_address=_address(body, "apiAddress"),
        version=text_field(body, "version", longest=limits.NAME),
        observer=flag_field(body, "observer"),
        certificate_request=text_field(body, "request", longest=limits.AUTHORITY),
        hosts=_hosts(body),
        token=token,
    )
    joined = await written(context, context.services.join(wanted), timeout=limits.MEMBERSHIP_TIMEOUT)
    told = {"certificate": joined.certificate, "authorities": joined.authorities}
    return answer({**_index(context), "cluster": joined.cluster, "members": dict(joined.members), **told})


def _proved(context: Context, body: dict[str, Any]) -> str:
    """Id of the join token that the caller has proved to have; empty for an admin.

    Raises Unauthenticated, Forbidden.
    """
    caller = CALLER.get()
    if caller is not None and not body.get("token"):
        if not caller.allows(Role.ADMIN):
            raise Forbidden(f"{caller.name} is {caller.role}, this needs {Role.ADMIN}")
        return ""
    known = context.services.state.access.joins.get(text_field(body, "token", longest=limits.NAME))
    try:
        proof = base64.b64decode(text_field(body, "proof", longest=limits.NAME * 2), validate=True)
    except ValueError:
        proof = b""
    asked = {key: value for key, value in body.items() if key not in ("token", "proof")}
    if known is None or not proves(known.key, proof, context.services.access.certificate, asked):
        raise Unauthenticated(
            "the join token is not known, has ended or was revoked",
            hint="make a new one with `raftchaos token create --join` on a peer's machine",
        )
    return known.id


def _directory(body: dict[str, Any]) -> str:
    found = text_field(body, "directory", longest=limits.NAME)
    if not _DIRECTORY.fullmatch(found):
        raise UsageError("expected in the field 'directory' the id of a data directory: 32 hexadecimal digits")
    return found


def _hosts(body: dict[str, Any]) -> tuple[str, ...]:
    hosts = body.get("hosts", [])
    if not isinstance(hosts, list) or len(hosts) > HOSTS or not all(isinstance(one, str) and one for one in hosts):
        raise UsageError(f"expected in the field 'hosts' a list of at most {HOSTS} names or addresses")
    return tuple(hosts)


async def halt(context: Context, request: web.Request) -> web.StreamResponse:
    """Stops everything, with or without a quorum."""
    body = await json_body(request, ("reason", "id"))
    reason = text_field(body, "reason") or "no reason given"
    halted = await context.services.halt(reason, text_field(body, "id", longest=limits.TASK_ID))
    return answer({**_index(context), "id": halted.id, "logged": halted.logged, "told": list(halted.told)})


async def resume(context: Context, request: web.Request) -> web.StreamResponse:
    """Lifts the named halts, or all of them."""
    halts = (await json_body(request, ("halts",))).get("halts")
    if halts is not None and not (
        isinstance(halts, list) and len(halts) <= HALTS and all(isinstance(one, str) and one for one in halts)
    ):
        raise UsageError(f"expected in the field 'halts' a list of at most {HALTS} ids of halts, or no such field")
    lifted = await written(context, context.services.resume(halts))
    return answer({**_index(context), "lifted": list(lifted)})


async def add_proxy(context: Context, request: web.Request) -> web.StreamResponse:
    """Starts a proxy on this node."""
    required, tls = ("name", "listen", "upstream"), ("certificate", "key")
    body = await json_body(request, (*required, *tls), required=required)
    name = text_field(body, "name", longest=limits.PROXY_NAME, empty=False)
    listen, upstream = _address(body, "listen"), _address(body, "upstream")
    files = [body.get(field, "") for field in tls]
    if not all(isinstance(path, str) and len(path) <= limits.FAULT_PATH and path.isprintable() for path in files):
        raise UsageError(f"expected in certificate and key a path of at most {limits.FAULT_PATH} characters")
    added = await context.services.add_proxy(name, listen, upstream, *files)
    return answer({**_index(context), **proxy_view(context.services.name, added)}, status=201)


async def remove_proxy(context: Context, request: web.Request) -> web.StreamResponse:
    """Stops a proxy of this node."""
    name = request.match_info["name"]
    await context.services.remove_proxy(name)
    return answer({**_index(context), "removed": name})


def _resolved(body: dict[str, Any]) -> ResolvedOrchestration:
    document = body["document"]
    if isinstance(document, str):
        raise UsageError(
            "found text in the field 'document', expected the parsed document as a JSON object",
            hint="a client turns YAML into JSON before it sends it",
        )
    whole = [document, body.get("scenarios", [])]
    check_size(len(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")), SOURCE)
    if isinstance(document, dict) and "orchestration" in document:
        if body.get("scenarios"):
            raise UsageError("found scenarios twice, expected them either beside the document or within it")
        return parse_submission(document, SOURCE)
    return parse_submission({"orchestration": document, "scenarios": body.get("scenarios", [])}, SOURCE)


def _known_task(context: Context, request: web.Request) -> str:
    """The id in the path. Whether it exists is for the log to say: this peer may lag behind."""
    return task_id(request.match_info["id"])


def _refuse_ended(context: Context, task: str, what: str) -> None:
    """The log would only say that no unfinished task has this id."""
    if task in context.services.state.finished:
        status = find_task(context.services.state, task, context.now_ms())["status"]
        raise Conflict(f"the task {task} has ended ({status}), so it cannot be {what}", hint="submit it as a new task")


def _address(body: dict[str, Any], key: str) -> str:
    text = text_field(body, key, longest=ADDRESS, empty=False)
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536 and text.isprintable()):
        raise UsageError(f"found {text!r} in the field {key!r}, expected HOST:PORT")
    return text


async def _drained(context: Context, name: str, drained: bool) -> web.StreamResponse:
    await written(context, context.services.drain_node(name, drained))
    return _node(context, name)


def _node(context: Context, name: str) -> web.StreamResponse:
    state = context.services.state
    if name not in state.nodes:
        raise no_node(name)
    return answer({**_index(context), **node_view(context.services, state, state.nodes[name])})


def _task(context: Context, task: str, *, status: int = 200) -> web.Response:
    view = find_task(context.services.state, task, context.now_ms())
    return answer({**_index(context), **view}, status=status, headers={"Location": f"/api/v1/tasks/{task}"})


def _index(context: Context) -> dict[str, Any]:
    """An answer to a write shows the state in which it has happened."""
    return {"index": context.services.applied_index}
