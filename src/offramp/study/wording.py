"""How numbers and assignments are worded, the same in the terminal, the report and the live page.

Invariant: what is not known is shown as `?`, never as 0; control characters of others are written out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offramp.printable import printable
from offramp.records import SAME_SCORE
from offramp.space.forms import spec_of

if TYPE_CHECKING:
    from offramp.records import Aggregate, Objective, Scalar
    from offramp.stats import Interval
    from offramp.store.studies import ParkedModel
    from offramp.study.domain.likely import LikelyMember
    from offramp.study.domain.members import Member
    from offramp.study.domain.objectives import BrokenLimit

STOPPED: Mapping[str, str] = {
    "trials": "all trials are done",
    "space_exhausted": "every candidate of the space was tried",
    "budget_usd": "the cap on money is reached; raise it and run the same command again to continue",
    "budget_calls": "the cap on calls is reached; raise it and run the same command again to continue",
    "minutes": "the cap on minutes leaves no time for more runs; run the same command again to continue",
    "interrupted": "interrupted; run the same command again to continue",
    "failures": "too many requests failed; none of them was scored as zero",
    "refused": "a provider refused all requests of this kind",
    "error": "an error stopped it",
}
"""Why a run ended, by `stop_reason`."""
MOST_REASONS, LONGEST_REASON, MOST_NAMED = 3, 300, 5
"""Why runs have no score: this many reasons are shown, each up to this many characters."""

CHEAPER, FASTER = ("cheaper", "more expensive"), ("faster", "slower")
"""What less and more of cost and of latency are called."""


def plain(value: object) -> str:
    """A text with its control characters spelled out, so that a terminal does not obey them."""
    return printable(value)


def money(usd: float | None) -> str:
    """USD with the digits that matter; `?` where it is not known."""
    if usd is None:
        return "?"
    if usd == 0:
        return "$0"
    if usd >= 9999.995:
        return f"${usd:,.0f}"
    return f"${usd:,.2f}" if usd >= 0.99995 else f"${usd:.4f}" if usd >= 0.00995 else f"${usd:.2g}"


def counted(n: int, one: str, more: str | None = None) -> str:
    """A number with its noun: `1 call`, `2,000 calls`. `more`: the plural, where it is not `one` and an s."""
    return f"{n:,} {one if n == 1 else more or f'{one}s'}"


def per_thousand(usd: float | None) -> str:
    """The cost of a thousand runs."""
    return money(None if usd is None else usd * 1000)


def seconds(value: float | None) -> str:
    """Seconds, or milliseconds below one; what took time is never `0 ms`."""
    if value is None:
        return "?"
    ms = value * 1000
    if ms >= 999.5:
        return f"{value:.2f} s"
    if ms == 0 or ms >= 0.95:
        return f"{ms:.0f} ms"
    return f"{ms:.1f} ms" if ms >= 0.05 else "<.1 ms"


_MOST_DIGITS = 4


def fraction(value: float, digits: int) -> str:
    """A value in 0..1 with so many digits, and four where it would read as 0 or 1 and is not; then `>0.9999`.

    `Offramp.fraction` in `review/static/base.js` is the same.
    """
    for end in (0.0, 1.0):
        if abs(value - end) <= SAME_SCORE:
            return f"{end:.{digits}f}"
    for shown in (digits, _MOST_DIGITS):
        text = f"{value:.{shown}f}"
        if float(text) not in (0.0, 1.0):
            return text
    step = 10.0**-_MOST_DIGITS
    return f"<{step:.{_MOST_DIGITS}f}" if value < 0.5 else f">{1 - step:.{_MOST_DIGITS}f}"


def number(value: float | None) -> str:
    """A value in 0..1 with three digits; what is not 0 or 1 is never written so."""
    return "?" if value is None else fraction(value, 3)


def percent(share: float, digits: int = 0) -> str:
    """A share in percent; what is not nothing or all is never written so: `<1%`, `>99.9%`."""
    text = f"{share:.{digits}%}"
    if float(text[:-1]) not in (0.0, 100.0) or any(abs(share - end) <= SAME_SCORE for end in (0.0, 1.0)):
        return text
    step = 10.0**-digits
    return f"<{step:.{digits}f}%" if share < 0.5 else f">{100 - step:.{digits}f}%"


def span(low: float | None, high: float | None) -> str:
    """An interval of values in 0..1 in eight characters, two digits each; empty where it is not known.

    An end beside 0 or 1 has three digits, as far as there is room.
    """
    if low is None or high is None:
        return ""
    text = f"{_two(low)}-{_two(high)}"
    if len(text) > _WIDEST:
        text = f"{_two(low)}-1" if high >= 1 - SAME_SCORE else f"{max(0.01, low):.2f}-{_two(high)}"[1:]
    return text


_WIDEST = 8


def _two(value: float) -> str:
    if min(abs(value), abs(1 - value)) <= SAME_SCORE:
        return f"{value:.2f}" if value > 0.5 else ".00"
    text = f"{value:.2f}"
    if float(text) in (0.0, 1.0):
        text = f"{min(0.999, max(0.001, value)):.3f}"
    return text.removeprefix("0")


def between(low: float | None, high: float | None) -> str:
    """An interval of values in 0..1 in words; empty where it is not known."""
    return "" if low is None or high is None else f"{fraction(low, 2)} to {fraction(high, 2)}"


def points(value: float | None) -> str:
    """A difference of scores in points of a hundred, with its sign; one that is not 0 is never written so."""
    if value is None:
        return "?"
    return signed(0.0 if abs(value) <= SAME_SCORE else value * 100, 1)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign and so many digits; one that is not 0 is never written so."""
    text = f"{value + 0.0:+.{digits}f}"  # without the sign of -0.0
    return text if value == 0 or float(text) else f"{value:+.2g}"


