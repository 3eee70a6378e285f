"""`raftchaos task`: the experiments that the cluster has accepted."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from raftchaos import limits
from raftchaos.cli.options import ask, client_options

if TYPE_CHECKING:
    from raftchaos.client import Client

TASK = click.argument("task", metavar="TASK")


@click.group("task")
def command() -> None:
    """List, show, watch, cancel, pause and resume tasks."""


@command.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, limits.PAGE),
    default=limits.PAGE_DEFAULT,
    show_default=True,
    help="At most so many.",
)
@click.option("--after", metavar="TASK", default="", help="Go on after this task of the list before.")
@client_options
def list_(limit: int, after: str, peers: str, output: str) -> None:
    """List the tasks: unfinished ones first, then the newest.

    \b
    Example:
      raftchaos task list --limit 10
    """
    from raftchaos.cli.output import ago, plain, show, table, word

    page = ask(peers, lambda client: client.tasks(limit=limit, after=after))
    rows = table(
        "task",
        "mode",
        "status",
        "verdict",
        "step",
        "targets",
        "submitted",
        right=["step"],
        firm=["task", "status", "submitted"],
    )
    now = time.time() * 1000
    for task in page["tasks"]:
        rows.add_row(
            plain(task["id"]),
            plain(task["mode"]),
            word(task["status"]),
            word(task["verdict"]),
            f"{task['currentStep']}/{task['stepCount']}" if task["stepCount"] else "-",
            plain(", ".join(task["targets"])),
            f"{ago(task['submittedMs'], now)} ago",
        )
    more = [f"more: raftchaos task list --after {plain(page['next'])}"] if page.get("next") else []
    show(output, page, rows, *more)


@command.command("show")
@TASK
@client_options
def show_(task: str, peers: str, output: str) -> None:
    """Show the task TASK with its steps, its runs and what they did.

    \b
    Example:
      raftchaos task show checkout-resilience-1a2b3c4d
    """
    from raftchaos.cli.output import show
    from raftchaos.cli.task_view import task_parts

    view = ask(peers, lambda client: client.task(task))
    show(output, view, *task_parts(view))


@command.command("watch")
@TASK
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait at most so long.")
@client_options
def watch(task: str, timeout: float | None, peers: str, output: str) -> int:
    """Follow the task TASK until it has ended; the exit code says how it ended.

    With `-o json` each event is written as a line of JSON, as it comes; the last line has the task as it ended.

    \b
    Example:
      raftchaos task watch checkout-resilience-1a2b3c4d
    """
    from raftchaos.cli.output import show
    from raftchaos.cli.task_view import task_exit_code, task_parts
    from raftchaos.cli.waiting import wait_for

    if output == "json":
        return task_exit_code(ask(peers, lambda client: _events(client, task, timeout)))
    view = ask(peers, lambda client: wait_for(client, task, timeout))
    show(output, view, *task_parts(view))
    return task_exit_code(view)


async def _events(client: Client, task: str, timeout: float | None) -> dict[str, Any]:
    """Writes the events of the task as they come; returns the task once it has ended."""
    import asyncio
    from contextlib import aclosing

    from raftchaos.cli.output import emit
    from raftchaos.cli.waiting import waited_too_long

    try:
        async with asyncio.timeout(timeout), aclosing(client.watch(task)) as events:
            async for event in events:
                emit(json.dumps(event, ensure_ascii=False))
    except TimeoutError:
        raise waited_too_long(task, timeout) from None
    view = await client.task(task)
    emit(json.dumps({"type": "task", "task": view}, ensure_ascii=False))
    return view


@command.command("cancel")
@TASK
@click.option("--reason", default="", help="Why; it is kept with the task.")
@client_options
def cancel(task: str, reason: str, peers: str, output: str) -> None:
    """Take the faults of the task TASK back and end it.

    \b
    Example:
      raftchaos task cancel checkout-resilience-1a2b3c4d --reason "wrong service"
    """
    _change(peers, output, lambda client: client.cancel(task, reason=reason))


@command.command("pause")
@TASK
@client_options
def pause(task: str, peers: str, output: str) -> None:
    """Take the faults of the task TASK back and keep it for later.

    \b
    Example:
      raftchaos task pause checkout-resilience-1a2b3c4d
    """
    _change(peers, output, lambda client: client.pause(task))


@command.command("resume")
@TASK
@client_options
def resume(task: str, peers: str, output: str) -> None:
    """Take the paused task TASK up again.

    Its steps go on for the time that is left of them.

    \b
    Example:
      raftchaos task resume checkout-resilience-1a2b3c4d
    """
    _change(peers, output, lambda client: client.resume_task(task))


def _change(peers: str, output: str, question: Any) -> None:
    from raftchaos.cli.output import show
    from raftchaos.cli.task_view import task_parts

    view = ask(peers, question)
    show(output, view, *task_parts(view))
