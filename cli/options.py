"""What many commands take alike: where the cluster is, and how the answer is to look."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from raftchaos.client import Client

DEFAULT_PEER = "127.0.0.1:7480"
PEER_VARIABLE = "RAFTCHAOS_PEER"

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def output_option(function: F) -> F:
    """Adds `-o table|json|yaml`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to show the answer.",
    )(function)


def peer_option(function: F) -> F:
    """Adds `--peer HOST:PORT[,…]`."""
    return click.option(
        "--peer",
        "peers",
        metavar="HOST:PORT[,…]",
        envvar=PEER_VARIABLE,
        default=DEFAULT_PEER,
        show_default=True,
        show_envvar=True,
        help="API addresses of peers, tried in turn.",
    )(function)


def client_options(function: F) -> F:
    """Adds what every command takes that asks a peer."""
    return peer_option(output_option(function))


def addresses(peers: str) -> list[str]:
    """The addresses in `HOST:PORT[,…]`, checked. Raises `UsageError`."""
    from raftchaos.config import parse_address
    from raftchaos.errors import UsageError

    found = [part.strip() for part in peers.split(",") if part.strip()]
    if not found:
        raise UsageError("found no address of a peer", hint=f"say --peer HOST:PORT or set {PEER_VARIABLE}")
    for address in found:
        parse_address(address, what="--peer")
    return found


def ask(peers: str, question: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Opens a client for the peers, asks the question and closes it."""
    import asyncio

    from raftchaos.cli.contexts import credentials_for
    from raftchaos.client import Client

    found, credentials = credentials_for(addresses(peers), default=peers == DEFAULT_PEER)

    async def asking() -> T:
        async with Client(found, credentials=credentials) as client:
            return await question(client)

    return asyncio.run(asking())
