"""The fault dns_answer: other answers to lookups. Its parameters stand in `model.faults.dns_answer`.

A helper process bears the resolver; a table of nftables, live until the lease ends, turns the questions to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raftchaos.errors import InjectionFailed, NotFound, RecoveryFailed, Refused
from raftchaos.faults.base import Host, Lost, NodeContext
from raftchaos.faults.network import guard, places, rules, undo, where
from raftchaos.faults.network.dns import matches
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone
from raftchaos.faults.processes.selecting import target as shortened
from raftchaos.faults.records import Step
from raftchaos.faults.resources.helper_fault import HelperFault
from raftchaos.faults.threads import blocking
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.files import read_regular
from raftchaos.model.faults.dns_answer import FAULT, DnsAnswerParameters
from raftchaos.model.faults.network import Namespace
from raftchaos.model.safety import SELF_HARM

_DEFAULT_SERVER = "127.0.0.1"
"""What resolv.conf(5) says of a file without a name server."""
_RESOLV_CONF = 64 * 1024  # bytes; a container controls its own


class DnsAnswer(HelperFault[DnsAnswerParameters]):
    """The target is `network:<namespace,>dns`: a namespace has one at a time."""

    def __init__(self, host: Host) -> None:
        super().__init__(FAULT, DnsAnswerParameters, host)
        self._owner = str(host.data_dir.absolute())
        self._places: dict[str, Place] = {}
        self._tables: dict[tuple[str, str], Step] = {}
        self._beginning: dict[str, dict[str, Any]] = {}
        self._lapsed: set[tuple[str, str]] = set()

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The namespace. Peers that this one finds by name are left alone, unless that net is disarmed."""
        wanted = self.read(parameters)
        place = where.place_of(wanted.namespace)
        _, named = guard.split_cluster(self._host.cluster_addresses())
        found = sorted({name for name, _ in named if matches(name, wanted.names)})
        if place.own and found and SELF_HARM not in node.disarmed:
            raise Refused(
                f"the fault would cut this peer off from its own cluster: it finds {', '.join(found)} by name",
                hint=guard.HINT,
            )
        target = shortened("network", ",".join([*where.said_of(place), "dns"]))
        self._places[target] = place
        return (target,)

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """The table goes first, then the resolver; and the table again, if the resolver was just about to make it."""
        place = self._places[target]
        name = rules.table_name(self._owner, f"{self.type} {key}", target)
        table = {"do": "network.table", "table": name, "inode": place.inode, "path": place.path}
        self._tables[key, target] = table
        return [table, *super().undo_steps(key, target), table]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Start the resolver, which turns the questions to itself once it listens."""
        step = self._tables[key, target]
        self._lapsed.discard((key, target))
        told = {"table": step["table"], "comment": rules.comment_of(key, self.type), "deadline": lease_end}
        self._beginning[target] = {**told, "inode": step["inode"], "path": step["path"]}
        await super().inject(key, target, parameters, seed, lease_end)

    def order(self, wanted: DnsAnswerParameters, target: str, files: list[str]) -> dict[str, Any]:
        """What is replaced, and where."""
        return {
            **self._beginning.pop(target),
            "servers": wanted.servers or servers_of(wanted.namespace),
            "names": wanted.names,
            "addresses": wanted.addresses or [],
            "error": wanted.error or "",
            "ttlSeconds": wanted.ttl_seconds,
        }

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Turn the questions back, end the resolver, and see that it has not just turned them again."""
        await self._delete_table(key, target)
        effect = await super().recover(key, target)
        await self._delete_table(key, target)
        return effect

    async def _delete_table(self, key: str, target: str) -> None:
        step = self._tables.get((key, target))
        if step is not None:
            try:
                await blocking(undo.delete_table, step)
            except StepFailed as error:
                raise RecoveryFailed(str(error)) from None

    async def renew(self, lease_end: float) -> None:
        """Resolvers first; the table of one that has died ends by itself."""
        await super().renew(lease_end)
        for pair, step in self._tables.items():
            left = lease_end - time.clock_gettime(time.CLOCK_BOOTTIME)
            if left > 0 and self.bears(*pair):
                try:
                    text = rules.renewal_text([step["table"]], left)
                    await blocking(places.run, undo.place_of(step), ["nft", "-f", "-"], text)
                except CommandFailed as error:
                    if not error.nothing_there:
                        raise InjectionFailed(f"nftables did not renew the table of the resolver: {error}") from None
                    self._lapsed.add(pair)
                except PlaceGone:
                    self._lapsed.add(pair)

    async def lost(self) -> Lost:
        """Also those whose questions are not turned to the resolver any more."""
        gone = dict.fromkeys(self._lapsed, "its rules in nftables, or its network namespace, are gone")
        return {**gone, **await super().lost()}

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        self._tables.pop((key, target), None)
        self._lapsed.discard((key, target))
        await super().forget(key, target)


def servers_of(namespace: Namespace | None) -> list[str]:
    """The name servers that programs of a namespace ask, as its resolv.conf says. Raises `NotFound`."""
    paths = ["/etc/resolv.conf"]
    if namespace is not None:
        own = f"/etc/netns/{namespace.name}" if namespace.name is not None else f"/proc/{namespace.pid}/root/etc"
        paths.insert(0, f"{own}/resolv.conf")
    for path in paths:
        try:
            lines = read_regular(Path(path), _RESOLV_CONF).decode(errors="replace").splitlines()
        except OSError:
            continue
        words = [line.split() for line in lines]
        return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"][:3] or [_DEFAULT_SERVER]
    raise NotFound("found no resolv.conf that names the servers", hint="name them as `servers`")


def make(host: Host) -> DnsAnswer:
    """The fault, done by a resolver of ours and nftables."""
    return DnsAnswer(host)
