"""Which candidate of a study is meant: the recommended one, the knee of the front, the incumbent, a trial, or an id."""

from __future__ import annotations

import re

from offramp.errors import UsageError, nearest, problem
from offramp.stats.knee import knee
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.study.report import StudyReport

WAYS = "recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id"


def picked(store: Store, report: StudyReport, pick: str = "recommended") -> CandidateRow:
    """The candidate. Raises UsageError where nothing, or more than one, is meant."""
    rows = CandidateStore(store).all(report.study)
    word, number = _parts(pick)
    if word == "trial":
        hits = [row for row in rows if row.number == number]
    else:
        wanted = _by_word(report, word) if word in ("recommended", "knee", "incumbent") else word
        hits = [row for row in rows if wanted is not None and row.id.startswith(wanted)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        ids = ", ".join(row.id for row in hits)
        raise UsageError(problem("--pick", "names several candidates", got=pick, expected=f"one of {ids}"))
    do = nearest(pick, [row.id for row in rows]) or f"See `offramp pareto {report.study}`."
    raise UsageError(problem("--pick", "no such candidate in the study", got=pick, expected=WAYS, do=do))


def _parts(pick: str) -> tuple[str, int | None]:
    text = pick.strip().lower().removeprefix("candidate ").removeprefix("candidate:").strip()
    match = re.fullmatch(r"trial[ :#]*(\d+)", text)
    return ("trial", int(match[1])) if match else (text or "?", None)


def _by_word(report: StudyReport, word: str) -> str | None:
    if word == "knee":
        return _knee(report)
    member = report.recommended if word == "recommended" else report.incumbent
    return None if member is None else member.candidate


def _knee(report: StudyReport) -> str | None:
    """The member of the front nearest to the best of each objective, each on its scale."""
    by_name = {"quality": "quality", "cost": "cost_usd", "latency": "latency_s"}
    points = [
        [objective.scaled(getattr(member, by_name[objective.name]) or 0.0) for objective in report.objectives]
        for member in report.front
    ]
    return report.front[knee(points)].candidate if points else None
