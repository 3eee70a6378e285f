"""flag_file: a file exists as long as the fault is on, for example one that switches a service to read-only.

pip install ./examples/plugins/python      (on every peer that shall have it, and where files are checked)
raftchaos fault inject flag_file --node node-1 --set path=/run/shop/read-only

"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from raftchaos.errors import InjectionFailed, NotFound, RecoveryFailed, Refused
from raftchaos.faults.base import CatalogueFault, Host, NodeContext
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults import FaultParameters, FaultType


class FlagFileParameters(FaultParameters):
    """Makes a file that holds the key of the fault, and removes it again."""

    path: str = Field(
        pattern="^/.*[^/]$", max_length=200, description="Absolute path of the file, which is not there yet."
    )


FAULT = FaultType(
    type="flag_file",
    kind="continuous",
    parameters=FlagFileParameters,
    summary="a flag file exists, which switches a service to another behaviour",
    needs=(),
    protocol=None,
    recovery_seconds=0.5,
    deed="while its flag was set",
    example={"path": "/run/shop/read-only"},
)


class FlagFile(CatalogueFault[FlagFileParameters]):
    """A target is `file:<path>`."""

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The file, if its folder is there and it is not."""
        path = Path(self.read(parameters).path)
        if not path.parent.is_dir():
            raise NotFound(f"there is no folder {path.parent} on {node.name}")
        if path.exists():
            raise Refused(f"{path} exists on {node.name} already, somebody else has set it")
        return (f"file:{path}",)

    def undo_steps(self, key: str, target: str) -> list[dict[str, Any]]:
        """One step, which `undo` carries out."""
        return [{"do": f"plugin:{self.type}", "path": target.removeprefix("file:"), "key": key}]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Make the file."""
        try:
            await asyncio.to_thread(_create, target.removeprefix("file:"), key)
        except OSError as error:
            raise InjectionFailed(f"cannot make {target}: {error.strerror}") from None

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Remove it."""
        try:
            return undo(self.undo_steps(key, target)[0])
        except StepFailed as error:
            raise RecoveryFailed(str(error)) from None

    async def observe(self) -> list[tuple[str, str]] | None:
        """Nothing tells where such files may be."""
        return None


def _create(path: str, text: str) -> None:
    with open(path, "x") as file:
        file.write(text)


def undo(step: dict[str, Any]) -> dict[str, int]:
    """Remove the file if it is ours: idempotent, and its absence is a success."""
    path = str(step["path"])
    try:
        if Path(path).read_text() != step["key"]:
            return {"touched": 0}
        os.unlink(path)
    except FileNotFoundError:
        return {"touched": 0}
    except OSError as error:
        raise StepFailed(f"cannot remove {path}: {error.strerror}") from None
    return {"touched": 1}


def make(host: Host) -> FlagFile:
    """The fault, on this host."""
    return FlagFile(FAULT, FlagFileParameters, host)
