"""What a migration found, as records: the proposal is written from these alone."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.lifecycle.migration.model_choice import NotTried
from offramp.lifecycle.watch_report import Watched
from offramp.records import Aggregate, Candidate, Result
from offramp.study.domain.paired_comparison import PairedComparison
from offramp.study.proof import MOST_MISSING
from offramp.study.shown import Brief


class Kind(enum.StrEnum):
    """What a contender is."""

    DROP_IN = "drop-in"  # the promoted config on another model: unchanged but for what that model needs
    SEARCHED = "searched"  # found by the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One candidate that could replace today's config.

    Attributes:
        study: where it was measured, and where it is promoted from.
        utility: on the search split, with the old study's weights and scales; None where an objective is not known.
        results: on the holdout, by example.
        comparison: on the holdout, paired by example; None where fewer than two examples can be compared. Not
            corrected: the candidate was chosen by the search split, so the holdout is looked at once for it.
        rejected: request parameters that its model does not accept and was not sent, each with why.
        raised: the cap on output that was raised, as its reasoning counts towards it; None where it was not.
    """

    kind: Kind
    study: str
    candidate: Candidate
    utility: float | None
    search: Aggregate
    holdout: Aggregate
    results: Mapping[str, Result]
    comparison: PairedComparison | None
    rejected: tuple[str, ...] = ()
    raised: str | None = None


class Reference(enum.StrEnum):
    """What answers are judged by."""

    LABELS = "labels"  # of the data, by the space's own metric
    ANSWERS = "answers"  # recorded ones of today's config, by agreement


class Basis(enum.StrEnum):
    """Where the numbers of today's config come from."""

    RECORDED = "recorded"  # the results of its study: no call was made
    MEASURED = "measured"  # it ran now
    PROMOTION = "promotion"  # the scores stored with the promotion; no answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Today's config.

    Attributes:
        results: on the holdout, by example; without answers if `basis` is the promotion.
        unanswered: with recorded answers as the reference, the examples of the holdout that have none.
    """

    basis: Basis
    search: Aggregate
    holdout: Aggregate
    results: Mapping[str, Result]
    unanswered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One example for people: its inputs and what is right, as JSON values."""

    inputs: Mapping[str, Any]
    gold: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What runs of a migration took; `cached_calls` were answered by the ledger."""

    calls: int = 0
    cached_calls: int = 0
    usd: float = 0.0
    elapsed_s: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """The sum."""
        return Spent(
            calls=self.calls + other.calls,
            cached_calls=self.cached_calls + other.cached_calls,
            usd=self.usd + other.usd,
            elapsed_s=self.elapsed_s + other.elapsed_s,
        )

    def has_asked(self) -> bool:
        """Whether a model was asked, or answers of the ledger were used in its place."""
        return self.calls + self.cached_calls > 0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Migration(Brief):
    """From today's config to what could replace it.

    Attributes:
        before: the promoted config. version: of its promotion.
        drop_ins: the promoted config on each model, in the order tried.
        chosen: what is proposed.
        trials: different candidates that the search tried, 0 where it did not run.
        examples: those of the holdout, by id.
        stopped: why the search ended; None where it did not run.
        spent: by this command. in_all: calls and money of the whole migration, the same command before included.
        regraded: which judge replaced which, where that is so: it graded the recorded answers again; else None.
    """

    feature: str
    label: str
    version: str
    before: Candidate
    notice: Watched
    today: datetime.date
    baseline: Baseline
    drop_ins: tuple[Contender, ...]
    chosen: Contender
    left_out: tuple[NotTried, ...]
    trials: int
    stopped: str | None
    metric: str
    examples: Mapping[str, Shown]
    reference: Reference
    spent: Spent
    in_all: Spent
    regraded: str | None = None

    @property
    def in_short(self) -> str:
        """From which model to which, and what it is proposed on."""
        chosen = self.chosen.candidate
        return f"{self.feature} {self.label}: {self.before.model} -> {chosen.model} ({chosen.id}, {self.chosen.kind})"

    def missing(self, item: Contender) -> int:
        """How many examples of the holdout lack a score, of the contender or of today's config."""
        return len(self.examples) - len(item.results.keys() & self.baseline.results.keys())

    def complete(self, item: Contender) -> bool:
        """Whether a contender was compared on the whole holdout, but for what may be missing."""
        return self.missing(item) <= MOST_MISSING * len(self.examples)

    @property
    def shown_better(self) -> tuple[Contender, ...]:
        """Drop-ins that are shown to be better than today's config; empty where what is proposed is, too."""
        shown = [item for item in self.drop_ins if item.comparison is not None and item.comparison.better]
        shown = [item for item in shown if self.complete(item)]
        mine = self.chosen.comparison
        return () if mine is not None and mine.better and self.complete(self.chosen) else tuple(shown)

    @property
    def compared(self) -> int:
        """How many contenders were evaluated on the holdout."""
        return len({item.candidate.id for item in (*self.drop_ins, self.chosen)})
