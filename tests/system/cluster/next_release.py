"""A peer of the release after this one: it has learned to note on a node who drained it.

Run like `raftchaos`, after a word that says what else is different about it: `hasty` does not ask whether all nodes
know what it proposes, `snapshot` writes snapshots of a version of its own, and soon; empty: nothing.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import ClassVar

from raftchaos import _version, limits

VERSION = "0.2.0"
_version.VERSION = VERSION
DIFFERENT = sys.argv[1]
if DIFFERENT == "snapshot":
    limits.LOG_ENTRIES_BEFORE_SNAPSHOT = 4  # type: ignore[misc]

from raftchaos.cli.main import main  # noqa: E402 - after the version and the limits
from raftchaos.core import answers, apply, commands, releases, snapshot  # noqa: E402
from raftchaos.core.answers import Answer  # noqa: E402
from raftchaos.core.draft import Draft  # noqa: E402
from raftchaos.core.interfaces import Outcome  # noqa: E402
from raftchaos.peer.services import Services  # noqa: E402


@dataclasses.dataclass(frozen=True, slots=True)
class NoteNode(commands.Command):
    """Puts a label on a node."""

    kind: ClassVar[str] = "noteNode"
    since: ClassVar[str] = VERSION
    name: str
    note: str


def note_node(draft: Draft, command: NoteNode) -> Answer:
    """What it does to the state."""
    node = draft.nodes[command.name]
    draft.nodes.put(node.name, dataclasses.replace(node, labels={**node.labels, "note": command.note}))
    return answers.ok()


drain_node = Services.drain_node


async def note_and_drain(self: Services, name: str, drained: bool) -> Outcome:
    """Draining as the next release does it."""
    await self._write(NoteNode(name, f"drained-by-{self.name}"))
    return await drain_node(self, name, drained)


commands.KINDS[NoteNode.kind] = NoteNode
apply.HANDLERS[NoteNode] = note_node
Services.drain_node = note_and_drain  # type: ignore[method-assign]
if DIFFERENT == "hasty":
    releases.check = lambda *_: None
if DIFFERENT == "snapshot":
    snapshot.VERSION += 1  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
