"""What candidates came to on each split, kept so that a front of thousands is read in one query.

Tokens are kept as sums by price class: prices are linear in tokens, so that a mean cost can be priced when it is read,
at the price of the service tier that the candidate asks for. They are not where a prompt is long enough for a higher
price: such a candidate is priced by its results, and a result of several requests keeps the cost that it was made at.
So does what other models than the candidate's cost.

Invariant: a stored aggregate is `aggregate_of` of the stored results; whoever changes the results writes it again.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import sqlalchemy as sa

from offramp.records import (
    PROMPT_TOO_LONG,
    TOO_LONG,
    Aggregate,
    Ending,
    Evaluation,
    Price,
    Replicate,
    Result,
    ResultState,
    Split,
    Usage,
    percentile,
)
from offramp.stats import mean_interval_of, repeat_variance
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.tables import candidates, results, summaries

_USAGE = tuple(f.name for f in fields(Usage))
_NUMBERS = (
    "n", "n_fault", "n_failed", "quality", "quality_square",
    "latency_mean_s", "latency_p50_s", "latency_p90_s", "latency_p95_s",
    "n_cut", "n_cut_reasoning", "n_filtered", "n_refused", "n_empty", "n_unreadable", "n_other_model", "other_model",
    "others_usd", "n_runs", "within_variance",
)  # fmt: skip


def aggregate_of(results: Iterable[Result]) -> Aggregate:
    """What these results of one candidate come to; `cost_usd` is the mean of what they cost when they were made."""
    found = Evaluation(candidate="", results=tuple(results))
    counted = found.counted
    scores = [r.score for r in counted if r.score is not None]
    seconds = _seconds_of(counted)
    runs, variance = _spread(counted)
    p50, p90, p95 = (percentile(seconds, p) if seconds else None for p in (50, 90, 95))
    aggregate = _with_interval(
        Aggregate(
            n=len(counted),
            n_fault=sum(r.state is ResultState.PROGRAM_ERROR for r in counted),
            n_failed=len(found.results) - len(counted),
            quality=_mean([r.score for r in counted]),
            quality_square=_mean([score * score for score in scores]),
            usage=_usage_of(counted),
            cost_usd=_mean([r.cost_usd for r in counted]),
            others_usd=_sum([r.others_usd for r in counted]),
            latency_mean_s=_mean(seconds),
            latency_p50_s=p50,
            latency_p90_s=p90,
            latency_p95_s=p95,
            n_runs=runs,
            within_variance=variance,
        )
    )
    aggregate = _named(aggregate, [(r.example, kind) for r in found.results for kind in kinds_of(r)])
    return _with_endings(aggregate, counted)


def _seconds_of(counted: Sequence[Result]) -> list[float]:
    """Seconds of runs. Where examples differ in how often they were run, each has the same weight all the same."""
    known = [[run.latency_s for run in r.runs if run.latency_s is not None] for r in counted]
    whole = math.lcm(*(len(some) for some in known if some))
    return [s for some in known for s in some for _ in range(whole // len(some))]


def _spread(counted: Sequence[Result]) -> tuple[int | None, float | None]:
    """How many runs there are, and the variance of the scores of one example's; None where each was run once."""
    several = [[run.score or 0.0 for run in r.runs] for r in counted if len(r.runs) > 1]
    if not several:
        return None, None
    return sum(len(r.runs) for r in counted), repeat_variance(several)[0]


def kinds_of(result: Result) -> Iterator[str]:
    """Why a provider did not answer on one example: a reason without the row, or `filtered`, `refused`, `too_long`."""
    if result.score is None:
        if result.reason:
            yield group_of(result.reason)
    elif result.ending in (Ending.FILTERED, Ending.REFUSED):
        yield str(result.ending)
    elif result.state is ResultState.PROGRAM_ERROR and (result.reason or "").startswith(PROMPT_TOO_LONG):
        yield TOO_LONG


_OF_ONE_REQUEST = re.compile(
    r"\b(?:req|request|chatcmpl|resp|trace|msg)[-_][A-Za-z0-9_-]{6,}|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{16,}\b"
    r"|\b\d{4}-\d\d-\d\dT[\d:.]+Z?|\brow \d+ \(.*?\): |\bmessages[.\[]\d+[\d.\]]*"
)


def group_of(reason: str) -> str:
    """A reason without what is only of one request: its row, its id, its time."""
    return re.sub(r"\s+", " ", _OF_ONE_REQUEST.sub("", reason)).strip()


