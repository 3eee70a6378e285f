"""Faults of installed Python packages, found by the entry-point group `raftchaos.faults`.

An entry point names a module with `FAULT` (its `FaultType`), `make(host)` (its `Fault`) and, unless it is one-shot,
`undo(step)`, which carries out its undo steps: steps whose `do` is `plugin:<type>`. The reaper imports this to find
`undo`; that module must then import little.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from raftchaos.faults import FAULT_MODULES
from raftchaos.faults.undo_plan import StepFailed

if TYPE_CHECKING:
    from raftchaos.model.faults.base import FaultType

GROUP: Final = "raftchaos.faults"
log = logging.getLogger(__name__)


def load() -> dict[str, str]:
    """Make the faults of installed packages known like those of this release. Returns why some are not, by the name of
    their entry point. Safe to repeat."""
    from raftchaos.model.faults import FAULTS

    refused: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP)):
        try:
            entry = _entry(point)
        except Exception as error:  # noqa: BLE001 - code of others: whatever is wrong with it, the rest goes on
            refused[point.name] = f"{type(error).__name__}: {error}"
            log.warning("the plug-in %s of %s is not used: %s", point.name, point.value, refused[point.name])
        else:
            FAULTS[entry.type], FAULT_MODULES[entry.type] = entry, point.value
    known = sorted(FAULTS.items())
    FAULTS.clear()
    FAULTS.update(known)
    return refused


def undo_of(fault: str) -> Callable[[dict[str, Any]], dict[str, int]]:
    """What carries out the undo steps of a plug-in's fault. Raises `StepFailed` if its package is gone."""
    for point in entry_points(group=GROUP, name=fault):
        action: Callable[[dict[str, Any]], dict[str, int]] = importlib.import_module(point.value).undo
        return action
    raise StepFailed(f"no installed package has the fault {fault} any more, which is to be taken back")


def _entry(point: EntryPoint) -> FaultType:
    from raftchaos.faults.needs import NEEDS
    from raftchaos.model.faults.base import FaultType

    module = importlib.import_module(point.value)
    entry = module.FAULT
    if not isinstance(entry, FaultType) or entry.type != point.name:
        raise TypeError(f"found {entry!r} as its FAULT, expected a FaultType of the type {point.name}")
    if FAULT_MODULES.get(entry.type, point.value) != point.value:
        raise ValueError(f"the type {entry.type} is taken by {FAULT_MODULES[entry.type]}")
    strange = sorted(set(entry.needs) - set(NEEDS))
    if strange:
        raise ValueError(f"found the needs {', '.join(strange)}, expected some of {', '.join(NEEDS)}")
    expected = ("make", "undo") if entry.kind == "continuous" else ("make",)
    lacking = [name for name in expected if not hasattr(module, name)]
    if lacking:
        raise TypeError(f"its module lacks {' and '.join(lacking)}")
    return entry
