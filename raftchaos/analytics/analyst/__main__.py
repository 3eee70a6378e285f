"""`python -m raftchaos.analytics.analyst`: the analyst as a process. Started by the peer, not by hand.

It ends when main closes its end of the socket, or is gone, and saves its recording first.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from raftchaos.analytics.analyst.desk import Desk
from raftchaos.analytics.analyst.messages import Garbled, Messages, encode
from raftchaos.analytics.recording.readings import Machine
from raftchaos.clock import Clock, SystemClock
from raftchaos.errors import RaftchaosError

log = logging.getLogger("raftchaos.analytics")

LOOK: Final = 1.0
READ: Final = 10.0
"""Seconds between two looks at what is over, and between two readings of the machine."""
NICENESS: Final = 10


def main() -> int:
    """Run until main is gone; the exit code."""
    parser = argparse.ArgumentParser(prog="raftchaos.analytics.analyst", description="the analyst of a raftchaos peer")
    parser.add_argument("--socket", required=True, type=int, help="number of an open, connected socket")
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument("--node", required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stand_back()
    clock = SystemClock()
    try:
        desk = Desk(arguments.data_dir, arguments.node, clock)
        with socket.socket(fileno=arguments.socket) as sock:
            try:
                serve(desk, sock, clock, Machine(arguments.data_dir))
            except Garbled as error:
                log.error("the analyst ends, another one is started: %s", error)
        desk.save()
    except RaftchaosError as error:
        log.error("%s", error)
        return error.spec.exit_code
    return 0


def stand_back() -> None:
    """Everything else on the machine comes first; main alone says when to end."""
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(NICENESS)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def serve(desk: Desk, sock: socket.socket, clock: Clock, machine: Machine) -> None:
    """Take messages and look around, until the connection ends."""
    messages = Messages()
    looked = read = clock.boot()
    with contextlib.suppress(OSError):  # main is gone: what there is to do then is done by the caller
        while True:
            if select.select([sock], [], [], max(0.0, looked + LOOK - clock.boot()))[0]:
                data = sock.recv(65_536)
                if not data:
                    return
                for message in messages.feed(data):
                    answer = desk.take(message)
                    if answer is not None:
                        sock.sendall(encode(answer))
            if clock.boot() >= read + READ:
                read = clock.boot()
                desk.take({"reading": machine.read()})
            if clock.boot() >= looked + LOOK:
                sock.sendall(encode({"report": desk.look()}))
                looked = clock.boot()


if __name__ == "__main__":
    sys.exit(main())
