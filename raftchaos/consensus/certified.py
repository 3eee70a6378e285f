"""What the certificate of the other side of a connection says about the peer that it says it is."""

from __future__ import annotations

from raftchaos.consensus import handshake
from raftchaos.consensus.config import PeerTls
from raftchaos.consensus.connection import Connection
from raftchaos.consensus.handshake import Hello, Identity, Refusal


def parse(connection: Connection, body: memoryview, me: Identity, tls: PeerTls | None) -> Hello:
    """Raises as `handshake.parse`; the refusal of a peer that was called is believed if it is that peer."""
    try:
        return handshake.parse(body)
    except Refusal:
        node = connection.node
        if node is not None and tls is not None:
            wrong = tls.misnamed(connection.certificate, me.cluster_id, node.name, None)
            if wrong:
                raise Refusal(wrong) from None
        raise


def check(connection: Connection, speaker: Identity, me: Identity, tls: PeerTls | None) -> None:
    """Raises Refusal if the other side's certificate is not that of the peer that it says it is, or was removed."""
    if tls is None:
        return
    wrong = tls.misnamed(connection.certificate, me.cluster_id, speaker.name, speaker.directory_id)
    if wrong:
        raise Refusal(wrong)
    if tls.revoked(speaker.directory_id):
        raise Refusal(handshake.NOT_A_MEMBER)
