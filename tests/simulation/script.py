"""Scenarios that a person writes and reads: commands, each with what came of it beside it.

A transcript is a text file of blocks: a command, a line of four dashes, and the output until the next empty line. Lines
that begin with `#` before a command are for people. `Script.run` plays the commands and gives the same file with the
output as it is now.

    start 3 [2]                              a cluster of n1, n2, n3 that holds its leases and is led by n1 [and of
                                             the observers n4, n5]
    submit t1 sequential burn:2 latency:1 on=n1,n2 limit=1 retries=0 count=1 continue at=n2
    cancel t1 · pause t1 · resume-task t1 · halt h1 at=n2 · resume · drain n2 · undrain n2 · remove n3 · read n2
    promote n4
    partition n1 | n2 n3 · one-way n1 > n2 n3 · heal
    kill n2 main|proxy|reaper|all … · restart n2 · stop n2 · freeze n2 · thaw n2 · suspend n2 · wake n2
    lead n2                                  the leader hands over to n2
    freeze-proxy n2 · thaw-proxy n2 · power-cut n2 · join n2 (after its removal, without its data)
    fail-undo n2 · mend-undo n2 · fail-inject n2 · mend-inject n2
    trap n2 inject kill                      at the next injection there main is killed (or: freeze)
    advance 5s · until task t1 ended · until fault t1 · until leader [n2] · until node n2 failed
    until voter n4
    expect task t1 completed passed · expect faults none · expect node n2 failed · expect halted|running
    show task t1 · show nodes · show members · show faults

`leader` and `follower` stand for the present leader and for its first follower by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.simulation.cluster import Cluster
from tests.simulation.script_actions import Actions
from tests.simulation.script_views import Views
from tests.simulation.world import World

RULE = "----"
PATIENCE = 60.0
FIRST = "n1"
_UNTOLD = re.compile(r"REFUSED refused: (limit|overlapping)|^ *\S+ +sim ")


@dataclass
class Block:
    """One command and its output."""

    comment: list[str]
    command: str
    output: list[str]


def read(text: str) -> list[Block]:
    """The blocks of a transcript; what stands behind the last command without a rule has no output yet."""
    blocks: list[Block] = []
    comment: list[str] = []
    output: list[str] | None = None
    for line in text.splitlines():
        if output is not None and line:
            if line != RULE:
                output.append(line)
        elif not line:
            output = None
            if comment and comment[-1]:
                comment.append("")
        elif line.startswith("#"):
            comment.append(line)
        elif line == RULE:
            output = blocks[-1].output
        else:
            blocks.append(Block(comment, line, []))
            comment = []
    return blocks


def write(blocks: list[Block]) -> str:
    """As a file."""
    parts = []
    for block in blocks:
        comment = "\n".join(block.comment).strip("\n")
        head = f"{comment}\n\n" if comment else ""
        parts.append(f"{head}{block.command}\n{RULE}\n" + "".join(f"{line}\n" for line in block.output))
    return "\n".join(parts)


class Script:
    """One play of a transcript."""

    def __init__(self, name: str) -> None:
        self.world = World(name)
        self._cluster: Cluster | None = None
        self._told = 0

    def run(self, blocks: list[Block]) -> list[Block]:
        """The same blocks with the output as it is now. Stops at the first violation."""
        voters, observers, *_ = (int(word) for word in [*blocks[0].command.split()[1:], "0"])
        cluster = self._cluster = Cluster(self.world, voters, observers=observers, drift=False)
        cluster.restart_after = None
        actions, views = Actions(cluster), Views(cluster)
        played = []
        with cluster:
            for block in blocks:
                output = [] if self.world.violations else list(self._play(block.command, actions, views))
                played.append(Block(block.comment, block.command, output))
        return played

    def _play(self, command: str, actions: Actions, views: Views) -> Iterator[str]:
        word, _, rest = command.partition(" ")
        try:
            if word == "start":
                self._wait(actions.ready)
                actions.hand_over(FIRST)
                self._wait(lambda: actions.leads(FIRST))
            elif word == "advance":
                self.world.run(self.world.now + float(rest.removesuffix("s")))
            elif word == "until":
                self._wait(views.condition(rest))
            elif word in ("expect", "show"):
                yield from views.expect(rest) if word == "expect" else views.show(rest)
                return
            else:
                yield from self._act(actions, word, rest)
        finally:
            lines = self.world.trace[self._told :]
            self._told = len(self.world.trace)
        yield from (short(line) for line in lines if not _UNTOLD.search(line))

    def _act(self, actions: Actions, word: str, rest: str) -> Iterator[str]:
        """Something that is done, and the answer if somebody is asked."""
        pending = actions.do(word, rest)
        if pending is not None:
            self._wait(pending.done)
            yield f"answer: {pending.result()}"

    def _wait(self, condition: Callable[[], object]) -> None:
        if not self.world.run(self.world.now + PATIENCE, lambda: bool(condition())) and not self.world.violations:
            self.world.violated("SCRIPT", f"this did not happen in {PATIENCE:.0f} s")


def short(line: str) -> str:
    """A line of the trace with its instant to a tenth of a second and without log indices."""
    seconds, who, text = line.split(None, 2)
    if who == "log":
        text = re.sub(r"^\d+: ", "", text)
    return f"{float(seconds):6.1f}  {who:<4} {text}"
