"""`raftchaos ca`: the certificate authority of the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.options import ask, client_options

if TYPE_CHECKING:
    from raftchaos.client import Client


@click.group("ca")
def command() -> None:
    """Show and replace the certificate authority (CA) of the cluster.

    \b
    Example:
      raftchaos ca show
    """


@command.command("show")
@click.option("--pem", is_flag=True, help="Only the certificates, for curl --cacert and others.")
@client_options
def show_authority(pem: bool, peers: str, output: str) -> None:
    """Show the CAs that are trusted, and which nodes do not have the newest yet.

    \b
    Example:
      raftchaos ca show --pem > ca.pem
    """

    async def question(client: Client) -> dict[str, Any]:
        return await client.authority()

    from raftchaos.cli.output import plain, show

    found = ask(peers, question)
    if pem:
        click.echo("".join(one["certificate"] for one in found["authorities"]), nl=False)
        return
    lines = [f"{one['fingerprint']}{'  signs' if one['signs'] else ''}" for one in found["authorities"]]
    lines += [f"[yellow]{plain(name)}[/] {plain(why)}" for name, why in found["behind"].items()]
    show(output, found, *(lines or ["this cluster has no CA of its own"]))


@command.command("rotate")
@client_options
def rotate(peers: str, output: str) -> None:
    """Replace the CA while the cluster works: peers trust both, then get new certificates, then forget the old one.

    A node that is down holds it up until it comes back or is removed; `raftchaos ca show` names it. Join tokens that
    were made before and logins elsewhere are to be made anew.

    \b
    Example:
      raftchaos ca rotate
    """

    async def question(client: Client) -> dict[str, Any]:
        return await client.rotate_authority()

    from raftchaos.cli.output import plain, show

    begun = ask(peers, question)
    show(output, begun, f"the CA {plain(begun['fingerprint'])} takes over; `raftchaos ca show` tells how far it is")
