"""The rows of a stored study, read in a few queries whatever the number of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from offramp.errors import ModelError
from offramp.models.catalogue import resolve
from offramp.records import Price, Split, price_of
from offramp.space.model import SpaceFile
from offramp.store.aggregates import AggregateStore
from offramp.store.candidates import CandidateStore, VariantStore
from offramp.store.engine import Store
from offramp.store.ledger import Ledger
from offramp.store.results import PairedCounts, ProbeStore, ResultStore, counts_against
from offramp.store.studies import StudyRow, StudyStore
from offramp.study.domain.members import ScoringContext
from offramp.study.domain.paired_comparison import Scores
from offramp.study.domain.regressions import paired_counts
from offramp.study.study_report import (
    StudyReport,
    StudyRows,
    report_of,
    uneven_on_holdout,
    uneven_on_search,
)


def read_study_rows(store: Store, name: str) -> StudyRows:
    """The rows of a study.

    Raises:
        StorageError: no such study.
    """
    study, candidates = StudyStore(store).get(name), CandidateStore(store).all(name)
    scoring = scoring_context(study)
    prices = {row.id: price_of(row.candidate, scoring.prices) for row in candidates}
    search, holdout = (AggregateStore(store).priced(name, split, prices) for split in (Split.SEARCH, Split.HOLDOUT))
    scored = scoring.incumbent is not None and scoring.incumbent in holdout
    search_scores = ResultStore(store).scores(name, Split.SEARCH, tuple(search)) if scoring.groups else {}
    uneven = {Split.SEARCH: uneven_on_search(candidates, search), Split.HOLDOUT: uneven_on_holdout(holdout)}
    numbers = {
        split: AggregateStore(store).numbers(name, split, {one: prices.get(one) for one in names}) if names else {}
        for split, names in uneven.items()
    }
    return StudyRows(
        study=study,
        scoring=scoring,
        candidates=candidates,
        search=search,
        holdout=holdout,
        holdout_scores=read_holdout_scores(store, name, tuple(holdout)) if scored or scoring.groups else {},
        search_scores=search_scores,
        search_numbers=numbers[Split.SEARCH],
        holdout_numbers=numbers[Split.HOLDOUT],
        search_counts=_search_counts(store, name, scoring, search_scores),
        probes=ProbeStore(store).all(name),
        variants=VariantStore(store).all(name),
        estimated=_estimated(store, name, scoring.prices),
    )


def _estimated(store: Store, study: str, prices: Mapping[str, Price | None]) -> Mapping[str, tuple[int, int]]:
    """Models whose costs are of tokens that nobody counted; those of a machine by the hour are of its time."""
    found = Ledger(store, study).estimated_answers()
    by_token = {name for name, price in prices.items() if price is not None and price.compute_usd_per_hour is None}
    return {name: counts for name, counts in found.items() if name in by_token}


def _search_counts(
    store: Store, study: str, scoring: ScoringContext, scores: Mapping[str, Scores]
) -> Mapping[str, PairedCounts]:
    """Wins and losses against the incumbent, where a regression budget asks for them."""
    incumbent = scoring.incumbent
    if incumbent is None or scoring.constraints.regressions is None:
        return {}
    if not scoring.groups:
        return counts_against(store, study, Split.SEARCH, incumbent)
    reference = scores.get(incumbent, {})
    counts = {name: paired_counts(own, reference, scoring.groups) for name, own in scores.items() if name != incumbent}
    return {name: found for name, found in counts.items() if found.n}


def read_report(store: Store, name: str, *, weights: Mapping[str, float] | None = None) -> StudyReport:
    """The report of a stored study.

    Raises:
        StorageError: no such study. UsageError: weights that do not fit its objectives.
    """
    return report_of(read_study_rows(store, name), weights)


def read_holdout_scores(store: Store, study: str, candidates: Sequence[str] | None = None) -> dict[str, Scores]:
    """By candidate that was scored on the holdout, the score of each example that has one.

    Args:
        candidates: those that were, where they are at hand.
    """
    names = AggregateStore(store).all(study, Split.HOLDOUT) if candidates is None else candidates
    return dict(ResultStore(store).scores(study, Split.HOLDOUT, tuple(names)))


def scoring_context(row: StudyRow) -> ScoringContext:
    """What the candidates of a study are scored with: its own objectives and constraints, and today's prices."""
    space = SpaceFile.model_validate_json(row.space_json)
    return ScoringContext(
        objectives=row.details.objectives,
        constraints=space.constraints,
        prices=current_prices(row, space),
        incumbent=row.details.incumbent,
        groups=row.details.groups,
        replicates=space.replicates,
        stated_scales=frozenset(name for name, part in space.objectives if part and isinstance(part.scale, tuple)),
    )


def current_prices(row: StudyRow, space: SpaceFile | None = None) -> dict[str, Price | None]:
    """Today's price of each model of a study: the space file's, else the catalogue's, else the one it was run with."""
    found: dict[str, Price | None] = {}
    models = (space or SpaceFile.model_validate_json(row.space_json)).models
    parts = {part if isinstance(part, str) else part.name: part for part in models}
    for name, stored in row.details.prices.items():
        try:
            found[name] = resolve(parts.get(name, name), "study").price
        except ModelError:
            found[name] = None
        found[name] = found[name] or stored
    return found
