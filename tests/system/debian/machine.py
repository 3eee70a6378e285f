"""A virtual machine with Debian's kernel, systemd as its first process, and this machine's files.

It is emulated, so that it runs wherever qemu does, and its clock counts what it has executed: a busy host makes it
late, but never slow in its own eyes. It believes to have one processor of some 200 to 1000 million instructions a
second; where it waits, its time is ours.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

from tests.system.debian.kernel import SHARER, SYSTEMD, Kernel
from tests.system.guests import PROJECT, Guest

_MEGABYTES: Final = 1536
_SHARED_WITHIN: Final = 20.0
_SHARING: Final = ("-o", "sandbox=chroot", "-o", "source=/", "-o", "cache=always", "-o", "no_readdirplus")
"""It holds a descriptor for each file that was ever looked at: so none for those that are merely listed."""
_INIT: Final = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs run /run; mkdir -p /run/tmp /run/systemd/system /dev/pts /dev/shm /lib/modules/{version}
mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs units /etc/systemd/system
mount --bind {modules} /lib/modules/{version}
ip link set lo up
modprobe -a loop ext4 veth nf_tables sch_htb sch_netem
cat > /run/systemd/system/checks.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=exec
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=HOME=/root TMPDIR=/run/tmp PYTHONPATH={project} PYTHONUNBUFFERED=1
WorkingDirectory={project}
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
ExecStartPre=/bin/stty -F /dev/ttyS1 raw -echo
ExecStart={command}
UNIT
cat > /run/systemd/system/checks.target <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=checks.service
AllowIsolate=yes
UNIT
exec {systemd} --unit=checks.target
"""
"""No unit of this machine is started: `/etc/systemd/system` is empty, and the target wants the checks alone."""


class DebianMachine(Guest):
    """Runs one module of Python as a service of systemd's; its output is what the guest says."""

    def __init__(self, folder: Path, kernel: Kernel, module: str, *words: str) -> None:
        """Runs `python -m module words…` in the project's folder."""
        super().__init__(folder)
        self.kernel = kernel
        self._run = [sys.executable, "-m", module, *words]
        self._sharer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except BaseException:
            self.cut()
            raise

    def command(self) -> list[str]:
        init = self.folder / "init"
        init.write_text(
            _INIT.format(
                version=self.kernel.version,
                modules=shlex.quote(str(self.kernel.modules)),
                project=PROJECT,
                command=" ".join(f'"{word}"' for word in self._run),
                systemd=SYSTEMD,
            )
        )
        init.chmod(0o755)
        socket = self._share()
        return [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-M", "q35", "-accel", "tcg,tb-size=512", "-icount", "shift=0", "-cpu", "max", "-m", str(_MEGABYTES),
            "-object", f"memory-backend-memfd,id=memory,size={_MEGABYTES}M,share=on", "-numa", "node,memdev=memory",
            "-chardev", f"socket,id=host,path={socket}", "-device", "vhost-user-fs-pci,chardev=host,tag=host",
            "-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initrd),
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off checks={init}",
            "-serial", f"file:{self.folder / 'console'}", "-serial", "stdio",
        ]  # fmt: skip

    def cut(self) -> None:
        super().cut()
        if self._sharer is not None:
            self._sharer.kill()
            self._sharer.wait(10)
            self._sharer = None

    def __str__(self) -> str:
        console = self.folder / "console"
        return super().__str__() + (console.read_text(errors="replace")[-3000:] if console.exists() else "")

    def _share(self) -> Path:
        """Start what gives the guest this machine's files; its socket."""
        socket = self.folder / "host.sock"
        with (self.folder / "sharer.log").open("wb") as log:
            self._sharer = subprocess.Popen(
                [SHARER, f"--socket-path={socket}", *_SHARING],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _SHARED_WITHIN
        while not socket.exists():
            if self._sharer.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no files are shared: {(self.folder / 'sharer.log').read_text()}")
            time.sleep(0.02)
        return socket
