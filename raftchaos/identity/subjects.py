"""Whom a certificate names, read from what `ssl` says of a certificate that it has verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SCHEME: Final = "raftchaos://"
ORGANIZATION: Final = "raftchaos"
"""Of a CA that raftchaos made, so that it signs for one cluster only."""
PEER: Final = "peer"
KINDS: Final = frozenset({PEER, "viewer", "operator", "admin"})


@dataclass(frozen=True, slots=True)
class Subject:
    """The holder of a certificate."""

    cluster: str
    """Id of the cluster; empty in a certificate of one's own CA."""
    kind: str
    """`peer`, or the role of a caller."""
    names: tuple[str, ...]
    """What it is called; several only in a certificate of one's own CA."""
    id: str = ""
    """Of a peer's data directory, or of the token by which a caller's certificate is listed; empty in a certificate of
    one's own CA."""

    @property
    def uri(self) -> str:
        """As it stands in the certificate. For subjects with one name."""
        return f"{SCHEME}{self.cluster}/{self.kind}/{self.names[0]}/{self.id}"


def parse(uri: str) -> Subject | None:
    """The subject of this URI; None if it is none of ours."""
    if not uri.startswith(SCHEME):
        return None
    parts = uri.removeprefix(SCHEME).split("/")
    if len(parts) != 4 or not all(parts) or parts[1] not in KINDS:
        return None
    return Subject(parts[0], parts[1], (parts[2],), parts[3])


def subject_of(certificate: Mapping[str, Any] | None) -> Subject | None:
    """Whom a verified certificate (`getpeercert()`) names; None if nobody.

    Where there is one URI of ours, nothing else counts: a peer chooses its other names itself. A certificate with
    several is nobody's.
    """
    if not certificate:
        return None
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI" and value.startswith(SCHEME)]
    if uris:
        return parse(uris[0]) if len(uris) == 1 else None
    hosts = tuple(value for kind, value in names if kind == "DNS")
    return Subject("", PEER, hosts) if hosts else None


def misnamed(subject: Subject | None, *, cluster: str, name: str, directory: str | None) -> str:
    """Why this holder of a certificate may not speak as that peer; empty if it may. Without a `directory`: with any."""
    if subject is None or subject.kind != PEER:
        return "its certificate is not that of a peer"
    if name not in subject.names:
        return f"its certificate is that of {', '.join(subject.names[:3])}, it says that it is {name}"
    if subject.cluster and subject.cluster != cluster:
        return "its certificate is of another cluster"
    if subject.id and directory not in (None, subject.id):
        return f"its certificate is of another data directory of {name}"
    return ""
