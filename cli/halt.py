"""`raftchaos halt`: takes every fault back at once."""

from __future__ import annotations

import click

from raftchaos.cli.options import ask, client_options


@click.command("halt")
@click.option("--reason", default="", help="Why; everybody sees it.")
@client_options
def command(reason: str, peers: str, output: str) -> None:
    """Take every fault back at once and start nothing more, until `raftchaos resume`.

    Works without a quorum too: the peer that is asked takes back its own faults and tells all that it reaches. Name
    several peers with --peer where the network is split.

    \b
    Example:
      raftchaos halt --reason "customers complain"
    """
    from raftchaos.cli.output import plain, show

    answer = ask(peers, lambda client: client.halt(reason))
    told = ", ".join(answer["told"])
    logged = (
        "it is in the log, so every peer obeys it"
        if answer["logged"]
        else "[yellow]there is no quorum: it enters the log as soon as there is one[/]"
    )
    show(output, answer, f"halted as {plain(answer['id'])}; told: {plain(told)}; {logged}")
