"""The place of the local user's socket follows from the address."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from raftchaos.errors import MachineUnusable
from raftchaos.identity import local, private


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found = [tmp_path / "run" / "none" / "raftchaos", tmp_path / "raftchaos-1"]
    monkeypatch.setattr(local, "_folders", lambda: found)
    return found


def test_both_sides_find_it(folders: list[Path]) -> None:
    assert local.socket_of("127.0.0.1:7480") is None
    path = local.socket_to_serve("0.0.0.0:7480")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert local.socket_of("127.0.0.1:7480") == path
        assert local.socket_of("localhost:7480") == path
        assert local.socket_of("127.0.0.1:7481") is None
        assert local.socket_of("127.0.0.2:7480") is None
        folders[1].chmod(0o755)  # others might have put something there
        assert local.socket_of("127.0.0.1:7480") is None
        with pytest.raises(MachineUnusable, match="others may enter"):
            local.socket_to_serve("127.0.0.1:7480")


def test_a_long_host_has_a_short_name() -> None:
    path = local.socket_to_serve(f"{'a' * 63}.{'b' * 63}.example:7480")
    assert len(path.name) < 50
    assert path != local.socket_to_serve(f"{'a' * 63}.{'b' * 63}.example:7481")
    assert local.socket_to_serve("[::1]:7480").name == "::1-7480.sock"


def test_root_finds_the_socket_of_a_service_and_of_nobody_else(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = local.socket_to_serve("127.0.0.1:7480")
    monkeypatch.setattr(local, "_SERVICE", folders[1])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        owner = folders[1].stat().st_uid
        for user in (owner + 1, 0):
            monkeypatch.setattr(local.os, "geteuid", lambda user=user: user)
            found = local.socket_of("127.0.0.1:7480")
            assert (found == path) is (user == 0)
        monkeypatch.setattr(local, "_SERVICE", folders[0])
        assert (local.socket_of("127.0.0.1:7480") == path) is (owner == 0)


def test_a_socket_that_a_killed_peer_has_left_answers_nobody() -> None:
    path = local.socket_to_serve("127.0.0.1:7480")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        assert local.answers_at_socket("127.0.0.1:7480")
    assert path.is_socket()
    assert not local.answers_at_socket("127.0.0.1:7480")
    assert not local.answers_at_socket("127.0.0.1:7481")


@pytest.mark.parametrize(("mode", "good"), [(0o400, True), (0o440, True), (0o444, False), (0o420, False)])
def test_a_group_may_read_the_secret_that_root_gives_to_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, good: bool
) -> None:
    file = tmp_path / "tls.key"
    file.write_text("secret")
    if file.stat().st_uid != 0:
        pytest.skip("only root can make a file of root")
    file.chmod(mode)
    monkeypatch.setattr(private.os, "geteuid", lambda: 1000)
    with contextlib.nullcontext() if good else pytest.raises(MachineUnusable, match="others may read"):
        private.check_private(file)


def test_a_group_may_not_read_ones_own_secret(tmp_path: Path) -> None:
    file = tmp_path / "tls.key"
    file.write_text("secret")
    file.chmod(0o440)
    with pytest.raises(MachineUnusable, match="others may read"):
        private.check_private(file)
