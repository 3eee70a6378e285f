"""Where `raftchaos login` keeps who calls which cluster: one file that only its user may read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raftchaos.errors import DataCorrupt

if TYPE_CHECKING:
    from raftchaos.client import Credentials

TOKEN_VARIABLE = "RAFTCHAOS_TOKEN"


@dataclass(frozen=True, slots=True)
class Login:
    """One cluster."""

    peers: list[str]
    token: str
    authorities: str
    """The CAs to trust, PEM."""
    certificate: str = ""
    """File with a certificate and its key, instead of a token."""

    def __repr__(self) -> str:
        return f"Login({self.peers})"


def contexts_file() -> Path:
    """The file."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "raftchaos" / "contexts.json"


def read_contexts() -> dict[str, Login]:
    """All logins by name, the one that was made last first. Raises MachineUnusable if others may read them."""
    from raftchaos.identity.private import check_private

    file = contexts_file()
    if not file.exists():
        return {}
    check_private(file)
    try:
        data: dict[str, Any] = json.loads(file.read_text())
        return {name: Login(**value) for name, value in data.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataCorrupt(f"{file} is damaged ({error})", hint="remove it and log in again") from None


def write_context(name: str, login: Login) -> None:
    """Keep a login, before all others."""
    from raftchaos.files import write_atomically

    kept = {name: login, **{key: value for key, value in read_contexts().items() if key != name}}
    file = contexts_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps({key: asdict(value) for key, value in kept.items()}, indent=2)
    write_atomically(file, text.encode())


def credentials_for(peers: list[str], *, default: bool) -> tuple[list[str], Credentials | None]:
    """The peers to ask and who calls them.

    The token of the environment comes first, then a login that names one of these peers; where no peers were named
    (`default`) and none of this user runs on this machine, the newest login.
    """
    from raftchaos.client import Credentials
    from raftchaos.identity.local import answers_at_socket
    from raftchaos.identity.private import check_private

    text = os.environ.get(TOKEN_VARIABLE, "")
    logins = read_contexts()
    found = next((one for one in logins.values() if set(peers) & set(one.peers)), None)
    if text:
        return peers, Credentials.of(text, found.authorities if found is not None and "@" not in text else "")
    if default and logins and not answers_at_socket(peers[0]):
        found = next(iter(logins.values()))
        peers = found.peers
    if found is None or any(answers_at_socket(peer) for peer in peers):
        return peers, None
    certificate = Path(found.certificate) if found.certificate else None
    if certificate is not None:
        check_private(certificate)
    return peers, Credentials(found.token, authorities=found.authorities, certificate=certificate)