def _named(found: Aggregate, kinds: Iterable[tuple[str, str]]) -> Aggregate:
    """With the examples of each kind and how often each reason comes, the most frequent first.

    Args:
        kinds: pairs of an example and why a provider did not answer on it.
    """
    named: dict[str, list[str]] = {}
    for example, kind in kinds:
        named.setdefault(kind, []).append(example)
    order = sorted(named, key=lambda kind: (-len(named[kind]), kind))
    return replace(
        found,
        failures={kind: len(named[kind]) for kind in order if kind not in (Ending.FILTERED, Ending.REFUSED, TOO_LONG)},
        examples={kind: tuple(sorted(named[kind])) for kind in order},
    )


def _with_endings(found: Aggregate, counted: Sequence[Result]) -> Aggregate:
    """With counts by ending, and of runs that another model answered; without where no ending is known."""
    if all(r.ending is None for r in counted):
        return found
    count = Counter(r.ending for r in counted)
    others = Counter(r.other_model for r in counted if r.other_model is not None)
    return replace(
        found,
        n_cut=count[Ending.CUT],
        n_cut_reasoning=sum(r.ending is Ending.CUT and bool(r.reasoning_only) for r in counted),
        n_filtered=count[Ending.FILTERED],
        n_refused=count[Ending.REFUSED],
        n_empty=count[Ending.EMPTY],
        n_unreadable=count[Ending.UNREADABLE],
        n_other_model=others.total(),
        other_model=others.most_common(1)[0][0] if others else None,
    )


def _with_interval(found: Aggregate) -> Aggregate:
    if found.quality is None or found.quality_square is None:
        return found
    interval = mean_interval_of(n=found.n, mean=found.quality, mean_square=found.quality_square)
    return replace(found, quality_low=interval.low, quality_high=interval.high)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _usage_of(counted: Sequence[Result]) -> Usage:
    """Sums by class, the same in every order. A run that made no call took no computing; one whose seconds are missing
    hides the sum.
    """
    total = sum((r.usage for r in counted), Usage())
    unknown = any(r.usage.compute_s is None and r.calls + r.cached_calls for r in counted)
    return replace(total, compute_s=None if unknown else math.fsum(r.usage.compute_s or 0.0 for r in counted))


def result_usd(result: Result | Replicate, price: Price | None) -> float | None:
    """What one run costs at this price, that of its candidate's tier.

    One of several requests of which some may have been billed at a higher step keeps the cost that it was made at.
    """
    if price is None or result.others_usd is None:
        return None
    if len(price.up_to(result.usage.prompt_tokens)) > 1 and result.calls + result.cached_calls > 1:
        return result.cost_usd
    own = price.reply_usd(result.usage)
    return None if own is None else own + result.others_usd


def priced_by_results(seen: Aggregate, price: Price | None, results: Iterable[Result]) -> Aggregate:
    """`seen` at the price of its candidate's tier.

    Args:
        results: those that `seen` is of; they are looked at only where some prompt may have reached a step.
    """
    if not _may_step(seen, price):
        return seen.priced(price)
    counted = Evaluation(candidate="", results=tuple(results)).counted
    cold = [replace(result, usage=result.usage.cold) for result in counted]
    measured, uncached = (_mean([result_usd(result, price) for result in found]) for found in (counted, cold))
    return replace(seen, cost_usd=measured, cost_cold_usd=uncached)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNumbers:
    """What one candidate came to on one example that it has a score for.

    Attributes:
        score: in 0..1.
        cost_usd: virtual USD of one run; None where a price is not known.
        latency_s: seconds of one run; None where they are not known.
    """

    score: float
    cost_usd: float | None
    latency_s: float | None


def numbers_of(results: Iterable[Result], price: Price | None) -> dict[str, RowNumbers]:
    """One candidate by example at the price of its tier; examples without a score are left out."""
    return {
        r.example: RowNumbers(score=r.score, cost_usd=result_usd(r, price), latency_s=r.latency_s)
        for r in results
        if r.score is not None
    }


def _may_step(seen: Aggregate, price: Price | None) -> bool:
    """Whether the prompts together are long enough for a step; else none of them is."""
    return price is not None and seen.usage is not None and len(price.up_to(seen.usage.prompt_tokens)) > 1


def _may_lack_answers(seen: Aggregate) -> bool:
    """Whether a provider may not have answered on some example: no score, filtered, refused, or too long a prompt."""
    answered = (seen.n_unreadable or 0) + (seen.n_empty or 0) + (seen.n_cut or 0)
    return bool(seen.n_failed or seen.n_filtered or seen.n_refused or seen.n_fault > answered)


