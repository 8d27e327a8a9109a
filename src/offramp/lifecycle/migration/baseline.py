"""What runs today, in numbers: recorded, measured now, or as stored with the promotion.

The recorded results of its study are usually complete, since a promotion needs a holdout evaluation; then the retiring
model is not called at all. If they no longer exist and the model still answers, it runs once more. If it does not
answer either, the scores stored with the promotion are used: enough to count wins and losses, not to show answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from offramp.errors import JobError, UsageError, problem
from offramp.lifecycle.migration import spaces
from offramp.lifecycle.migration.origin import Origin, counted
from offramp.lifecycle.migration.record import Baseline, Basis
from offramp.lifecycle.migration.runs import Runs
from offramp.promote.folder import FeatureFolder
from offramp.promote.promotion import SplitEvidence
from offramp.records import Aggregate, Result, ResultState, Split
from offramp.store.aggregates import aggregate_of


def read_baseline(origin: Origin, runs: Runs, *, folder: FeatureFolder, alive: bool,
                  say: Callable[[str], None]) -> Baseline:  # fmt: skip
    """What runs today, in numbers.

    Args:
        folder: of the promotions of the feature.
        alive: whether its model can still be asked.

    Raises:
        UsageError: nothing is known of it, and it cannot be asked.
    """
    recorded = origin.recorded
    if recorded.search and recorded.holdout:
        return Baseline(
            basis=Basis.RECORDED,
            search=aggregate_of(recorded.search.values()),
            holdout=aggregate_of(recorded.holdout.values()),
            results=recorded.holdout,
        )
    return _measured(origin, runs, say) if alive else _kept(origin, folder)


def _measured(origin: Origin, runs: Runs, say: Callable[[str], None]) -> Baseline:
    say(f"today's config on {origin.candidate.model}, because its results are not stored here")
    result = runs.run(spaces.alone(origin, origin.candidate, spaces.leaving_part(origin, searched=True)))
    if not result.report.members:
        raise result.error or JobError(f"{origin.candidate.model} gave no result: {result.report.stop_reason}")
    name = result.report.members[0].candidate
    seen = {split: counted(runs.results(result.report.study, name, split)) for split in Split}
    return Baseline(
        basis=Basis.MEASURED,
        search=aggregate_of(seen[Split.SEARCH].values()),
        holdout=aggregate_of(seen[Split.HOLDOUT].values()),
        results=seen[Split.HOLDOUT],
    )


def _kept(origin: Origin, folder: FeatureFolder) -> Baseline:
    evidence = origin.promotion.evidence
    if evidence.holdout is None or evidence.holdout_results is None:
        what = f"{origin.candidate.model} no longer answers, and none of its results are stored"
        do = "Restore the storage of its study, or run `offramp optimize` on a space without an incumbent."
        raise UsageError(problem(origin.promotion.feature, what, do=do))
    rows = folder.rows(evidence.holdout_results)
    return Baseline(
        basis=Basis.PROMOTION,
        search=_aggregate(evidence.search),
        holdout=_aggregate(evidence.holdout),
        results=counted({str(row["example"]): _result(origin.candidate.id, row) for row in rows}),
    )


def _result(candidate: str, row: Mapping[str, Any]) -> Result:
    return Result(
        candidate=candidate,
        example=str(row["example"]),
        state=ResultState(row.get("state", "scored")),
        score=row["score"],
        cost_usd=None,
        latency_s=row.get("latency_s"),
    )


def _aggregate(seen: SplitEvidence) -> Aggregate:
    return Aggregate(
        n=seen.n,
        n_fault=seen.n_fault,
        quality=seen.quality,
        n_failed=seen.n_failed,
        quality_low=seen.quality_low,
        quality_high=seen.quality_high,
        cost_usd=seen.cost_usd,
        latency_p50_s=seen.latency_p50_s,
        latency_p95_s=seen.latency_p95_s,
    )
