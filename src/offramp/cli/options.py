"""Options that several commands share: one name, one default and one help text each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_STORAGE = click.option(
    "--storage", metavar="URL", envvar="OFFRAMP_STORAGE", help="SQLAlchemy URL  [default: RESULTS/offramp.db]"
)
_RESULTS = click.option(
    "--results", type=_PATH, default=Path("results"), show_default=True, envvar="OFFRAMP_RESULTS",
    help="Folder that runs write to.",
)  # fmt: skip


def stored(command: Command) -> Command:
    """`--storage` and `--results`: where studies are. Parameters `storage: str | None` and `results: Path`."""
    return _STORAGE(_RESULTS(command))


PROMOTIONS = click.option(
    "--promotions", type=_PATH, default=Path("promotions"), show_default=True, envvar="OFFRAMP_PROMOTIONS",
    help="Folder of promotions.",
)  # fmt: skip
LIFECYCLE = click.option(
    "--lifecycle", type=_PATH, metavar="FILE",
    help="One's own notices of retirement  [default: lifecycle.yaml, where it is there]",
)  # fmt: skip
SPACE = click.option("--space", type=_PATH, help="The study's space file, where it has moved.")
LABEL = click.option("--label", default="production", show_default=True, help="Which label.")
WEIGHTS = click.option("--weights", metavar="W", help="Other weights, such as quality=.6,cost=.3,latency=.1")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
WHY = click.option("--why", metavar="TEXT", help="Why, for the history.")
BY = click.option("--by", metavar="NAME", envvar="OFFRAMP_BY", help="Who  [default: the user]")
