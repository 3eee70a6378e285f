"""The first handshake of a joiner: looks at what the other side shows, and says nothing."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from raftchaos.errors import Refused, Unreachable
from raftchaos.identity.certificates import fingerprint
from raftchaos.identity.tls import explain

HANDSHAKE: Final = 5.0


async def authority_of(host: str, port: int, expected: str, *, now: float) -> bytes:
    """The CA certificate (PEM) with this fingerprint that the server there shows. Nothing is sent but a handshake.

    Raises Refused if it shows no such CA, Unreachable if there is no TLS server.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is shown is compared with the fingerprint, and nothing is sent
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        async with asyncio.timeout(HANDSHAKE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:
        why = explain(error, now) or getattr(error, "strerror", None) or "no answer in time"
        raise Unreachable(f"{host}:{port}: {why}", hint="--join takes the API address of a live peer") from error
    try:
        shown = _chain(writer.get_extra_info("ssl_object"))
    finally:
        writer.transport.abort()
    for certificate in shown:
        if fingerprint(certificate) == expected:
            return ssl.DER_cert_to_PEM_cert(certificate).encode()
    raise Refused(
        f"{host}:{port} does not belong to the cluster of the join token: it shows no CA with the fingerprint "
        f"{expected[:16]}…; nothing was sent to it",
        hint="see whether somebody stands between this machine and the cluster, or make a new token with "
        "`raftchaos token create --join` if the CA was replaced",
    )


def _chain(connection: Any) -> list[bytes]:
    """All certificates that the server sent, as DER. Public since Python 3.13."""
    get = getattr(connection, "get_unverified_chain", None) or connection._sslobj.get_unverified_chain
    shown = get() or []
    return [bytes(one) if isinstance(one, bytes) else ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in shown]
