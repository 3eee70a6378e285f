"""The entry point of `raftchaos`: the group of commands, and the one place where errors become words and exit codes.

Commands are loaded when they are used, so that `raftchaos --help` imports nothing but click.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import itertools
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
    "node": "List, show, drain, promote and remove nodes; go on without a majority.",
    "task": "List, show, watch, cancel, pause and resume tasks.",
    "run": "Submit the orchestrations of files to the cluster.",
    "validate": "Check files without a cluster.",
    "template": "Print an example document to start from.",
    "fault": "Tell which faults there are and what is on; put one on, take it back.",
    "proxy": "List, add and remove the proxies of a peer.",
    "analytics": "Find anomalies in anybody's data.",
    "halt": "Take every fault back at once and start nothing more.",
    "resume": "Lift the halt.",
    "token": "Give callers and joining peers tokens, list and revoke them.",
    "login": "Remember a token for a cluster on another machine.",
    "ca": "Show and replace the certificate authority of the cluster.",
    "backup": "Save the state of the cluster to a file.",
    "restore": "Found a new cluster of one peer with a saved state.",
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
    from raftchaos.cli.output import OutputClosed, OutputFailed

    args = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # closed before the start; what is told there goes nowhere, and not to stdout instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it stays open until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names and messages may have letters that a terminal does not know
    try:
        try:
            return _run(args)
        except OutputFailed:
            raise
        except RaftchaosError as error:
            return report(error, output=wanted_output(args))
    except (OutputClosed, BrokenPipeError):
        _forget_output()
        return OUTPUT_CLOSED
    except OutputFailed as error:
        _forget_output()
        return report(error, output="table")


def _run(args: list[str]) -> int:
    """The exit code of a command. Raises RaftchaosError."""
    from raftchaos.cli.output import OutputFailed

    try:
        code = cli.main(args, prog_name="raftchaos", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        if wanted_output(args) == "table":  # a group without its command: its help is the best answer
            print(error.format_message(), file=sys.stderr)
            return UsageError.spec.exit_code
        raise UsageError("found no command", hint=_help_of(error)) from None
    except click.ClickException as error:
        raise usage_error(error) from None
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:  # click writes its help by itself
        if error.errno != errno.ENOSPC or not _raised_by_writing(error):
            raise
        raise OutputFailed(f"the answer could not be written to stdout: {error.strerror}") from error
    return code if isinstance(code, int) else 0


def _raised_by_writing(error: OSError) -> bool:
    """Whether it came from click, which writes nothing but stdout, or from this module, and not from a command."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and str(at.tb_frame.f_globals.get("__name__")).startswith(("click.", __name__))


def _forget_output() -> None:
    """What Python still holds for stdout must go somewhere, or it complains at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def usage_error(error: click.ClickException) -> UsageError:
    """What click found wrong with the words of a command, as an error of ours."""
    return UsageError(error.format_message().rstrip("."), hint=_help_of(error))


def _help_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "raftchaos"
    return f"`{command} --help` shows what it takes"


def report(error: RaftchaosError, *, output: str) -> int:
    """Tells an error: words on stderr and, for programs, a problem document on stdout. Returns the exit code."""
    from raftchaos.cli.output import show

    told = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
    with contextlib.suppress(OSError):  # the exit code and stdout still tell, where nobody takes stderr
        print("\n".join(told), file=sys.stderr, flush=True)
    if output != "table":
        show(output, problem_of(error))
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


def wanted_output(args: Sequence[str]) -> str:
    """`json`, `yaml` or `table`, as the words ask. Looks at the words themselves: an error may come before parsing."""
    for word, following in itertools.pairwise([*args, ""]):
        for kind in ("json", "yaml"):
            if word in (f"-o{kind}", f"--output={kind}") or (word in ("-o", "--output") and following == kind):
                return kind
    return "table"


if __name__ == "__main__":
    sys.exit(main())
