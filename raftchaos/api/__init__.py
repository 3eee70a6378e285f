"""The HTTP API of a peer: one table of routes, plain JSON, problems that say what to do, events as they happen."""

from raftchaos.api.feed import EventFeed
from raftchaos.api.server import ApiServer

__all__ = ["ApiServer", "EventFeed"]
