"""`raftchaos demo`: all of it on this machine, in under a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from raftchaos.cli.options import output_option

if TYPE_CHECKING:
    from raftchaos.demo.demonstration import Demonstration
    from raftchaos.demo.outcome import Outcome


@click.command("demo")
@click.option("--rate", type=click.FloatRange(1, 500), default=60.0, show_default=True, help="Checkouts a second.")
@click.option(
    "--step-seconds", type=click.FloatRange(4, 60), default=5.0, show_default=True, help="How long each step lasts."
)
@output_option
def command(rate: float, step_seconds: float, output: str) -> int:
    """Three peers, a small shop, an experiment of three steps, and the leader killed in the middle of it.

    Everything runs on this machine on loopback, in a temporary folder, and is ended again. Exit 0 means that all
    steps took place, their faults touched requests, the experiment survived its leader, and no fault was left behind.

    \b
    Example:
      raftchaos demo
      raftchaos demo -o json
    """
    from raftchaos.cli.demo_screen import demo_screen
    from raftchaos.cli.demo_view import outcome_parts
    from raftchaos.cli.output import show
    from raftchaos.demo.demonstration import Demonstration

    with demo_screen() as screen:
        outcome = _played(Demonstration(screen, rate=rate, step_seconds=step_seconds))
    show(output, outcome.to_dict(), *outcome_parts(outcome))
    return outcome.exit_code


def _played(demonstration: Demonstration) -> Outcome:
    """Runs the demonstration; whatever ends it, none of its processes stays."""
    import asyncio
    import signal

    from raftchaos.launch import kill_marked

    async def play() -> Outcome:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        return await demonstration.run()

    try:
        return asyncio.run(play())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        if demonstration.family:
            kill_marked(demonstration.family)
