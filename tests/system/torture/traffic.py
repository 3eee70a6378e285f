"""Who watches from outside: the service behind the proxies, steady requests through them, looks at every peer."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tests.system.torture import network
from tests.system.torture.asking import ask
from tests.system.torture.history import History, Sample, Sighting, now
from tests.system.torture.machines import PROXIES, UPSTREAM_PORT, Machine

FAULT_MARK = "fault "
"""An injected answer's body begins with it and goes on with the id of its task."""
SAMPLE_INTERVAL = 0.12
SAMPLE_TIMEOUT = 3.0
LOOK_INTERVAL = 0.4
SERVICE = b"service"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(SERVICE), SERVICE)


class Worker(threading.Thread):
    """A thread that does one thing again and again in the namespace of one machine, until it is closed."""

    def __init__(self, machine: Machine, turn: Callable[[], None], pause: Callable[[], float], what: str) -> None:
        super().__init__(name=f"{what} {machine.name}", daemon=True)
        self.error: BaseException | None = None
        self._machine, self._turn, self._pause = machine, turn, pause
        self._end = threading.Event()

    def run(self) -> None:
        try:
            network.enter(self._machine.namespace)
            while not self._end.is_set():
                self._turn()
                self._end.wait(self._pause())
        except BaseException as error:  # noqa: BLE001 - told by `close`
            self.error = error

    def close(self) -> None:
        """End it. Raises what ended it before."""
        self._end.set()
        self.join(30)
        if self.error is not None:
            raise self.error


def close_all(workers: Sequence[Worker]) -> None:
    """End them all, then raise the first error."""
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.close)


class Services:
    """A tiny HTTP service behind the proxies of each machine, all served by one thread of this process."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._listening: list[socket.socket] = []
        opener = threading.Thread(target=self._open, args=(machines,))
        opener.start()
        opener.join(10)
        if len(self._listening) != len(machines):
            self.close()
            raise AssertionError("the services behind the proxies do not listen")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="services", daemon=True)
        self._thread.start()

    def _open(self, machines: Sequence[Machine]) -> None:
        for machine in machines:
            network.enter(machine.namespace)  # of this thread, which ends here; a socket stays where it was made
            self._listening.append(socket.create_server(("127.0.0.1", UPSTREAM_PORT), backlog=256))

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        for listening in self._listening:
            self._loop.run_until_complete(asyncio.start_server(self._answer, sock=listening))
        self._loop.run_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SAMPLE_TIMEOUT):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_ANSWER)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass  # the proxy or the one behind it has gone: that is what this is about
        finally:
            writer.close()

    def close(self) -> None:
        """Stop serving."""
        if hasattr(self, "_thread"):
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0.05))
            self._loop.close()
        for listening in self._listening:
            listening.close()


def sample(node: str, proxy: str) -> Sample:
    """One request through a proxy of the machine whose namespace this thread is in."""
    start = now()
    connection = http.client.HTTPConnection("127.0.0.1", PROXIES[proxy], timeout=SAMPLE_TIMEOUT)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        if body.startswith(FAULT_MARK):
            result = body
        else:
            result = "ok" if body == SERVICE.decode() else f"{answer.status} {body[:60]!r}"
    except (OSError, http.client.HTTPException) as error:
        result = type(error).__name__
    finally:
        connection.close()
    return Sample(node, proxy, start, now(), result)


def watchers(machines: Sequence[Machine], history: History) -> list[Worker]:
    """Steady requests through each proxy, and a look at each peer."""
    found = []
    for machine in machines:
        found += [
            Worker(machine, _sampling(machine, proxy, history), lambda: SAMPLE_INTERVAL, f"{proxy} of")
            for proxy in PROXIES
        ]
        found.append(Worker(machine, _looking(machine, history), lambda: LOOK_INTERVAL, "looks at"))
    return found


def _sampling(machine: Machine, proxy: str, history: History) -> Callable[[], None]:
    return lambda: history.samples.append(sample(machine.name, proxy))


def _looking(machine: Machine, history: History) -> Callable[[], None]:
    def look() -> None:
        answer = ask(machine.address, "GET", "/status", timeout=2.0)
        if answer.status == 200:
            history.sightings.append(sighting(machine.name, answer.body))

    return look


def sighting(peer: str, status: dict[str, Any]) -> Sighting:
    """What a peer's status says."""
    return Sighting(peer, now(), status["index"], status["stateHash"], status["role"], status["term"])
