"""A fault that raises what it may not: a defect in it, which must not end the peer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from raftchaos.errors import MachineUnusable, RaftchaosError

if TYPE_CHECKING:
    from raftchaos.faults.base import Fault

log = logging.getLogger(__name__)


@contextlib.contextmanager
def told_as(wanted: type[RaftchaosError], fault: str) -> Iterator[None]:
    """Raises `wanted` for any exception of the body that is none of ours, and logs where it came from."""
    try:
        yield
    except RaftchaosError:
        raise
    except Exception as error:
        log.exception("defect in the fault %s", fault)
        said = f"{type(error).__name__}: {error}"
        raise wanted(f"defect in the fault {fault}: {said}", hint="the log of the node has the traceback") from error


def usable(names: Iterable[str], make: Callable[[str], Fault]) -> tuple[dict[str, Fault], dict[str, str]]:
    """The faults that this machine can do, and of the others why not. One that cannot be made, or cannot even say
    whether it can be done, cannot be done."""
    faults: dict[str, Fault] = {}
    unable: dict[str, str] = {}
    for name in sorted(names):
        try:
            with told_as(MachineUnusable, name):
                fault = make(name)
                problem = fault.why_not()
        except RaftchaosError as error:
            problem = str(error)
        if problem:
            unable[name] = problem
        else:
            faults[name] = fault
    return faults, unable
