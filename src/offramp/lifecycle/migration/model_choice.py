"""Which models a migration tries: those that were named, else a few that can be called now."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from offramp.errors import UsageError, problem
from offramp.lifecycle.in_use import models_of
from offramp.lifecycle.migration.origin import Origin
from offramp.lifecycle.migration.spaces import model_part
from offramp.lifecycle.watch_report import Watched, look_at
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import WITHIN_DAYS, Calendar, Standing, standing_of
from offramp.space.model import ModelPart

MOST = 3
"""Models that are tried at most when none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTried:
    """A model that was left out, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The models to try, best first, and those left out."""

    names: tuple[str, ...]
    left_out: tuple[NotTried, ...]


def notice_of(origin: Origin, calendar: Calendar, today: datetime.date) -> Watched:
    """The standing of the promoted model, with its successors whatever its standing."""
    used = next(models_of(origin.promotion, origin.label, space=lambda: origin.space.space))
    return look_at(used, calendar, today, always=True)


def choose(origin: Origin, notice: Watched, calendar: Calendar, today: datetime.date, to: Sequence[str]) -> Choice:
    """The models to try.

    Args:
        to: names that were asked for; they are tried whatever their retirement dates.

    Raises:
        UsageError: none is left, or one that was asked for is unknown.
    """
    leaving = origin.promotion.model.name
    if to:
        names = tuple(dict.fromkeys(to))
        if leaving in names:
            raise UsageError(problem("--to", "is the model that retires", got=leaving, do="Name another."))
        for name in names:
            resolve(model_part(origin, name), "--to")
        return Choice(names=names, left_out=())
    left_out: list[NotTried] = []
    names = tuple(dict.fromkeys(_usable(origin, notice, calendar, today, left_out)))
    if not names:
        why = "; ".join(f"{item.name}: {item.why}" for item in left_out) or "none is known"
        do = "Name models with --to, or set the key of a provider."
        raise UsageError(problem(origin.promotion.feature, f"no model to migrate to ({why})", do=do))
    more = [NotTried(name=name, why=f"only {MOST} are tried; name it with --to") for name in names[MOST:]]
    return Choice(names=names[:MOST], left_out=(*left_out, *more))


def _usable(
    origin: Origin, notice: Watched, calendar: Calendar, today: datetime.date, left_out: list[NotTried]
) -> Iterator[str]:
    """What your own notice names, the other models of the old space, then what the table offers."""
    named = notice.retirement.successors if notice.retirement is not None else ()
    others = _others(origin, named)
    ours = {part.name for part in others} | {part.route for part in others}
    for part in others:
        retirement = calendar.retirement(part.name, part.route, stated=part.retirement_date)
        standing = standing_of(retirement, today, WITHIN_DAYS, without=Standing.UNKNOWN)
        if standing.alarming:
            left_out.append(NotTried(name=part.name, why=f"{standing}"))
        else:
            yield part.name
    for item in notice.successors:
        if not item.in_table:
            if item.name not in ours:
                left_out.append(NotTried(name=item.name, why="the table of models does not have it; name it with --to"))
        elif item.callable_now:
            yield item.name
        else:
            left_out.append(NotTried(name=item.name, why="its key is not in the environment"))


def _others(origin: Origin, named: Iterable[str]) -> list[ModelPart]:
    """Models of the old space except the retiring one; those that the notice names come first."""
    parts = [ModelPart(name=part) if isinstance(part, str) else part for part in origin.space.space.models]
    rest = [part for part in parts if part.searched and part.name != origin.promotion.model.name]
    first = list(named)
    return sorted(rest, key=lambda part: first.index(part.name) if part.name in first else len(first))
