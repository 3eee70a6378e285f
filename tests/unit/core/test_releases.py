"""Releases side by side: what is held back, and what ends a peer instead of making it differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import msgpack
import pytest

from raftchaos.core import commands as c
from raftchaos.core import releases
from raftchaos.core.interfaces import Entry
from raftchaos.core.machine import ReplicatedState
from raftchaos.errors import Refused, UsageError
from raftchaos.model.nodes import Node


@dataclass(frozen=True, slots=True)
class NoteNode(c.Command):
    """What a later release may bring."""

    kind: ClassVar[str] = "noteNode"
    since: ClassVar[str] = "0.10.0"
    name: str


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A command of a later release, in a peer that runs it."""
    monkeypatch.setitem(c.KINDS, NoteNode.kind, NoteNode)
    return c.encode(NoteNode("a"))


def nodes(*versions: str) -> dict[str, Node]:
    return {f"n{number}": Node(f"n{number}", 1, "d", "", "", version=text) for number, text in enumerate(versions)}


@pytest.mark.parametrize("versions", [(), ("0.10.0",), ("0.10.0", "0.10.1", "1.0.0", "0.10.0.dev3")])
def test_what_every_node_knows_is_proposed(later: bytes, versions: tuple[str, ...]) -> None:
    releases.check(later, nodes(*versions))


@pytest.mark.parametrize("version", ["0.1.0", "0.9.9", "", "unknown"])
def test_what_some_node_does_not_know_is_held_back(later: bytes, version: str) -> None:
    with pytest.raises(Refused, match=r"noteNode came with release 0\.10\.0; these nodes run an older one, .*: n1$"):
        releases.check(later, nodes("0.10.0", version, "1.2.3"))


def test_what_the_first_release_had_is_never_held_back() -> None:
    releases.check(c.encode(c.Resume([])), nodes("0.1.0", "", "unknown"))


def test_every_command_says_which_release_brought_it() -> None:
    assert {kind for kind, cls in c.KINDS.items() if cls.since == c.FIRST} == set(c.KINDS), "and no release did yet"
    for kind, cls in c.KINDS.items():
        assert c.kind_of(msgpack.packb([c.VERSION, kind, {}])) is cls


def test_a_field_of_a_later_release_is_not_passed_over() -> None:
    machine = ReplicatedState()
    data = msgpack.packb([c.VERSION, "resume", {"halts": [], "why": "since we can"}])
    assert machine.apply(Entry(1, 1, "a:1:1", 0, data))["ok"] is False
    assert machine.applied_index == 0
    assert "'resume'" in machine.incompatible
    assert "why" in machine.incompatible
    assert "upgrade this peer" in machine.incompatible


@pytest.mark.parametrize("fields", [{}, [], ["halts"], "halts", 7, None, {"halts": [], 3: 4}])
def test_what_is_no_command_of_any_release_is_a_usage_error(fields: object) -> None:
    data = msgpack.packb([c.VERSION, "resume", fields])
    with pytest.raises((UsageError, c.UnknownCommand)):
        c.decode(data)
