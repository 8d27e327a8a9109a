"""Options that several commands share: one name, one default and one help text each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from offramp.errors import UsageError, problem

Command = TypeVar("Command", bound=Callable[..., Any])


class _Path(click.Path):
    """A path that is not blank."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_not_blank(value, param), param, ctx)


class _Text(click.types.StringParamType):
    """Text that is not blank."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_not_blank(value, param), param, ctx)


def _not_blank(value: Any, param: click.Parameter | None) -> Any:
    """Refuses what an unset variable leaves in quotes, which would mean the default, and bytes that are not text."""
    if isinstance(value, str) and param is not None:
        name = max(param.opts, key=len) if isinstance(param, click.Option) else str(param.name)
        if not value.strip():
            do = "Give it a value." if param.required else "Give it a value, or leave it out."
            raise UsageError(problem(name, "is blank", got=value, do=do))
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise UsageError(problem(name, "is not text", got=value, expected="UTF-8"))
    return value


PATH = _Path(path_type=Path)
FILE = _Path(path_type=Path, dir_okay=False)
TEXT = _Text()
_STORAGE = click.option(
    "--storage",
    type=TEXT,
    metavar="URL",
    envvar="OFFRAMP_STORAGE",
    help="SQLAlchemy URL  [default: RESULTS/offramp.db]",
)
_RESULTS = click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, envvar="OFFRAMP_RESULTS",
    help="Folder that runs write to.",
)  # fmt: skip


def study_options(command: Command) -> Command:
    """`--storage` and `--results`, for each command that reads or writes studies.

    The command takes `storage: str | None` (None: the database in the results folder) and `results: Path`.
    """
    return _STORAGE(_RESULTS(command))


PROMOTIONS = click.option(
    "--promotions", type=PATH, default=Path("promotions"), show_default=True, envvar="OFFRAMP_PROMOTIONS",
    help="Folder of promotions.",
)  # fmt: skip
LIFECYCLE = click.option(
    "--lifecycle", type=PATH, metavar="FILE",
    help="Your own retirement notices  [default: lifecycle.yaml, if it exists]",
)  # fmt: skip
FEED = click.option(
    "--feed", "feeds", type=PATH, multiple=True, metavar="FILE",
    help="A feed of retirements: a model-eol file, or what /model/deprecations of a LiteLLM proxy returns. Repeatable.",
)  # fmt: skip
SPACE = click.option("--space", type=PATH, help="The study's space file, if it has moved.")
LABEL = click.option("--label", default="production", show_default=True, help="Label of the feature.")
WEIGHTS = click.option("--weights", metavar="W", help="Other weights, such as quality=.6,cost=.3,latency=.1")
TRUST = click.option(
    "--trust", is_flag=True, help="Trust the file's project from now on: it may name files, code and keys beyond it."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
WHY = click.option("--why", metavar="TEXT", help="The reason, for the history.")
BY = click.option("--by", metavar="NAME", envvar="OFFRAMP_BY", help="Who does it  [default: your user name]")


def same_place(*more: str) -> str:
    """The options of this command line that say where things are, to follow a suggested command; empty for none.

    Args:
        more: further options to carry, beside `storage` and `results`. A password in a URL is not shown.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return ""
    words = []
    for name in ("storage", "results", *more):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", str(ctx.params[name]))
            words += [f"--{name.replace('_', '-')}", value]
    return f" {shlex.join(words)}" if words else ""


def wire() -> Mapping[str, Any]:
    """`transport` and `timing` for commands that run models: what `offramp.cli.main.main` was given, if anything."""
    return click.get_current_context().obj or {}
