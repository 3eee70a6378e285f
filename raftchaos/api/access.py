"""The handlers about tokens and certificate authorities."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from raftchaos import limits
from raftchaos.api.context import Context, answer, look, written
from raftchaos.api.requests import flag_field, json_body, name_field, seconds_field, text_field
from raftchaos.errors import UsageError
from raftchaos.identity.tokens import id_of
from raftchaos.model.roles import GIVEN


async def tokens(context: Context, request: web.Request) -> web.StreamResponse:
    """All tokens that have not been revoked; no secret of theirs is known here."""
    seen = await look(context, request)
    access, now_ms = seen.state.access, context.now_ms()
    api = [
        {
            "id": token.id,
            "name": token.name,
            "role": token.role,
            "createdMs": token.created_ms,
            "expiresMs": token.expires_ms,
            "ended": token.expires_ms <= now_ms,
            "createdBy": token.created_by,
        }
        for _, token in sorted(access.tokens.items())
    ]
    joins = [
        {
            "id": token.id,
            "single": token.single,
            "createdMs": token.created_ms,
            "expiresMs": token.expires_ms,
            "ended": token.expires_ms <= now_ms,
            "usedBy": token.spent_by,
            "createdBy": token.created_by,
        }
        for _, token in sorted(access.joins.items())
    ]
    return answer({**seen.envelope, "tokens": api, "joinTokens": joins})


async def create_token(context: Context, request: web.Request) -> web.StreamResponse:
    """Gives a caller a token, which is shown in this answer only."""
    body = await json_body(request, ("name", "role", "seconds"), required=("name", "role"))
    role = _role(body)
    seconds = seconds_field(body, "seconds", limits.API_TOKEN_LIFE, most=limits.TOKEN_LONGEST)
    made = await written(context, context.services.access.create_token(name_field(body, "name"), role, seconds))
    return answer({**_index(context), "id": made.id, "token": made.text, "expiresMs": made.expires_ms}, status=201)


async def create_certificate(context: Context, request: web.Request) -> web.StreamResponse:
    """Gives a caller a certificate for the key of its request."""
    body = await json_body(request, ("name", "role", "seconds", "request"), required=("name", "role", "request"))
    seconds = seconds_field(body, "seconds", limits.API_TOKEN_LIFE, most=limits.TOKEN_LONGEST)
    asked = text_field(body, "request", longest=limits.AUTHORITY, empty=False)
    made = context.services.access.create_certificate(name_field(body, "name"), _role(body), seconds, asked)
    chain, authorities = await written(context, made)
    return answer({**_index(context), "certificate": chain, "authorities": authorities}, status=201)


def _role(body: dict[str, Any]) -> str:
    role = text_field(body, "role", longest=limits.NAME)
    if role not in GIVEN:
        raise UsageError(f"found the role {role!r}, expected one of {', '.join(GIVEN)}")
    return role


async def create_join_token(context: Context, request: web.Request) -> web.StreamResponse:
    """Makes a token with which peers can join, which is shown in this answer only."""
    body = await json_body(request, ("seconds", "single"))
    single = flag_field(body, "single")
    seconds = seconds_field(body, "seconds", limits.JOIN_TOKEN_LIFE, most=limits.TOKEN_LONGEST)
    made = await written(context, context.services.access.create_join_token(seconds, single))
    return answer({**_index(context), "id": made.id, "token": made.text, "expiresMs": made.expires_ms}, status=201)


async def revoke_token(context: Context, request: web.Request) -> web.StreamResponse:
    """A token is good for nothing any more."""
    wanted = id_of(request.match_info["id"])
    return answer({"revoked": await written(context, context.services.access.revoke_token(wanted)), **_index(context)})


async def authority(context: Context, request: web.Request) -> web.StreamResponse:
    """The trusted CAs, which of them signs, and which nodes do not have it yet."""
    seen = await look(context, request)
    access = seen.state.access
    newest = list(access.authorities)[-1] if access.authorities else ""
    behind = {}
    for name in sorted(seen.state.nodes):
        known = access.identities.get(name)
        if known is None or newest not in known.trusts:
            behind[name] = "does not trust the newest CA"
        elif known.issuer != newest:
            behind[name] = "has an old certificate"
    found = [
        {"fingerprint": key, "certificate": one.certificate, "signs": key == access.signer}
        for key, one in access.authorities.items()
    ]
    return answer({**seen.envelope, "authorities": found, "behind": behind})


async def rotate_authority(context: Context, request: web.Request) -> web.StreamResponse:
    """Begins to replace the CA; no connection is closed."""
    await json_body(request, ())
    return answer({"fingerprint": await written(context, context.services.access.rotate()), **_index(context)})


def _index(context: Context) -> dict[str, object]:
    return {"index": context.services.applied_index}