class AggregateStore:
    """Aggregates of every study of a storage. Stored ones have no cost; `priced` adds it as it reads them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, study: str, split: Split | str, candidate: str, found: Aggregate) -> None:
        """Keeps an aggregate, in place of an earlier one."""
        usage = found.usage or Usage()
        row = {"study": study, "split": str(split), "candidate": candidate}
        row |= {name: getattr(found, name) for name in _NUMBERS} | {name: getattr(usage, name) for name in _USAGE}
        with self._store.transaction() as conn:
            conn.execute(self._store.upsert(summaries), [row])

    def all(self, study: str, split: Split | str) -> dict[str, Aggregate]:
        """The aggregates of one split by candidate id."""
        c = summaries.c
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(summaries).where(c.study == study, c.split == str(split)))
            found = {row.candidate: _aggregate(row) for row in rows}
        odd = {name for name, seen in found.items() if _may_lack_answers(seen)}
        unanswered = ResultStore(self._store).unanswered(study, split, odd) if odd else {}
        named = {name: [(r.example, kind) for r in rows for kind in kinds_of(r)] for name, rows in unanswered.items()}
        return found | {name: _named(found[name], pairs) for name, pairs in named.items()}

    def qualities(self, study: str, split: Split | str) -> list[float]:
        """The qualities alone, of complete candidates, in the order of their trials."""
        c, other = summaries.c, candidates.c
        joined = summaries.join(candidates, sa.and_(other.study == c.study, other.candidate == c.candidate))
        where = (c.study == study, c.split == str(split), c.quality.is_not(None), other.state == "complete")
        select = sa.select(c.quality).select_from(joined).where(*where).order_by(other.number)
        with self._store.reading() as conn:
            return [float(quality) for quality in conn.execute(select).scalars()]

    def priced(self, study: str, split: Split | str, prices: Mapping[str, Price | None]) -> dict[str, Aggregate]:
        """The aggregates of one split by candidate id.

        Args:
            prices: by candidate id, each at the service tier of its candidate.
        """
        found = self.all(study, split)
        some = {name for name, seen in found.items() if _may_step(seen, prices.get(name))}
        if some:
            c, total = results.c, results.c.input_tokens + results.c.cached_input_tokens + results.c.cache_write_tokens
            select = sa.select(c.candidate, sa.func.max(total).label("longest"))
            where = (c.study == study, c.split == str(split))
            with self._store.reading() as conn:
                rows = conn.execute(select.where(*where).group_by(c.candidate)).all()
            longest = {row.candidate: row.longest or 0 for row in rows}
            some = {name for name in some if len((prices[name] or Price()).up_to(longest.get(name, 0))) > 1}
        long = ResultStore(self._store).some(study, split, some) if some else {}
        return {
            name: priced_by_results(seen, prices.get(name), long[name].values())
            if name in long
            else seen.priced(prices.get(name))
            for name, seen in found.items()
        }

    def numbers(
        self, study: str, split: Split | str, prices: Mapping[str, Price | None]
    ) -> dict[str, dict[str, RowNumbers]]:
        """These candidates example by example: by id, then by example, those without a score left out.

        Args:
            prices: as for `priced`; of the candidates that are wanted.
        """
        c = results.c
        wanted = (c.candidate, c.example, c.score, c.cost_usd, c.others_usd, c.latency_s, c.calls, c.cached_calls)
        where = (c.study == study, c.split == str(split), c.candidate.in_(list(prices)), c.score.is_not(None))
        select = sa.select(*wanted, *(c[name] for name in _USAGE)).where(*where).order_by(c.candidate, c.example)
        found: dict[str, dict[str, RowNumbers]] = {name: {} for name in prices}
        with self._store.reading() as conn:
            for row in conn.execute(select):
                usd = result_usd(_as_run(row), prices[row.candidate])
                found[row.candidate][row.example] = RowNumbers(
                    score=row.score, cost_usd=usd, latency_s=row.latency_s
                )  # fmt: skip
        return found


def _as_run(row: Any) -> Replicate:
    """A stored result without its texts."""
    return Replicate(
        number=0, state=ResultState.SCORED, score=row.score, cost_usd=row.cost_usd, others_usd=row.others_usd,
        latency_s=row.latency_s, usage=Usage(**{name: getattr(row, name) for name in _USAGE}), calls=row.calls,
        cached_calls=row.cached_calls,
    )  # fmt: skip


def _aggregate(row: Any) -> Aggregate:
    usage = Usage(**{name: getattr(row, name) for name in _USAGE})
    return _with_interval(Aggregate(**{name: getattr(row, name) for name in _NUMBERS}, usage=usage))
