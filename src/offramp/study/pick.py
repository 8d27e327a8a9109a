"""Which candidate of a study is meant: recommended, incumbent, a policy, `trial N`, or the beginning of an id."""

from __future__ import annotations

import re
from collections.abc import Sequence

from offramp.errors import UsageError, nearest, problem
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.study.recommend import choose, is_policy
from offramp.study.report import StudyReport

WAYS = "recommended, incumbent, knee, another policy, `trial N`, or the beginning of a candidate's id"


def find_candidate(
    store: Store, report: StudyReport, rows: Sequence[CandidateRow], pick: str, *, where: str = "candidate"
) -> CandidateRow:
    """The one candidate that is meant.

    Args:
        rows: the candidates of the study.
        where: the option or argument that named it, for messages.

    Raises:
        UsageError: nothing, or more than one candidate, is meant.
    """
    word, number = _parts(pick)
    if word == "trial":
        hits = [row for row in rows if row.number == number]
    else:
        wanted = _by_word(store, report, word, where) if _is_word(word) else word
        hits = [row for row in rows if row.id.startswith(wanted)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        ids = ", ".join(row.id for row in hits[:8])
        raise UsageError(problem(where, "names several candidates", got=pick, expected=f"one of {ids}"))
    do = nearest(pick, [row.id for row in rows]) or f"See `offramp pareto {report.study} --all`."
    raise UsageError(problem(where, "no such candidate in the study", got=pick, expected=WAYS, do=do))


def _parts(pick: str) -> tuple[str, int | None]:
    text = pick.strip().lower().removeprefix("candidate ").removeprefix("candidate:").strip()
    match = re.fullmatch(r"trial[ :#]*(\d{1,18})", text)
    return ("trial", int(match[1])) if match else (text or "?", None)


def _is_word(text: str) -> bool:
    return text in ("recommended", "incumbent") or is_policy(text)


def _no_incumbent(report: StudyReport) -> str:
    return "Name another" + (", such as recommended or knee." if report.front else ".")


def _by_word(store: Store, report: StudyReport, word: str, where: str) -> str:
    if is_policy(word):
        choice = choose(store, report, word)
        member, why = choice.member, choice.why
    elif word == "recommended":
        member, why = report.recommended, "No candidate has a full evaluation with every objective known."
    else:
        member, why = report.incumbent, _no_incumbent(report)
    if member is None:
        what = f"no candidate of {report.study} ({report.status}) is that"
        raise UsageError(problem(where, what, got=word, do=f"{why} See `offramp pareto {report.study} --all`."))
    return member.candidate
