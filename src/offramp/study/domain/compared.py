"""Whether any other candidate could be compared with the incumbent: without one, nothing speaks for keeping it either.

Another candidate counts as compared where every objective is known, and it has a score for nearly all search examples
or for as many as a race needs before it concludes anything, or a race ended it as surely behind. One whose model no
longer answers does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from offramp.records import Aggregate
from offramp.store.candidates import CandidateRow, CandidateState

MOST_LACKING = 0.05
"""Share of the search split that may have no score, as on the holdout."""
FEWEST = 10
"""Examples with a score from which on something is concluded about a candidate that was not run on all."""


def why_uncompared(
    others: Sequence[CandidateRow], search: Mapping[str, Aggregate], *, unknown: Collection[str], is_parked: bool
) -> str | None:  # fmt: skip
    """Why no other candidate could be compared with the incumbent, in a few words; None where one could.

    Args:
        others: all candidates that were run and whose models answer, but for the incumbent.
        search: what they came to on the search split.
        unknown: ids of those that lack an objective, such as a price.
        is_parked: whether a model no longer answers.
    """
    known = [row for row in others if row.id not in unknown]
    if any(_is_compared(row, search.get(row.id)) for row in known):
        return None
    if not others:
        return "their models no longer answer" if is_parked else "none was run"
    most = max((seen.n for row in others if (seen := search.get(row.id)) is not None), default=0)
    if not most:
        return "none has a score"
    if not known:
        return "none has every objective"
    return f"none has scores for more than {most} search example{'' if most == 1 else 's'}"


def _is_compared(row: CandidateRow, seen: Aggregate | None) -> bool:
    if seen is None or not seen.n:
        return False
    if row.state is CandidateState.COMPLETE:
        return seen.n >= FEWEST or seen.n_failed <= MOST_LACKING * (seen.n + seen.n_failed)
    return seen.n >= FEWEST or not row.origin.get("open")
