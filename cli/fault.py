"""`raftchaos fault`: which faults there are and what is on; puts one on, takes one back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.options import ask, client_options, output_option
from raftchaos.errors import NotFound, RaftchaosError, RecoveryFailed, UsageError

if TYPE_CHECKING:
    from raftchaos.client import Client

Json = dict[str, Any]


@click.group("fault")
def command() -> None:
    """Tell which faults there are and what is on; put a fault on, take it back."""


@command.command("types")
@click.argument("name", required=False)
@output_option
def types(name: str | None, output: str) -> None:
    """List the faults and scenarios, or explain the fault NAME.

    Asks no peer: "here" says whether this machine, for this user, has what the fault needs. The scenarios are those
    that are built in.

    \b
    Examples:
      raftchaos fault types
      raftchaos fault types latency
    """
    from raftchaos.cli.fault_types import list_types, show_type
    from raftchaos.faults.plugins import packages
    from raftchaos.model.faults import FAULTS
    from raftchaos.model.problems import nearest

    packages.load()
    if name is None:
        list_types(output)
        return
    if name not in FAULTS:
        near = nearest(name, FAULTS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(FAULTS)}"
        raise NotFound(f"there is no fault {name!r}", hint=hint)
    show_type(name, output)


@command.command("list")
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Only this node; may be repeated.")
@client_options
def list_(nodes: tuple[str, ...], peers: str, output: str) -> int:
    """List what is on, as each node reads it back from its kernel, processes and proxies.

    Beside it stands what the node's undo journal says. A difference is marked: "missing" should be on and is not there,
    "leftOver" is there and the journal knows nothing of it. A pulse that is off at this moment is "dormant". Of what
    cannot be read back, like the fault of a plug-in, the journal alone tells. The exit code is 6 if something is left
    over.

    \b
    Example:
      raftchaos fault list --node node-2
    """
    from raftchaos.cli.output import plain, show, table
    from raftchaos.core.service_records import SeenFault

    found, silent = ask(peers, lambda client: _active(client, nodes))
    columns = ["node", "run", "fault", "target", "set by", "journal", "mark", "touched"]
    rows = table(*columns, firm=["node", "fault", "set by", "mark"])
    for fault in found:
        words = [plain(fault[key]) for key in ("node", "run", "fault", "target", "origin")]
        touched = fault["effect"].get("touched", "-")
        mark = {"": "on", SeenFault.UNREADABLE: "cannot be read back"}.get(fault["mark"], fault["mark"])
        rows.add_row(*words, "yes" if fault["journal"] else "no", plain(mark), str(touched))
    told = [f"{plain(node)} did not answer: {plain(problem)}" for node, problem in silent.items()]
    show(output, {"faults": found, "silent": silent}, rows if found else "no fault is on", *told)
    return RecoveryFailed.spec.exit_code if any(fault["mark"] == SeenFault.LEFT_OVER for fault in found) else 0


@command.command("inject")
@click.argument("type_", metavar="TYPE")
@click.option("--node", "nodes", multiple=True, required=True, metavar="NODE", help="Where; may be repeated.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of the fault, the value as "
              "JSON or as text; NAME may be a path such as pulse.activeSeconds. May be repeated.")  # fmt: skip
@click.option("--duration", type=float, metavar="SECONDS", help="How long it lasts; default 60.")
@click.option("--wait", is_flag=True, help="Follow the task until it has ended; the exit code says how.")
@client_options
def inject(
    type_: str, nodes: tuple[str, ...], settings: tuple[str, ...], duration: float | None, wait: bool, peers: str,
    output: str,
) -> int:  # fmt: skip
    """Put a fault on: a task of one step, with all that tasks have.

    \b
    Examples:
      raftchaos fault inject latency --node node-1 --set latencyMs=300 --set proxy=payments --duration 30
      raftchaos fault inject http_error --node node-1 --set pulse.activeSeconds=5 --set pulse.dormantSeconds=5
    """
    from raftchaos.cli.output import show
    from raftchaos.cli.task_view import task_exit_code, task_parts

    step: Json = {"name": type_, "scenario": type_, "parameters": _parameters(settings)}
    if duration is not None:
        step["durationSeconds"] = duration
    document = {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": f"inject-{type_.replace('_', '-')}"},
        "spec": {"targetNodes": {"names": list(nodes)}, "steps": [step]},
    }
    view = ask(peers, lambda client: _inject(client, document, wait=wait))
    if wait:
        show(output, view, *task_parts(view))
        return task_exit_code(view)
    task = view["id"]
    show(output, view, f"submitted {task}", f"`raftchaos fault recover {task}` takes it back before its time")
    return 0


@command.command("recover")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Take back every fault of this data directory's peer.")
@click.option("--data-dir", metavar="DIR", type=click.Path(path_type=Path), help="Data directory of the peer; "
              "default: as of `raftchaos peer`.")  # fmt: skip
@client_options
def recover(id_: str | None, everything: bool, data_dir: Path | None, peers: str, output: str) -> None:
    """Take back what the task or the run ID does: the task is cancelled on all its nodes.

    With --all, take back by hand every fault that a peer of this machine left on. That needs no cluster and no peer: it
    carries out the undo journal in the data directory, as the reaper and the next start of the peer would. Safe to
    repeat. The runs of a peer that is up end as interrupted.

    \b
    Examples:
      raftchaos fault recover inject-latency-1a2b3c4d
      raftchaos fault recover --all --data-dir /var/lib/raftchaos
    """
    from raftchaos.cli.output import plain, show

    if everything and id_ is None:
        _recover_by_hand(data_dir, output)
    elif id_ is not None and not everything:
        task = id_.partition("/")[0]
        view = ask(peers, lambda client: client.cancel(task, reason="fault recover"))
        show(output, view, f"{plain(task)} is {plain(view['status'])}")
    else:
        raise UsageError("found nothing to recover", hint="say the ID of a task or of a run, or --all")


def _recover_by_hand(data_dir: Path | None, output: str) -> None:
    from raftchaos.cli.output import plain, show
    from raftchaos.config import default_data_dir, default_name
    from raftchaos.faults.by_hand import recover_all

    folder = (data_dir or default_data_dir(default_name())).expanduser().absolute()
    done = recover_all(folder)
    told = {"dataDir": str(folder), "undone": list(done.undone), "left": done.left}
    if done.left:
        reasons = "".join(f"\n  {run}: {problem}" for run, problem in done.left.items())
        raise RecoveryFailed(
            f"{len(done.left)} of {len(done.undone) + len(done.left)} runs could not be taken back:{reasons}",
            hint="mend what is named there and run the command again",
            details=told,
        )
    show(output, told, *([f"{plain(run)} is off" for run in done.undone] or ["no fault was on"]))


async def _inject(client: Client, document: Json, *, wait: bool) -> Json:
    from raftchaos.cli.waiting import wait_for

    view = await client.submit(document)
    return await wait_for(client, view["id"], None) if wait else view


async def _active(client: Client, wanted: tuple[str, ...]) -> tuple[list[Json], dict[str, str]]:
    """What is on at these nodes or all, and why some did not answer."""
    import asyncio

    nodes = {node["name"]: node["apiAddress"] for node in await client.nodes()}
    missing = [name for name in wanted if name not in nodes]
    if missing:
        raise NotFound(f"there is no node {missing[0]!r}", hint="`raftchaos node list` shows the nodes")
    names = list(wanted) or sorted(nodes)
    answers = await asyncio.gather(
        *(client.active_faults(peer=nodes[name]) for name in names), return_exceptions=True
    )  # fmt: skip
    found: list[Json] = []
    silent: dict[str, str] = {}
    for name, told in zip(names, answers, strict=True):
        if isinstance(told, RaftchaosError):
            silent[name] = str(told)
        elif isinstance(told, BaseException):
            raise told
        else:
            found += [{"node": name, **fault} for fault in told]
    return found, silent


def _parameters(settings: tuple[str, ...]) -> Json:
    """The parameters that `NAME=VALUE` say. Raises `UsageError`."""
    parameters: Json = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        *outer, name = path.split(".")
        if not equals or not all((*outer, name)):
            raise UsageError(f"found --set {setting!r}, expected NAME=VALUE", hint="`raftchaos fault types TYPE` shows the names")  # fmt: skip # noqa: E501
        place = parameters
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"found --set {setting!r} after a value for {part}", hint="say one of the two")
        place[name] = _value(text)
    return parameters


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
