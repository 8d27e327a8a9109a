"""Does the promoted config still hold? The holdout once more, against the evidence in the file.

Invariant: what is scored is the promoted program itself, on the very examples and metric that its evidence is of.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offramp.calls.estimate import worst_usd
from offramp.calls.transports import Transport
from offramp.errors import ModelError, OfframpError, PromotionError, UsageError, problem
from offramp.job.clock import Clock, Timing
from offramp.job.effects import first_of
from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Caps, Session, open_session
from offramp.models.catalogue import is_address
from offramp.models.keys import missing_key
from offramp.program.code import changed_code
from offramp.program.sent import Sent
from offramp.promote.check_report import Before, CheckReport, Limits, Regraded, judge
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder
from offramp.promote.judge_noise import Noise, measure_noise
from offramp.promote.promotion import PromotedModel, Promotion
from offramp.promote.regrading import Recorded, another_task, answers_of_another_judge, graded_again
from offramp.promote.running import Addresses, PerModel, candidate_of, model_of, price_of, runnable
from offramp.promote.sent_notes import sent_notes
from offramp.records import PRICE_CLASSES, CallRequest, Evaluation, Example, Price, Result, Split
from offramp.space.load import load_space
from offramp.store.engine import Store, open_store
from offramp.store.long_texts import is_cut
from offramp.study.lookup import check_margin, default_storage

MARGIN = 0.05
"""Loss of mean score that is accepted, unless the caller says otherwise."""
CONCURRENCY = 4
_ROOM = 3.0
"""A check may cost this many times what its evidence says."""
_LEAST_USD = 0.05
"""At least this much: half an hour of an embedded model on a slow machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check works on.

    Attributes:
        recorded: answers to grade again, where the judge was replaced; else None.
        examples: those of the holdout that the evidence is of.
    """

    promotion: Promotion
    job: ResolvedJob
    before: Before
    addresses: Addresses
    recorded: Recorded | None = None
    examples: tuple[Example, ...]


def check(
    feature: str, *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None,
    space: str | Path | None = None, storage: str | None = None, margin: float = MARGIN,
    max_cost_usd: float | None = None, max_p95_s: float | None = None, budget_usd: float | None = None,
    concurrency: int = CONCURRENCY, api_base: PerModel = None, api_key_env: PerModel = None,
    observer: Callable[[Result], None] | None = None, transport: Transport | None = None, timing: Timing | None = None,
    study_storage: str | None = None, started: Callable[[int], None] | None = None,
) -> CheckReport:  # fmt: skip
    """Evaluates a promoted feature on its holdout again and says whether it still holds.

    Args:
        space: the space file that it came from; where the promotion says by default.
        storage: whose answers may be used again, cached (SQLAlchemy URL); None requests every answer again.
        margin: loss of mean score that would be accepted.
        max_cost_usd, max_p95_s: limits of one run; those of the space file's constraints by default.
        budget_usd: cap of the check; three times what the evidence says by default.
        api_base, api_key_env: as for `offramp.load`; where the space file says by default.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.
        started: called with the number of examples before the first call. observer: called with each result.
        study_storage: of the study that was promoted, whose answers are graded again where the judge was replaced; for
            None that in `results/` beside the promotions.

    Raises:
        UsageError: the data or metric is not what the evidence is of, or a model cannot be called.
        JobError: it could not be evaluated (too many failures, the cap, an interruption).
    """
    check_margin(margin)
    _refuse_impossible(max_cost_usd, max_p95_s, budget_usd, api_base)
    folder = FeatureFolder(promotions, feature)
    promotion = folder.load(folder.resolve(label))
    job = _loaded_job(promotion, folder, space)
    as_promoted = job.space.model_copy(update={"replicates": promotion.evidence.replicates})
    job = replace(job, loaded=replace(job.loaded, space=as_promoted))
    url = study_storage or storage or default_storage(folder.root.absolute().parent / "results")
    recorded = None if job.task.is_of(promotion.evidence.task_hash) else answers_of_another_judge(promotion, job, url)
    work = Checked(
        promotion=promotion,
        job=job,
        before=_before(promotion, folder) if recorded is None else Before(scores={}),
        recorded=recorded,
        addresses=_addresses(promotion, job, api_base, api_key_env),
        examples=_examples(promotion, folder, job),
    )
    _check_keys(work)
    limits = _limits(work, margin, max_cost_usd, max_p95_s)
    cap = budget_usd if budget_usd is not None else _usual_cost(work)
    if started is not None:
        started(len(work.examples))
    with _storage(storage) as store:
        scored = asyncio.run(
            _scored(
                work, store, folder, cap_usd=cap, concurrency=concurrency, observer=observer, transport=transport,
                timing=timing,
            )
        )  # fmt: skip
    report = judge(
        promotion, label=label, evaluation=scored.evaluation, before=scored.before, limits=limits,
        examples={example.id: example for example in work.examples}, noise=scored.noise,
        regraded=scored.regraded, spent_usd=scored.spent_usd, calls=scored.calls, cached_calls=scored.cached_calls,
    )  # fmt: skip
    sent = () if scored.sent is None else sent_notes(promotion, scored.sent)
    return replace(report, notes=(*_code_notes(work), *_price_notes(work), *sent, *_partial_notes(work), *report.notes))


# ------------------------------------------------------------------------------------------------ before the run


def resolve_promoted_job(promotion: Promotion, folder: FeatureFolder, space: str | Path | None) -> ResolvedJob:
    """The task, from the space file: a promotion names no code and no data to read."""
    job = _loaded_job(promotion, folder, space)
    if not job.task.is_of(promotion.evidence.task_hash):
        raise another_task(job)
    return job


def _code_notes(work: Checked) -> list[str]:
    """What of the module's code is not as it was when it was promoted: the check ran it as it is now."""
    known = work.promotion.program.code
    changed = changed_code(known, work.job.code) if known else []
    what = f"the code of the module has changed since it was promoted: {', '.join(changed)}"
    return [f"{what}. This check ran it as it is now; optimize and promote it again."] if changed else []


