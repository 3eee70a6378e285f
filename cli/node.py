"""`raftchaos node`: the peers as the cluster's registry knows them."""

from __future__ import annotations

import click

from raftchaos.cli import survivor
from raftchaos.cli.options import ask, client_options

NAME = click.argument("name", metavar="NAME")


@click.group("node")
def command() -> None:
    """List, show, drain, promote and remove nodes; go on without a majority."""


command.add_command(survivor.command)


@command.command("list")
@client_options
def list_(peers: str, output: str) -> None:
    """List the nodes.

    \b
    Example:
      raftchaos node list -o json
    """
    from raftchaos.cli.nodes_table import nodes_table
    from raftchaos.cli.output import show

    nodes = ask(peers, lambda client: client.nodes())
    show(output, {"nodes": nodes}, nodes_table(nodes))


@command.command("show")
@NAME
@client_options
def show_(name: str, peers: str, output: str) -> None:
    """Show all that is known of the node NAME.

    \b
    Example:
      raftchaos node show node-2
    """
    from raftchaos.cli.output import plain, show, table, value_words

    node = ask(peers, lambda client: client.node(name))
    rows = table("", "")
    rows.show_header = False
    for key, value in node.items():
        rows.add_row(plain(key), plain(value_words(value)))
    show(output, node, rows)


@command.command("drain")
@NAME
@click.option("--undo", is_flag=True, help="Give it runs again.")
@client_options
def drain(name: str, undo: bool, peers: str, output: str) -> None:
    """Give the node NAME no new runs; those that it has go on to their end.

    \b
    Example:
      raftchaos node drain node-2
      raftchaos node drain node-2 --undo
    """
    from raftchaos.cli.output import plain, show

    node = ask(peers, lambda client: client.undrain(name) if undo else client.drain(name))
    show(output, node, f"{plain(name)} is given {'runs again' if undo else 'no new runs'}")


@command.command("promote")
@NAME
@client_options
def promote(name: str, peers: str, output: str) -> None:
    """Let the observer NAME vote. Refused if seven peers vote already.

    \b
    Example:
      raftchaos node promote node-8
    """
    from raftchaos.cli.output import plain, show

    show(output, ask(peers, lambda client: client.promote(name)), f"{plain(name)} votes")


@command.command("remove")
@NAME
@client_options
def remove(name: str, peers: str, output: str) -> None:
    """Take the node NAME out of the cluster. Refused while it lives and has runs; drain it first.

    \b
    Example:
      raftchaos node remove node-2
    """
    from raftchaos.cli.output import plain, show

    ask(peers, lambda client: client.remove_node(name))
    show(output, {"removed": name}, f"{plain(name)} is no member of the cluster any more")
