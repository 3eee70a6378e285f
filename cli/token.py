"""`raftchaos token`: who may call the cluster, and who may join it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.options import ask, client_options
from raftchaos.errors import UsageError

if TYPE_CHECKING:
    from raftchaos.client import Client

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


@click.group("token")
def command() -> None:
    """Give callers tokens, make join tokens, list and revoke them.

    \b
    Example:
      raftchaos token create ci --role operator --for 30d
    """


@command.command("create")
@click.argument("name", required=False)
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="viewer", show_default=True)
@click.option("--join", is_flag=True, help="Make a token with which peers join, instead of one for a caller.")
@click.option("--single", is_flag=True, help="With --join: good for one peer only.")
@click.option("--for", "life", metavar="TIME", help="How long it is good, such as 30m, 12h or 90d; default 90d, a join "
              "token 1h.")  # fmt: skip
@click.option("--certificate", metavar="FILE", type=click.Path(path_type=Path), help="Make a certificate instead, and "
              "put it with its key into this file (mode 600).")  # fmt: skip
@client_options
def create(
    name: str | None,
    role: str,
    join: bool,
    single: bool,
    life: str | None,
    certificate: Path | None,
    peers: str,
    output: str,
) -> None:
    """Make a token and show it: this is the only time.

    \b
    Example:
      raftchaos token create ci --role operator
      raftchaos token create --join --single
    """
    if join is (name is not None) or (single and not join):
        raise UsageError("found neither a NAME nor --join, or both", hint="say what the token is for")
    seconds = _seconds(life) if life is not None else None
    if certificate is not None:
        if name is None:
            raise UsageError("found --certificate and --join, expected one of them")
        _certificate(name, role, seconds, certificate, peers, output)
        return

    async def question(client: Client) -> tuple[dict[str, Any], str]:
        if name is not None:
            return await client.create_token(name, role, seconds), ""
        made = await client.create_join_token(seconds=seconds, single=single)
        return made, str((await client.status())["apiAddress"])

    from raftchaos.cli.output import plain, show

    made, address = ask(peers, question)
    if name is not None:
        lines = [plain(made["token"]), "", f"It is the {role} {plain(name)}, until it is revoked or ends. It is shown "
                 "only now: keep it where nobody else reads, or use it with `raftchaos login HOST:PORT`."]  # fmt: skip
    else:
        lines = [f"RAFTCHAOS_JOIN_TOKEN={plain(made['token'])} raftchaos peer --join {plain(address)}"]
    show(output, made, *lines)


def _certificate(name: str, role: str, seconds: float | None, file: Path, peers: str, output: str) -> None:
    from raftchaos.cli.output import plain, show
    from raftchaos.errors import Conflict
    from raftchaos.files import write_atomically
    from raftchaos.identity.certificates import key_bytes, new_key, request_for

    if file.exists():
        raise Conflict(f"{file} exists already", hint="name another file")
    key = new_key()

    async def question(client: Client) -> dict[str, Any]:
        return await client.create_certificate(name, role, request_for(key, name).decode(), seconds)

    made = ask(peers, question)
    write_atomically(file, key_bytes(key) + made["certificate"].encode())
    told = {"name": name, "role": role, "file": str(file)}
    show(output, told, f"{plain(file)} says that its holder is the {role} {plain(name)}, until it is revoked or ends")


@command.command("list")
@client_options
def list_tokens(peers: str, output: str) -> None:
    """Show all tokens, without their secrets.

    \b
    Example:
      raftchaos token list
    """

    async def question(client: Client) -> dict[str, Any]:
        return await client.tokens()

    from raftchaos.cli.output import plain, show, table

    found = ask(peers, question)
    rows = table("id", "name", "role", "ends", "made by", "used by")
    for token in found["tokens"]:
        rows.add_row(token["id"], plain(token["name"]), token["role"], _moment(token["expiresMs"]),
                     plain(token["createdBy"]), "")  # fmt: skip
    for token in found["joinTokens"]:
        kind = "join once" if token["single"] else "join"
        rows.add_row(token["id"], "", kind, _moment(token["expiresMs"]), plain(token["createdBy"]),
                     plain(token["usedBy"]))  # fmt: skip
    show(output, found, rows)


@command.command("revoke")
@click.argument("token", metavar="NAME|ID|TOKEN")
@client_options
def revoke(token: str, peers: str, output: str) -> None:
    """End a token at once, on every peer.

    \b
    Example:
      raftchaos token revoke ci
    """

    async def question(client: Client) -> str:
        return await client.revoke_token(token)

    from raftchaos.cli.output import plain, show

    revoked = ask(peers, question)
    show(output, {"revoked": revoked}, f"revoked {plain(revoked)}")


def _moment(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if found is None:
        raise UsageError(f"found {text!r} for --for, expected a number and s, m, h or d, such as 30d")
    return float(int(found[1]) * _UNITS[found[2]])