def interval_words(of: Interval) -> str:
    """An interval of a difference in points. An end beside 0 is never rounded to 0, which would hide on which side."""
    return f"{points(of.low)} to {points(of.high)}"


def plotted(value: float) -> float:
    """A value for a plot: what differs by no more than the last digits of sums is at one place."""
    return float(f"{value:.9g}")


def ratio_of(ratio: float) -> str:
    """A ratio to what was before, `x1.25`; one that is not 1 or 0 is never written so."""
    text = f"{ratio:.2f}"
    return f"x{text if ratio in (0, 1) or float(text) not in (0.0, 1.0) else f'{ratio:.4g}'}"


def times(ratio: float) -> str:
    """A ratio above 1 with two significant digits."""
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"


def ratio_words(new: float | None, old: float | None, words: tuple[str, str]) -> str | None:
    """How much less (the first word) or more (the second); None below 5 %, and where one is not known."""
    if not new or not old:
        return None
    ratio = old / new if new < old else new / old
    return None if ratio < 1.05 else f"{times(ratio)} {words[0] if new < old else words[1]}"


def limit_words(broken: BrokenLimit) -> str:
    """What a candidate does not keep, as part of a sentence."""
    value, bound = broken.value, broken.bound
    if broken.limit == "quality_min":
        return f"quality {number(value)} is below {bound:g}"
    if broken.limit == "cost_usd_max":
        return f"{per_thousand(value)} per 1,000 runs is above {per_thousand(bound)}"
    if broken.limit == "latency_p95_s_max":
        return f"p95 {seconds(value)} is above {seconds(bound)}"
    if value is None:
        return "how many examples get worse than with the incumbent is not known"
    return f"up to {percent(value, 1)} of examples may get worse, and {percent(bound, 1)} are allowed"


def replicate_notes(seen: Aggregate) -> list[str]:
    """How often examples were run, and how far the runs of one differ; empty where each was run once."""
    if seen.n_runs is None or seen.within_variance is None:
        return []
    spread = "agree" if seen.within_variance == 0 else f"differ by {fraction(math.sqrt(seen.within_variance), 2)} (sd)"
    return [f"{seen.n} examples run {seen.n_runs} times in all; the scores of one example {spread}"]


def unreadable_words(count: int, n: int) -> str:
    """How many answers were program errors, so that an app gets an exception in place of a value."""
    return f"{count} of {n} answers unreadable"


