"""`raftchaos node force-new-cluster`: going on with one survivor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.options import output_option

if TYPE_CHECKING:
    from raftchaos.peer.disaster import Candidate


@click.command("force-new-cluster")
@click.option("--data-dir", metavar="DIR", type=click.Path(path_type=Path), help="Data directory of the survivor; "
              "default: as of `raftchaos peer`.")  # fmt: skip
@click.option("--name", metavar="NAME", help="Name of the survivor, for the default of --data-dir.")
@click.option("--yes-i-understand", "sure", is_flag=True, help="Do not ask.")
@output_option
def command(data_dir: Path | None, name: str | None, sure: bool, output: str) -> None:
    """Make one survivor a cluster of its own, when the majority of the voters is lost for good.

    Runs on the survivor's machine with its peer stopped, on the data directory. Choose the survivor whose `lastIndex`
    in `raftchaos status -o json` is the highest, and copy its data directory first. The new cluster has a new id, so
    old members are refused; wipe them before they start again, or they go on as a cluster of their own.

    \b
    Example:
      raftchaos node force-new-cluster --data-dir /var/lib/raftchaos
    """
    from raftchaos.cli.output import plain, show
    from raftchaos.config import default_data_dir, default_name
    from raftchaos.peer.disaster import force_new_cluster, look

    folder = (data_dir or Path(default_data_dir(name or default_name()))).expanduser().absolute()
    candidate = look(folder)
    if not sure:
        _ask_twice(candidate)
    cluster = force_new_cluster(folder)
    has = candidate.has
    told: dict[str, Any] = {
        "name": candidate.name,
        "dataDir": str(folder),
        "cluster": cluster,
        "was": {"cluster": has.cluster_id, "members": sorted(has.members)},
        "commitIndex": has.commit_index,
        "lastIndex": has.last_index,
    }
    show(
        output,
        told,
        f"{plain(candidate.name)} is the only voter of the new cluster {cluster}, which begins with entry "
        f"{has.last_index + 1}",
        f"start it: raftchaos peer --name {plain(candidate.name)} --data-dir {plain(folder)}",
        "then remove the lost nodes, and let new peers join with empty data directories",
    )


def _ask_twice(candidate: Candidate) -> None:
    """Says what may be lost. Raises Refused unless a person agrees twice."""
    from raftchaos.errors import Refused

    has, name = candidate.has, candidate.name
    others = ", ".join(sorted(set(has.members) - {name})) or "nobody else"
    click.echo(f"{name} is a member of the cluster {has.cluster_id} with {others}.", err=True)
    click.echo(
        f"Its log ends with entry {has.last_index}; it knows that those up to {has.commit_index} are committed. Later "
        "ones are kept, although nobody can tell whether they were. What the others committed after entry "
        f"{has.last_index} is lost for good, also if somebody was told that it was done.",
        err=True,
    )
    unchanged = Refused("nothing was changed", hint="--yes-i-understand does not ask")
    if not click.confirm("Are the others lost for good?", err=True):
        raise unchanged
    if click.prompt(f"Type the name of the survivor, {name}, to go on alone with it", err=True) != name:
        raise unchanged
