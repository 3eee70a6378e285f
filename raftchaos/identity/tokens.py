"""API tokens and join tokens: the texts that people carry, and what the cluster keeps of them.

An API token is `rct_ID_SECRET`; the cluster keeps the SHA-256 of its 256 random bits. A join token is
`rcj1.FINGERPRINT.SECRET`; the secret is the seed of an Ed25519 key (RFC 8032) of which the cluster keeps the public
half, so what it keeps lets nobody join.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from raftchaos.errors import UsageError
from raftchaos.model.names import is_name

API_PREFIX: Final = "rct"
JOIN_PREFIX: Final = "rcj1"
SECRET: Final = 32  # bytes
_API: Final = re.compile(r"rct_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_CONTEXT: Final = b"raftchaos join v1\n"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A new token: `text` is shown once, `id` and `digest` are kept."""

    text: str
    id: str
    digest: bytes

    def __repr__(self) -> str:
        return f"ApiToken({self.id})"


def new_api_token() -> ApiToken:
    """256 random bits."""
    key, secret = secrets.token_hex(8), secrets.token_urlsafe(SECRET)
    return ApiToken(f"{API_PREFIX}_{key}_{secret}", key, digest_of(secret))


def digest_of(secret: str) -> bytes:
    """What is kept of a secret. It is random, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).digest()


def read_api_token(text: str) -> tuple[str, str] | None:
    """Id and secret of an API token; None for what is none."""
    found = _API.fullmatch(text)
    return (found[1], found[2]) if found else None


def id_of(text: str) -> str:
    """What to call the token by that somebody has named: the id if it was given whole, else the text, a name or an id.

    Raises UsageError, which does not repeat the text, for what is none of these: it may hold a secret.
    """
    api = read_api_token(text.partition("@")[0])
    if api is not None:
        return api[0]
    if text.startswith(f"{JOIN_PREFIX}."):
        return read_join_token(text).id
    if not is_name(text):
        raise UsageError(
            "found neither a name nor an id of a token (what was given is not shown: it may be a secret)",
            hint="`raftchaos token list` shows names and ids",
        )
    return text


def matches(secret: str, digest: bytes) -> bool:
    """Whether this is the secret. Takes the same time for each wrong one."""
    return hmac.compare_digest(digest_of(secret), digest)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a joiner is given."""

    fingerprint: str
    """Of the cluster's CA certificate: SHA-256 in hexadecimal."""
    seed: bytes

    def __repr__(self) -> str:
        return f"JoinToken({self.id})"

    @property
    def text(self) -> str:
        """As people carry it."""
        return f"{JOIN_PREFIX}.{self.fingerprint}.{base64.urlsafe_b64encode(self.seed).decode().rstrip('=')}"

    @property
    def public(self) -> bytes:
        """What the cluster keeps."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """What it is called in lists."""
        return join_token_id(self.public)

    def prove(self, server: bytes, request: Mapping[str, object]) -> bytes:
        """A signature that is good for this request behind this server certificate (DER) only."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(_statement(server, request))


def new_join_token(fingerprint: str) -> JoinToken:
    """A token for the cluster of this CA."""
    return JoinToken(fingerprint, secrets.token_bytes(SECRET))


def join_token_id(public: bytes) -> str:
    """The id of the token with this public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def read_join_token(text: str) -> JoinToken:
    """The token in this text. Raises UsageError, which does not repeat the text."""
    wrong = UsageError(
        "found no join token, expected rcj1.FINGERPRINT.SECRET",
        hint="`raftchaos token create --join` on a peer's machine prints one",
    )
    parts = text.strip().split(".")
    if len(parts) != 3 or parts[0] != JOIN_PREFIX or not re.fullmatch(r"[0-9a-f]{64}", parts[1]):
        raise wrong
    try:
        seed = base64.b64decode(parts[2] + "=" * (-len(parts[2]) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise wrong from None
    if len(seed) != SECRET:
        raise wrong
    return JoinToken(parts[1], seed)


def proves(public: bytes, proof: bytes, server: bytes, request: Mapping[str, object]) -> bool:
    """Whether the holder of the token with this public key made this request to this server."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(proof, _statement(server, request))
    except (InvalidSignature, ValueError):
        return False
    return True


def _statement(server: bytes, request: Mapping[str, object]) -> bytes:
    body = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return _CONTEXT + hashlib.sha256(server).digest() + hashlib.sha256(body).digest()
