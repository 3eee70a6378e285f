"""Two hosts on a wire of their own: network namespaces with unique names, and what is measured within them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from raftchaos.faults.network import places

MEASURE = Path(__file__).with_name("measure.py")
PORT = 5000


class TwoHosts:
    """`here` has 10.77.0.1 and fd77::1, `there` 10.77.0.2 and fd77::2; `there` serves as `measure.serve` says."""

    HERE = ("10.77.0.1", "fd77::1")
    THERE = ("10.77.0.2", "fd77::2")
    INTERFACE = "wire"

    def __init__(self) -> None:
        unique = uuid.uuid4().hex[:8]
        self.here, self.there = f"rc-{unique}-a", f"rc-{unique}-b"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: dict[str, list[subprocess.Popen[bytes]]] = {}
        for name in (self.here, self.there):
            self._call("ip", "netns", "add", name)
        self._call(
            "ip", "link", "add", "wire", "netns", self.here, "type", "veth", "peer", "name", "wire", "netns", self.there
        )
        for name, addresses in ((self.here, self.HERE), (self.there, self.THERE)):
            self._call("ip", "-n", name, "link", "set", "lo", "up")
            self._call("ip", "-n", name, "addr", "add", f"{addresses[0]}/24", "dev", "wire")
            self._call("ip", "-n", name, "addr", "add", f"{addresses[1]}/64", "dev", "wire", "nodad")
            self._call("ip", "-n", name, "link", "set", "wire", "up")
        self.serve(self.there, list(self.THERE))
        for host in self.THERE:  # neighbours find each other a moment after the wire is up
            tries = 0
            while self.measure("connect", host=host, port=PORT)["said"] != "hello":
                tries += 1
                assert tries < 20, f"{host} does not answer"

    def serve(self, name: str, hosts: list[str]) -> None:
        """Start a server in a namespace."""
        server = self.start("ip", "netns", "exec", name, sys.executable, str(MEASURE))
        assert server.stdin is not None
        server.stdin.write(f"{json.dumps(['serve', {'hosts': hosts, 'port': PORT}])}\n".encode())
        server.stdin.flush()
        assert self.line(server) == "ready"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A process that is ended with the namespaces, with pipes."""
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._processes.append(process)
        return process

    @staticmethod
    def line(process: subprocess.Popen[bytes]) -> str:
        """The next line that it says."""
        assert process.stdout is not None
        return process.stdout.readline().decode().strip()

    def inside(self) -> subprocess.Popen[bytes]:
        """A process that sits here and does nothing."""
        process = self.start("ip", "netns", "exec", self.here, "sh", "-c", "echo here; exec sleep 300")
        assert self.line(process) == "here"
        return process

    def measure(self, command: str, where: str | None = None, **arguments: Any) -> Any:
        """Run a command of `measure` here, or in another namespace; by a process that waits there for the next one."""
        idle = self._idle.setdefault(where or self.here, [])
        try:
            process = idle.pop()
        except IndexError:  # several measure at once, or nobody has yet
            process = self.start("ip", "netns", "exec", where or self.here, sys.executable, str(MEASURE))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps([command, arguments])}\n".encode())
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 60)[0], f"{command} does not end"
        answer = self.line(process)
        assert answer, f"{command} failed: see the output of the test"
        idle.append(process)
        return json.loads(answer)

    def look(self, name: str | None = None) -> str:
        """All of nftables and of traffic control in a namespace; of tables that are not ours, too."""
        where = name or self.here
        return self.nft(where) + self._call("ip", "netns", "exec", where, "tc", "qdisc", "show")

    @property
    def inode(self) -> int:
        """By what the namespace `here` is known."""
        return Path(f"/run/netns/{self.here}").stat().st_ino

    def nft(self, name: str | None = None) -> str:
        """`nft list ruleset` of a namespace."""
        return self._call("ip", "netns", "exec", name or self.here, "nft", "list", "ruleset")

    def run(self, *words: str, text: str = "") -> str:
        """A command here."""
        return self._call("ip", "netns", "exec", self.here, *words, text=text)

    def close(self) -> None:
        """Leave nothing."""
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._processes.clear()
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    @staticmethod
    def _call(*words: str, text: str = "") -> str:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False, input=text)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


def lacking() -> str:
    """What this machine lacks to make two hosts; "" if nothing."""
    if os.geteuid() != 0:
        return "root, to make network namespaces"
    for name in ("ip", "nft", "tc"):
        try:
            places.tool(name)
        except places.CommandFailed:
            return f"the program {name} (packages iproute2, nftables)"
    return ""
