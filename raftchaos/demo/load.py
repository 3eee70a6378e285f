"""A load with a constant arrival rate, in a process of its own.

Requests start when their time has come, whether earlier ones were answered or not, and a latency counts from the
moment the request was due. So a service that stalls shows as slow, not as less asked (no "coordinated omission").

    python -m raftchaos.demo.load --url http://127.0.0.1:9000/checkout --rate 60

writes one JSON line a request: `{"due": wall-clock seconds, "seconds": latency, "status": 200}`, where a status of 0
means that there was no answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

IN_FLIGHT = 512  # requests that wait for an answer at once; more are counted as failed, not sent
TIMEOUT = 5.0
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it was due (wall-clock seconds), seconds until its answer was read, HTTP status or 0."""

    due: float
    seconds: float
    status: int

    @property
    def failed(self) -> bool:
        """Whether the user did not get what was asked for."""
        return not 200 <= self.status < 400

    def to_json(self) -> str:
        """One line of the load's output, without the line's end."""
        return json.dumps({"due": round(self.due, 6), "seconds": round(self.seconds, 6), "status": self.status})

    @classmethod
    def from_json(cls, line: str | bytes) -> Sample:
        """The reverse of `to_json`."""
        data = json.loads(line)
        return cls(data["due"], data["seconds"], data["status"])


async def generate(url: str, rate: float, report: Callable[[Sample], None], *, stop: asyncio.Event) -> None:
    """Asks `url` for item after item, `rate` times a second, until `stop` is set; then waits for what is open."""
    loop = asyncio.get_running_loop()
    timeout, connector = ClientTimeout(total=TIMEOUT), TCPConnector(limit=0)
    async with ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
        begin, wall = loop.time(), time.time()
        number = in_flight = 0

        async def one(item: int, due: float) -> None:
            nonlocal in_flight
            in_flight += 1
            status = await _ask(session, url, item)
            in_flight -= 1
            report(Sample(wall + due - begin, loop.time() - due, status))

        while await _slept_until(due := begin + number / rate, loop, stop):
            if in_flight < IN_FLIGHT:
                group.create_task(one(number % 500, due))
            else:
                report(Sample(wall + due - begin, TIMEOUT, NO_ANSWER))
            number += 1


async def _slept_until(due: float, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> bool:
    """Sleeps until `due`; False if `stop` was set meanwhile."""
    try:
        await asyncio.wait_for(stop.wait(), max(0.0, due - loop.time()))
    except TimeoutError:
        return True
    return False


async def _ask(session: ClientSession, url: str, item: int) -> int:
    try:
        async with session.get(url, params={"item": str(item)}) as answer:
            await answer.read()
            return answer.status
    except (ClientError, TimeoutError, OSError):
        return NO_ANSWER


async def _run(url: str, rate: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def report(sample: Sample) -> None:
        try:
            print(sample.to_json(), flush=True)
        except BrokenPipeError:
            stop.set()  # nobody listens any more

    await generate(url, rate, report, stop=stop)


def main(argv: Sequence[str] | None = None) -> None:
    """Loads a URL until told to end."""
    parser = argparse.ArgumentParser(prog="raftchaos.demo.load", description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    words = parser.parse_args(argv)
    if not 0 < words.rate <= 5_000:
        parser.error(f"found the rate {words.rate}, expected more than 0 and at most 5000")
    asyncio.run(_run(words.url, words.rate))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
