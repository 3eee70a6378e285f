"""A machine of the cluster: a namespace, a small data disk, a wall clock, and the peer that runs on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil

from raftchaos.identity.local import forget_socket
from tests.system.torture.network import Network, pids_in, run

API_PORT, RAFT_PORT = 7480, 7481
PROXIES = {"queue": 8001, "web": 8002}
"""The proxies of every node and their ports: sequential tasks touch `queue`, all others `web`."""
UPSTREAM_PORT = 9000
DISK_MEBIBYTES = 96
LOG_HEAD = struct.Struct("<II")  # of a record of the Raft log: length and checksum of its body, before
RECORD_HEAD = 12
FILE_HEAD = 28


def build_wall_clock(folder: Path) -> Path:
    """The library that sets the wall clock of a process off."""
    library = folder / "wallclock.so"
    run("cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("wallclock.c")), "-ldl")
    return library


class Machine:
    """One of the machines; it is numbered from 1 and its peer is called `node-NUMBER`."""

    def __init__(self, number: int, network: Network, root: Path, wall_clock: Path) -> None:
        self.number, self.network = number, network
        self.name, self.address = f"node-{number}", network.address(number)
        self.namespace = network.namespace(number)
        self.log = root / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._home = root / self.name
        self._disk = self._home / "disk"
        self._library = wall_clock
        self._offset = self._home / "offset"
        self._config = self._home / "config.yaml"
        self._disk.mkdir(parents=True)
        self.set_clock(0)
        proxies = [
            {"name": name, "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{UPSTREAM_PORT}"}
            for name, port in PROXIES.items()
        ]
        self._config.write_text(json.dumps({"proxies": proxies}))
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m", "raftchaos-torture", str(self._disk))

    @property
    def data(self) -> Path:
        """The data directory of its peer."""
        return self._disk / "data"

    # ---- its peer

    def start(self, join: str | None = None) -> None:
        """Start the peer. Its output is added to `log`. It is insecure, as its clock is set to times at which no
        certificate is valid: `tests/system/security` is about those."""
        words = [
            "ip", "netns", "exec", self.namespace,
            sys.executable, "-m", "raftchaos.cli.main", "peer", "--name", self.name, "--insecure",
            "--listen", f"{self.address}:{API_PORT}", "--raft-listen", f"{self.address}:{RAFT_PORT}",
            "--data-dir", str(self.data), "--config", str(self._config),
        ]  # fmt: skip
        if join is not None:
            words += ["--join", f"{join}:{API_PORT}"]
        clock = {"LD_PRELOAD": str(self._library), "WALL_CLOCK_OFFSET": str(self._offset)}
        with self.log.open("ab") as log:
            log.write(b"---- started\n")
            log.flush()
            self.process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **clock},
            )

    @property
    def running(self) -> bool:
        """Whether the main process of its peer is there, frozen or not."""
        return self.process is not None and self.process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """All processes of the machine that are no zombies."""
        found = []
        for pid in pids_in(self.namespace):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def kill(self) -> None:
        """SIGKILL of main; proxy and reaper live."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def kill_all(self) -> None:
        """SIGKILL of everything, as when the machine loses its power, but for the disk."""
        self.kill()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(5)

    def stop(self) -> int:
        """A graceful end of the peer; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)

    def freeze(self) -> None:
        """SIGSTOP of main."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT of main and all others."""
        self._signal(signal.SIGCONT)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def freeze_all(self) -> None:
        """SIGSTOP of every process."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def _signal(self, number: int) -> None:
        if self.running:
            assert self.process is not None
            self.process.send_signal(number)

    # ---- its disk and clock

    def fill_disk(self) -> None:
        """Until not one byte more fits."""
        with contextlib.suppress(OSError), (self._disk / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65_536))

    def free_disk(self) -> None:
        """Room again."""
        (self._disk / "filling").unlink(missing_ok=True)

    def tear_log(self, part: float) -> str:
        """Leave a part (0 to 1) of a record at the end of the Raft log, as a write that was cut off does.

        Whole records stay: they may have been promised to others, and SIGKILL does not take them either. Returns what
        was done.
        """
        path = self.data / "raft" / "log"
        data = path.read_bytes()
        at = last = FILE_HEAD
        while at + RECORD_HEAD <= len(data):
            size = RECORD_HEAD + LOG_HEAD.unpack_from(data, at)[0]
            if at + size > len(data):
                break
            at, last = at + size, at
        record = data[last:at]
        torn = record[: max(1, min(len(record) - 1, int(len(record) * part)))]
        with path.open("r+b") as file:
            file.truncate(at)
            file.seek(at)
            file.write(torn)
        return f"{len(torn)} of {len(record)} bytes of a record"

    def set_clock(self, offset: int) -> None:
        """The wall clock is off by so many seconds from now on."""
        with open(self._offset, "r+b" if self._offset.exists() else "w+b") as file:
            file.write(struct.pack("<q", offset))

    # ---- looking

    def output(self) -> str:
        """Everything that all starts of its peer have said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def close(self) -> None:
        """End everything on it and let go of its disk."""
        self.thaw()
        self.kill_all()
        forget_socket(f"{self.address}:{API_PORT}")
        for _ in range(50):
            if subprocess.run(["umount", str(self._disk)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)  # the kernel lets go of a killed process's files a moment later
        else:
            subprocess.run(["umount", "--lazy", str(self._disk)], capture_output=True)
        shutil.rmtree(self._home, ignore_errors=True)
