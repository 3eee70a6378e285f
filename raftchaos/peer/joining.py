"""How a new peer asks to be let in: over the local user's socket, or over TLS with a join token that it only proves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from raftchaos import limits
from raftchaos.config import parse_address
from raftchaos.errors import NotFound, Refused, Unreachable, UsageError, error_of_code
from raftchaos.identity.certificates import fingerprint_of, split
from raftchaos.identity.joining import HANDSHAKE, authority_of
from raftchaos.identity.tls import client_context, explain
from raftchaos.identity.tokens import JoinToken, read_join_token

VARIABLE: Final = "RAFTCHAOS_JOIN_TOKEN"
_ANSWER: Final = 1024 * 1024


def join_token(file: Path | None) -> JoinToken | None:
    """The token from the file, or from the environment, from which it is taken so that no child process inherits it.

    None if there is none. Raises UsageError.
    """
    text = os.environ.pop(VARIABLE, "")
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"{file} cannot be read: {reason}", hint="check --token-file") from None
    return read_join_token(text) if text else None


async def ask_with_token(address: str, token: JoinToken, body: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """The answer to a join. Nothing is said to a server that is not of the token's cluster.

    A peer without the CA key names others that have it; they are asked in turn. Raises what the cluster answered,
    Refused, Unreachable.
    """
    host, port = parse_address(address, what="--join")
    authority = await authority_of(host, port, token.fingerprint, now=now)
    found = split(authority)[0]
    assert fingerprint_of(found) == token.fingerprint
    context = client_context(authority)
    context.check_hostname = False  # the fingerprint says which cluster it is, and any of its peers will do
    try:
        return await _ask(host, port, context, token, body, now)
    except Refused as error:
        for other in error.details.get("ask", ()):
            host, port = parse_address(str(other), what="the address of a peer")
            try:
                return await _ask(host, port, context, token, body, now)
            except (Unreachable, NotFound):
                continue
        raise


async def _ask(
    host: str, port: int, context: ssl.SSLContext, token: JoinToken, body: Mapping[str, Any], now: float
) -> dict[str, Any]:
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(HANDSHAKE):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:
        why = explain(error, now) or getattr(error, "strerror", None) or "no answer in time"
        raise Unreachable(f"{where}: {why}", hint="--join takes the API address of a live peer") from error
    try:
        server = writer.get_extra_info("ssl_object").getpeercert(True)
        proof = base64.b64encode(token.prove(server, body)).decode()
        data = json.dumps({**body, "token": token.id, "proof": proof}).encode()
        head = f"POST /api/v1/join HTTP/1.1\r\nHost: {_shown(host)}:{port}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        async with asyncio.timeout(limits.MEMBERSHIP_TIMEOUT + HANDSHAKE):
            answer = await reader.read(_ANSWER)
            while more := await reader.read(_ANSWER):
                answer += more
                if len(answer) > _ANSWER:
                    raise Unreachable(f"{where} answers more than {_ANSWER} bytes")
    except (OSError, TimeoutError) as error:
        raise Unreachable(f"{where} did not answer the join: {explain(error, now) or error}") from error
    finally:
        writer.transport.abort()
    return _read(where, answer)


def _read(where: str, answer: bytes) -> dict[str, Any]:
    head, _, data = answer.partition(b"\r\n\r\n")
    try:
        status, value = int(head.split()[1]), json.loads(data)
        if status < 400:
            return dict(value)
        problem = error_of_code(
            str(value["code"]), str(value["detail"]), hint=value.get("hint"), details=value.get("details")
        )
    except (ValueError, IndexError, KeyError, TypeError):
        raise Unreachable(f"{where} gave no answer to the join that can be read") from None
    raise problem


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
