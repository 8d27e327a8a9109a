"""The `offramp` command: a group whose commands are imported when they run.

`offramp --help` shows the one-line help that is kept here, so that it starts as fast as Python and click do. Exit
codes: 0 done, 1 job failed or a bug, 2 usage or config, 3 gate refused, 130 interrupted. A command exits with another
code by `ctx.exit(code)`. A user's mistake is one message on stderr; a bug is a traceback.

Invariant: nothing but click and the floor is imported at module level.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import click

from offramp import __version__
from offramp.errors import OfframpError, nearest, problem
from offramp.printable import printable
from offramp.prints import prints_aside
from offramp.scrubbing import scrubbed_traceback

INTERRUPTED = 130

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("offramp.cli.init:init", "Write a first space file from your data, or copy an example job."),
    "watch": (
        "offramp.cli.watch:watch",
        "Warn about promoted features whose models retire soon; scan files.",
    ),
    "migrate": ("offramp.cli.migrate:migrate", "Find a successor for a promoted feature's model; write a proposal."),
    "optimize": ("offramp.cli.optimize:optimize", "Search a space file; write a study and its Pareto front."),
    "pareto": ("offramp.cli.studies:pareto", "Show a study's front; apply other weights without a new call."),
    "verify": ("offramp.cli.verify:verify", "Evaluate the front on the holdout; measure its latency in isolation."),
    "compare": (
        "offramp.cli.compare:compare",
        "Compare two candidates by example: wins, losses, significance.",
    ),
    "report": ("offramp.cli.review:report", "Write a study as one self-contained HTML file."),
    "review": ("offramp.cli.review:review", "Serve a live page: follow, reweight, compare, promote."),
    "replay": ("offramp.cli.replay:replay", "Race the candidates of a recorded table, without any call."),
    "cascades": (
        "offramp.cli.cascades:cascades",
        "Score cascades of two and three models, and routers, from recorded results, without a call.",
    ),
    "studies": ("offramp.cli.studies:studies", "List the studies in a storage."),
    "promote": ("offramp.cli.promotions:promote", "Write a winner to config with its evidence, behind a gate."),
    "export": ("offramp.cli.export:export", "Export a promotion to LiteLLM, promptfoo, DSPy, MLflow or Langfuse."),
    "history": ("offramp.cli.promotions:history", "Show who promoted what, when and why."),
    "rollback": ("offramp.cli.promotions:rollback", "Point a label back at the previous version."),
    "diff": ("offramp.cli.promotions:diff", "Show what differs between two promoted versions."),
    "check": ("offramp.cli.check:check", "CI gate: does the promoted config still hold on the holdout?"),
    "models": (
        "offramp.cli.models:models",
        "List models with price, context, retirement date; pull local ones.",
    ),
    "space": ("offramp.cli.space:space", "Check a space file, or print its JSON schema."),
    "doctor": ("offramp.cli.doctor:doctor", "Check this machine: packages, storage, models, keys, prices."),
}
"""Name of each command to `module:attribute` and the line that `--help` shows."""


class LazyGroup(click.Group):
    """A group that imports a command only when that command is asked for.

    Args:
        lazy: name to (`module:attribute`, one-line help).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a person's journey."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}:{attribute} is not a click command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for an unknown command."""
        name = args[0]
        if name not in self._lazy and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(problem("", f"no command {name!r}", do=nearest(name, self._lazy) or None))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 job failed, 2 usage or config, 3 gate refused, 130 interrupted.",
)
@click.version_option(__version__, prog_name="offramp", message="%(prog)s %(version)s")
def offramp() -> None:
    """Search prompts, models and parameters for the best trade of quality, cost and latency."""


def main(args: Sequence[str] | None = None, **wire: Any) -> int:
    """Run the command line and return its exit code. An unexpected exception is a bug and goes through.

    Args:
        wire: `transport` and `timing` of the commands that run models, as `offramp.optimize` takes them.
    """
    sys.excepthook = _show_bug
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # characters that cannot be shown become `?`
    try:
        with prints_aside():
            code = _run(args, wire)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(args: Sequence[str] | None, wire: Mapping[str, Any]) -> int:
    try:
        code = offramp.main(args=args, prog_name="offramp", standalone_mode=False, obj=wire)
    except OfframpError as error:
        return _failed(error)
    except ExceptionGroup as group:
        return _failed(_first_of_ours(group))
    except click.Abort as abort:
        return _aborted(abort.__cause__)
    except KeyboardInterrupt as interrupt:
        return _aborted(interrupt)
    except click.UsageError as error:
        return _misused(error, sys.argv[1:] if args is None else args)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0


def _show_bug(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """The traceback of a bug as Python prints it, without keys and with nothing that a terminal obeys."""
    sys.stderr.write(printable(scrubbed_traceback(error), keep="\n\t"))


def _failed(error: OfframpError) -> int:
    click.echo("error: " + printable(error, keep="\n\t"), err=True)
    return error.exit_code


_MISFIT = re.compile(
    r"(?P<got>'.*'|\S+) is not (?:a valid (?P<kind>\w+)|one of (?P<choices>.+)|in the range (?P<range>.+?))\.?", re.S
)
"""What click says of a value."""
_KINDS = {"float": "a number", "integer": "a whole number", "boolean": "true or false"}


def _misused(error: click.UsageError, args: Sequence[str]) -> int:
    """A command line that click refuses, as one message: which command, what, got, expected, and where to look."""
    path = error.ctx.command_path if error.ctx is not None else _named(args)
    what, do = error.format_message().rstrip("."), f"See `{path} --help`."
    if isinstance(error, click.BadParameter) and error.param is not None and error.message:
        name = (
            max(error.param.opts, key=len)
            if error.param.param_type_name == "option"
            else error.param.human_readable_name
        )
        what = f"{name}: {error.message.rstrip('.')}"
        if found := _MISFIT.fullmatch(error.message):
            kind, choices = found["kind"], found["choices"]
            near = nearest(found["got"].strip("'"), re.findall(r"'([^']*)'", choices or ""))
            expected = f"one of {choices}" if choices else _KINDS.get(kind, kind) if kind else found["range"]
            what, do = f"{name}: got {found['got']}, expected {expected.rstrip('.')}", f"{near} {do}".strip()
    if isinstance(error, click.NoSuchOption):
        what, near = f"No such option '{error.option_name}'", nearest(error.option_name, error.possibilities or ())
        do = f"{near} {do}".strip()
    click.echo(f"error: {path}: {printable(what)}{'' if what.endswith('?') else '.'} {do}", err=True)
    return error.exit_code


def _named(args: Sequence[str]) -> str:
    """The command that a command line begins with, for errors of which click does not say where they arose."""
    command: click.Command = offramp
    path = "offramp"
    for word in args:
        found = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if found is None:
            break
        command, path = found, f"{path} {word}"
    return path


def _first_of_ours(group: ExceptionGroup[Exception]) -> OfframpError:
    """The first error of a group from a task group, when all are ours; otherwise the group is a bug and is raised."""
    ours, others = group.split(OfframpError)
    if ours is None or others is not None:
        raise group
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, OfframpError)
    return first


def _aborted(cause: BaseException | None) -> int:
    """Ctrl-C is 130; a prompt that met the end of its input is a failure like any other."""
    if isinstance(cause, EOFError):
        click.echo("error: a prompt got no answer: standard input has ended.", err=True)
        return 1
    click.echo("interrupted", err=True)
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
