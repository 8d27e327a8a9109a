"""The gate of a promotion: every reason why a candidate should not go to production, all at once.

Invariant: an empty list means that each condition was checked and holds; what is not known does not hold.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from offramp.models.retirement.dates import Basis, Retirement, Standing, standing_of
from offramp.promote.promotion import Comparison, Evidence, PromotedCascade, PromotedModel, Promotion, SplitEvidence
from offramp.space.model import ConstraintsPart
from offramp.stats import share_at_most
from offramp.study.proof import MOST_MISSING
from offramp.study.wording import number, percent, signed, unreadable_words


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What has to hold.

    Attributes:
        within_days: a model that retires within this many days is refused.
        constraints: limits of the space file; checked on the holdout here.
        regressed_at_most: upper bound of the share of the holdout that got worse, at the confidence of the regression
            budget, where examples belong together; None where the counts of the evidence say it.
        needs_price: whether cost is an objective or a constraint.
        complete: whether the candidate ran on the whole search split, or as far as the caps allowed.
        holdout_examples: size of the holdout.
        retirements: by name of model, for those with a known date.
        today: for retirement dates.
        unreadable_max: largest share of unreadable answers on the holdout; None for no limit.
    """

    within_days: int
    constraints: ConstraintsPart
    needs_price: bool
    complete: bool
    holdout_examples: int
    retirements: Mapping[str, Retirement]
    today: dt.date
    regressed_at_most: float | None = None
    unreadable_max: float | None = None


def refusals(promotion: Promotion, rules: GateRules) -> tuple[str, ...]:
    """Every reason against this promotion, in words."""
    evidence = promotion.evidence
    found: list[str] = []
    if not rules.complete:
        found.append("the search stopped it before it had run on all examples of the search split")
    if evidence.holdout is None or not evidence.holdout.n:
        found.append("it was not evaluated on the holdout: nothing shows how it does on examples the search never saw")
    else:
        found += _on_holdout(evidence, evidence.holdout, rules)
    for model in dict.fromkeys(part.model.name for part in promotion.parts if part.model.price is None):
        if rules.needs_price:
            found.append(f"the price of {model} is not known")
    found += _against_single(promotion.cascade) if promotion.cascade is not None else ()
    models = [promotion.model, *promotion.fallbacks, *promotion.others]
    found += retiring(models, rules.retirements, rules.today, within_days=rules.within_days)
    return tuple(found)


def _against_single(cascade: PromotedCascade) -> Iterator[str]:
    """Several programs have to be worth it: ahead of the best single one on rows that chose neither."""
    gain = cascade.holdout
    if gain is None:
        yield (
            f"it cannot be compared with the best single candidate, {cascade.single}, on the holdout: not all of them "
            f"ran there. `offramp verify STUDY --cascade {cascade.kind}` runs them"
        )
    elif gain.difference <= 0:
        yield (
            f"it is not ahead of the best single candidate on the holdout: {signed(gain.difference)} of utility "
            f"({signed(gain.low)} to {signed(gain.high)}). Promote that one: `--pick {cascade.single}`"
        )
    own, rival = cascade.utility, cascade.recommended_utility
    if own is not None and rival is not None and own <= rival and cascade.recommended != cascade.single:
        yield (
            f"its utility on the holdout is {number(own)}, and that of the recommended candidate {number(rival)}. "
            f"Promote that one: `--pick {cascade.recommended}`"
        )


def _on_holdout(evidence: Evidence, holdout: SplitEvidence, rules: GateRules) -> Iterator[str]:
    size = max(rules.holdout_examples, holdout.n + holdout.n_failed)
    if (missing := size - holdout.n) > MOST_MISSING * size:
        least = 0.0 if holdout.quality is None else holdout.quality * holdout.n / size
        yield (
            f"the holdout is not complete: {missing} of {size} examples have no score ({holdout.n_failed} of them "
            f"because of infrastructure errors), and at most {MOST_MISSING:.0%} may; its quality is {number(least)} if "
            "those are lost. `offramp verify` completes it"
        )
    if evidence.requests_matched < holdout.n:
        yield (
            f"only {evidence.requests_matched} of {holdout.n} runs on the holdout made the requests that an app would "
            "make now: a release, a text or a model has changed since then"
        )
    most = rules.unreadable_max
    if most is not None and holdout.n_fault > most * holdout.n:
        yield (
            f"{unreadable_words(holdout.n_fault, holdout.n)} on the holdout, where an app gets an error; at most "
            f"{most:.4g} of them may (constraints.unreadable_max). State the form of the "
            "answer in the instruction, raise max_tokens, or pick another candidate"
        )
    p95_s = holdout.latency_p95_s if evidence.probe is None else evidence.probe.p95_s
    yield from _limits(holdout, p95_s, rules.constraints)
    if evidence.incumbent is not None and evidence.candidate != evidence.incumbent.candidate:
        yield from _against(evidence.incumbent.comparison, rules)


def _limits(holdout: SplitEvidence, p95_s: float | None, limits: ConstraintsPart) -> Iterator[str]:
    for name, limit, value, sign in (
        ("quality", limits.quality_min, holdout.quality, -1),
        ("cost_usd", limits.cost_usd_max, holdout.cost_usd, 1),
        ("latency_p95_s", limits.latency_p95_s_max, p95_s, 1),
    ):
        if limit is not None and value is None:
            yield f"{name} is not known; the limit is {limit:g}"
        elif limit is not None and value is not None and sign * (value - limit) > 0:
            yield f"{name} is {value:.4g}, {'above' if sign > 0 else 'below'} the limit of {limit:g}"


def _against(comparison: Comparison | None, rules: GateRules) -> Iterator[str]:
    if comparison is None:
        yield "the incumbent has no result on the holdout to compare with"
        return
    if comparison.high < 0:
        yield (
            f"it is worse than the incumbent on the holdout: {signed(comparison.difference)} "
            f"({signed(comparison.low)} to {signed(comparison.high)})"
        )
    budget = rules.constraints.regressions
    if budget is not None:
        n, bound = comparison.wins + comparison.losses + comparison.ties, rules.regressed_at_most
        if bound is None:
            bound = share_at_most(comparison.losses, n, confidence=budget.confidence)
        if bound > budget.max:
            yield (
                f"{comparison.losses} of {n} examples of the holdout got worse than with the incumbent: up to "
                f"{percent(bound, 1)} with {percent(budget.confidence)} confidence, and the limit is "
                f"{percent(budget.max, 1)}"
            )


def retiring(
    models: Iterable[PromotedModel], retirements: Mapping[str, Retirement], today: dt.date, *, within_days: int
) -> Iterator[str]:
    """Announced retirements, as `watch` reports them; estimates do not count here."""
    for model in models:
        found = retirements.get(model.name)
        if found is None or found.basis is Basis.ESTIMATE:
            continue
        standing = standing_of(found, today, within_days, without=Standing.UNKNOWN)
        said = f" (your own notice{f': {found.note}' if found.note else ''})" if found.basis is Basis.NOTICE else ""
        said = " (a feed)" if found.basis is Basis.FEED else said
        if standing is Standing.RETIRED:
            yield f"{model.name} retired on {found.date}{said}"
        elif standing is Standing.SOON:
            yield f"{model.name} retires in {found.days_left(today)} days, on {found.date}{said}"
