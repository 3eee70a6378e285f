"""What systemd says about a unit, asked of systemctl."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from typing import Final

from raftchaos.errors import NotFound, Refused
from raftchaos.faults.processes.containers import groups_of
from raftchaos.faults.processes.proc import processes

_TIMEOUT: Final = 5.0
_PROPERTIES: Final = ("LoadState", "ControlGroup")


def processes_of(unit: str, own: Collection[int]) -> dict[int, int]:
    """The processes of a unit now: start by number; none if it does not run.

    Raises `NotFound` for a unit that systemd does not know, `Refused` for the one that this peer runs in and if
    systemd does not answer.
    """
    said = _show(unit)
    if said.get("LoadState") != "loaded":
        raise NotFound(
            f"systemd has no unit {unit} on this node (it says: {said.get('LoadState') or 'nothing'})",
            hint="`systemctl list-units` lists those of the node",
        )
    group = said.get("ControlGroup", "")
    if not group.strip("/"):
        return {}
    inside = [each for each in processes() if within(groups_of(each.pid), group)]
    if any(each.pid in own for each in inside):
        raise Refused(f"this peer itself runs in {unit}", hint="a peer never restarts itself")
    return {each.pid: each.start for each in inside}


def within(groups: str, group: str) -> bool:
    """Whether one of the control groups, as /proc tells them, is the group or below it."""
    paths = (line.split(":", 2)[-1] for line in groups.splitlines())
    return any(path == group or path.startswith(f"{group}/") for path in paths)


def _show(unit: str) -> dict[str, str]:
    command = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", unit]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"systemd does not answer about {unit}: {error}") from None
    if done.returncode != 0:
        raise Refused(f"systemd does not tell about {unit}: {done.stderr.strip() or done.returncode}")
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
