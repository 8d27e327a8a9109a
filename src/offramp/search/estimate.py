"""What a job would take, before it takes anything: candidates, calls, dollars, minutes.

Tokens are estimated from the real texts (a quarter token per UTF-8 byte) of each instruction, the demos it may carry
and the inputs; what the storage knows of a model (seconds, tokens written, and what its prompts were billed at for
their length) goes before a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from statistics import fmean
from typing import Any

from offramp.calls.estimate import input_tokens
from offramp.evaluate.replicates import may_vary
from offramp.job.batching import as_billed, at_batch_price
from offramp.job.job_warnings import job_warnings
from offramp.job.reserving import unlimited_in_words
from offramp.job.resolved import ResolvedJob
from offramp.models.table import load_table
from offramp.records import CallRequest, Candidate, DemoKind, Model, Usage
from offramp.search.judging import judge_requests
from offramp.search.live.sizes import COMPLETED_SHARE, FIRST_SHARE, LEAST_BLOCK, LISTED, LOOKS_SHARE
from offramp.search.outcome import Options
from offramp.search.proposals.rounds import proposer_effort
from offramp.search.warm.start import Start
from offramp.space.check import MOST_TRIALS
from offramp.space.forms import CHECKED, VERIFY, spec_of
from offramp.space.model import model_name
from offramp.space.params import assignments, cardinality, choose, values_in
from offramp.store.ledger import TypicalCall
from offramp.study.shown import Brief
from offramp.study.wording import counted, money

BYTES_PER_TOKEN = 4
GUESSED_OUTPUT_TOKENS = 60
GUESSED_LATENCY_S = {True: 0.3, False: 1.5}  # local, remote
GUESSED_BASIS = "text lengths and typical speeds; a first run will know better"
BATCHES_TOLD = (
    "; the search at the price of batches, each of which may take up to 24 hours, which the minutes leave out"
)
PROMPT_BYTES = 1500  # what the proposers' own prompts come to
WRITING = 10  # an instruction takes so many times as long as an answer


def job_summary(job: ResolvedJob) -> list[tuple[str, str]]:
    """What a person wants to see of a job before it runs: names and values in reading order."""
    splits = job.task.splits
    size = cardinality(job.filled_params)
    searched = [param.name for param in job.search_params if param.searched]
    incumbent = "none" if job.incumbent is None else job.incumbent.id
    if job.incumbent_outside:
        incumbent = f"{incumbent}, not in the space: one candidate more"
    return [
        ("space", f"{job.space.name} ({job.loaded.path})"),
        ("task", f"{', '.join(job.task.fields.inputs)} -> {', '.join(job.task.fields.outputs)}"),
        ("splits", f"train {len(splits.train)}, search {len(splits.search)}, holdout {len(splits.holdout)}"),
        ("metric", job.task.metric.name),
        ("models", ", ".join(_model_told(job.models[name]) for name in job.searched_models)),
        ("searched", ", ".join(searched) or "nothing: one candidate"),
        ("candidates", "unbounded" if size == float("inf") else f"{size:,.0f}"),
        ("race", _race_in_words(job)),
        ("incumbent", incumbent),
        ("objectives", ", ".join(f"{o.name} ({o.weight:g})" for o in job.objectives)),
        *([] if (reserved := unlimited_in_words(job)) is None else [("reserved", reserved)]),
        *(("warning", text) for text in job_warnings(job)),
    ]


def _model_told(model: Model) -> str:
    """The name, with what it stands for today where it is an alias of the table."""
    row = load_table().aliases.get(model.name.removeprefix("openai/"))
    return model.name if row is None else f"{model.name} (an alias: today {row.route})"


def _race_in_words(job: ResolvedJob) -> str:
    """After how many examples a candidate may be stopped."""
    from offramp.search.live.behind import FEWEST, block_ends  # imported late: scipy takes a while to load

    part, examples = job.space.search.race, len(job.task.splits.search)
    if part is None:
        return "off: every candidate runs on all examples"
    ends = [str(end) for end in block_ends(examples, part.block) if end >= FEWEST]
    if not ends:
        return f"stops nobody: it would take {FEWEST} examples and more after them, and search has {examples}"
    shown = ", ".join(ends[:8]) + (", ..." if len(ends) > 8 else "")
    return f"may stop a candidate after {shown} of {examples} examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """USD (None where a price is unknown) and seconds of some requests, one after another, and how many they are."""

    usd: float | None = 0.0
    seconds: float = 0.0
    calls: float = 0.0

    def times(self, n: float) -> Taken:
        """Of n such."""
        usd = 0.0 if n == 0 else None if self.usd is None else n * self.usd
        return Taken(usd=usd, seconds=n * self.seconds, calls=n * self.calls)

    def plus(self, other: Taken) -> Taken:
        """Of both."""
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Taken(usd=usd, seconds=self.seconds + other.seconds, calls=self.calls + other.calls)


NOTHING = Taken()


def _total(parts: Iterable[Taken]) -> Taken:
    return reduce(Taken.plus, parts, NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Estimate(Brief):
    """Expected effort of a job, the holdout of the incumbent and the recommended candidate included.

    Attributes:
        candidates: full evaluations, the incumbent included.
        calls: requests of the program; judge_calls: of the judge; proposer_calls: of what writes instructions, and of
            candidates on train examples for it; all as if nothing were in the ledger.
        reused: examples of those whose results another study gives; no call is made for them.
        started_from: that study and what of it is used, in words; None for a start from nothing.
        cost_usd: None when a price is unknown.
        minutes: at the job's concurrency.
        basis: what the numbers rest on, in words.
        front_calls: what each further member of the front takes on the holdout, as far as the caps leave room for it;
            how many there are is not known before. 0 where the space file wants none of it.
        caps: those that would end such a job before its trials are done, in words.
        plan: what the caps are used for, in words and runs of the program, in the order of what is given up last; empty
            where there is no cap.
    """

    candidates: int
    calls: int
    judge_calls: int
    proposer_calls: int
    cost_usd: float | None
    minutes: float
    basis: str
    reused: int = 0
    started_from: str | None = None
    front_calls: int = 0
    caps: tuple[str, ...] = ()
    plan: tuple[tuple[str, int], ...] = ()

    @property
    def in_short(self) -> str:
        """Candidates, calls, money and time."""
        calls = counted(self.calls + self.judge_calls + self.proposer_calls, "call")
        effort = f"{counted(self.candidates, 'candidate')}, {calls}, {money(self.cost_usd)}, {self.minutes:.1f} minutes"
        return f"{effort}, from {self.basis}"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def estimate(
    job: ResolvedJob, options: Options, past: Mapping[str, TypicalCall], warm: Start | None = None
) -> Estimate:
    """The expected effort. `past` is what the storage knows about the models; empty before the first run.

    Args:
        warm: what is taken over from another study: its cells are not paid for.
    """
    trials = int(min(options.trials, cardinality(job.filled_params) + job.incumbent_outside))
    reused, proposing, judges = (
        _reused(warm, job, trials),
        proposer_effort(job, options),
        judge_requests(job),
    )
    examples = round((_examples(job, trials) - reused) * _runs_each(job))
    own = _mean_run(job, trials, past)
    calls, judge_calls = round(examples * own.calls), (examples + proposing.observed) * len(judges)
    proposer_calls = proposing.written + round(proposing.observed * own.calls)
    needed = calls + judge_calls + proposer_calls
    grading = _total(
        [_request(judge.model, judge.params, input_tokens(judge) / 2, past) for judge in judges]
    )  # a judge's prompt is bounded by twice its tokens
    run, batched = own.plus(grading), 0.0
    if job.space.calls.batch:
        batched = trials * len(job.task.splits.search) / _examples(job, trials)
        run = _partly_batched(run, batched, _batched_run(job, trials, judges, past))
    writing = _writing(job, past)
    side_by_side = 1 if all(m.local for m in job.models.values()) else options.concurrency
    share = 1.0 if options.calls is None else min(1.0, options.calls / needed)
    if options.trials == MOST_TRIALS:
        share = min(share, *_affordable(run, examples, side_by_side, options))
    seconds = run.seconds * share * examples * (1 - batched) / side_by_side
    found = Estimate(
        candidates=trials,
        calls=int(share * calls),
        judge_calls=int(share * judge_calls),
        proposer_calls=proposer_calls,
        cost_usd=run.times(share * examples + proposing.observed).plus(writing.times(proposing.written)).usd,
        minutes=(seconds + run.seconds * proposing.observed + writing.seconds * proposing.written) / 60,
        basis=f"{_basis(job, past)}{_forms_told(job)}{_replicates_told(job)}{BATCHES_TOLD if batched else ''}",
        reused=reused,
        started_from=None if warm is None else _start_in_words(warm),
        front_calls=round(len(job.task.splits.holdout) * _runs_each(job) * own.calls) if job.space.verify.front else 0,
    )
    return replace(found, caps=_reached(found, needed, options), plan=_plan(job, int(share * examples), share < 1.0))


def _batched_run(
    job: ResolvedJob, trials: int, judges: Sequence[CallRequest], past: Mapping[str, TypicalCall]
) -> Taken:
    """A run and its grading, all of it at the prices of batches."""
    graded = (_request(at_batch_price(j.model), j.params, input_tokens(j) / 2, past) for j in judges)
    return _mean_run(replace(job, models=as_billed(job)), trials, past).plus(_total(graded))


def _partly_batched(direct: Taken, share: float, batched: Taken) -> Taken:
    """A run of which such a share is paid at the price of batches."""
    known = direct.usd is not None and batched.usd is not None
    usd = (1 - share) * (direct.usd or 0.0) + share * (batched.usd or 0.0) if known else None
    return replace(direct, usd=usd)


def _runs_each(job: ResolvedJob) -> float:
    """How often an example is run at most, on average over the candidates."""
    sampled = fmean(may_vary(candidate) for candidate in _sample(job))
    return 1 + (job.space.replicates - 1) * sampled


def _basis(job: ResolvedJob, past: Mapping[str, TypicalCall]) -> str:
    """What the numbers rest on: seconds and tokens of past calls, as far as the storage has such of these models."""
    known = [name for name in job.models if name in past]
    if not known:
        return GUESSED_BASIS
    of = "these models" if len(known) == len(job.models) else f"{', '.join(known)} alone"
    unread = [name for name in known if past[name].prompt is None]
    whose = "" if len(unread) == len(known) else f" of {', '.join(unread)}"
    guessed = f"; tokens of prompts{whose} by text lengths, since the texts of those calls were not kept"
    return f"past calls of {of}{guessed if unread else ''}"


def _replicates_told(job: ResolvedJob) -> str:
    n = job.space.replicates
    return "" if n == 1 else f"; examples with sampled answers {n} times each, where their scores turn out to differ"


def _forms_told(job: ResolvedJob) -> str:
    """How many requests a run takes in forms whose number depends on the answers, in words; empty without any."""
    told = [f"{form.name} up to {form.requests}" for form in map(spec_of, job.space.forms) if form.kind in CHECKED]
    return f"; requests of one run: {', '.join(told)}" if told else ""


def _affordable(run: Taken, examples: int, side_by_side: int, options: Options) -> tuple[float, ...]:
    """Which shares of so many runs the caps on money and time pay for."""
    found = [1.0]
    if options.usd is not None and run.usd:
        found.append(options.usd / (run.usd * examples))
    if options.minutes is not None and run.seconds:
        found.append(options.minutes * 60 * side_by_side / (run.seconds * examples))
    return tuple(found)


def _plan(job: ResolvedJob, runs: int, capped: bool) -> tuple[tuple[str, int], ...]:
    """What so many runs are used for."""
    if not capped:
        return ()
    search, holdout = (
        round(len(found) * _runs_each(job)) for found in (job.task.splits.search, job.task.splits.holdout)
    )
    incumbent = 0 if job.incumbent is None else search
    verdict = holdout * (1 if job.incumbent is None else 2)
    race = max(0, runs - incumbent - verdict)
    size = cardinality(job.filled_params, at_most=LISTED)
    first = min(search, LEAST_BLOCK)
    if size <= LISTED:
        first = max(1, min(first, round(FIRST_SHARE * race / size)))
    looks = int(min(first * size, LOOKS_SHARE * race))
    complete = min(search, race - looks)
    if job.space.constraints.regressions is None and complete > COMPLETED_SHARE * (race + incumbent):
        complete = 0  # it stays an estimate
    return (
        ("the incumbent on the search split", incumbent),
        ("the incumbent and the recommended candidate on the holdout", verdict),
        *((("completing the recommended candidate", complete),) if complete else ()),
        (f"first looks, {first} for each candidate", looks),
        (
            "where most can be learnt about the front, then completing its other members",
            max(0, race - looks - complete),
        ),
    )


def _examples(job: ResolvedJob, trials: int) -> int:
    """Runs on the search split, and on the holdout those of the incumbent and the recommended candidate."""
    evaluated = min(trials, 1 if job.incumbent is None else 2)
    return trials * len(job.task.splits.search) + evaluated * len(job.task.splits.holdout)


def _reached(found: Estimate, calls: int, options: Options) -> tuple[str, ...]:
    """Caps that end such a job before its trials are done."""
    needs = {
        "budget.usd": (found.cost_usd, options.usd),
        "budget.calls": (calls, options.calls),
        "budget.minutes": (found.minutes, options.minutes),
    }
    return tuple(
        f"{name} ({cap:g})"
        for name, (need, cap) in needs.items()
        if None not in (need, cap) and (need or 0) > (cap or 0)
    )


def _reused(warm: Start | None, job: ResolvedJob, trials: int) -> int:
    """Cells of the incumbent and of the old front, as far as there are trials for them."""
    if warm is None:
        return 0
    incumbent = () if job.incumbent is None else (job.incumbent.id,)
    first = dict.fromkeys([*incumbent, *(lead.candidate for lead in warm.record.first)])
    return sum(warm.record.reused.get(candidate, 0) for candidate in list(first)[:trials])


def _start_in_words(warm: Start) -> str:
    record = warm.record
    words = [
        f"{record.study}: {len(record.first)} candidates go first",
        f"{sum(record.reused.values())} results are reused",
        f"{len(record.prior)} trials inform the sampler",
        *record.notes,
    ]
    return "; ".join(words)


def _mean_run(job: ResolvedJob, trials: int, past: Mapping[str, TypicalCall]) -> Taken:
    """A run as the job mixes them: the incumbent's own, and those of candidates all over the space."""
    sample = [_run(job, candidate, past) for candidate in _sample(job)]
    mean = _total(sample).times(1 / len(sample))
    if job.incumbent is None:
        return mean
    own = (len(job.task.splits.search) + len(job.task.splits.holdout)) / _examples(job, trials)
    return _run(job, job.incumbent, past).times(own).plus(mean.times(1 - own))


