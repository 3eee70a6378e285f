"""`apply`: the only way in which the replicated state changes.

It reads no clock, draws no chance, and calls no library whose answers differ between releases; it iterates in sorted
order only. A bad command is answered, never raised: an exception here would kill every replica in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from raftchaos.core import answers, apply_access, apply_halt, apply_nodes, apply_runs, apply_tasks, commands, shape
from raftchaos.core.answers import Answer
from raftchaos.core.commands import Command
from raftchaos.core.draft import Context, Draft
from raftchaos.core.state import ClusterState
from raftchaos.model.events import Event

__all__ = ["Applied", "Context", "apply"]

Handler = Callable[[Draft, Any], Answer]

HANDLERS: dict[type[Command], Handler] = {
    commands.LeaderStarted: apply_nodes.leader_started,
    commands.AdmitNode: apply_nodes.admit_node,
    commands.RegisterNode: apply_nodes.register_node,
    commands.UpdateProxies: apply_nodes.update_proxies,
    commands.NodeFailed: apply_nodes.node_failed,
    commands.NodeActive: apply_nodes.node_active,
    commands.NodeDegraded: apply_nodes.node_degraded,
    commands.DrainNode: apply_nodes.drain_node,
    commands.RemoveNode: apply_nodes.remove_node,
    commands.SubmitTask: apply_tasks.submit_task,
    commands.CancelTask: apply_tasks.cancel_task,
    commands.PauseTask: apply_tasks.pause_task,
    commands.ResumeTask: apply_tasks.resume_task,
    commands.WindDownTask: apply_tasks.wind_down_task,
    commands.FinishTask: apply_tasks.finish_task,
    commands.PlanRuns: apply_runs.plan_runs,
    commands.SkipRun: apply_runs.skip_run,
    commands.StartRun: apply_runs.start_run,
    commands.RunActive: apply_runs.run_active,
    commands.RunFinished: apply_runs.run_finished,
    commands.Halt: apply_halt.halt,
    commands.Resume: apply_halt.resume,
    commands.CreateToken: apply_access.create_token,
    commands.CreateJoinToken: apply_access.create_join_token,
    commands.RevokeToken: apply_access.revoke_token,
    commands.SpendJoinToken: apply_access.spend_join_token,
    commands.TrustAuthority: apply_access.trust_authority,
    commands.SignWith: apply_access.sign_with,
    commands.DropAuthority: apply_access.drop_authority,
    commands.ReportIdentity: apply_access.report_identity,
}
"""What each command does."""


class Applied(NamedTuple):
    """What became of a command."""

    state: ClusterState
    result: Answer
    events: tuple[Event, ...]


def apply(state: ClusterState, command: Command, context: Context) -> Applied:
    """The state after a command, the answer to its proposer, and the events that tell of it.

    A command that is refused changes nothing, but for a note about a run that was asked for.
    """
    wrong = shape.problem(command)
    if wrong:
        return Applied(state, answers.refuse(answers.USAGE, wrong), ())
    term = getattr(command, "term", None)
    if term is not None and term < max(state.term, context.term):
        newest = max(state.term, context.term)
        return Applied(
            state, answers.refuse(answers.STALE_TERM, f"the command is of term {term}, the present one is {newest}"), ()
        )
    draft = Draft(state, context)
    # A halt was obeyed when it was asked for; that is also logged when its caller's token has ended meanwhile.
    refused = apply_access.refuse_caller(draft) if not isinstance(command, commands.Halt) else None
    if refused is not None:
        return Applied(state, refused, ())
    result = HANDLERS[type(command)](draft, command)
    return Applied(draft.freeze(), result, tuple(draft.events))
