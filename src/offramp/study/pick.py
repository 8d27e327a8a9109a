"""Which candidate of a study is meant: recommended, knee, incumbent, `trial N`, or the beginning of an id."""

from __future__ import annotations

import re

from offramp.errors import UsageError, nearest, problem
from offramp.stats.knee import knee
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.study.members import Member
from offramp.study.report import StudyReport

WAYS = "recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id"


def find_candidate(store: Store, report: StudyReport, pick: str, *, where: str = "candidate") -> CandidateRow:
    """The one candidate that is meant.

    Args:
        where: the option or argument that named it, for messages.

    Raises:
        UsageError: nothing, or more than one candidate, is meant.
    """
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
        ids = ", ".join(row.id for row in hits[:8])
        raise UsageError(problem(where, "names several candidates", got=pick, expected=f"one of {ids}"))
    do = nearest(pick, [row.id for row in rows]) or f"See `offramp pareto {report.study} --all`."
    raise UsageError(problem(where, "no such candidate in the study", got=pick, expected=WAYS, do=do))


def knee_of(report: StudyReport) -> Member | None:
    """The front's member at which a little more of one objective begins to cost much of another; None without front.

    Scales do not matter: the front's own extremes are the ends of each axis.
    """
    points = [_gains(member, report) for member in report.front]
    return report.front[knee(points)] if points else None


def _gains(member: Member, report: StudyReport) -> list[float]:
    values = {"quality": member.quality, "cost": member.cost_usd, "latency": member.latency_s}
    return [(values[o.name] or 0.0) * (1 if o.maximise else -1) for o in report.objectives]


def _parts(pick: str) -> tuple[str, int | None]:
    text = pick.strip().lower().removeprefix("candidate ").removeprefix("candidate:").strip()
    match = re.fullmatch(r"trial[ :#]*(\d+)", text)
    return ("trial", int(match[1])) if match else (text or "?", None)


def _by_word(report: StudyReport, word: str) -> str | None:
    member = {"knee": knee_of(report), "recommended": report.recommended, "incumbent": report.incumbent}[word]
    return None if member is None else member.candidate
