"""How a new peer asks to be let in: over the local user's socket, or over TLS with a join token that it only proves."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from raftchaos import limits
from raftchaos.config import parse_address
from raftchaos.errors import NotFound, Refused, Unreachable, UsageError, error_of_code
from raftchaos.identity.certificates import fingerprint_of, pem_of, split
from raftchaos.identity.joining import HANDSHAKE, authority_of
from raftchaos.identity.private import check_private
from raftchaos.identity.tls import client_context, explain
from raftchaos.identity.tokens import JoinToken, read_join_token

VARIABLE: Final = "RAFTCHAOS_JOIN_TOKEN"
_ANSWER: Final = 1024 * 1024


def join_token(file: Path | None, text: str) -> JoinToken | None:
    """The token in the file, else in this text. None if there is none.

    Raises UsageError, and MachineUnusable for a file that others may read.
    """
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"{file} cannot be read: {reason}", hint="check --token-file") from None
        check_private(file)
    return read_join_token(text) if text else None


async def ask_with_token(
    address: str, token: JoinToken, body: Mapping[str, Any], *, now: float, trusted: bytes = b""
) -> dict[str, Any]:
    """The answer to a join. Nothing is said to a server that is not of the token's cluster. `trusted` are the CAs (PEM)
    of a joiner that has its own; else the server shows the CA.

    A peer without the CA key names others that have it; they are asked in turn. Raises what the cluster answered,
    Refused, Unreachable.
    """
    host, port = parse_address(address, what="--join")
    if trusted:
        authority = _of_token(trusted, token)
    else:
        authority = await authority_of(host, port, token.fingerprint, now=now)
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


def _of_token(trusted: bytes, token: JoinToken) -> bytes:
    """The CA with the token's fingerprint. Raises Refused if it is not among these."""
    for certificate in split(trusted, "--tls-ca"):
        if fingerprint_of(certificate) == token.fingerprint:
            return pem_of(certificate)
    raise Refused(
        f"--tls-ca holds no CA with the fingerprint {token.fingerprint[:16]}… of the join token",
        hint="give the CA file of the cluster's other peers",
    )


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