def _partial_notes(work: Checked) -> list[str]:
    """Says where the evidence is not of the whole holdout, as after a forced promotion."""
    n, size = len(work.examples), len(work.job.task.splits.holdout)
    return [f"the evidence is of {n} of the {size} examples of the holdout, and so is this check"] if n < size else []


def _loaded_job(promotion: Promotion, folder: FeatureFolder, space: str | Path | None) -> ResolvedJob:
    path = Path(space) if space is not None else _space_path(promotion, folder)
    return resolve_job(load_space(path), stored=True)


def _space_path(promotion: Promotion, folder: FeatureFolder) -> Path:
    named = promotion.evidence.space_file
    root = folder.root.absolute().parent
    path = (root / named).resolve() if named is not None else None
    if path is None or not path.is_relative_to(root.resolve()):
        do = "Name it with --space."
        raise UsageError(problem(promotion.feature, "its space file is outside of this project", got=named, do=do))
    return path


def _evidence_rows(promotion: Promotion, folder: FeatureFolder) -> Sequence[Mapping[str, Any]]:
    ref = promotion.evidence.holdout_results
    if ref is None:
        do = "Promote a candidate that was evaluated on the holdout."
        raise PromotionError(problem(promotion.feature, "its evidence has no results on the holdout", do=do))
    return folder.rows(ref)


def _examples(promotion: Promotion, folder: FeatureFolder, job: ResolvedJob) -> tuple[Example, ...]:
    """The examples of the holdout that the evidence is of, so that both sides are measured on the same."""
    ran = {row["example"] for row in _evidence_rows(promotion, folder)}
    return tuple(example for example in job.task.splits.holdout if example.id in ran)


def _before(promotion: Promotion, folder: FeatureFolder) -> Before:
    rows = _evidence_rows(promotion, folder)
    return Before(
        scores={row["example"]: row["score"] for row in rows if row["score"] is not None},
        answers={row["example"]: row["answer"] for row in rows if row.get("answer") is not None},
    )


def _refuse_impossible(max_cost_usd: float | None, max_p95_s: float | None, budget_usd: float | None,
                       api_base: PerModel) -> None:  # fmt: skip
    ceilings = {"--max-cost-usd": max_cost_usd, "--max-p95-s": max_p95_s, "--budget-usd": budget_usd}
    for option, value in ceilings.items():
        if value is not None and not 0 <= value < math.inf:
            raise UsageError(problem(option, "the limit", got=value, expected="a finite number of 0 or more"))
    for address in api_base.values() if isinstance(api_base, Mapping) else [api_base]:
        if address is not None and not is_address(address):
            expected = "an http or https address without user or password"
            raise UsageError(problem("--api-base", "the address", expected=expected))


