"""`raftchaos status`: the cluster at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.options import ask, client_options

if TYPE_CHECKING:
    from raftchaos.client import Client


@click.command("status")
@click.option("--strong", is_flag=True, help="Wait for the leader's state instead of showing the asked peer's own.")
@client_options
def command(strong: bool, peers: str, output: str) -> None:
    """Show the leader, the quorum, the nodes and what is halted, as the first peer that answers sees it.

    \b
    Example:
      raftchaos status --peer 127.0.0.1:7482
    """

    async def question(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return await client.status(strong=strong), await client.nodes()

    from raftchaos.cli.nodes_table import nodes_table
    from raftchaos.cli.output import show

    status, nodes = ask(peers, question)
    show(output, {**status, "nodeList": nodes}, *_summary(status), nodes_table(nodes))


def _summary(status: dict[str, Any]) -> list[Any]:
    from raftchaos.cli.output import plain, table

    quorum = status["quorum"]
    reachable = f"{len(quorum['reachable'])} of {len(quorum['voters'])} voters reachable"
    rows = table("", "")
    rows.show_header = False
    rows.add_row("cluster", plain(status["cluster"]))
    rows.add_row("asked", f"{plain(status['name'])} ({plain(status['role'])}, {plain(status['version'])})")
    if status.get("insecure"):
        rows.add_row("insecure", "[red]yes: no TLS, and whoever reaches a peer commands it[/]")
    rows.add_row("durability", plain(status.get("durability")))
    rows.add_row("leader", f"{plain(status['leader'])} in term {status['term']}")
    missing = "" if quorum["hasQuorum"] else f", [red]no quorum: {quorum['missing']} more needed[/]"
    rows.add_row("quorum", reachable + missing)
    if status.get("observers"):
        rows.add_row("observers", str(len(status["observers"])))
    rows.add_row("tasks", f"{status['tasksUnfinished']} unfinished, {status['tasksFinished']} finished")
    rows.add_row("index", f"{status['index']}{_stale(status)}")
    rows.add_row("halted", "[red]yes[/]" if status["halted"] else "no")
    parts: list[Any] = [rows]
    parts += [
        f"[red]halt[/] {plain(halt['id'])} by {plain(halt['origin'])}: {plain(halt['reason'])}"
        for halt in status["halts"]
    ]
    parts += [f"[yellow]note[/] {plain(reason)}" for reason in status["reasons"]]
    parts += [
        f"on here: {plain(fault['fault'])} on {plain(fault['target'])} (run {plain(fault['run'])})"
        + (f", [red]could not be taken back yet[/]: {plain(fault['problem'])}" if fault.get("problem") else "")
        for fault in status["activeFaults"]
    ]
    return parts


def _stale(status: dict[str, Any]) -> str:
    from raftchaos.cli.output import plain

    return f", [yellow]may be stale: {plain(status.get('staleReason'))}[/]" if status.get("stale") else ""
