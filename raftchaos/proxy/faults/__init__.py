"""The faults that the data plane can do, one file each, registered by the name that documents use."""

from __future__ import annotations

from typing import Final

from raftchaos.proxy.faults.bandwidth import Bandwidth
from raftchaos.proxy.faults.connection_limit import ConnectionLimit
from raftchaos.proxy.faults.corrupt import Corrupt
from raftchaos.proxy.faults.graphql import Graphql
from raftchaos.proxy.faults.grpc import Grpc
from raftchaos.proxy.faults.http_abort import HttpAbort
from raftchaos.proxy.faults.http_corrupt import HttpCorrupt
from raftchaos.proxy.faults.http_error import HttpError
from raftchaos.proxy.faults.http_headers import HttpHeaders
from raftchaos.proxy.faults.http_partial import HttpPartial
from raftchaos.proxy.faults.http_replace import HttpReplace
from raftchaos.proxy.faults.http_timeout import HttpTimeout
from raftchaos.proxy.faults.latency import Latency
from raftchaos.proxy.faults.limit_data import LimitData
from raftchaos.proxy.faults.limit_time import LimitTime
from raftchaos.proxy.faults.rate_limit import RateLimit
from raftchaos.proxy.faults.refuse import Refuse
from raftchaos.proxy.faults.reset_peer import ResetPeer
from raftchaos.proxy.faults.slicer import Slicer
from raftchaos.proxy.faults.slow_close import SlowClose
from raftchaos.proxy.faults.timeout import Timeout
from raftchaos.proxy.faults.websocket import Websocket
from raftchaos.proxy.toxic import Fault

FAULTS: Final[dict[str, type[Fault]]] = {
    fault.type: fault
    for fault in (
        Bandwidth,
        ConnectionLimit,
        Corrupt,
        Graphql,
        Grpc,
        HttpAbort,
        HttpCorrupt,
        HttpError,
        HttpHeaders,
        HttpPartial,
        HttpReplace,
        HttpTimeout,
        Latency,
        LimitData,
        LimitTime,
        RateLimit,
        Refuse,
        ResetPeer,
        Slicer,
        SlowClose,
        Timeout,
        Websocket,
    )
}
"""Every fault of the data plane by its type."""
