"""Machines for peers: network namespaces on one bridge, which stands in a namespace of its own.

Nothing of it is seen from outside: the pairs of interfaces are made inside these namespaces, whose names hold the
process id of the test. Whoever makes a `Network` closes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator

import psutil

SUBNET = "10.99.0."
CLONE_NEWNET = 0x40000000
BLOCKADE = "nemesis"
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words: str, text: str | None = None) -> str:
    """The output of a command. Raises AssertionError with what it said if it fails."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def enter(namespace: str) -> None:
    """From now on this thread is in that namespace, with every socket and process that it makes."""
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")
    finally:
        os.close(fd)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """For a while this thread is in that namespace, and afterwards again where it was."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        yield
    finally:
        if _libc.setns(before, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot leave the namespace {namespace}")
        os.close(before)


def pids_in(namespace: str) -> list[int]:
    """The processes in a namespace, without this one."""
    return [pid for pid in map(int, run("ip", "netns", "pids", namespace).split()) if pid != os.getpid()]


class Network:
    """`count` namespaces, numbered from 1, with the addresses 10.99.0.1, 10.99.0.2, … and a bridge between them."""

    def __init__(self, count: int) -> None:
        self.prefix = f"raftchaos-{os.getpid()}"
        self.bridge = f"{self.prefix}-bridge"
        self.numbers = range(1, count + 1)
        self._made: list[str] = []
        try:
            self._make(self.bridge)
            run("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", self.bridge, "link", "set", "br0", "up")
            for number in self.numbers:
                self._join(number)
        except BaseException:
            self.close()
            raise

    def _make(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._made.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def _join(self, number: int) -> None:
        name, port = self.namespace(number), f"port{number}"
        self._make(name)
        run("ip", "-n", self.bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "-n", self.bridge, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")

    def namespace(self, number: int) -> str:
        """The name of a machine's namespace."""
        return f"{self.prefix}-{number}"

    @staticmethod
    def address(number: int) -> str:
        """Its address."""
        return f"{SUBNET}{number}"

    # ---- partitions

    def block(self, receiver: int, senders: Iterable[int]) -> None:
        """The machine hears nothing of these any more: their packets are dropped as they arrive."""
        addresses = ", ".join(self.address(sender) for sender in sorted(senders))
        self._nft(
            receiver,
            f"table inet {BLOCKADE} {{\n"
            f"  chain arriving {{ type filter hook input priority 0; ip saddr {{ {addresses} }} drop; }}\n}}\n",
        )

    def unblock(self, receiver: int) -> None:
        """It hears everybody again."""
        self._nft(receiver, f"table inet {BLOCKADE}\ndelete table inet {BLOCKADE}\n")

    def _nft(self, number: int, rules: str) -> None:
        run("ip", "netns", "exec", self.namespace(number), "nft", "-f", "-", text=rules)

    # ---- what is left

    def left_behind(self, number: int) -> list[str]:
        """nftables rules and queueing disciplines of a machine beyond those that it was made with."""
        rules = run("ip", "netns", "exec", self.namespace(number), "nft", "list", "ruleset").strip()
        disciplines = run("tc", "-n", self.namespace(number), "qdisc", "show").splitlines()
        return [*([rules] if rules else []), *(line for line in disciplines if " noqueue " not in f"{line} ")]

    def close(self) -> None:
        """End every process in the namespaces, and remove them."""
        for name in reversed(self._made):
            with contextlib.suppress(AssertionError):
                for process in _processes(pids_in(name)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                        process.wait(5)
            with contextlib.suppress(AssertionError):
                run("ip", "netns", "delete", name)
        self._made = []


def _processes(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)
