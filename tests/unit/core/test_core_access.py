"""Tokens, CAs and revoked certificates in the replicated state; and who asked for a command."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from raftchaos import limits
from raftchaos.core import commands as c
from raftchaos.core import snapshot
from raftchaos.core.callers import CERTIFICATE, SOCKET, TOKEN, Caller
from raftchaos.core.interfaces import Entry
from raftchaos.core.invariants import check
from raftchaos.core.machine import ReplicatedState
from raftchaos.errors import MachineUnusable, UsageError
from raftchaos.model.events import Event, EventType
from tests.unit.core.core_world import World, orchestration

ONE, TWO, THREE = ("1" * 16, "2" * 16, "3" * 16)
OLD, NEW, NEWER = ("a" * 64, "b" * 64, "c" * 64)
ROOT = Caller("root", "admin", "", SOCKET)


def do(world: World, command: c.Command, caller: Caller | None = None) -> dict[str, Any]:
    """Append a command that this caller asked for."""
    place = len(world.log) + 1
    entry = Entry(place, world.term, f"test:1:{place}", world.now_ms, c.encode(command, caller))
    world.log.append(entry)
    result = world.machine.apply(entry)
    assert check(world.state) == []
    return result


def by(way: str, key: str = ONE) -> Caller:
    return Caller("ci", "operator", "10.0.0.1", f"{way}:{key}")


def token(key: str = ONE, name: str = "ci", role: str = "operator", seconds: float = 60.0) -> c.CreateToken:
    return c.CreateToken(key, name, role, bytes(32), seconds)


# ---- who asked


def test_a_command_carries_its_caller() -> None:
    data = c.encode(c.DrainNode("n1", True), ROOT)
    assert c.read(data) == (c.DrainNode("n1", True), ROOT)
    assert c.read(c.encode(c.DrainNode("n1", True))) == (c.DrainNode("n1", True), None)
    assert [by(way).token for way in (TOKEN, CERTIFICATE)] == [ONE, ONE]
    assert not ROOT.token
    assert not Caller("n1", "admin", "10.0.0.1", CERTIFICATE).token


@pytest.mark.parametrize("caller", [7, [], ["a", "admin", ""], ["a", "admin", "", 1], ["x" * 400, "admin", "", ""]])
def test_what_is_no_caller_is_refused(caller: Any) -> None:
    with pytest.raises(UsageError):
        c.read(msgpack.packb([c.VERSION, "drainNode", {"name": "n1", "drained": True}, caller]))


def test_a_role_of_a_later_release_ends_this_peer_before_it_differs() -> None:
    machine = ReplicatedState()
    data = msgpack.packb([c.VERSION, "resume", {"halts": []}, ["a", "auditor", "", "socket"]])
    assert not machine.apply(Entry(1, 1, "a:1:1", 0, data))["ok"]
    assert machine.applied_index == 0
    assert "'auditor'" in machine.incompatible


def test_events_say_who_asked() -> None:
    world, told = World(2), list[Event]()
    world.machine.events.subscribe(told.append)
    assert do(world, c.DrainNode("n1", True), ROOT)["ok"]
    assert do(world, c.DrainNode("n1", False))["ok"]
    assert [event.data.get("by") for event in told] == [ROOT.to_dict(), None]


# ---- API tokens


def test_a_token_is_given_and_revoked() -> None:
    world, told = World(1), list[Event]()
    world.machine.events.subscribe(told.append)
    assert do(world, token(), ROOT) == {"ok": True, "expires": world.now_ms + 60_000}
    kept = world.state.access.tokens[ONE]
    assert (kept.name, kept.role, kept.created_by) == ("ci", "operator", "root")
    assert do(world, token(TWO))["code"] == "conflict"
    assert do(world, c.RevokeToken("ci"))["id"] == ONE
    assert do(world, c.RevokeToken("ci"))["code"] == "not-found"
    assert do(world, token(TWO))["ok"]
    assert do(world, c.RevokeToken(TWO))["ok"]
    kinds = [event.type for event in told]
    assert kinds == [EventType.TOKEN_CREATED, EventType.TOKEN_REVOKED] * 2
    assert all(bytes(32) not in event.data.values() for event in told)


@pytest.mark.parametrize(
    "wrong",
    [
        token(role="open"),
        token(role="root"),
        token(name="A b"),
        token(key="x"),
        token(seconds=0),
        token(seconds=limits.TOKEN_LONGEST + 1),
        c.CreateToken(ONE, "ci", "viewer", b"short", 60),
        c.CreateJoinToken(ONE, b"short", 60, False),
    ],
)
def test_a_bad_token_is_refused(wrong: c.Command) -> None:
    assert do(World(1), wrong)["code"] == "usage"


@pytest.mark.parametrize("way", [TOKEN, CERTIFICATE])
def test_a_revoked_token_writes_nothing_whoever_was_asked(way: str) -> None:
    world = World(2)
    assert do(world, token())["ok"]
    assert do(world, c.SubmitTask("t", orchestration().to_dict()), by(way))["ok"]
    assert do(world, c.RevokeToken("ci"), ROOT)["ok"]
    assert do(world, c.CancelTask("t"), by(way))["code"] == "unauthenticated"
    assert do(world, token(TWO, seconds=1))["ok"]
    world.now_ms += 1_000
    assert do(world, c.CancelTask("t"), by(way, TWO))["code"] == "unauthenticated"
    assert "t" in world.state.tasks


def test_a_halt_is_logged_also_when_the_token_of_who_asked_has_ended_meanwhile() -> None:
    world = World(1)
    assert do(world, c.Halt("h", "enough", "n1"), by(TOKEN))["ok"]
    assert "h" in world.state.halts
    assert do(world, c.Resume(["h"]), by(TOKEN))["code"] == "unauthenticated"


def test_tokens_that_have_ended_make_room() -> None:
    world = World(1)
    for place in range(limits.API_TOKENS):
        assert do(world, token(f"{place:016}", f"t{place}", seconds=1))["ok"]
    assert do(world, token("f" * 16, "one-more"))["code"] == "refused"
    world.now_ms += 1_001
    assert do(world, token("f" * 16, "one-more"))["ok"]
    assert list(world.state.access.tokens) == ["f" * 16]


# ---- join tokens


def test_a_token_for_one_join_belongs_to_the_first_that_comes() -> None:
    world = World(1)
    assert do(world, c.CreateJoinToken(ONE, bytes(32), 60, True))["ok"]
    assert do(world, c.SpendJoinToken(ONE, "n2", "d2"))["ok"]
    assert do(world, c.SpendJoinToken(ONE, "n2", "d2"))["ok"]  # the same peer asks again
    again = do(world, c.SpendJoinToken(ONE, "n3", "d3"))
    assert again["code"] == "unauthenticated"
    assert "n2 has used it" in again["error"]
    assert do(world, c.SpendJoinToken(ONE, "n3", "d2"))["code"] == "unauthenticated"


def test_a_token_for_an_hour_lets_many_join_and_ends_by_the_logs_clock() -> None:
    world = World(1)
    assert do(world, c.CreateJoinToken(ONE, bytes(32), 60, False))["ok"]
    for place in range(3):
        assert do(world, c.SpendJoinToken(ONE, f"m{place}", f"d{place}"))["ok"]
    world.now_ms += 60_000
    assert "has ended" in do(world, c.SpendJoinToken(ONE, "m9", "d9"))["error"]
    assert do(world, c.CreateJoinToken(TWO, bytes(32), 60, False))["ok"]
    assert do(world, c.RevokeToken(TWO))["ok"]
    assert "revoked" in do(world, c.SpendJoinToken(TWO, "m9", "d9"))["error"]


def admission(name: str = "n9", directory: str = "d9", key: str = OLD) -> c.AdmitNode:
    return c.AdmitNode(name, directory, "127.0.0.1:1", "127.0.0.1:2", key)


def test_a_node_is_known_again_by_the_key_with_which_it_was_admitted() -> None:
    world = World(1)
    assert do(world, c.TrustAuthority(OLD, "old"))["ok"]
    assert do(world, admission())["ok"]
    assert do(world, admission())["existing"]
    assert do(world, c.RegisterNode("n9", 1, "d9", "127.0.0.1:1", "127.0.0.1:2"))["ok"]
    assert do(world, c.ReportIdentity("n9", 1, [OLD], OLD))["ok"]
    for other in (NEW, ""):
        assert do(world, admission(key=other))["code"] == "conflict"
    assert do(world, admission("n1", "dir-n1"))["code"] == "conflict"  # it founded the cluster: nobody joins as it
    assert do(world, admission())["existing"]
    assert do(world, admission("n8", key="short"))["code"] == "usage"


def test_the_data_directory_of_a_removed_node_is_not_admitted_again() -> None:
    world = World(1)
    assert do(world, admission())["ok"]
    assert do(world, c.RemoveNode("n9"))["ok"]
    assert "was removed" in do(world, admission())["error"]
    assert do(world, admission(directory="d10", key=NEW))["ok"]


# ---- removed nodes


def test_a_removed_node_is_revoked_in_the_same_entry() -> None:
    world = World(2)
    assert do(world, c.RemoveNode("n2"))["ok"]
    ends = world.state.access.revoked["dir-n2"]
    assert ends == world.now_ms + limits.CERTIFICATE_LONGEST * 1000
    world.now_ms = ends
    world.add_node("n3")
    assert do(world, c.RemoveNode("n3"))["ok"]
    assert set(world.state.access.revoked) == {"dir-n3"}


# ---- CAs


def trusted(world: World) -> list[str]:
    return list(world.state.access.authorities)


def test_a_ca_is_replaced_once_everybody_trusts_and_has_the_new_one() -> None:
    world = World(2)
    assert do(world, c.TrustAuthority(OLD, "old", only=True))["ok"]
    assert do(world, c.CreateJoinToken(ONE, bytes(32), 60, False))["ok"]
    for name in ("n1", "n2"):
        assert do(world, c.ReportIdentity(name, 1, [OLD], OLD))["ok"]
    assert do(world, c.TrustAuthority(NEW, "new"))["ok"]
    assert world.state.access.signer == OLD
    assert do(world, c.ReportIdentity("n1", 1, [OLD, NEW], OLD))["ok"]
    assert "n2" in do(world, c.SignWith(NEW))["error"]
    assert do(world, c.ReportIdentity("n2", 1, [OLD, NEW], OLD))["ok"]
    assert do(world, c.SignWith(NEW))["ok"]
    assert not world.state.access.joins  # they hold the fingerprint of the old one
    assert do(world, c.DropAuthority(OLD))["code"] == "refused"
    assert do(world, c.DropAuthority(NEW))["code"] == "refused"
    for name in ("n1", "n2"):
        assert do(world, c.ReportIdentity(name, 1, [OLD, NEW], NEW))["ok"]
    assert do(world, c.DropAuthority(OLD))["ok"]
    assert (trusted(world), world.state.access.signer) == ([NEW], NEW)


def test_the_first_ca_ends_no_token_that_was_made_before_it_and_forgets_no_key() -> None:
    world = World(1)
    assert do(world, c.CreateJoinToken(ONE, bytes(32), 60, False))["ok"]
    assert do(world, admission())["ok"]
    assert do(world, c.TrustAuthority(OLD, "old", only=True))["ok"]
    assert set(world.state.access.joins) == {ONE}
    assert world.state.access.identities["n9"].key == OLD
    assert do(world, c.TrustAuthority(NEW, "new", only=True))["ok"]
    assert not world.state.access.joins
    assert not world.state.access.identities


def test_a_rotation_that_signs_nothing_yet_is_begun_anew_one_that_does_is_not() -> None:
    world = World(1)
    assert do(world, c.TrustAuthority(OLD, "old", only=True))["ok"]
    assert do(world, c.TrustAuthority(NEW, "new"))["ok"]
    assert do(world, c.TrustAuthority(NEW, "new"))["existing"]
    assert do(world, c.TrustAuthority(NEWER, "newer"))["ok"]
    assert trusted(world) == [OLD, NEWER]
    assert do(world, c.ReportIdentity("n1", 1, [OLD, NEWER], OLD))["ok"]
    assert do(world, c.SignWith(NEWER))["ok"]
    assert do(world, c.TrustAuthority(NEW, "new"))["code"] == "conflict"


def test_only_the_present_start_of_a_node_tells_of_its_certificates() -> None:
    world = World(1)
    assert do(world, c.TrustAuthority(OLD, "old"))["ok"]
    assert do(world, c.ReportIdentity("n1", 9, [OLD], OLD))["code"] == "not-found"
    assert do(world, c.ReportIdentity("n1", 1, [OLD, NEW], NEW))["ok"]
    known = world.state.access.identities["n1"]
    assert (known.trusts, known.issuer) == ((OLD,), "")


# ---- snapshots


def full() -> World:
    world = World(2)
    for command in (
        token(),
        c.TrustAuthority(OLD, "old", only=True),
        c.CreateJoinToken(TWO, bytes(32), 60, True),
        c.SpendJoinToken(TWO, "n9", "d9"),
        c.ReportIdentity("n1", 1, [OLD], OLD),
        c.RemoveNode("n2"),
    ):
        assert do(world, command, ROOT)["ok"]
    return world


def test_a_snapshot_holds_all_of_it() -> None:
    world = full()
    other = ReplicatedState()
    other.restore(world.machine.snapshot())
    assert other.state == world.state
    assert other.state_hash() == world.machine.state_hash()


def test_a_snapshot_of_before_there_was_access_is_read() -> None:
    world = World(2)
    parts = msgpack.unpackb(world.machine.snapshot())
    other = ReplicatedState()
    other.restore(msgpack.packb(parts[:-1]))
    assert other.state == world.state


def test_a_snapshot_of_a_later_release_ends_this_peer() -> None:
    parts = msgpack.unpackb(World(1).machine.snapshot())
    parts[1] += 1
    with pytest.raises(MachineUnusable, match="version") as caught:
        ReplicatedState().restore(msgpack.packb(parts))
    assert "upgrade this peer" in caught.value.hint


def test_a_signer_that_nobody_trusts_is_not_believed() -> None:
    parts = msgpack.unpackb(full().machine.snapshot())
    parts[-1][3] = NEW
    with pytest.raises(ValueError, match="signs"):
        snapshot.unpack(msgpack.packb(parts))
