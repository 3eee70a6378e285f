"""The composition root: makes one peer of its parts, and runs it."""

from raftchaos.peer.main import run_peer

__all__ = ["run_peer"]
