"""What faults need of a machine: a name for each, what it means, how to get it, and a probe that finds out.

A probe returns "" or says in words what is missing. It tries the thing itself where that changes nothing, since a
package that is installed says nothing about the kernel or the permissions. Answers are kept as long as the process
lives.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROBE_TIMEOUT: Final = 5.0
_CAPABILITIES: Final = {"CAP_KILL": 5, "CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""Numbers of linux/capability.h."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a machine has or lacks."""

    name: str
    meaning: str
    how: str
    """What an operator does to get it."""
    probe: Callable[[], str]
    """"" if this machine has it, else what was found."""


def why_not(names: Sequence[str]) -> str:
    """What this machine lacks of the named needs, with what to do about each; "" if nothing. KeyError for a name that
    is not in `NEEDS`."""
    lacking = [(NEEDS[name], problem) for name in names if (problem := lacks(name))]
    return "; ".join(f"{problem} ({need.how})" for need, problem in lacking)


@functools.cache
def lacks(name: str) -> str:
    """What this machine lacks of one need, in words; "" if it has it."""
    return NEEDS[name].probe()


def has_capability(name: str) -> bool:
    """Whether this process has a capability of `capabilities(7)` now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAPABILITIES[name] & 1)
    return False


def tried(*command: str) -> str:
    """ "" if a command ends with exit code 0, else the last line that it said."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT, check=False
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not run: {error}"
    said = (done.stderr.strip() or done.stdout.strip() or f"it ended with exit code {done.returncode}").splitlines()
    return "" if done.returncode == 0 else f"{' '.join(command)}: {said[-1]}"


def _nothing() -> str:
    return ""


def _capability(name: str) -> Callable[[], str]:
    return lambda: "" if has_capability(name) else f"the peer lacks the capability {name}"


def _program(*names: str) -> Callable[[], str]:
    """One of these programs is installed."""
    return lambda: "" if any(shutil.which(name) for name in names) else f"{' or '.join(names)} is not installed"


def _nftables() -> str:
    if not has_capability("CAP_NET_ADMIN"):  # said by another need: here it would only say the same again
        return _program("nft")()
    return tried("nft", "--check", "add", "table", "inet", "raftchaos")


def _in_own_network(*command: str) -> str:
    """Try a command in a network namespace of its own, so that nothing of the host's is touched. Without the
    permissions for that nobody knows, and the injection will tell."""
    if not (has_capability("CAP_SYS_ADMIN") and has_capability("CAP_NET_ADMIN")):
        return _program(command[0])()
    return tried("unshare", "--net", *command)


def _netem() -> str:
    missing = _traffic_control()
    if missing:
        return missing
    failed = _in_own_network("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    return "this kernel cannot delay packets; use the proxy" if failed else ""


def _traffic_control() -> str:
    return _in_own_network("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "32k", "latency", "1s")  # fmt: skip # noqa: E501


def _cgroup2() -> str:
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "cgroup v2 is not mounted at /sys/fs/cgroup"
    return "" if os.access("/sys/fs/cgroup/cgroup.procs", os.W_OK) else "the peer may not write to /sys/fs/cgroup"


def _io_controller() -> str:
    missing = _cgroup2()
    if missing:
        return missing
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    return "" if "io" in controllers else "the io controller of cgroup v2 is not there"


def _systemd() -> str:
    if not Path("/run/systemd/system").is_dir():
        return "systemd does not run this machine"
    return _program("systemctl")()


def faketime_library() -> str:
    """The path of libfaketime; "" if it is not installed."""
    for place in ("/usr/lib", "/usr/lib64", "/usr/local/lib"):
        for found in sorted(Path(place).glob("**/faketime/libfaketime.so.1")):
            return str(found)
    return ""


def _faketime() -> str:
    return "" if faketime_library() else "libfaketime is not installed"


_ROOT: Final = "start the peer as root, or give it the capability, e.g. AmbientCapabilities= of its systemd unit"

NEEDS: Final[dict[str, Need]] = {
    need.name: need
    for need in (
        Need("proxy", "a proxy of the node that relays the traffic", "add one with `raftchaos proxy add`", _nothing),
        Need("plugins", "a folder of plug-ins that the peer allows", "start the peer with --plugins DIR", _nothing),
        Need("netAdmin", "the permission to change the network (CAP_NET_ADMIN)", _ROOT, _capability("CAP_NET_ADMIN")),
        Need("sysAdmin", "the permission to enter namespaces (CAP_SYS_ADMIN)", _ROOT, _capability("CAP_SYS_ADMIN")),
        Need("kill", "the permission to signal processes of other users (CAP_KILL)", _ROOT, _capability("CAP_KILL")),
        Need("nftables", "nftables in the kernel, and its tool", "install the package nftables", _nftables),
        Need("trafficControl", "tbf in the kernel, and tc", "install the package iproute2", _traffic_control),
        Need(
            "netem",
            "netem in the kernel, and tc",
            "or load sch_netem, e.g. from linux-modules-extra",
            _netem,
        ),
        Need(
            "cgroup2",
            "cgroup v2 with the permission to make groups",
            "boot with systemd.unified_cgroup_hierarchy=1, and start the peer as root",
            _cgroup2,
        ),
        Need("ioController", "the io controller of cgroup v2", "enable it in the root's subtree", _io_controller),
        Need("systemd", "systemd as the first process", "use a command in place of a unit", _systemd),
        Need("faketime", "libfaketime", "install the package libfaketime", _faketime),
    )
}
"""Every need by its name. The faults of `model.faults` name them."""
