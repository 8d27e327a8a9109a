"""The list of studies: what each came to, what it cost, how it went, and what of it was promoted."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offramp.records import Split
from offramp.review.charts import Axis
from offramp.review.promotions import Label
from offramp.store.aggregates import AggregateStore
from offramp.store.budget import read_budget
from offramp.store.candidates import CandidateStore
from offramp.store.engine import Store
from offramp.store.studies import StudyRow, StudyStatus
from offramp.study.domain.pace import Pace
from offramp.study.wording import number

WIDTH, HEIGHT = 120, 28


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCard:
    """A study in the list.

    Attributes:
        quality: of the recommended candidate, and the split that it is on; empty where there is none.
        spent_usd: None where nothing was booked. tried: candidates.
        spark: the best quality so far over candidates, as a path; empty for fewer than two.
        pace: None unless it runs.
    """

    row: StudyRow
    quality: str
    split: str
    spent_usd: float | None
    headline: str
    tried: int
    spark: str
    promoted: tuple[Label, ...]
    pace: Pace | None


def study_card(store: Store, row: StudyRow, promoted: tuple[Label, ...]) -> StudyCard:
    """A study as the list shows it, from its record and a few small queries."""
    summary: dict[str, Any] = json.loads(row.summary_json) if row.summary_json else {}
    best: dict[str, Any] = summary.get("recommended") or {}
    held = (best.get("holdout") or {}).get("quality")
    seen = held if held is not None else best.get("quality")
    budget, running = read_budget(store, row.name), row.status is StudyStatus.RUNNING
    tried = None if running else summary.get("trials")
    path = sparkline(AggregateStore(store).qualities(row.name, Split.SEARCH))
    return StudyCard(
        row=row,
        quality="" if seen is None else number(seen),
        split="" if seen is None else "holdout" if held is not None else "search",
        spent_usd=None if budget is None else budget.spent_usd,
        headline=str(summary.get("headline") or ""),
        tried=CandidateStore(store).ended(row.name) if tried is None else tried,
        spark=path,
        promoted=promoted,
        pace=pace_of(row),
    )


def pace_of(row: StudyRow, *, now: dt.datetime | None = None) -> Pace | None:
    """How far a study is, as its run last told; None unless it runs."""
    told = row.details.run
    if row.status is not StudyStatus.RUNNING or told is None:
        return None
    then = Pace(share=told.share, remaining_s=told.remaining_s, most_s=told.most_s)
    return then.after(((now or dt.datetime.now(dt.UTC)) - dt.datetime.fromisoformat(told.at)).total_seconds())


def sparkline(qualities: Sequence[float]) -> str:
    """The best so far of these, as the path of a staircase; empty for fewer than two."""
    if len(qualities) < 2:
        return ""
    best, path = float("-inf"), ""
    x = Axis(low=0.0, high=float(len(qualities) - 1), start=2.0, end=WIDTH - 2.0)
    low, high = min(qualities), max(qualities)
    y = Axis(low=low, high=high if high > low else low + 1.0, start=HEIGHT - 3.0, end=3.0)
    for at, quality in enumerate(qualities):
        if quality > best:
            best = quality
            path += f"{'M' if not path else 'H'}{x.at(at):g}{' ' if not path else 'V'}{y.at(best):g}"
    return f"{path}H{x.end:g}"
