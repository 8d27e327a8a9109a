"""How numbers and assignments are worded, the same in the terminal, the report and the live page.

Invariant: what is not known is shown as `?`, never as 0; control characters of others are written out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offramp.printable import printable
from offramp.space.forms import spec_of

if TYPE_CHECKING:
    from offramp.records import Aggregate, Scalar
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
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}" if usd >= 0.01 else f"${usd:.2g}"


def counted(n: int, one: str, more: str | None = None) -> str:
    """A number with its noun: `1 call`, `2,000 calls`. `more`: the plural, where it is not `one` and an s."""
    return f"{n:,} {one if n == 1 else more or f'{one}s'}"


def per_thousand(usd: float | None) -> str:
    """The cost of a thousand runs."""
    return money(None if usd is None else usd * 1000)


def seconds(value: float | None) -> str:
    """Seconds, or milliseconds below one."""
    if value is None:
        return "?"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def number(value: float | None) -> str:
    """A value in 0..1 with three digits."""
    return "?" if value is None else f"{value:.3f}"


def span(low: float | None, high: float | None) -> str:
    """An interval of values in 0..1 in seven characters; empty where it is not known."""
    return "" if low is None or high is None else f"{_two(low)}-{_two(high)}"


def _two(value: float) -> str:
    text = f"{value:.2f}"
    return text if value >= 0.995 else text.removeprefix("0")


def points(value: float | None) -> str:
    """A difference of scores in points of a hundred, with its sign."""
    return "?" if value is None else f"{value * 100:+.1f}"


def interval_words(of: Interval) -> str:
    """An interval of a difference in points. An end beside 0 is never rounded to 0, which would hide on which side."""
    return f"{_end(of.low)} to {_end(of.high)}"


def _end(value: float) -> str:
    text = points(value + 0.0)  # without the sign of -0.0
    return text if value == 0 or text not in ("+0.0", "-0.0") else f"{value * 100:+.2g}"


def times(ratio: float) -> str:
    """A ratio above 1 with two significant digits."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


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
    return f"up to {value:.1%} of examples may get worse, and {bound:.1%} are allowed"


def replicate_notes(seen: Aggregate) -> list[str]:
    """How often examples were run, and how far the runs of one differ; empty where each was run once."""
    if seen.n_runs is None or seen.within_variance is None:
        return []
    spread = "agree" if seen.within_variance == 0 else f"differ by {math.sqrt(seen.within_variance):.2f} (sd)"
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
    ids = seen.examples.get(kind, ())
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
    share, more = used.cached_input_tokens / max(1, used.prompt_tokens), times(cold / measured)
    return [
        f"cold cost {per_thousand(cold)} per 1,000 runs ({more} the measured {per_thousand(measured)}): {share:.0%} of "
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
    return shown + [f"{name}={value}" for name, value in rest.items()]


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
        trust=f"{likely.trust:.0%}",
    )


def shared_params(members: Sequence[Member | LikelyMember]) -> set[str]:
    """Request params that are the same for all, and so distinguish none."""
    names = {name for member in members for name in member.shown}
    return {name for name in names if len({repr(member.shown.get(name)) for member in members}) == 1}
