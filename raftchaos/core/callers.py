"""Who made a request: stands in the command that it became, and so in the log of every peer."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import astuple, dataclass
from typing import Any, Final

from raftchaos import limits
from raftchaos.model.roles import GIVEN, Role

SOCKET: Final = "socket"
CERTIFICATE: Final = "certificate"
INSECURE: Final = "insecure"
TOKEN: Final = "token"


class UnknownRole(ValueError):
    """A caller with a role that this release does not know."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of the API, as the peer that was asked has recognised it."""

    name: str
    """Of the user, the token or the certificate."""
    role: str
    """See `model.roles`."""
    address: str
    """The address from which it came; empty for this machine's socket."""
    way: str
    """`socket`, `token:ID`, `certificate:ID` (of a token, too), `certificate` of a peer, or `insecure`: by no way at
    all."""

    @property
    def token(self) -> str:
        """Id of the API token that it showed or that lists its certificate; empty if it came by another way."""
        way, _, found = self.way.partition(":")
        return found if way in (TOKEN, CERTIFICATE) else ""

    def allows(self, wanted: Role) -> bool:
        """Whether it may do what asks for this role."""
        return Role(self.role).allows(wanted)

    def to_list(self) -> list[str]:
        """Plain values, as a command holds them."""
        return list(astuple(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and events."""
        return {"name": self.name, "role": self.role, "address": self.address, "way": self.way}

    @classmethod
    def from_list(cls, values: Any) -> Caller:
        """The reverse of `to_list`. Raises UnknownRole for a role of another release, ValueError for anything else."""
        whole = isinstance(values, list) and len(values) == 4
        if not whole or not all(isinstance(text, str) and len(text) <= limits.CALLER_TEXT for text in values):
            raise ValueError("found no caller")
        if values[1] not in GIVEN:
            raise UnknownRole(f"found the role {values[1]!r} of a caller")
        return cls(*values)


CALLER: ContextVar[Caller | None] = ContextVar("CALLER", default=None)
"""Who made the request that is being answered; None for what a peer does by itself. The API sets it around each
request; whatever proposes a command on a caller's behalf reads it."""
