"""raftchaos: a chaos-engineering cluster of equal peers."""

from raftchaos._version import VERSION as __version__

__all__ = ["__version__"]
