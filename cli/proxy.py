"""`raftchaos proxy`: the proxies of one peer, which proxy faults are done with."""

from __future__ import annotations

import click

from raftchaos.cli.options import ask, client_options


@click.group("proxy")
def command() -> None:
    """List, add and remove the proxies of a peer: the first that --peer names."""


@command.command("list")
@client_options
def list_(peers: str, output: str) -> None:
    """List the proxies of the peer with their counters.

    \b
    Example:
      raftchaos proxy list --peer 127.0.0.1:7482
    """
    from raftchaos.cli.output import plain, show, table

    proxies = ask(peers, lambda client: client.proxies())
    numbers = ["connections", "active", "requests", "upstreamErrors"]
    rows = table("node", "proxy", "listens on", "upstream", *numbers, right=numbers)
    for proxy in proxies:
        counters = [str(proxy["stats"].get(number, "-")) for number in numbers]
        rows.add_row(*(plain(proxy[key]) for key in ("node", "name", "listen", "upstream")), *counters)
    show(output, {"proxies": proxies}, rows)


@command.command("add")
@click.argument("name")
@click.argument("listen", metavar="LISTEN")
@click.argument("upstream", metavar="UPSTREAM")
@click.option("--certificate", default="", metavar="FILE", help="End TLS with this chain (PEM, on the peer's machine).")
@click.option("--key", default="", metavar="FILE", help="Its key (PEM, on the peer's machine, readable by it alone).")
@client_options
def add(name: str, listen: str, upstream: str, certificate: str, key: str, peers: str, output: str) -> None:
    """Relay what comes to LISTEN to UPSTREAM (both HOST:PORT, TCP) under the name NAME.

    The peer keeps the proxy in its data directory, so that it is there again after a restart. With a certificate it
    ends TLS, so that faults of HTTP and gRPC can be done to what is within; UPSTREAM is then spoken to without TLS.
    When the files are renewed, new connections get the new certificate.

    \b
    Examples:
      raftchaos proxy add payments 127.0.0.1:9101 127.0.0.1:9001
      raftchaos proxy add shop 0.0.0.0:8443 127.0.0.1:8080 --certificate /etc/shop/tls.crt --key /etc/shop/tls.key
    """
    from raftchaos.cli.output import plain, show
    from raftchaos.config import parse_address

    parse_address(listen, what="LISTEN", any_port=True)
    parse_address(upstream, what="UPSTREAM")
    proxy = ask(peers, lambda client: client.add_proxy(name, listen, upstream, certificate=certificate, key=key))
    told = f"{plain(proxy['node'])} relays {plain(proxy['listen'])} to {plain(proxy['upstream'])} as {plain(name)}"
    show(output, proxy, told)


@command.command("remove")
@click.argument("name")
@client_options
def remove(name: str, peers: str, output: str) -> None:
    """Stop the proxy NAME and forget it. Refused while a fault is on in it.

    \b
    Example:
      raftchaos proxy remove payments
    """
    from raftchaos.cli.output import plain, show

    ask(peers, lambda client: client.remove_proxy(name))
    show(output, {"removed": name}, f"the proxy {plain(name)} is gone")
