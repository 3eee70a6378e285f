"""Small files that are replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftchaos.files import write_atomically


@pytest.mark.parametrize("link", [False, True])
def test_a_secret_does_not_go_into_a_file_that_was_there_before(tmp_path: Path, link: bool) -> None:
    elsewhere, waiting = tmp_path / "elsewhere", tmp_path / "peer.pem.new"
    elsewhere.write_bytes(b"")
    elsewhere.chmod(0o666)
    if link:
        waiting.symlink_to(elsewhere)
    else:
        waiting.hardlink_to(elsewhere)
    write_atomically(tmp_path / "peer.pem", b"secret")
    assert (tmp_path / "peer.pem").read_bytes() == b"secret"
    assert (tmp_path / "peer.pem").stat().st_mode & 0o777 == 0o600
    assert elsewhere.read_bytes() == b""
    assert not waiting.exists()
