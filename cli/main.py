"""The entry point of `raftchaos`: the group of commands, and the one place where errors become words and exit codes.

Commands are loaded when they are used, so that `raftchaos --help` imports nothing but click.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from raftchaos._version import VERSION
from raftchaos.errors import RaftchaosError, UsageError

INTERRUPTED = 130  # as a shell tells it: 128 + SIGINT
OUTPUT_CLOSED = 141  # 128 + SIGPIPE: the reader of our output has gone

COMMANDS: dict[str, str] = {
    "peer": "Run a peer of the cluster on this machine.",
    "status": "Show the leader, the quorum, the nodes and what is halted.",
    "node": "List, show, drain and remove nodes.",
    "task": "List, show, watch, cancel, pause and resume tasks.",
    "run": "Submit the orchestrations of files to the cluster.",
    "validate": "Check files without a cluster.",
    "template": "Print an example document to start from.",
    "fault": "Tell which faults there are and what they take.",
    "proxy": "List, add and remove the proxies of a peer.",
    "halt": "Take every fault back at once and start nothing more.",
    "resume": "Lift the halt.",
    "demo": "Show all of it on this machine, in under a minute.",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own name, imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"raftchaos.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"found the command {args[0]!r}{_nearest(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _nearest(word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f", did you mean {near[0]!r}?" if near else f", expected one of {', '.join(COMMANDS)}"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 passed, 1 failed, 2 usage or an invalid file, 3 no cluster or no quorum, 4 no verdict, "
    "5 refused, 6 something could not be recovered.",
)
@click.version_option(VERSION, "-V", "--version", prog_name="raftchaos", message="%(prog)s %(version)s")
def cli() -> None:
    """Chaos experiments run by a cluster of equal peers: they survive the loss of any minority of the peers, and end.

    \b
    Example:
      raftchaos peer --name node-1        start a peer (in a terminal of its own)
      raftchaos run experiment.yaml --wait
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. User errors are told on stderr, without a traceback."""
    from raftchaos.cli.output import OutputClosed

    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(args, prog_name="raftchaos", standalone_mode=False)
        sys.stdout.flush()
    except RaftchaosError as error:
        return report(error, as_json=wants_json(args))
    except click.ClickException as error:
        return report(usage_error(error), as_json=wants_json(args))
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (OutputClosed, BrokenPipeError):
        # what Python still holds for stdout must go somewhere, or it complains at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    return code if isinstance(code, int) else 0


def usage_error(error: click.ClickException) -> UsageError:
    """What click found wrong with the words of a command, as an error of ours."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "raftchaos"
    return UsageError(error.format_message().rstrip("."), hint=f"`{command} --help` shows what it takes")


def report(error: RaftchaosError, *, as_json: bool) -> int:
    """Tells an error: words on stderr and, for programs, a problem document on stdout. Returns the exit code."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    if as_json:
        print(json.dumps(problem_of(error), indent=2, default=str))
        sys.stdout.flush()
    return error.spec.exit_code


def problem_of(error: RaftchaosError) -> dict[str, Any]:
    """The error as data, in the words that the API uses too."""
    return {
        "type": f"urn:raftchaos:problem:{error.spec.code}",
        "title": error.spec.code.replace("-", " "),
        "status": error.spec.http_status,
        "detail": error.message,
        "code": error.spec.code,
        "hint": error.hint,
        "details": error.details,
        "definite": error.spec.definite,
        "exitCode": error.spec.exit_code,
    }


def wants_json(args: Sequence[str]) -> bool:
    """Whether the words ask for JSON. Looks at the words themselves: an error may come before they are parsed."""
    words = [*args, ""]
    return any(
        word in ("-ojson", "-o=json", "--output=json") or (word in ("-o", "--output") and following == "json")
        for word, following in itertools.pairwise(words)
    )


if __name__ == "__main__":
    sys.exit(main())