def answer_notes(seen: Aggregate, params: Mapping[str, Any], *, where: str = "") -> list[str]:
    """What the provider says about the answers of a candidate, each with its remedy, and why runs have no score.

    Empty where all is well. Of reasons, the most frequent.

    Args:
        params: its assignment or request parameters, for the value of max_tokens.
        where: said first, such as `holdout`.
    """
    limit = params.get("max_tokens") or params.get("max_completion_tokens")
    cut, hidden = seen.n_cut or 0, seen.n_cut_reasoning or 0
    reasoning = "" if not hidden else ", all of it reasoning" if hidden == cut else f", {hidden} of them all reasoning"
    at = "the output limit" if limit is None else f"max_tokens {limit}"
    asked = f" ({params['model']})" if params.get("model") else ""
    other = plain(seen.other_model or "another model")
    found = (
        (cut, f"cut at {at}{reasoning}: {'raise' if limit is not None else 'set a higher'} max_tokens"),
        (seen.n_filtered, f"filtered by the provider{_named(seen, 'filtered')}: {_FILTERED}"),
        (seen.n_refused, f"refused by the model{_named(seen, 'refused')}: change the instruction or the model"),
        (seen.n_empty, "empty although the model stopped by itself: change the instruction or the model"),
        (seen.n_unreadable, "unreadable: say the form of the answer in the instruction, or set `constrained: true`"),
        (seen.n_other_model, f"given by {other}, which is not the model asked for{plain(asked)}"),
    )
    before, all_runs = f"{where}: " if where else "", seen.n + seen.n_failed
    notes = [f"{before}{n} of {seen.n} answers {words}" for n, words in found if n]
    if n := len(seen.examples.get("too_long", ())):
        notes.append(f"{before}{n} of {seen.n} prompts too long for the model{_named(seen, 'too_long')}: {_TOO_LONG}")
    told = sum(n or 0 for n, _ in found[:5]) + len(seen.examples.get("too_long", ()))
    if seen.n_fault > told:
        notes.append(f"{before}{unreadable_words(seen.n_fault, seen.n)}, each a score of 0: an app gets an error there")
    failed = [
        f"{before}{n} of {all_runs} runs have no score: {_brief(why)}{_named(seen, why)}"
        for why, n in seen.failures.items()
    ]
    return [*notes, *failed[:MOST_REASONS]]


_FILTERED = "read those inputs, or change the filter's settings there"
_TOO_LONG = "shorten them, or use a model with a larger context"


def _named(seen: Aggregate, kind: str) -> str:
    """The first examples of a kind, in brackets; empty where they are not known."""
    return examples_named(seen.examples.get(kind, ()))


def examples_named(ids: Sequence[str]) -> str:
    """The first of these examples, in brackets with a space before them; empty for none."""
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f" ({plain(', '.join(ids[:MOST_NAMED]))}{more})" if ids else ""


def _brief(reason: str) -> str:
    text = plain(reason)
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def parked_words(parked: ParkedModel) -> str:
    """What is to be known of a model that no longer answers while others do, in a few sentences."""
    incumbent = " The incumbent uses it and could not be evaluated in full." if parked.incumbent else ""
    by = plain("; ".join(f"{name}: {' or '.join(values)}" for name, values in parked.used_by.items()))
    which = f"Candidates with {by}" if by else "Its candidates"
    return f"Model {ended_words(parked)} {which} are parked; the others went on.{incumbent}"


def ended_words(parked: ParkedModel) -> str:
    """Which model no longer answers, what the provider said, and what could be used in its place."""
    state = "has retired or was renamed" if parked.retired else "is unknown to its provider (retired, renamed or wrong)"
    said = f"; the provider said: {plain(parked.said).rstrip('.')}" if parked.said else ""
    successors = f" Successors: {plain(', '.join(parked.successors))}." if parked.successors else ""
    return f"{plain(parked.model)} {state}{said}.{successors}"


def estimate_notes(likely: LikelyMember | None) -> list[str]:
    """That the numbers of the search split are estimates; empty for None."""
    if likely is None:
        return []
    return [
        f"estimate: run on {likely.n} of {likely.of} search examples; its quality is what it is expected to have on all"
    ]


def common_notes(member: Member) -> list[str]:
    """That a candidate lacks scores and its numbers are not of its own rows alone; empty where they are."""
    found, statistic = [], member.latency_statistic
    common = member.common if member.estimate is None else None
    for split, changed, seen in (
        ("search", common, member.search), ("holdout", member.held_common, member.holdout),
    ):  # fmt: skip
        if changed is None or seen is None:
            continue
        size = seen.n + seen.n_failed
        lacks = f"{seen.n_failed} of {size} {split} examples have no score"
        lacks = lacks if seen.n_failed else f"only {seen.n} {split} examples were run"
        own = f"quality {number(seen.quality)}, {per_thousand(seen.cost_usd)} per 1,000 runs, {statistic}"
        found.append(
            f"{lacks}: its numbers are as on all, by what the others came to on those. On its own {seen.n}: {own} "
            f"{seconds(seen.latency_s(statistic))}"
        )
    return found


def coarse_words(objective: Objective) -> str:
    """That the scale of an objective, taken from the incumbent, says little about the others."""
    worst = 0.0 if objective.scale is None else objective.scale[0]
    cost = objective.name == "cost"
    end = f"{money(worst)} a run" if cost else f"{seconds(worst)} a run"
    does = "costs" if cost else "takes"
    return (
        f"The incumbent {does} nothing, or next to nothing, so {objective.name} is scaled to {end}, which counts as "
        f"worst. State `scale` under `objectives.{objective.name}`, as [worst, best] of one run, so that its weight "
        "tells candidates apart."
    )


