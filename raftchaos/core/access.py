"""The replicated part of identity: who may call, who may join, which CAs are trusted, whose certificates are not.

No secret is in it: hashes of API tokens, public keys of join tokens, certificates.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token that was given to somebody."""

    id: str
    name: str
    role: str
    digest: bytes
    """SHA-256 of its secret."""
    created_ms: int
    expires_ms: int
    created_by: str


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token that lets peers join."""

    id: str
    key: bytes
    """Ed25519 public key."""
    created_ms: int
    expires_ms: int
    single: bool
    """Good for one data directory only."""
    spent_by: str
    """Name of the peer that used it last; empty before."""
    spent_directory: str
    created_by: str


@dataclass(frozen=True, slots=True)
class TrustedAuthority:
    """A CA whose certificates count."""

    fingerprint: str
    certificate: str
    """PEM."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What is known of a node's certificates: its key since it was admitted, the rest as it tells it."""

    name: str
    trusts: tuple[str, ...]
    """Fingerprints of the CAs that it trusts and, if it votes, whose keys it has, sorted."""
    issuer: str
    """Fingerprint of the CA of its own certificate."""
    key: str = ""
    """SHA-256 of the public key with which it was admitted; empty if the cluster has signed nothing for it."""


@dataclass(frozen=True, slots=True)
class Access:
    """Everything of it. Dicts are copied on write, as in `ClusterState`."""

    tokens: dict[str, ApiToken] = field(default_factory=dict)
    joins: dict[str, JoinToken] = field(default_factory=dict)
    authorities: dict[str, TrustedAuthority] = field(default_factory=dict)
    """By fingerprint, the oldest first."""
    signer: str = ""
    """Fingerprint of the CA that signs."""
    identities: dict[str, NodeIdentity] = field(default_factory=dict)
    revoked: dict[str, int] = field(default_factory=dict)
    """Ids of data directories of removed nodes, with the time (ms) after which no certificate can name them."""

    def to_list(self) -> list[Any]:
        """Plain values, the same for equal contents: sorted where the order means nothing."""
        return [
            [_pack(self.tokens[key]) for key in sorted(self.tokens)],
            [_pack(self.joins[key]) for key in sorted(self.joins)],
            [_pack(one) for one in self.authorities.values()],
            self.signer,
            [_pack(self.identities[key]) for key in sorted(self.identities)],
            [[key, self.revoked[key]] for key in sorted(self.revoked)],
        ]


def _pack(item: Any) -> list[Any]:
    return [getattr(item, one.name) for one in dataclasses.fields(item)]
