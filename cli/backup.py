"""`raftchaos backup`: the state of the cluster as a file."""

from __future__ import annotations

from pathlib import Path

import click

from raftchaos.cli.options import ask, client_options


@click.command("backup")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--strong", is_flag=True, help="Wait for the leader's state instead of taking the asked peer's own.")
@client_options
def command(file: Path, strong: bool, peers: str, output: str) -> None:
    """Save the state of the cluster to FILE, which must not exist: nodes, tasks, history, halts.

    Works without a quorum too, then with what the asked peer has. `raftchaos restore` founds a cluster with it.

    \b
    Example:
      raftchaos backup cluster.backup --strong
    """
    data = ask(peers, lambda client: client.backup(strong=strong))

    from raftchaos.cli.output import plain, show
    from raftchaos.peer.disaster import write_backup

    saved = write_backup(file, data)
    told = {
        "file": str(file),
        "bytes": len(data),
        "cluster": saved.cluster,
        "peer": saved.peer,
        "release": saved.release,
        "index": saved.index,
        "wallMs": saved.wall_ms,
    }
    show(
        output,
        told,
        f"saved the state of {plain(saved.peer)} at index {saved.index} to {plain(file)}: {len(data)} bytes",
    )
