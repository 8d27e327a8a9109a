"""Examples that are run several times, because a model that samples its answers does not give the same one twice.

The example stays the unit: its score is the mean of its runs, so that tables, paired comparisons and intervals count
examples. Only sampled answers are asked for again. Of each candidate the first `PILOT` examples are; where their runs
agree in every one of them, the rest is run once. That choice says how often later examples are run and leaves out none
of them, so that the mean stays unbiased.

Invariant: what is run again depends on results and on the order of examples, never on which reply came first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from statistics import fmean

from offramp.program.program import Outcome
from offramp.records import SAME_SCORE, Candidate, Example, Price, Replicate, Result, Usage

PILOT = 10
"""Examples of a candidate that are run again to see whether its answers differ."""
_TOKENS = tuple(f.name for f in fields(Usage) if f.name != "compute_s")


def is_sampled(outcome: Outcome) -> bool:
    """Whether the same requests may be answered otherwise: one is sent neither at temperature 0 nor with top_k 1."""
    return any(may_differ(exchange.request.params) for exchange in outcome.exchanges)


def may_vary(candidate: Candidate) -> bool:
    """Whether a candidate's answers may differ, by the parameters that it states."""
    return any(may_differ(candidate.params_of(predictor)) for predictor in candidate.instructions or ("",))


def may_differ(params: Mapping[str, object]) -> bool:
    """Whether a request with these parameters may be answered otherwise when it is sent again."""
    return params.get("temperature") != 0 and params.get("top_k") != 1


def with_first(result: Result, *, sampled: bool) -> Result:
    """The result of a first run, as one that others may join."""
    found = result.score is not None and sampled
    return replace(result, replicates=(replicate_of(result, 0),)) if found else result


def replicate_of(result: Result, number: int) -> Replicate:
    """One run's numbers. The run has a score."""
    return Replicate(
        number=number, state=result.state, score=result.score or 0.0, cost_usd=result.cost_usd,
        others_usd=result.others_usd, latency_s=result.latency_s, usage=result.usage, calls=result.calls,
        cached_calls=result.cached_calls,
    )  # fmt: skip


def with_replicate(result: Result, run: Result, number: int, price: Price | None) -> Result:
    """A result with one run more, at the price of its candidate's requests."""
    known = {one.number: one for one in result.replicates or ()} | {number: replicate_of(run, number)}
    runs = tuple(known[number] for number in sorted(known))
    usage = _mean_usage([one.usage for one in runs])
    cost, others = _mean([one.cost_usd for one in runs]), _mean([one.others_usd for one in runs])
    own = None if price is None else price.reply_usd(usage)
    if cost is not None and own is not None:  # whole tokens do not explain all of a mean
        others = cost - own
    return replace(
        result, score=fmean(one.score for one in runs), cost_usd=cost, others_usd=others, usage=usage,
        latency_s=_mean([one.latency_s for one in runs]), calls=sum(one.calls for one in runs),
        cached_calls=sum(one.cached_calls for one in runs), replicates=runs,
    )  # fmt: skip


def lacking(result: Result | None, replicates: int) -> list[int]:
    """Numbers of the runs that an example still lacks; none where its first run has no score, or is not sampled."""
    if result is None or result.replicates is None:
        return []
    known = {one.number for one in result.replicates}
    return [number for number in range(1, replicates) if number not in known]


def pilot_of(examples: Iterable[Example], known: Mapping[str, Result]) -> list[Example]:
    """The examples that are run again first, by the results of first runs."""
    sampled = (e for e in examples if e.id in known and known[e.id].replicates is not None)
    return list(islice(sampled, PILOT))


def rest_of(examples: Sequence[Example], known: Mapping[str, Result]) -> list[Example]:
    """The examples that are run again after the pilot; none where the runs of the pilot agree."""
    pilot = pilot_of(examples, known)
    if not any(differs(known[example.id]) for example in pilot):
        return []
    first = {example.id for example in pilot}
    return [e for e in examples if e.id not in first and e.id in known and known[e.id].replicates is not None]


def lack_runs(examples: Sequence[Example], known: Mapping[str, Result], replicates: int) -> bool:
    """Whether some of these examples still has to be run again, by the results that are known."""
    again = (*pilot_of(examples, known), *rest_of(examples, known)) if replicates > 1 else ()
    return any(lacking(known[example.id], replicates) for example in again)


def differs(result: Result) -> bool:
    """Whether the runs of one example have different scores."""
    scores = [one.score for one in result.replicates or ()]
    return bool(scores) and max(scores) - min(scores) > SAME_SCORE


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _mean_usage(found: Sequence[Usage]) -> Usage:
    tokens = {name: round(fmean(getattr(usage, name) for usage in found)) for name in _TOKENS}
    return Usage(**tokens, compute_s=_mean([usage.compute_s for usage in found]))
