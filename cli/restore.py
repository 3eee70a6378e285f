"""`raftchaos restore`: a new cluster with a saved state."""

from __future__ import annotations

from pathlib import Path

import click

from raftchaos.cli.options import output_option
from raftchaos.config import DEFAULT_RAFT_LISTEN


@click.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--data-dir", metavar="DIR", required=True, type=click.Path(path_type=Path), help="A folder that no peer "
              "has used; `raftchaos peer --data-dir DIR` starts the cluster from it.")  # fmt: skip
@click.option("--name", metavar="NAME", help="Name of the peer; default: the name of this host.")
@click.option("--raft-listen", metavar="HOST:PORT", default=DEFAULT_RAFT_LISTEN, show_default=True,
              help="The address for other peers that it will be started with.")  # fmt: skip
@click.option("--advertise", metavar="HOST", help="The host under which others reach it; default: as it listens.")
@output_option
def command(file: Path, data_dir: Path, name: str | None, raft_listen: str, advertise: str | None, output: str) -> None:
    """Found a new cluster of one peer in an empty folder, with the state that `raftchaos backup` saved in FILE.

    Nodes of the old cluster are dropped (peers join anew, each with an empty data directory), unfinished tasks end as
    halted. History and halts in force are kept. Start no peer of the old cluster again.

    \b
    Example:
      raftchaos restore cluster.backup --data-dir /var/lib/raftchaos --name node-1
      raftchaos peer --data-dir /var/lib/raftchaos --name node-1
    """
    from raftchaos.cli.output import plain, show
    from raftchaos.clock import SystemClock
    from raftchaos.config import check_name, default_name
    from raftchaos.peer.disaster import read_backup, restore
    from raftchaos.peer.membership import advertised

    who = name or default_name()
    check_name(who, "--name")
    saved = read_backup(file)
    address = advertised(raft_listen, advertise)
    cluster, begin = restore(saved, data_dir.expanduser().absolute(), name=who, address=address, clock=SystemClock())
    told = {
        "cluster": cluster,
        "name": who,
        "dataDir": str(data_dir),
        "index": begin.index,
        "from": {"cluster": saved.cluster, "peer": saved.peer, "index": saved.index, "wallMs": saved.wall_ms},
        "tasksEnded": list(begin.ended),
        "nodesDropped": list(begin.dropped),
    }
    show(
        output,
        told,
        f"founded the cluster {cluster} with the state of {plain(saved.peer)} at index {saved.index}",
        f"ended {len(begin.ended)} unfinished tasks, dropped {len(begin.dropped)} nodes",
        f"start it: raftchaos peer --name {plain(who)} --data-dir {plain(data_dir)}",
    )
