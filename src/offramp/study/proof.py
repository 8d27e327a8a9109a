"""What the holdout proves about choosing a candidate, and the headline that says so, the same everywhere.

Invariant: a switch is recommended only where the holdout is complete and shows that the candidate is better, and
keeping what runs today only where another candidate was compared with it and the holdout is complete.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from offramp.study.domain.members import Member
from offramp.study.domain.paired_comparison import MARGIN, PairedComparison
from offramp.study.wording import CHEAPER, FASTER, interval_words, number, per_thousand, points, ratio_words

MOST_MISSING = 0.05
"""Share of the holdout that may have no score."""
MOST_NAMED = 3
"""Of those that are shown to be better, this many are named where people read."""


class Proven(enum.StrEnum):
    """What is proven about one candidate."""

    KEEP = "keep"  # it is what runs today, and ahead of the others that were compared with it
    ALONE = "alone"  # there is no incumbent to compare it with
    UNVERIFIED = "unverified"  # not evaluated on the holdout
    INCOMPLETE = "incomplete"  # too much of the holdout has no score, or nothing was compared with the incumbent
    BETTER = "better"
    WORSE = "worse"
    CLOSE = "close"  # not better, but not worse by more than the margin
    OPEN = "open"  # neither


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the holdout says of one member of a study.

    Attributes:
        n: examples of the holdout that count: with a score, and compared where there is an incumbent.
        missing: the others.
        against: the member against the incumbent; None where they were not compared.
        better: other members of the front that are shown to be better than the incumbent, the largest gain first; empty
            where this one is.
        gains: what else is better about it, such as `12x cheaper`.
        uncompared: where it is the incumbent, why no other candidate could be compared with it; else, and where one
            could, None.
    """

    member: Member
    proven: Proven
    n: int
    missing: int
    against: PairedComparison | None
    better: tuple[Member, ...]
    gains: tuple[str, ...]
    uncompared: str | None = None

    def headline(self, label: str) -> str:
        """What to do, in one sentence. A switch is called for only where the candidate is shown to be better."""
        also = f" is {' and '.join(self.gains)}" if self.gains else " has the highest utility"
        against, held = self.against, self.member.holdout
        compared = "evaluated" if held is None or held.quality is None else "compared with what runs today"
        looks = 0 if against is None else against.looked_at
        after = f"not proven after {looks} comparison{'' if looks == 1 else 's'}"
        if self.proven is Proven.OPEN or self.proven is Proven.CLOSE:
            if against is not None and (against.difference or 0.0) >= 0.0005:
                return f"{label} looks better; {after}."
            if self.proven is Proven.CLOSE:
                return f"{label}{also}, and not worse by more than {MARGIN * 100:g} points."
            return f"{label}{also}; that it is as good is {after}."
        if self.uncompared is not None:
            return f"Nothing to recommend: no other candidate could be compared ({self.uncompared})."
        return {
            Proven.KEEP: "Keep what runs today.",
            Proven.ALONE: f"Choose {label}.",
            Proven.UNVERIFIED: f"{label} looks best; not {compared} on the holdout yet.",
            Proven.INCOMPLETE: "Nothing to recommend: the holdout is incomplete.",
            Proven.BETTER: f"Switch to {label}.",
            Proven.WORSE: f"{label}{also}, but worse on the holdout.",
        }[self.proven]

    @property
    def complete(self) -> bool:
        """Whether the holdout is complete but for what may be missing."""
        return self.missing <= MOST_MISSING * (self.n + self.missing)

    @property
    def gap(self) -> str | None:
        """What is missing on the holdout and what its quality comes to without it; None where nothing is missing."""
        held = self.member.holdout
        if not self.missing or held is None or held.quality is None:
            return None
        size = self.n + self.missing
        least = held.quality * min(held.n, size) / size
        one_side = self.against is not None and self.n < held.n
        scores = "a score from both sides" if one_side else "a score"
        so = "" if self.complete else ", so nothing is proven"
        return (
            f"{self.n} of {size} examples have {scores}{so}. Quality {number(held.quality)} on {held.n}, "
            f"{number(least)} if the others are lost."
        )


