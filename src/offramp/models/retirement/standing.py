"""How a model stands on a day: one rule for what is watched, for what may follow and for what may be promoted.

Invariant: a guess never calls a model retired.
"""

from __future__ import annotations

import datetime
import enum

from offramp.models.retirement.dates import Basis, Retirement

WITHIN_DAYS = 90
"""A model that goes within so many days is a concern now, where nobody says otherwise."""


class Standing(enum.StrEnum):
    """How a model stands, the most urgent first."""

    RETIRED = "retired"  # the date has passed
    VANISHED = "vanished"  # it was in the table when it was promoted and is no more
    SOON = "soon"  # it goes within the window
    LATER = "later"
    UNKNOWN = "no date"  # nobody says when
    OWN = "own"  # a file or server of one's own, without a notice

    @property
    def alarming(self) -> bool:
        """Whether something has to be done."""
        return self in (Standing.RETIRED, Standing.VANISHED, Standing.SOON)


def standing_of(
    retirement: Retirement | None, today: datetime.date, within_days: int, *, without: Standing
) -> Standing:
    """How a model stands. A passed estimate is not yet a retirement.

    Args:
        without: how it stands where nobody announced a date; a model that vanished does so whatever was estimated.
    """
    guessed = retirement is not None and retirement.basis is Basis.ESTIMATE
    if retirement is None or (guessed and without is Standing.VANISHED):
        return without
    left = retirement.days_left(today)
    if left <= 0 and not guessed:
        return Standing.RETIRED
    return Standing.SOON if left <= within_days else Standing.LATER
