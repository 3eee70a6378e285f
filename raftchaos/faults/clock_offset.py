"""The fault clock_offset: a command under a wrong clock. Its parameters stand in `model.faults.clock_offset`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from raftchaos.faults import needs
from raftchaos.faults.base import Host, NodeContext
from raftchaos.faults.plugins import commands
from raftchaos.faults.processes.selecting import target as shortened
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.model.faults.clock_offset import FAULT, ClockOffsetParameters


class ClockOffset(HelperFault[ClockOffsetParameters]):
    """The target is `command:<file name>`."""

    def why_not(self) -> str:
        """It needs libfaketime, and a folder of commands that the operator allows."""
        lacking = super().why_not()
        folder = "" if self._host.plugins is not None else "this peer runs no commands (start it with --plugins DIR)"
        return "; ".join(problem for problem in (lacking, folder) if problem)

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The command, if this peer has it and nobody else can change it."""
        program = commands.program(self._host.plugins, self.read(parameters).command[0])
        return (shortened("command", program.name),)

    def order(self, wanted: ClockOffsetParameters, target: str, files: list[str]) -> dict[str, Any]:
        """The command with its whole path, the offset, and the library that makes it."""
        program = commands.program(self._host.plugins, wanted.command[0])
        return {
            "command": [os.fspath(program), *wanted.command[1:]],
            "offsetSeconds": wanted.offset_seconds,
            "library": needs.faketime_library(),
        }


def make(host: Host) -> ClockOffset:
    """The fault, done by libfaketime."""
    return ClockOffset(FAULT, ClockOffsetParameters, host)
