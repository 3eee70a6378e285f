"""What a peer that is alone says at its terminal: the command with which other peers join."""

from __future__ import annotations

import asyncio
from typing import Final

from raftchaos import limits
from raftchaos.core.services import PeerServices
from raftchaos.errors import NoQuorum, OutcomeUnknown, Refused

_AGAIN: Final = 0.2


async def invitation(services: PeerServices, address: str) -> str:
    """Makes a join token as soon as the cluster takes it, and returns the words to show with it."""
    while True:
        try:
            made = await services.access.create_join_token(limits.JOIN_TOKEN_LIFE, False)
            break
        except (NoQuorum, OutcomeUnknown, Refused):
            await asyncio.sleep(_AGAIN)
    return (
        "\nOther machines join within an hour with\n\n"
        f"  RAFTCHAOS_JOIN_TOKEN={made.text} raftchaos peer --join {address}\n\n"
        f"and this user on this machine with `raftchaos peer --join {address}`. "
        "`raftchaos token create --join` makes another token.\n"
    )
