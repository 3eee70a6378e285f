"""The processes of the demonstration: three peers, a shop in two processes, its load. Started here, ended here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from raftchaos import launch
from raftchaos.client import Client
from raftchaos.demo.experiment import PROXY
from raftchaos.demo.load import Sample
from raftchaos.errors import MachineUnusable
from raftchaos.launch import Child, PeerProcess, free_port

PEERS = ("node-1", "node-2", "node-3")
REGISTERED_TIMEOUT = 20.0
FLOW_TIMEOUT = 15.0


class Stage:
    """Everything that runs. `end` leaves nothing of it, whatever happened before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.family = launch.new_mark()
        self.peers: dict[str, PeerProcess] = {}
        self.proxies: dict[str, str] = {}
        """Address that the proxy of each peer listens on."""
        self._children: list[Child] = []

    def _child(self, name: str, *words: str) -> Child:
        child = Child(name, words, self.directory / f"{name}.log", family=self.family)
        self._children.append(child)
        return child

    async def start_cluster(self) -> Client:
        """Starts the peers and waits until every one of them is ready; returns a client of all three."""
        first: PeerProcess | None = None
        for name in PEERS:
            peer = PeerProcess(name, self.directory, join=first.listen if first else None, family=self.family)
            self.peers[name] = peer
            self._children.append(peer)
            await peer.start()
            if first is None:
                first = peer
                await peer.wait_ready()  # the others ask it to be taken in
        async with asyncio.TaskGroup() as group:
            for peer in self.peers.values():
                group.create_task(peer.wait_ready())
        return Client([peer.listen for peer in self.peers.values()])

    async def start_shop(self, client: Client, rate: float, report: Callable[[Sample], None]) -> Load:
        """Starts payments, a proxy before it on each peer, and the front that uses the proxies; returns its load."""
        payments, front = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        shop = ("-m", "raftchaos.demo.shop")
        database = str(self.directory / "shop.sqlite")
        child = self._child("payments", *shop, "payments", "--port", _port(payments), "--database", database)
        await child.start()
        await child.wait_answers(payments, "/healthz")
        for name, peer in self.peers.items():
            added = await client.add_proxy(PROXY, "127.0.0.1:0", payments, peer=peer.listen)
            self.proxies[name] = added["listen"]
        proxies = ",".join(self.proxies.values())
        child = self._child("front", *shop, "front", "--port", _port(front), "--payments", proxies)
        await child.start()
        await child.wait_answers(front, "/healthz")
        await self._registered(client)
        url = f"http://{front}/checkout"
        return Load(self._child("load", "-m", "raftchaos.demo.load", "--url", url, "--rate", str(rate)), report)

    async def _registered(self, client: Client) -> None:
        """Waits until the cluster knows every node as active, with its proxy."""
        try:
            async with asyncio.timeout(REGISTERED_TIMEOUT):
                while True:
                    nodes = {node["name"]: node for node in await client.nodes()}
                    if all(
                        name in nodes and nodes[name]["status"] == "active" and PROXY in nodes[name]["proxies"]
                        for name in PEERS
                    ):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise MachineUnusable(f"not every peer was registered within {REGISTERED_TIMEOUT:.0f} s") from None

    async def end(self) -> list[str]:
        """Ends every process, those first that use others. Returns what was left over and had to be ended."""
        left: list[str] = []
        for child in reversed(self._children):
            left += [f"{child.name}: process {pid}" for pid in await child.stop()]
        left.extend(f"process {pid}" for pid in await launch.end_marked(self.family))
        return left


class Load:
    """The load process, and the samples that it writes."""

    def __init__(self, child: Child, report: Callable[[Sample], None]) -> None:
        self.child = child
        self.samples: list[Sample] = []
        self._report = report
        self.flows = asyncio.Event()
        """Set once the first request was answered."""
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Starts the process and takes its samples until it ends."""
        try:
            process = await self.child.start(stdout=asyncio.subprocess.PIPE)
            assert process.stdout is not None
            async for line in process.stdout:
                sample = Sample.from_json(line)
                self.samples.append(sample)
                self.flows.set()
                self._report(sample)
        finally:
            self._finished.set()

    async def wait_flows(self) -> None:
        """Waits for the first answer. Raises `MachineUnusable` if there is none."""
        try:
            await asyncio.wait_for(self.flows.wait(), FLOW_TIMEOUT)
        except TimeoutError:
            raise self.child.failed(f"got no answer from the shop within {FLOW_TIMEOUT:.0f} s") from None

    async def stop(self) -> list[Sample]:
        """Ends the load, waits for the requests that are open, and returns all samples in the order of their time."""
        await self.child.stop()
        with contextlib.suppress(
            TimeoutError
        ):  # the pipe of an ended process ends too; if it never began, there is none
            await asyncio.wait_for(self._finished.wait(), launch.GRACE)
        return sorted(self.samples, key=lambda sample: sample.due)


def _port(address: str) -> str:
    return address.rpartition(":")[2]
