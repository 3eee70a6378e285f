"""What is done to the world: one file a fault, `inject` and `recover` for one target, and the undo journal.

The reaper imports this package and must stay tiny, so nothing heavy is imported here: a fault's module is loaded when
it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftchaos.core.interfaces import ProxyControl
    from raftchaos.faults.base import Fault

FAULT_MODULES: Final = {
    "http_error": "raftchaos.faults.http_error",
    "latency": "raftchaos.faults.latency",
    "reset_peer": "raftchaos.faults.reset_peer",
}
"""Where each fault type of this release is done. Each module has `make(proxy_control) -> Fault`."""


def build_faults(proxy: ProxyControl) -> dict[str, Fault]:
    """Every fault of this release by its type, ready to be used."""
    return {name: importlib.import_module(module).make(proxy) for name, module in sorted(FAULT_MODULES.items())}