def _addresses(promotion: Promotion, job: ResolvedJob, api_base: PerModel, api_key_env: PerModel) -> Addresses:
    """What is given, else what the space file says about the promotion's models.

    A key that the file names goes to the address that the file names, and to no other. Prices are those of the file.
    """
    prices = _prices(promotion, job)
    if isinstance(api_base, str):
        return Addresses(api_base=api_base, api_key_env=api_key_env, prices=prices)
    given = api_base or {}
    promoted = (promotion.model, *promotion.fallbacks, *promotion.others)
    named = [job.models.get(model.name) for model in promoted]
    own = [model for model in named if model is not None and model.api_base is not None and model.name not in given]
    bases = {**{model.name: model.api_base for model in own if model.api_base is not None}, **given}
    keys: PerModel = {model.name: model.api_key_env for model in own if model.api_key_env is not None}
    if isinstance(api_key_env, str):
        keys = api_key_env
    elif isinstance(api_key_env, Mapping) and isinstance(keys, Mapping):
        keys = {**keys, **api_key_env}
    return Addresses(api_base=bases or None, api_key_env=keys or None, prices=prices)


def _promoted_models(promotion: Promotion) -> Iterator[tuple[Promotion, PromotedModel]]:
    """Each model with the part of the promotion that it is of."""
    for part in promotion.parts:
        yield from ((part, model) for model in (part.model, *part.fallbacks, *part.others))


def _prices(promotion: Promotion, job: ResolvedJob) -> dict[str, Price]:
    """Today's prices by model, as far as the job knows them, each at the service tier that is asked for."""
    found: dict[str, Price] = {}
    for part, promoted in _promoted_models(promotion):
        model = job.models.get(promoted.name)
        if model is not None and model.route == promoted.route and model.price is not None:
            price = model.price.for_request(part.request_params)
            found |= {} if price is None else {promoted.name: replace(price, any_tier=True)}
    return found


def _price_notes(work: Checked) -> list[str]:
    """Which models have another price than the evidence is at."""
    before = {model.name: price_of(model) for _, model in _promoted_models(work.promotion)}
    changed = sorted(name for name, price in work.addresses.prices.items() if price != before[name])
    if not changed:
        return []
    return [f"the price of {', '.join(changed)} has changed since the promotion; costs here are at today's"]


def _price_ratio(work: Checked) -> float:
    """By how much a price is higher than the evidence is at, for the class of tokens with the largest rise; 1 at least.

    Infinite where something had no price or was free.
    """
    ratios = [1.0]
    for _, promoted in _promoted_models(work.promotion):
        old, new = price_of(promoted), work.addresses.prices.get(promoted.name)
        if old is None or new is None or old == new:
            continue
        pairs = [(getattr(old, name), getattr(new, name)) for name in PRICE_CLASSES]
        ratios += [now / before if before else math.inf for before, now in pairs if now]
    return max(ratios)


def _check_keys(work: Checked) -> None:
    judges = [work.job.models[name] for name in work.job.task.metric.judge_models]
    asked = [model_of(model, work.addresses) for model in (work.promotion.model, *work.promotion.others)]
    for model in (*asked, *judges):
        variable = missing_key(model)
        if variable is not None:
            what = f"its key is missing: environment variable {variable} is not set"
            raise ModelError(problem(model.name, what, do=f"Set it: export {variable}=..."))


def _limits(work: Checked, margin: float, max_cost_usd: float | None, max_p95_s: float | None) -> Limits:
    stated = work.job.space.constraints
    counted = work.promotion.evidence.gate.unreadable_max is not None or "unreadable_max" in stated.model_fields_set
    return Limits(
        margin=margin,
        cost_usd=max_cost_usd if max_cost_usd is not None else stated.cost_usd_max,
        latency_p95_s=max_p95_s if max_p95_s is not None else stated.latency_p95_s_max,
        unreadable=stated.unreadable_max if counted else None,
    )


def _first_request(work: Checked, part: Promotion) -> CallRequest | None:
    """What the program asks first on the longest example, not sent; None where that cannot be seen here."""
    longest = max(work.examples, key=lambda example: len(str(example.values)), default=None)
    with suppress(OfframpError, KeyError):
        return asyncio.run(first_of(work.job, candidate_of(part), longest))
    return None


