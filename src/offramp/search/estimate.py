"""What a job would take, before it takes anything: candidates, calls, dollars, minutes.

Tokens are estimated from the real texts (a quarter token per UTF-8 byte) of each instruction, the demos it may carry
and the inputs; what the storage knows of a model (seconds and output tokens of past calls) goes before a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from offramp.records import Candidate, DemoKind, Model, Scalar, Usage
from offramp.search.engine import Options
from offramp.search.prepare import Prepared
from offramp.search.proposals.effort import ProposerEffort, proposer_effort
from offramp.search.warm.start import Start
from offramp.space.dimensions import Dimension, assignments, cardinality, choose, values_in
from offramp.space.model import model_name
from offramp.store.history import TypicalCall

BYTES_PER_TOKEN = 4
GUESSED_OUTPUT_TOKENS = 60
GUESSED_LATENCY_S = {True: 0.3, False: 1.5}  # local, remote
PROMPT_BYTES = 1500  # what the proposers' own prompts come to
WRITING = 10  # an instruction takes so many times as long as an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
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

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def estimate(
    prepared: Prepared, options: Options, past: Mapping[str, TypicalCall], warm: Start | None = None
) -> Estimate:
    """The expected effort. `past` is what the storage knows of the models; empty where there is none yet.

    Args:
        warm: what is taken over from another study: its cells are not paid for.
    """
    splits = prepared.task.splits
    trials = int(min(options.trials, cardinality(prepared.filled_dims)))
    reused = _reused(warm, prepared, trials)
    examples = trials * len(splits.search) + 2 * len(splits.holdout) - reused
    calls = examples * prepared.predictors
    judges = prepared.task.metric.judge_models
    proposing = proposer_effort(prepared, options)
    sample = _sample(prepared)
    costs = [_run_cost(prepared, candidate, past) for candidate in sample]
    known = [cost for cost in costs if cost is not None]
    seconds = fmean(_seconds(prepared.models[candidate.model], past) for candidate in sample) * prepared.predictors
    side_by_side = 1 if all(m.local for m in prepared.models.values()) else options.concurrency
    capped = calls if options.calls is None else min(calls, options.calls)
    found = Estimate(
        candidates=trials,
        calls=capped,
        judge_calls=examples * len(judges),
        proposer_calls=proposing.written + proposing.observed * prepared.predictors,
        cost_usd=_cost(prepared, known, capped, proposing, past) if len(known) == len(costs) and not judges else None,
        minutes=(seconds * capped / prepared.predictors / side_by_side + _proposing_s(prepared, proposing, past)) / 60,
        basis="past calls of these models" if past else "text lengths and typical speeds; a first run will know better",
        reused=reused,
        started_from=None if warm is None else _told(warm),
        front_calls=len(splits.holdout) * prepared.predictors if prepared.space.verify.front else 0,
    )
    return replace(found, caps=_reached(found, calls, options))


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


def _reused(warm: Start | None, prepared: Prepared, trials: int) -> int:
    """Cells of the incumbent and of the old front, as far as there are trials for them."""
    if warm is None:
        return 0
    incumbent = () if prepared.incumbent is None else (prepared.incumbent.id,)
    first = dict.fromkeys([*incumbent, *(lead["candidate"] for lead in warm.record["first"])])
    cells: Mapping[str, int] = warm.record["cells"]
    return sum(cells.get(candidate, 0) for candidate in list(first)[:trials])


def _told(warm: Start) -> str:
    record = warm.record
    words = [
        f"{record['study']}: {len(record['first'])} candidates go first",
        f"{sum(record['cells'].values())} cells are there already",
        f"{len(record['prior'])} trials inform the sampler",
        *record["notes"],
    ]
    return "; ".join(words)


def _cost(
    prepared: Prepared,
    runs_usd: Sequence[float],
    calls: int,
    proposing: ProposerEffort,
    past: Mapping[str, TypicalCall],
) -> float | None:
    """Of all runs, those on train examples included, and of what the proposer writes."""
    searched = fmean(runs_usd) * (calls / prepared.predictors + proposing.observed)
    part = prepared.space.propose
    if part is None:
        return searched
    model = prepared.models[model_name(part.model)]
    shown = _row_bytes(prepared) * part.examples + part.max_chars + PROMPT_BYTES
    usage = Usage(
        input_tokens=round(shown / BYTES_PER_TOKEN), output_tokens=round(part.max_chars / 2 / BYTES_PER_TOKEN),
        compute_s=_writing_s(model, past),
    )  # fmt: skip
    one = None if model.price is None else model.price.cost_usd(usage)
    return None if one is None else searched + one * proposing.written


def _proposing_s(prepared: Prepared, proposing: ProposerEffort, past: Mapping[str, TypicalCall]) -> float:
    part = prepared.space.propose
    if part is None:
        return 0.0
    model = prepared.models[model_name(part.model)]
    return proposing.written * _writing_s(model, past) + proposing.observed * _seconds(model, past)


def _writing_s(model: Model, past: Mapping[str, TypicalCall]) -> float:
    """An instruction is several times as long as an answer."""
    return WRITING * _seconds(model, past)


def _sample(prepared: Prepared, at_most: int = 64) -> list[Candidate]:
    """Candidates spread evenly over the space."""
    size = cardinality(prepared.dims)
    if size == float("inf"):
        picks = [choose(prepared.dims, _first), choose(prepared.dims, _last)]
    else:
        step = max(1, int(size) // at_most)
        picks = [params for index, params in enumerate(assignments(prepared.dims)) if index % step == 0]
    return [prepared.candidate(params) for params in picks]


def _first(dim: Dimension) -> Scalar:
    return values_in(dim)[0] if dim.size != float("inf") else dim.low


def _last(dim: Dimension) -> Scalar:
    return values_in(dim)[-1] if dim.size != float("inf") else dim.high


def _run_cost(prepared: Prepared, candidate: Candidate, past: Mapping[str, TypicalCall]) -> float | None:
    model = prepared.models[candidate.model]
    output = past[model.name].output_tokens if model.name in past else GUESSED_OUTPUT_TOKENS
    limit = candidate.request_params.get("max_tokens")
    output = min(output, limit) if isinstance(limit, int) else output
    usage = Usage(
        input_tokens=_input_tokens(prepared, candidate), output_tokens=round(output), compute_s=_seconds(model, past)
    )
    cost = None if model.price is None else model.price.cost_usd(usage)
    return None if cost is None else cost * prepared.predictors


def _input_tokens(prepared: Prepared, candidate: Candidate) -> int:
    row = _row_bytes(prepared)
    demos = 0 if candidate.demo_kind is DemoKind.NONE else candidate.demo_count
    instructions = fmean(len(text.encode()) for text in candidate.instructions.values())
    scaffold = 0 if candidate.format == "plain" else 900
    return round((instructions + scaffold + (demos + 1) * row) / BYTES_PER_TOKEN)


def _row_bytes(prepared: Prepared) -> float:
    names = (*prepared.task.fields.inputs, *prepared.task.fields.outputs)
    examples = prepared.task.splits.search
    return fmean(sum(len(str(e.values.get(name, "")).encode()) for name in names) for e in examples)


def _seconds(model: Model, past: Mapping[str, TypicalCall]) -> float:
    return past[model.name].latency_s if model.name in past else GUESSED_LATENCY_S[model.local]
