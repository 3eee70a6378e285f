"""What a task ends as, and what it says about the service."""

from __future__ import annotations

from typing import Final, NamedTuple

from raftchaos.core.progress import FAILING, Progress, SlotState, may_have_happened
from raftchaos.model.runs import Run, RunStatus
from raftchaos.model.tasks import TaskStatus, Verdict

_GOOD: Final = (RunStatus.SUCCEEDED, RunStatus.DONE)
MAYBE: Final = " (it may have happened, and is not repeated)"


class Conclusion(NamedTuple):
    """The end of a task."""

    status: TaskStatus
    verdict: Verdict
    reason: str


def conclude(progress: Progress) -> Conclusion:
    """The end of a task whose runs have all ended."""
    task = progress.task
    unrecovered = [run for run in progress.runs if run.status is RunStatus.RECOVERY_FAILED]
    if unrecovered:
        return Conclusion(TaskStatus.RECOVERY_FAILED, Verdict.FAILED, not_recovered(unrecovered[0]))
    if task.final is not None:
        failed = task.final in (TaskStatus.FAILED, TaskStatus.ABORTED)
        return Conclusion(task.final, Verdict.FAILED if failed else Verdict.INCONCLUSIVE, task.reason)
    failure = first_failure(progress)
    if failure:
        return Conclusion(TaskStatus.FAILED, Verdict.FAILED, failure)
    if not task.targets:
        return Conclusion(TaskStatus.COMPLETED, Verdict.INCONCLUSIVE, "no node matched")
    missing = without_evidence(progress)
    if missing:
        return Conclusion(TaskStatus.COMPLETED, Verdict.INCONCLUSIVE, missing)
    return Conclusion(TaskStatus.COMPLETED, Verdict.PASSED, "")


def first_failure(progress: Progress) -> str:
    """The first step that failed and may not, as text; empty if there is none."""
    for index, step in enumerate(progress.task.orchestration.steps):
        if step.continue_on_failure:
            continue
        for slot, state in progress.states(index).items():
            if state in FAILING:
                return step_failure(progress, index, slot, state)
    return ""


def step_failure(progress: Progress, step: int, slot: str, state: SlotState) -> str:
    """Says which run failed its step, and why."""
    name = progress.task.orchestration.steps[step].name
    last = progress.attempts(step, slot)[-1]
    where = f" on {last.node}" if last.node != "*" else ""
    what = "failed" if state is SlotState.FAILED else "was lost" if last.status is RunStatus.INTERRUPTED else "not run"
    maybe = may_have_happened(progress.task.orchestration.steps[step], last)
    return f"the step {name!r} {what}{where}: {last.reason or last.status}{MAYBE if maybe else ''}"


def not_recovered(run: Run) -> str:
    """Says which fault could not be taken back."""
    return f"the fault of {run.id} on {run.node} could not be taken back: {run.reason or 'no reason told'}"


def touched(runs: list[Run], fault: int) -> int:
    """How often a fault of a step did something, over the runs of the step."""
    return sum(run.effects[fault].get("touched", 0) for run in runs if fault < len(run.effects))


def without_evidence(progress: Progress) -> str:
    """The first fault that touched nothing, as text; empty if each did something. No evidence is not success."""
    for index, step in enumerate(progress.task.orchestration.steps):
        runs = [run for run in progress.runs if run.id.step == index and run.status is not RunStatus.SKIPPED]
        if not runs:
            return f"no evidence: the step {step.name!r} ran nowhere"
        for place, fault in enumerate(step.faults):
            if touched(runs, place) <= 0:
                why = next((run.reason for run in runs if run.status in _GOOD and run.reason), "")
                return f"no evidence: {fault.type} of the step {step.name!r} touched nothing{f': {why}' if why else ''}"
    return ""