def against_words(member: Member) -> str:
    """A member's gain over the incumbent on the holdout, with its interval and its cost."""
    one = member.against_incumbent
    if one is None:
        return ""
    gain = f"{points(one.difference)} points ({interval_words(one.corrected)})"
    return f"{gain}, {per_thousand(member.cost_usd)} per 1,000 runs"


def prove(
    member: Member, incumbent: Member | None, front: Sequence[Member], size: int | None, uncompared: str | None = None
) -> Proof:  # fmt: skip
    """What the holdout proves about a member.

    Args:
        front: among whom those that are better are looked for.
        size: examples of the holdout; None where nobody knows, and those that ran are taken for all.
        uncompared: why no other candidate could be compared with the incumbent; None where one could.
    """
    against = member.against_incumbent
    n, missing = _counted(member, against, size)
    is_incumbent = incumbent is not None and member.candidate == incumbent.candidate
    uncompared = uncompared if is_incumbent else None
    proven = Proven.INCOMPLETE if uncompared is not None else _proven(member, incumbent, n, missing)
    better: list[Member] = []
    if proven is not Proven.BETTER and incumbent is not None:
        others = [m for m in front if m.candidate not in (member.candidate, incumbent.candidate)]
        better = [m for m in others if _proven(m, incumbent, *_counted(m, m.against_incumbent, size)) is Proven.BETTER]
        better.sort(
            key=lambda m: (-(m.against_incumbent.difference or 0.0) if m.against_incumbent else 0.0, m.candidate)
        )
    gains: list[str | None] = []
    if incumbent is not None:
        for new, old, words in (
            (*costs(member, incumbent), CHEAPER), (*latencies(member, incumbent), FASTER),
        ):  # fmt: skip
            gains.append(ratio_words(new, old, words) if new is not None and old is not None and new < old else None)
    return Proof(
        member=member, proven=proven, n=n, missing=missing, against=against, better=tuple(better),
        gains=tuple(gain for gain in gains if gain), uncompared=uncompared,
    )  # fmt: skip


def costs(chosen: Member, incumbent: Member | None) -> tuple[float | None, float | None]:
    """Mean USD of one run of both, on the search examples that both have a score for."""
    if incumbent is not None and (both := chosen.beside_incumbent) is not None:
        return both.cost_usd, both.today_cost_usd
    return chosen.cost_usd, None if incumbent is None else incumbent.cost_usd


def latencies(chosen: Member, incumbent: Member | None) -> tuple[float | None, float | None]:
    """Both p50 as measured in isolation where both were, else both as run; whatever the statistic of the objective.

    As run, they are on the search examples that both have a score for.
    """
    if chosen.probe is not None and (incumbent is None or incumbent.probe is not None):
        return chosen.probe.p50_s, None if incumbent is None or incumbent.probe is None else incumbent.probe.p50_s
    if incumbent is not None and (both := chosen.beside_incumbent) is not None:
        return both.p50_s, both.today_p50_s
    return chosen.ranked.latency_p50_s, None if incumbent is None else incumbent.ranked.latency_p50_s


def _counted(member: Member, against: PairedComparison | None, size: int | None) -> tuple[int, int]:
    """How many examples of the holdout count, and how many are missing."""
    held = member.holdout
    if held is None:
        return 0, size or 0
    total = max(size or 0, held.n + held.n_failed)
    n = held.n if against is None else min(held.n, against.n)
    return n, total - n


def _proven(member: Member, incumbent: Member | None, n: int, missing: int) -> Proven:
    against = member.against_incumbent
    if member.holdout is None or member.holdout.quality is None:
        return Proven.UNVERIFIED
    if missing > MOST_MISSING * (n + missing):
        return Proven.INCOMPLETE
    if incumbent is not None and member.candidate == incumbent.candidate:
        return Proven.KEEP
    if against is None:
        return Proven.ALONE if incumbent is None else Proven.UNVERIFIED
    if against.better or against.worse:
        return Proven.BETTER if against.better else Proven.WORSE
    return Proven.CLOSE if against.corrected.low > -MARGIN else Proven.OPEN
