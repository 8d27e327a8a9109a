"""Reading a stored study: every row that its report is made from, in a few queries whatever the number of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from offramp.records import Split
from offramp.space.model import SpaceFile
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.store.paired import PairedCounts, counts_against
from offramp.store.probes import ProbeRuns, ProbeStore
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow, StudyStore
from offramp.store.summaries import Summary, SummaryStore
from offramp.store.variants import Variant, VariantStore
from offramp.study.members import ScoringContext
from offramp.study.objectives import objectives_from_json
from offramp.study.prices import current_prices


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRows:
    """A study as it is stored, in memory: what `report_of` makes a report from. A running job keeps one of its own.

    Attributes:
        candidates: in the order of their trials.
        search, holdout: aggregates by candidate id.
        holdout_scores: for each candidate of `holdout`, the score of each example that has one; may be empty while the
            incumbent is not among them, since they are compared with it.
        search_counts: by candidate id, wins and losses against the incumbent on the search split; may be empty without
            a regression budget, which alone asks for them.
        probes: timed runs by candidate id.
    """

    study: StudyRow
    scoring: ScoringContext
    candidates: Sequence[CandidateRow]
    search: Mapping[str, Summary]
    holdout: Mapping[str, Summary]
    holdout_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    search_counts: Mapping[str, PairedCounts] = field(default_factory=dict)
    probes: Mapping[str, ProbeRuns] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()


def read_study_rows(store: Store, name: str) -> StudyRows:
    """Every row of a study but its single results.

    Raises:
        StorageError: no such study.
    """
    study, summaries = StudyStore(store).get(name), SummaryStore(store)
    scoring, holdout = scoring_context(study), summaries.all(name, Split.HOLDOUT)
    scored = scoring.incumbent is not None and scoring.incumbent in holdout
    counted = scoring.incumbent is not None and scoring.constraints.regressions is not None
    return StudyRows(
        study=study,
        scoring=scoring,
        candidates=CandidateStore(store).all(name),
        search=summaries.all(name, Split.SEARCH),
        holdout=holdout,
        holdout_scores=holdout_scores(store, name, holdout) if scored else {},
        search_counts=counts_against(store, name, Split.SEARCH, scoring.incumbent or "") if counted else {},
        probes=ProbeStore(store).all(name),
        variants=VariantStore(store).all(name),
    )


def holdout_scores(
    store: Store, study: str, summaries: Mapping[str, Summary] | None = None
) -> dict[str, dict[str, float]]:
    """By candidate that was scored on the holdout, the score of each example that has one.

    Args:
        summaries: of the holdout, where they are at hand.
    """
    found = SummaryStore(store).all(study, Split.HOLDOUT) if summaries is None else summaries
    return ResultStore(store).scores(study, Split.HOLDOUT, tuple(found))


def scoring_context(row: StudyRow) -> ScoringContext:
    """What the candidates of a study are scored with: its own objectives and constraints, and today's prices."""
    return ScoringContext(
        objectives=objectives_from_json(row.extra.get("objectives", [])),
        constraints=SpaceFile.model_validate_json(row.space_json).constraints,
        prices=current_prices(row),
        incumbent=row.extra.get("incumbent"),
    )
