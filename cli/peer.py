"""`raftchaos peer`: runs a peer of the cluster on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from raftchaos.config import DEFAULT_LISTEN, DEFAULT_RAFT_LISTEN, DURABILITIES, LOG_LEVELS, peer_settings, read_config


@click.command("peer")
@click.option("--name", metavar="NAME", help="Name of the peer in the cluster; default: the name of this host.")
@click.option("--listen", metavar="HOST:PORT", help=f"Address of the API; default {DEFAULT_LISTEN}.")
@click.option("--raft-listen", metavar="HOST:PORT", help=f"Address for other peers; default {DEFAULT_RAFT_LISTEN}.")
@click.option("--toxiproxy-listen", metavar="HOST:PORT", help="Answer toxiproxy's API here, for its clients; default: "
              "nowhere. Loopback only, as they cannot say who they are.")  # fmt: skip
@click.option("--advertise", metavar="HOST", help="Host under which others reach it; default: as it listens.")
@click.option("--data-dir", metavar="DIR", type=click.Path(), help="Where it keeps its data; default: a folder of its "
              "name under ~/.local/state/raftchaos.")  # fmt: skip
@click.option("--plugins", metavar="DIR", type=click.Path(), help="Folder of executables that experiments may use as "
              "faults (see `raftchaos fault types custom`); default: none.")  # fmt: skip
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="A label that experiments can select; repeatable.")
@click.option("--join", metavar="HOST:PORT", help="API address of any live peer of the cluster to join.")
@click.option("--observer", is_flag=True, default=None, help="Join without a vote; so does by itself whoever comes "
              "when seven vote.")  # fmt: skip
@click.option("--token-file", metavar="FILE", type=click.Path(), help="Where the join token is, if it is not in "
              "RAFTCHAOS_JOIN_TOKEN.")  # fmt: skip
@click.option("--tls-cert", metavar="FILE", type=click.Path(), help="Certificate of a CA of your own, with --tls-key "
              "and --tls-ca; the cluster then makes none.")  # fmt: skip
@click.option("--tls-key", metavar="FILE", type=click.Path(), help="Its key; only its user may read it.")
@click.option("--tls-ca", metavar="FILE", type=click.Path(), help="The CA; it must serve this cluster alone.")
@click.option("--metrics-allow", metavar="NETWORK", multiple=True, help="Network that may read /metrics without a "
              "token, such as 10.0.0.0/8; repeatable.")  # fmt: skip
@click.option("--insecure", is_flag=True, default=None, help="No TLS, no tokens: whoever reaches the peer commands it.")
@click.option("--durability", type=click.Choice(DURABILITIES), help="What an answered write survives: the death of "
              "every process (default), or a power cut of every machine (disk: writes wait for a sync).")  # fmt: skip
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="How much it says on stderr; default info.")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="YAML with the names of these flags "
              "and `proxies: [{name, listen, upstream}]`; flags win.")  # fmt: skip
def command(config: Path | None, **flags: object) -> int:
    """Run a peer until it is told to end (Ctrl-C, SIGTERM).

    The first peer founds a cluster; others join it. A peer that has been a member finds its cluster by its data
    directory, and --join and --observer are then ignored. An observer is given runs and serves users as any other
    peer; `raftchaos node promote` lets it vote.

    Connections are encrypted and peers have certificates, which a joining peer gets with a token; on the machine of a
    peer its user needs none.

    \b
    Example, three peers on one machine:
      raftchaos peer --name node-1
      raftchaos peer --name node-2 --listen 127.0.0.1:7482 --raft-listen 127.0.0.1:7483 --join 127.0.0.1:7480
      raftchaos peer --name node-3 --listen 127.0.0.1:7484 --raft-listen 127.0.0.1:7485 --join 127.0.0.1:7480
    """
    said = {name.replace("_", "-"): value for name, value in flags.items()}
    settings = peer_settings(said, read_config(config) if config is not None else None)

    from raftchaos.peer import run_peer

    return run_peer(settings)
