"""The faults that the data plane can do, one file each, registered by the name that documents use."""

from __future__ import annotations

from typing import Final

from raftchaos.proxy.faults.http_error import HttpError
from raftchaos.proxy.faults.latency import Latency
from raftchaos.proxy.faults.reset_peer import ResetPeer
from raftchaos.proxy.toxic import Fault

FAULTS: Final[dict[str, type[Fault]]] = {fault.type: fault for fault in (HttpError, Latency, ResetPeer)}
"""Every fault of the data plane by its type."""
