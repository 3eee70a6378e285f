"""refuse: nothing listens at a proxy's address any more."""

from __future__ import annotations

from raftchaos.model.faults.base import FaultType
from raftchaos.model.faults.proxied import ConnectionFaultParameters


class RefuseParameters(ConnectionFaultParameters):
    """Takes a proxy's listener down: who connects is refused. Connections that are open live on.

    With `probability`, `match` or `sample` the listener has to stay, as the kernel refuses without asking who it is:
    the connections that are picked are then accepted and reset at once.
    """


FAULT = FaultType(
    type="refuse",
    kind="continuous",
    parameters=RefuseParameters,
    summary="new connections to a proxy are refused",
    needs=("proxy",),
    protocol="tcp",
    recovery_seconds=0.5,
    deed="while it refused connections",
)
