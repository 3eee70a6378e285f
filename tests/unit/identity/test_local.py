"""The place of the local user's socket follows from the address."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from raftchaos.errors import MachineUnusable
from raftchaos.identity import local


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