def shown_statistics(statistic: str) -> tuple[str, ...]:
    """What tables show of latency: p50, p95, and between them the statistic of the objective where it is another."""
    return tuple(dict.fromkeys(("p50", statistic, "p95")))


def estimated_words(model: str, n: int, of: int) -> str:
    """That costs of a model are not from tokens that its server counted."""
    answers = f"{n:,} of {counted(of, 'answer')} of {plain(model)}"
    return f"The cost of {answers} is estimated from the length of texts: the server reports no tokens."


def assumed_words(usd: float, spent_usd: float) -> str:
    """That part of what was spent is not from tokens that a server counted."""
    return (
        f"{money(usd)} of {money(spent_usd)} spent is estimated: the server reported no tokens for an answer, or a "
        "request was lost after it had been sent."
    )


def cold_notes(seen: Aggregate) -> list[str]:
    """What a run costs before the provider's prompt cache is warm, where that is more than 5 % above the measured."""
    measured, cold, used = seen.cost_usd, seen.cost_cold_usd, seen.usage
    if not measured or cold is None or used is None or cold <= 1.05 * measured:
        return []
    share, more = percent(used.cached_input_tokens / max(1, used.prompt_tokens)), times(cold / measured)
    return [
        f"cold cost {per_thousand(cold)} per 1,000 runs ({more} the measured {per_thousand(measured)}): {share} of "
        "the prompt was read from the provider's cache"
    ]


def answer_counts(seen: Aggregate) -> dict[str, Any]:
    """Counts by ending as JSON values; None where they are not known."""
    names = ("n_cut", "n_cut_reasoning", "n_filtered", "n_refused", "n_empty", "n_unreadable", "n_other_model")
    counts = {name: getattr(seen, name) for name in names}
    examples = {kind: list(ids) for kind, ids in seen.examples.items()}
    return {**counts, "other_model": seen.other_model, "failures": dict(seen.failures), "examples": examples}


def short_params(params: Mapping[str, Scalar], leave_out: Collection[str] = ()) -> str:
    """An assignment in one line: the most important first, without defaults and `leave_out`."""
    return plain(", ".join(_shown(params, leave_out)))


def _shown(params: Mapping[str, Scalar], leave_out: Collection[str]) -> list[str]:
    shown = [str(params.get("model", "")).removeprefix("local/")]
    shown += [str(value) for name, value in params.items() if name.startswith("instruction")]
    form = spec_of(str(params.get("form") or "predict")).module  # its temperature is among the rest
    shown += [str(value) for value in (form, params.get("format")) if value not in (None, "predict", "own")]
    if params.get("constrained"):
        shown.append("constrained")
    if params.get("tools") == "native":
        shown.append("native tools")
    if params.get("demos") not in (None, "none") and params.get("demos.count"):
        shown.append(f"{params['demos.count']} {params['demos']} demos")
    known = {"model", "form", "format", "constrained", "tools", "demos", "demos.count", *leave_out}
    rest = {n: v for n, v in params.items() if n not in known and not n.startswith("instruction") and v is not None}
    in_order = sorted(rest, key=lambda name: (name != "temperature", name))  # as stored or as stated: the same words
    return shown + [f"{name}={rest[name]}" for name in in_order]


LIKELY = "Likely on the front, not run on all examples"
"""What the candidates are called whose records have estimates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyWords:
    """What is expected of one candidate: each value with its 95% interval, empty where it is not an objective."""

    quality: str
    quality_interval: str
    cost: str
    cost_interval: str
    latency: str
    latency_interval: str
    n: str
    trust: str


def likely_words(likely: LikelyMember) -> LikelyWords:
    """What is expected of a candidate in words."""
    values, cost, latency = likely.values, likely.values.get("cost"), likely.values.get("latency")
    quality = values["quality"]
    return LikelyWords(
        quality=number(quality.mean),
        quality_interval=span(quality.low, quality.high),
        cost="" if cost is None else per_thousand(cost.mean),
        cost_interval="" if cost is None else f"{per_thousand(cost.low)}-{per_thousand(cost.high)}",
        latency="" if latency is None else seconds(latency.mean),
        latency_interval="" if latency is None else f"{seconds(latency.low)}-{seconds(latency.high)}",
        n=f"{likely.n}/{likely.of}",
        trust=percent(likely.trust),
    )


def shared_params(members: Sequence[Member | LikelyMember]) -> set[str]:
    """Request params that are the same for all, and so distinguish none."""
    names = {name for member in members for name in member.shown}
    return {name for name in names if len({repr(member.shown.get(name)) for member in members}) == 1}
