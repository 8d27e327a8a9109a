"""Ways to choose one member of a front, each with one sentence that says why; and how people write them.

    weights                    the highest utility by the study's weights (or those given)
    knee                       where a little more of one objective starts to cost much of another
    within:2                   the cheapest within 2 points of the best quality
    under:usd=.0005,seconds=2  the best quality under so many USD and seconds of one run
    no-loss                    the cheapest that is not significantly worse than the incumbent

All but the last choose by numbers of the search split; the last uses the holdout, if any candidate was evaluated there.

Invariant: what is chosen is on the front, and an unknown number is never taken for a good one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from offramp.errors import UsageError, nearest, problem
from offramp.records import Split
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyStore
from offramp.study.domain.members import Member, knee_of, recommend
from offramp.study.domain.paired_comparison import PairedComparison, compare_scores, holm_corrected
from offramp.study.study_report import Choice, StudyReport
from offramp.study.wording import interval_words, number, per_thousand, points, seconds

FORMS = "weights, knee, within:POINTS, under:usd=U,seconds=S, or no-loss"


def is_policy(text: str) -> bool:
    """Whether the text is meant as a policy, well-formed or not."""
    return text.strip().lower().split(":")[0] in _POLICIES


def choose(store: Store, report: StudyReport, policy: str) -> Choice:
    """The member that a policy chooses.

    Raises:
        UsageError: no such policy, or numbers that it cannot use.
    """
    name, _, rest = policy.strip().lower().partition(":")
    if name not in _POLICIES:
        do = nearest(name, _POLICIES) or None
        raise UsageError(problem("--pick", "no such way to choose", got=policy, expected=FORMS, do=do))
    member, why = _POLICIES[name](store, report, rest)
    return Choice(policy=policy, member=member, why=why)


_Chosen = tuple[Member | None, str]


def _weights(_: Store, report: StudyReport, rest: str) -> _Chosen:
    _refuse_rest("weights", rest)
    best = recommend(report.front)
    weights = ", ".join(f"{o.name} {o.weight:g}" for o in report.objectives)
    if best is None:
        return None, "No member of the front has every objective, so none has a utility."
    return best, f"It has the highest utility ({number(best.utility)}) by the weights {weights}."


def _knee(_: Store, report: StudyReport, rest: str) -> _Chosen:
    _refuse_rest("knee", rest)
    best = knee_of(report.front, report.objectives)
    if best is None:
        return None, "There is no front yet."
    names = ", ".join(o.name for o in report.objectives)
    if len(report.front) == 1:
        return best, "It is the only one on the front."
    if len(report.objectives) == 1:
        several = f"It is one of {len(report.front)} with the best {names}"
        return best, f"{several}: with one objective there is nothing to weigh."
    return best, f"It is the knee of the front of {len(report.front)}: the best balance of {names}."


def _within(_: Store, report: StudyReport, rest: str) -> _Chosen:
    span = _number("within", rest)
    known = [m for m in report.front if m.quality is not None]
    if not known:
        return None, "There is no front yet."
    top = max(m.quality or 0.0 for m in known)
    near = [m for m in known if (m.quality or 0.0) >= top - span / 100 - 1e-9]
    best = _cheapest(near)
    if best is None:
        return None, f"None of the {len(near)} within {span:g} points of the best has a known cost."
    return best, f"{_cheapest_of(best, len(near))} within {span:g} points of the best quality ({number(top)})."


def _under(_: Store, report: StudyReport, rest: str) -> _Chosen:
    limits = _limits(rest)
    fitting = [m for m in report.front if all(_keeps(m, name, limit) for name, limit in limits.items())]
    best = max(fitting, key=lambda m: (m.quality or 0.0, -(m.cost_usd or math.inf)), default=None)
    words = {
        "usd": lambda v: f"cost at most {per_thousand(v)} per 1,000 runs",
        "seconds": lambda v: f"take at most {seconds(v)}",
    }
    within = " and ".join(words[name](limit) for name, limit in limits.items())
    if best is None:
        return None, f"None of the {len(report.front)} on the front is known to {within}."
    if len(fitting) == 1:
        return best, f"It is the only one on the front (quality {number(best.quality)}) known to {within}."
    return best, f"It has the best quality ({number(best.quality)}) of the {len(fitting)} on the front that {within}."


def _no_loss(store: Store, report: StudyReport, rest: str) -> _Chosen:
    _refuse_rest("no-loss", rest)
    if report.incumbent is None:
        return None, "There is no incumbent to lose against."
    split, compared = _against_incumbent(store, report, report.incumbent)
    kept = [m for m in report.front if m.incumbent or (m.candidate in compared and not compared[m.candidate].worse)]
    best = _cheapest(kept)
    if best is None:
        return None, f"No member of the front with a known cost was compared with the incumbent on the {split} split."
    numbers = ": the incumbent itself"
    if (one := compared.get(best.candidate)) is not None:
        numbers = f" ({points(one.difference)} points, {interval_words(one.corrected)})"
    where = f"not significantly worse than the incumbent on the {split} split"
    return best, f"{_cheapest_of(best, len(kept))} {where}{numbers}."


def _against_incumbent(
    store: Store, report: StudyReport, incumbent: Member
) -> tuple[Split, Mapping[str, PairedComparison]]:
    """The front against the incumbent, as the report has it on the holdout, else by Holm over the front.

    Those without a common example are left out.
    """
    held = {m.candidate: m.against_incumbent for m in report.front if m.against_incumbent is not None}
    if held:
        return Split.HOLDOUT, held
    names = [member.candidate for member in report.front if not member.incumbent]
    scores = ResultStore(store).scores(report.study, Split.SEARCH, (*names, incumbent.candidate))
    groups = StudyStore(store).get(report.study).details.groups
    compared = {name: compare_scores(scores[name], scores[incumbent.candidate], groups=groups) for name in names}
    found = {name: one for name, one in compared.items() if one.n}
    return Split.SEARCH, dict(zip(found, holm_corrected(list(found.values())), strict=True))


def _cheapest_of(best: Member, n: int) -> str:
    cost = f"({per_thousand(best.cost_usd)} per 1,000 runs)"
    return f"It is the only one on the front {cost}" if n == 1 else f"It is the cheapest {cost} of {n}"


def _cheapest(members: Sequence[Member]) -> Member | None:
    known = [m for m in members if m.cost_usd is not None]
    return min(known, key=lambda m: (m.cost_usd or 0.0, -(m.quality or 0.0), m.candidate), default=None)


def _keeps(member: Member, name: str, limit: float) -> bool:
    value = member.cost_usd if name == "usd" else member.latency_s
    return value is not None and value <= limit


# ------------------------------------------------------------------------------------------------ reading


def _refuse_rest(name: str, rest: str) -> None:
    if rest:
        raise UsageError(problem("--pick", f"{name} takes nothing after a colon", got=rest, expected=FORMS))


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        expected = "a finite number of 0 or more"
        raise UsageError(problem("--pick", name, got=text, expected=expected, do=f"Write {FORMS}."))
    return value


def _limits(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in ("usd", "seconds") or name in found:
            expected = "usd=..., seconds=... or both, each once and of one run"
            raise UsageError(problem("--pick", "under", got=text, expected=expected))
        found[name] = _number(f"under: {name}", value)
    return found


def parse_weights(text: str | None) -> dict[str, float] | None:
    """`quality=.6,cost=.3` as a mapping; None for None. What a weight may be is for `reweighted` to say.

    Raises:
        UsageError: it is not in this form, or names an objective twice.
    """
    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = (piece.strip() for piece in part.partition("="))
        try:
            value = float(weight)
        except ValueError:
            expected = "such as quality=.6,cost=.3"
            raise UsageError(problem("--weights", "not a list of name=number", got=text, expected=expected)) from None
        if name in found:
            what = f"duplicate weight of {name!r}"
            raise UsageError(problem("--weights", what, got=text, expected="each objective once", do="Remove one."))
        found[name] = value
    return found


_POLICIES: Mapping[str, Callable[[Store, StudyReport, str], _Chosen]] = {
    "weights": _weights, "knee": _knee, "within": _within, "under": _under, "no-loss": _no_loss,
}  # fmt: skip
