"""Releases side by side: nobody proposes what a member of the cluster would not know.

A peer that meets a command of a later release has to stop (see `commands.UnknownCommand`), so while peers are upgraded
one by one, a later release holds back what it has learned until every node runs a release that knows it. The registry
says which one each node runs. This decides what is proposed, not what is true: where it is too late, since an old peer
came back or joined, that peer stops; it never differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from raftchaos.core import commands
from raftchaos.core.answers import listing
from raftchaos.errors import Refused
from raftchaos.model.nodes import Node

_RELEASE = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


def check(command: bytes, nodes: Mapping[str, Node]) -> None:
    """Raises Refused if a node of the registry runs a release that does not know this encoded command. A node that has
    not told its release yet counts as one that knows nothing new."""
    kind = commands.kind_of(command)
    if kind.since == commands.FIRST:
        return
    older = sorted(name for name, node in nodes.items() if _parts(node.version) < _parts(kind.since))
    if older:
        raise Refused(
            f"{kind.kind} came with release {kind.since}; these nodes run an older one, or have not told theirs yet: "
            f"{listing(older)}",
            hint="upgrade them first (`raftchaos node list -o json` shows the version of each), "
            "or `raftchaos node remove` one that is gone for good",
        )


def _parts(release: str) -> tuple[int, ...]:
    found = _RELEASE.match(release)
    return tuple(map(int, found.groups())) if found else (0, 0, 0)