def _usual_cost(work: Checked) -> float | None:
    """A cap that only a runaway check reaches; None if the cost is not known, such as with a judge.

    It has room for the longest possible answer to the last request, since money is reserved for that, and for what a
    prompt reserves: an image or a file by much more than it is billed.
    """
    holdout = work.promotion.evidence.holdout
    if holdout is None or holdout.cost_usd is None or work.job.task.metric.judge_models:
        return None
    asked = [model_of(model, work.addresses) for model in (work.promotion.model, *work.promotion.others)]
    bare = [CallRequest(model=model, messages=(), params=work.promotion.request_params) for model in asked]
    asks = [request for part in work.promotion.parts if (request := _first_request(work, part)) is not None]
    longest = max(worst_usd(request, work.job.space.calls.timeout_s) for request in (*bare, *asks))
    runs = (holdout.n + holdout.n_failed) * work.promotion.evidence.replicates
    usual = _price_ratio(work) * holdout.cost_usd
    return max(_LEAST_USD, _ROOM * usual * runs) + longest if math.isfinite(usual) else None


@contextmanager
def _storage(url: str | None) -> Iterator[Store]:
    """The given storage, or an empty one that is deleted afterwards."""
    if url is not None:
        with open_store(url) as store:
            yield store
        return
    with tempfile.TemporaryDirectory(prefix="offramp-check-") as name, open_store(f"sqlite:///{name}/c.db") as store:
        yield store


# ------------------------------------------------------------------------------------------------------- the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The evaluation of the holdout, what it is compared with, and what it took.

    Attributes:
        noise: None where no judge had to be asked again. regraded: None where the judge is that of the evidence.
        sent: what its runs sent; None for a cascade, and where none came to an end.
    """

    evaluation: Evaluation
    before: Before
    noise: Noise | None
    regraded: Regraded | None
    spent_usd: float
    calls: int
    cached_calls: int
    sent: Sent | None


async def _scored(
    work: Checked, store: Store, folder: FeatureFolder, *, cap_usd: float | None, concurrency: int,
    observer: Callable[[Result], None] | None, transport: Transport | None, timing: Timing | None,
) -> Scored:  # fmt: skip
    """The promoted program on every example of the holdout, under a cap, with its calls on a ledger."""
    promotion, job = work.promotion, work.job
    name = f"check-{promotion.feature}-{uuid.uuid4().hex[:12]}"
    async with open_session(
        job, store=store, study=name, clock=Clock(timing=timing or Timing()), caps=Caps(budget=name, usd=cap_usd),
        concurrency=concurrency, lease=False, store_text=True,
        models={part.model.name: model_of(part.model, work.addresses) for part in promotion.parts}, transport=transport,
    ) as session:  # fmt: skip
        send = session.caller.send
        program = runnable(
            promotion,
            folder.rows,
            send=send,
            addresses=work.addresses,
            factory=job.factory,
            models=job.models,
            check=job.task.fields.checks,
        )[0]
        session.evaluator.use(program)
        evaluation = await session.evaluator.evaluate(
            program.candidate, work.examples, split=Split.HOLDOUT, on_result=observer
        )  # fmt: skip
        before, regraded = work.before, None
        if work.recorded is not None:
            before, regraded = await graded_again(work.recorded, job, session, concurrency=concurrency)
        noise = await _noise(work, before, session, evaluation, concurrency)
        stats = session.stats()
        return Scored(
            evaluation=evaluation,
            before=before,
            noise=noise,
            regraded=regraded,
            spent_usd=stats.spent_usd,
            calls=stats.calls,
            cached_calls=stats.cached_calls,
            sent=session.evaluator.sent(program.candidate.id),
        )


async def _noise(
    work: Checked, before: Before, session: Session, evaluation: Evaluation, concurrency: int
) -> Noise | None:
    """The judge's own noise, where a judge grades and an answer of another text than before got a lower score."""
    metric = work.job.task.metric
    changed = [result for result in evaluation.counted if not before.same_answer(result)]
    worse = [result.example for result in changed if before.got_worse(result)]
    if not metric.judge_models or not worse:
        return None
    examples = {example.id: example for example in work.examples}
    whole = [result for result in changed if result.outputs is not None and not is_cut(result)]
    graded = [result for result in whole if result.example in before.scores]
    return await measure_noise(session, metric, examples, graded, worse, concurrency=concurrency)


__all__ = ["MARGIN", "CheckReport", "check"]
