"""Two peers, a service behind a proxy of each, one experiment on it, and what it did.

python examples/quickstart.py
"""

from __future__ import annotations

import asyncio

from raftchaos import DistributedCoordinator, OrchestratedScenario, ScenarioStep

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The service under test: answers every request with "ok"."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def ask(address: str) -> float:
    """One request; the seconds it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(REQUEST)
    await reader.read()
    writer.close()
    return loop.time() - began


async def use(addresses: list[str]) -> None:
    """Somebody who uses the service all the time, through every proxy."""
    while True:
        for address in addresses:
            await ask(address)
        await asyncio.sleep(0.05)


async def main() -> None:
    """The whole example."""
    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]

    async with service, DistributedCoordinator("node-1") as coordinator:
        await coordinator.register_node("node-2")
        client = coordinator.client
        proxies = [
            await client.add_proxy("web", "127.0.0.1:0", f"127.0.0.1:{port}", peer=peer) for peer in client.peers
        ]
        addresses = [proxy["listen"] for proxy in proxies]
        print(f"without a fault: {1000 * await ask(addresses[0]):.0f} ms")

        scenario = OrchestratedScenario("test")
        scenario.add_step(
            ScenarioStep("slow web", "latency", duration_seconds=3, parameters={"proxy": "web", "latencyMs": 200})
        )
        task = await coordinator.create_task(scenario)
        using = asyncio.create_task(use(addresses))
        ended = await task.wait(timeout=60)
        using.cancel()

        print(f"the task {ended['status']}, verdict {ended['verdict']}")
        for step in ended["steps"]:
            for run in step["runs"]:
                print(f"{step['name']} on {run['node']}: {run['status']}, {run['effects']}")
        print(f"afterwards: {1000 * await ask(addresses[0]):.0f} ms")


if __name__ == "__main__":
    asyncio.run(main())
