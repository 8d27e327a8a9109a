"""Dates that nobody has announced, estimated from what vendors publish about how long they serve their models.

Some model names contain the release date, and some vendors say how long, at least, a model is served. Together they
give the first day on which a model may retire. That is an estimate and is marked as one wherever it is shown.

Invariant: no policy without a public source, and no estimate without a release date in the name itself.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_DAY = re.compile(r"(?<!\d)(20\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
_MONTH = re.compile(r"(?<!\d)(0[1-9]|1[0-2])-(20\d\d)(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a vendor promises about models that match.

    Attributes:
        models: glob over routes, such as `azure/*`.
        days_after_release: a model is served for at least this many days.
        source: web address of the promise.
    """

    models: str
    days_after_release: int
    source: str

    def covers(self, route: str) -> bool:
        """Whether the promise is about this model."""
        return fnmatchcase(route, self.models)


PUBLISHED: tuple[Policy, ...] = (
    Policy(
        models="azure/*preview*",
        days_after_release=90,
        source="https://learn.microsoft.com/azure/ai-services/openai/concepts/model-retirements",
    ),
    Policy(
        models="azure/*",
        days_after_release=365,
        source="https://learn.microsoft.com/azure/ai-services/openai/concepts/model-retirements",
    ),
    Policy(
        models="bedrock/*",
        days_after_release=365,
        source="https://docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html",
    ),
    Policy(
        models="anthropic/*",
        days_after_release=365,
        source="https://docs.anthropic.com/en/docs/about-claude/model-deprecations",
    ),
)
"""The first policy that covers a model counts. OpenAI and Google announce dates but promise no period for all
models, so nothing is estimated for them."""


def release_date(name: str) -> datetime.date | None:
    """The date (or the first of the month) in a model's name; None if it has none."""
    if (day := _DAY.search(name)) is not None:
        return _date(int(day[1]), int(day[2]), int(day[3]))
    if (month := _MONTH.search(name)) is not None:
        return _date(int(month[2]), int(month[1]), 1)
    return None


def estimate(
    route: str, policies: Sequence[Policy], released: str | None = None
) -> tuple[datetime.date, Policy] | None:
    """The first day on which the model may retire, and the policy that says so; None without an estimate.

    Args:
        released: name to read the release date from, such as the snapshot that an alias stands for.
    """
    day = release_date(released or route)
    policy = next((policy for policy in policies if policy.covers(route)), None)
    if day is None or policy is None:
        return None
    return day + datetime.timedelta(days=policy.days_after_release), policy


def _date(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None
