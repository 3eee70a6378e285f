"""What is done to a peer while it bears faults: after each, the host is to be as it was before them."""

from __future__ import annotations

import signal

from tests.system.harness import PeerProcess


def kill_main(peer: PeerProcess) -> None:
    """SIGKILL of main."""
    peer.kill()


def stop_main(peer: PeerProcess) -> None:
    """SIGSTOP of main."""
    peer.signal(signal.SIGSTOP)


def kill_all(peer: PeerProcess) -> None:
    """SIGKILL of every process, and a new start."""
    children = peer.children()
    peer.kill()
    for child in children:
        child.kill()
    peer.start()


HARMS = [kill_main, stop_main, kill_all]
