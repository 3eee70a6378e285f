"""`raftchaos run`: hands the orchestrations of files to the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftchaos.cli.files import FILES, read_documents
from raftchaos.cli.options import ask, client_options
from raftchaos.errors import OutcomeUnknown, RaftchaosError, UsageError

if TYPE_CHECKING:
    from raftchaos.client import Client
    from raftchaos.model.loading import Document

Json = dict[str, Any]
SEVERITY = (0, 4, 1, 6)  # of exit codes: with several tasks the worst counts


@click.command("run")
@FILES
@click.option("--wait", is_flag=True, help="Follow the tasks until they have ended; the exit code says how.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait at most so long for each task.")
@click.option("--dry-run", is_flag=True, help="Only show which nodes and runs would be touched.")
@client_options
def command(files: tuple[Path, ...], wait: bool, timeout: float | None, dry_run: bool, peers: str, output: str) -> int:
    """Check FILES and submit every orchestration in them.

    \b
    Examples:
      raftchaos run experiment.yaml --dry-run
      raftchaos run experiment.yaml scenarios.yaml --wait --timeout 600
    """
    from raftchaos.cli.dry_run import preview_parts
    from raftchaos.cli.output import show
    from raftchaos.cli.task_view import task_exit_code, task_parts

    documents = read_documents(files)
    chosen = [document for document in documents if document.kind == "ChaosOrchestration"]
    if not chosen:
        raise UsageError("found no ChaosOrchestration in the files, so there is nothing to run")
    if dry_run:
        previews = ask(peers, lambda client: _preview(client, chosen, documents))
        show(output, {"previews": previews}, *(part for one in previews for part in preview_parts(one)))
        return 0 if all(one.get("accepted", True) for one in previews) else 5
    views = ask(peers, lambda client: _run(client, chosen, documents, wait=wait, timeout=timeout))
    if wait:
        show(output, {"tasks": views}, *(part for view in views for part in task_parts(view)))
        return max((task_exit_code(view) for view in views), key=SEVERITY.index)
    show(output, {"tasks": views}, *(f"submitted {view['id']}" for view in views))
    return 0


async def _run(
    client: Client, chosen: Sequence[Document], documents: Sequence[Document], *, wait: bool, timeout: float | None
) -> list[Json]:
    """Submits all, then waits for one after the other; returns the tasks."""
    from raftchaos.cli.waiting import wait_for

    views: list[Json] = []
    for orchestration in chosen:
        try:
            views.append(await _submit(client, orchestration, documents))
        except RaftchaosError as error:
            if views:  # those before it run
                error.message += f" (submitted before it: {', '.join(view['id'] for view in views)})"
            raise
    if not wait:
        return views
    tasks = [view["id"] for view in views]
    return [await wait_for(client, task, timeout, tasks[place + 1 :]) for place, task in enumerate(tasks)]


async def _submit(client: Client, orchestration: Document, documents: Sequence[Document]) -> Json:
    """Submits one. The id is ours, so that nobody is left wondering when the answer is lost."""
    from raftchaos.client import new_task_id

    task = new_task_id(orchestration.data)
    try:
        return await client.submit(orchestration.data, scenarios=_scenarios(orchestration, documents), task_id=task)
    except OutcomeUnknown as error:
        raise OutcomeUnknown(
            error.message, hint=f"`raftchaos task show {task}` tells whether it was accepted", details={"task": task}
        ) from error


async def _preview(client: Client, chosen: Sequence[Document], documents: Sequence[Document]) -> list[Json]:
    return [await client.preview(one.data, scenarios=_scenarios(one, documents)) for one in chosen]


def _scenarios(orchestration: Document, documents: Sequence[Document]) -> list[dict[str, Any]]:
    from raftchaos.model.checking import scenarios_used

    return [dict(scenario.data) for scenario in scenarios_used(orchestration, documents)]
