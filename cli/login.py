"""`raftchaos login`: remember who calls a cluster."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from raftchaos.cli.contexts import TOKEN_VARIABLE, Login, contexts_file, write_context
from raftchaos.cli.options import addresses, output_option
from raftchaos.errors import UsageError


@click.command("login")
@click.argument("peers", metavar="HOST:PORT[,…]")
@click.option("--name", metavar="NAME", default="default", show_default=True, help="What to call this cluster here.")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="Where the token is; default: it "
              "is asked for, or taken from RAFTCHAOS_TOKEN.")  # fmt: skip
@click.option("--ca", metavar="FILE", type=click.Path(path_type=Path), help="The cluster's CA; default: the token says "
              "which it is.")  # fmt: skip
@click.option("--certificate", metavar="FILE", type=click.Path(path_type=Path), help="A certificate with its key from "
              "`raftchaos token create --certificate`, instead of a token; with --ca.")  # fmt: skip
@output_option
def command(
    peers: str, name: str, token_file: Path | None, ca: Path | None, certificate: Path | None, output: str
) -> None:
    """Remember a token for the cluster of these peers, so that commands on this machine need no other option.

    \b
    Example:
      raftchaos login node-1.example:7480
    """
    import asyncio

    from raftchaos.cli.output import plain, show
    from raftchaos.client import Client, Credentials
    from raftchaos.config import parse_address, read_text

    found = addresses(peers)
    if certificate is not None and ca is None:
        raise UsageError(
            "found --certificate without --ca", hint="`raftchaos ca show --pem` on a peer's machine tells it"
        )
    holder = certificate.absolute() if certificate is not None else None
    text = _token(token_file) if holder is None else ""
    trusted = read_text(ca) if ca is not None else ""

    async def asking() -> tuple[Credentials, dict[str, Any]]:
        credentials = replace(Credentials.of(text, trusted), certificate=holder)
        if not trusted:
            from raftchaos.client.ways import authorities_of

            host, port = parse_address(found[0], what="the peer")
            pem = await authorities_of(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", credentials.fingerprint)
            credentials = Credentials(credentials.token, authorities=pem.decode())
        async with Client(found, credentials=credentials) as client:
            return credentials, await client.status()

    credentials, status = asyncio.run(asking())
    write_context(name, Login(found, credentials.token, credentials.authorities, str(holder or "")))
    told = {"name": name, "peers": found, "cluster": status["cluster"], "file": str(contexts_file())}
    show(output, told, f"logged in to the cluster {plain(status['cluster'])} at {plain(', '.join(found))}")


def _token(file: Path | None) -> str:
    from raftchaos.config import read_text

    if file is not None:
        return read_text(file).strip()
    text = os.environ.get(TOKEN_VARIABLE)
    return text if text else str(click.prompt("Token", hide_input=True, err=True))
