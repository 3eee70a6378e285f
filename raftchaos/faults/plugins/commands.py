"""Commands of the operator's that an experiment may name: single executables in the folder of plug-ins."""

from __future__ import annotations

from pathlib import Path

from raftchaos.errors import Refused
from raftchaos.faults.plugins.executables import problem_of


def program(folder: Path | None, name: str) -> Path:
    """The executable of that file name. Raises `Refused` if the peer has no folder, or not this one, or if others can
    change it."""
    if folder is None:
        raise Refused(
            "this peer runs no commands of experiments: it has no folder of plug-ins",
            hint="its operator starts it with --plugins DIR",
        )
    problem = problem_of(folder / name)
    if problem:
        raise Refused(f"the command {name} is not run: {problem}", hint="mend its owner and permissions")
    return folder / name
