"""`raftchaos resume`: lifts a halt."""

from __future__ import annotations

import click

from raftchaos.cli.options import ask, client_options


@click.command("resume")
@click.option("--halt", "halts", metavar="ID", multiple=True, help="Only the halt with this id; repeatable.")
@client_options
def command(halts: tuple[str, ...], peers: str, output: str) -> None:
    """Lift the halts, so that experiments can start again. Halted tasks are not taken up again.

    \b
    Example:
      raftchaos resume
    """
    from raftchaos.cli.output import plain, show

    answer = ask(peers, lambda client: client.resume(list(halts) or None))
    lifted = answer["lifted"]
    show(output, answer, f"lifted: {plain(', '.join(lifted))}" if lifted else "nothing was halted")