def _writing(job: ResolvedJob, past: Mapping[str, TypicalCall]) -> Taken:
    """One instruction by the proposer: several times as long as an answer."""
    part = job.space.propose
    if part is None:
        return NOTHING
    model = job.models[model_name(part.model)]
    shown = _row_bytes(job) * part.examples + part.max_chars + PROMPT_BYTES
    seconds = WRITING * _seconds(model, past)
    usage = Usage(
        input_tokens=_billed(model, shown / BYTES_PER_TOKEN, past),
        output_tokens=round(part.max_chars / 2 / BYTES_PER_TOKEN),
        compute_s=seconds,
    )
    price = None if model.price is None else model.price.for_request(part.params)
    return Taken(usd=None if price is None else price.reply_usd(usage), seconds=seconds)


def _sample(job: ResolvedJob, at_most: int = 64) -> list[Candidate]:
    """Candidates spread evenly over the space."""
    size = cardinality(job.search_params)
    if size == float("inf"):
        picks = [
            choose(job.search_params, lambda p: values_in(p)[0] if p.size != float("inf") else p.low),
            choose(job.search_params, lambda p: values_in(p)[-1] if p.size != float("inf") else p.high),
        ]
    else:
        step = max(1, int(size) // at_most)
        picks = [params for index, params in enumerate(assignments(job.search_params)) if index % step == 0]
    return [job.candidate(params) for params in picks]


def _run(job: ResolvedJob, candidate: Candidate, past: Mapping[str, TypicalCall]) -> Taken:
    form = spec_of(candidate.module)
    if form.several:
        one = {
            p: _request(
                job.models[candidate.models.get(p, candidate.model)],
                candidate.params_of(p),
                _input_tokens(job, candidate, text),
                past,
            )
            for p, text in candidate.instructions.items()
        }
        local = job.models[candidate.model].local  # the embedded models answer one request at a time
        return _total(replace(one[p].times(n), seconds=one[p].seconds * (n if local else 1)) for p, n in form.steps)
    tokens = _input_tokens(job, candidate, *candidate.instructions.values())
    others = list(candidate.models.values())
    names = [candidate.model] * (job.predictors - len(others)) + others
    return _total([_request(job.models[name], candidate.request_params, tokens, past) for name in names])


def _request(model: Model, params: Mapping[str, Any], prompt: float, past: Mapping[str, TypicalCall]) -> Taken:
    """One request with so many tokens of a prompt, by the length of its texts."""
    output, seconds = (
        past[model.name].output_tokens if model.name in past else GUESSED_OUTPUT_TOKENS,
        _seconds(model, past),
    )
    limit = params.get("max_tokens")
    output = min(output, limit) if isinstance(limit, int) else output
    usage = Usage(input_tokens=_billed(model, prompt, past), output_tokens=round(output), compute_s=seconds)
    price = None if model.price is None else model.price.for_request(params)
    return Taken(usd=None if price is None else price.reply_usd(usage), seconds=seconds, calls=1)


def _input_tokens(job: ResolvedJob, candidate: Candidate, *texts: str) -> int:
    """Of one request with one of these instructions; a verifying call shows an answer in place of demos."""
    row = _row_bytes(job)
    verifying = texts == (candidate.instructions.get(VERIFY),) and spec_of(candidate.module).verifies
    demos = 0 if candidate.demo_kind is DemoKind.NONE or verifying else candidate.demo_count
    instructions = fmean(len(text.encode()) for text in texts)
    scaffold = 0 if candidate.adapter == "plain" else 900
    return round((instructions + scaffold + (demos + 1) * row) / BYTES_PER_TOKEN)


def _row_bytes(job: ResolvedJob) -> float:
    names = (*job.task.fields.inputs, *job.task.fields.outputs)
    examples = job.task.splits.search
    return fmean(sum(len(str(e.values.get(name, "")).encode()) for name in names) for e in examples)


def _billed(model: Model, prompt: float, past: Mapping[str, TypicalCall]) -> int:
    """Tokens that a model bills for a prompt that comes to so many by the length of its texts."""
    known = past[model.name].prompt if model.name in past else None
    return round(prompt if known is None else known.tokens(prompt * BYTES_PER_TOKEN))


def _seconds(model: Model, past: Mapping[str, TypicalCall]) -> float:
    return past[model.name].latency_s if model.name in past else GUESSED_LATENCY_S[model.local]
