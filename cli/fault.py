"""`raftchaos fault`: tells which faults there are, and takes back by hand what a peer left on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raftchaos.cli.options import output_option
from raftchaos.errors import NotFound, RecoveryFailed, UsageError


@click.group("fault")
def command() -> None:
    """Tell which faults there are; take back by hand what a peer left on."""


@command.command("types")
@click.argument("name", required=False)
@output_option
def types(name: str | None, output: str) -> None:
    """List the faults and scenarios, or explain the fault NAME.

    Asks no peer. The scenarios are those that are built in.

    \b
    Examples:
      raftchaos fault types
      raftchaos fault types latency
    """
    from raftchaos.model.faults import FAULTS
    from raftchaos.model.problems import nearest

    if name is None:
        _list(output)
        return
    if name not in FAULTS:
        near = nearest(name, FAULTS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(FAULTS)}"
        raise NotFound(f"there is no fault {name!r}", hint=hint)
    _show(name, output)


@command.command("recover")
@click.option("--all", "everything", is_flag=True, help="Take back every fault of this data directory's peer.")
@click.option("--data-dir", metavar="DIR", type=click.Path(path_type=Path), help="Data directory of the peer; "
              "default: as of `raftchaos peer`.")  # fmt: skip
@output_option
def recover(everything: bool, data_dir: Path | None, output: str) -> None:
    """Take back every fault that a peer of this machine left on.

    Needs no cluster and no peer: it carries out the undo journal in the data directory, as the reaper and the next
    start of the peer would. Safe to repeat. The runs of a peer that is up end as interrupted.

    \b
    Example:
      raftchaos fault recover --all --data-dir /var/lib/raftchaos
    """
    from raftchaos.cli.output import plain, show
    from raftchaos.config import default_data_dir, default_name
    from raftchaos.faults.by_hand import recover_all

    if not everything:
        raise UsageError(
            "found nothing to recover", hint="say --all; one task's faults end with `raftchaos task cancel ID`"
        )
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


def _list(output: str) -> None:
    from raftchaos.cli.output import plain, show, table
    from raftchaos.model.faults import FAULTS
    from raftchaos.model.scenarios import BUILT_IN, SUMMARIES

    faults = table("fault", "kind", "what it does")
    for fault in FAULTS.values():
        faults.add_row(fault.type, fault.kind, plain(fault.summary))
    scenarios = table("scenario", "faults", "what it is like")
    for name, parts in BUILT_IN.items():
        scenarios.add_row(name, ", ".join(part.type for part in parts), plain(SUMMARIES.get(name)))
    data = {
        "faults": [_as_data(name) for name in FAULTS],
        "scenarios": [
            {"name": name, "summary": SUMMARIES.get(name), "faults": [part.to_dict() for part in parts]}
            for name, parts in BUILT_IN.items()
        ],
    }
    show(output, data, faults, scenarios, "`raftchaos fault types NAME` shows the parameters of a fault")


def _show(name: str, output: str) -> None:
    from raftchaos.cli.output import plain, show, table, value_words

    data = _as_data(name)
    rows = table("parameter", "default", "meaning")
    for parameter in data["parameters"]:
        default = parameter["default"]
        rows.add_row(parameter["name"], plain(value_words(default)), plain(parameter["description"]))
    facts = (
        f"[bold]{name}[/] ({data['kind']}): {plain(data['summary'])}\n"
        f"needs: {plain(', '.join(data['needs']))}; protocol: {plain(data['protocol'])}; "
        f"taken back within {data['recoverySeconds']:g} s"
    )
    show(output, data, facts, rows)


def _as_data(name: str) -> dict[str, Any]:
    from raftchaos.model.faults import FAULTS

    fault = FAULTS[name]
    return {
        "type": fault.type,
        "kind": fault.kind,
        "summary": fault.summary,
        "needs": list(fault.needs),
        "protocol": fault.protocol,
        "recoverySeconds": fault.recovery_seconds,
        "parameters": [
            {
                "name": field.alias or attribute,
                "default": field.get_default(call_default_factory=True) if not field.is_required() else None,
                "required": field.is_required(),
                "description": field.description or "",
            }
            for attribute, field in fault.parameters.model_fields.items()
        ],
    }
