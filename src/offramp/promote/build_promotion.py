"""From a candidate of a study to a promotion, with its demos as values and its requests as templates.

No model is asked: bootstrapped demos come from the ledger, which has every answer that they were made from.

Invariant: a rendering is in the promotion only if it wrote, for every example of the holdout and for inputs made to
break it, exactly the request that the program makes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from offramp import __version__
from offramp.errors import UsageError, problem
from offramp.job.loaded import LoadedStudy
from offramp.job.session import open_session
from offramp.models.capabilities import with_capabilities
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import Basis, Calendar, Retirement
from offramp.program.demos import distinct
from offramp.program.own_models import asked_models
from offramp.program.sent import Sent
from offramp.program.tools import ToolWithheld
from offramp.promote.capture import (
    NotRenderable,
    Parts,
    awkward_inputs,
    pool_row,
    rendering_of,
    requests_for,
    runs_matched,
)
from offramp.promote.dependencies import dependencies_of
from offramp.promote.evidence import Results, evidence_of, result_rows
from offramp.promote.promotion import (
    FORMAT_VERSION,
    Evidence,
    Made,
    PromotedDemos,
    PromotedModel,
    PromotedProgram,
    Promotion,
    SplitEvidence,
)
from offramp.promote.promotion_store import Rows, now, rows_of
from offramp.promote.render import Renderer
from offramp.promote.running import refuse_unsafe
from offramp.records import Aggregate, CallRequest, Candidate, DemoKind, Model, Price, Split, picked, price_of
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.study.proof import MOST_MISSING
from offramp.study.queries.study_rows import current_prices, read_report

_TRIED = 200
"""Examples of the holdout that a template is tried on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRequest:
    """What is to be promoted, and by whom.

    Attributes:
        feature: its name; the space's where None.
        fallbacks: models to ask when the first gives no answer, by name.
        root: the folder that holds the promotions folder; the space file is named relative to it.
        calendar: who retires when.
    """

    feature: str | None
    fallbacks: Sequence[str]
    by: str
    root: Path
    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPromotion:
    """A promotion that has not gone through its gate, with the rows that it names.

    Attributes:
        retirements: of its models, by name; those without a date are left out.
    """

    promotion: Promotion
    rows: tuple[Rows, ...]
    retirements: Mapping[str, Retirement]


def build_promotion(
    store: Store, opened: LoadedStudy, row: CandidateRow, request: PromotionRequest, *, trials: int
) -> BuiltPromotion:
    """The promotion of one candidate.

    Args:
        trials: candidates that the study tried.

    Raises:
        UsageError: it cannot be promoted: its model, parameters or demos are not available as they were.
    """
    holdout = ResultStore(store).get(opened.row.name, Split.HOLDOUT, row.id)
    parts, matched, others, sent = asyncio.run(_replayed(store, opened, row.candidate, holdout))
    evidence = evidence_of(store, opened, row, requests_matched=matched, root=request.root, trials=trials)
    evidence = _as_on_all(evidence, store, opened.row.name)
    evidence = replace(evidence, sent=sent.other_than_stated() or row.sent or None, prompts=sent.prompts() or None)
    fallbacks = fallback_models(request.fallbacks, opened, row.candidate)
    dates = {
        m.name: request.calendar.retirement(m.name, m.route, stated=m.retirement_date, own=m.api_base is not None)
        for m in (parts.model, *fallbacks, *others)
    }
    retirements = {name: retirement for name, retirement in dates.items() if retirement is not None}
    draft = _draft(parts, fallbacks, others, opened, evidence, request, retirements, sent.native_tools)
    promotion, pool = asyncio.run(_with_rendering(draft, parts, opened))
    refuse_unsafe(promotion)
    kept = result_rows(holdout, judged=bool(opened.job.task.metric.judge_models))
    rows = tuple(rows for rows in (kept, pool) if rows is not None)
    return BuiltPromotion(promotion=promotion, rows=rows, retirements=retirements)


def _as_on_all(evidence: Evidence, store: Store, study: str) -> Evidence:
    """The evidence with quality, cost and latency as on all examples, as the report has them, where some lack a score.

    So the gate holds its limits against them. Where too many lack one, nothing is changed: the gate refuses that.
    """
    sides = [evidence.search, evidence.holdout, None if evidence.incumbent is None else evidence.incumbent.holdout]
    held = [side for side in sides[1:] if side is not None]
    if not any(side.n_failed for side in sides if side is not None) and len({side.n for side in held}) < 2:
        return evidence
    members = {member.candidate: member for member in read_report(store, study).members}
    own, incumbent = members.get(evidence.candidate), evidence.incumbent
    if own is not None:
        search = _changed(evidence.search, own.ranked)
        evidence = replace(evidence, search=search or evidence.search, holdout=_changed(evidence.holdout, own.held))
    if incumbent is not None and (today := members.get(incumbent.candidate)) is not None:
        evidence = replace(evidence, incumbent=replace(incumbent, holdout=_changed(incumbent.holdout, today.held)))
    return evidence


def _changed(seen: SplitEvidence | None, common: Aggregate | None) -> SplitEvidence | None:
    if seen is None or common is None or seen.n_failed > MOST_MISSING * (seen.n + seen.n_failed):
        return seen
    names = ("quality", "quality_low", "quality_high", "cost_usd", "latency_p50_s", "latency_p95_s")
    return replace(seen, **picked(common, *names))


def _draft(
    parts: Parts, fallbacks: Sequence[Model], others: Sequence[Model], opened: LoadedStudy, evidence: Evidence,
    request: PromotionRequest, retirements: Mapping[str, Retirement], native: Collection[str],
) -> Promotion:  # fmt: skip
    """The promotion without what is sent; `native` are the models that were handed tools natively."""
    candidate = parts.candidate
    handed = parts.model.name in native  # a fallback is asked as the model is
    price = price_of(candidate, {candidate.model: current_prices(opened.row).get(parts.model.name)})
    return Promotion(
        schema_version=FORMAT_VERSION,
        feature=opened.row.space_name if request.feature is None else request.feature,
        version="",
        sha256="",
        model=promoted_model(parts.model, price, retirements.get(parts.model.name), native_tools=handed),
        fallbacks=tuple(
            promoted_model(
                m, price_of(candidate, {candidate.model: m.price}), retirements.get(m.name), native_tools=handed
            )
            for m in fallbacks
        ),
        others=tuple(
            promoted_model(m, m.price, retirements.get(m.name), native_tools=m.name in native) for m in others
        ),
        predictor_models=dict(candidate.models) or None,
        predictor_params={name: dict(params) for name, params in candidate.predictor_params.items()} or None,
        dependencies=dependencies_of(opened.job.space),
        request_params=dict(candidate.request_params),
        program=promoted_program(parts, opened),
        instructions=dict(candidate.instructions),
        demos=promoted_demos(parts),
        rendering=None,
        evidence=evidence,
        made=Made(by=request.by, at=now(), offramp=__version__, dspy=version("dspy")),
    )


def promoted_model(
    model: Model, price: Price | None, retirement: Retirement | None, *, native_tools: bool = False
) -> PromotedModel:
    """A model without its address and key; an estimate of its retirement is not kept.

    Args:
        price: at the service tier that it is asked at; that of short prompts is kept.
        native_tools: whether requests to it have tools by the provider's own interface.
    """
    announced = retirement is not None and retirement.basis is not Basis.ESTIMATE
    stated = {name: usd for name, usd in price.flat.to_json().items() if usd is not None} if price is not None else None
    return PromotedModel(
        name=model.name,
        route=model.route,
        revision=model.revision,
        own_address=model.api_base is not None,
        price=stated or None,
        retirement_date=retirement.date.isoformat() if retirement is not None and announced else None,
        tools="native" if native_tools else None,
    )


def fallback_models(names: Sequence[str], opened: LoadedStudy, candidate: Candidate) -> list[Model]:
    """Models by name.

    Raises:
        UsageError: one is unknown, is the promoted model itself, or does not take what the candidate sends.
    """
    found = []
    first = opened.job.models[candidate.model]
    for name in dict.fromkeys(names):
        model = opened.job.models.get(name) or with_capabilities(resolve(name, "--fallback"))
        if model.route == first.route:
            raise UsageError(problem("--fallback", "is the promoted model itself", got=name))
        takes = model.supported_params
        sent = {*candidate.request_params, *(n for params in candidate.predictor_params.values() for n in params)}
        refused = sorted(n for n in sent if takes is not None and n not in takes)
        if candidate.constrained and not model.supports_json_schema:
            refused.append("constrained decoding")
        if refused:
            raise UsageError(problem("--fallback", f"{name} does not take {', '.join(refused)}", do="Name another."))
        found.append(model)
    return found


def promoted_program(parts: Parts, opened: LoadedStudy) -> PromotedProgram:
    """Form, format and fields."""
    fields = parts.fields
    return PromotedProgram(
        form=parts.candidate.module,
        format=parts.candidate.adapter,
        constrained=parts.candidate.constrained,
        strict=fields.strict,
        inputs={name: fields.input_descs.get(name) for name in fields.inputs},
        outputs={
            name: {"type": output.type, **output.model_dump(mode="json", exclude_defaults=True)}
            for name, output in fields.outputs.items()
        },
        module=opened.job.space.task.module,
        code=dict(opened.row.details.code) or None,
        media=dict(fields.media) or None,
        tools=None if parts.candidate.tools == "text" else parts.candidate.tools,
    )


def promoted_demos(parts: Parts) -> PromotedDemos:
    """The demos as values; the pool of `nearest` is added when its rows are written."""
    candidate = parts.candidate
    values = {predictor: tuple(dict(row) for row in rows) for predictor, rows in parts.demos.items()}
    if candidate.demo_kind is not DemoKind.OWN and candidate.demo_count == 0:
        return PromotedDemos(kind="none", values=values)
    return PromotedDemos(
        kind=str(candidate.demo_kind), count=candidate.demo_count, seed=candidate.demo_seed, values=values
    )


# ----------------------------------------------------------------------------------------------- the program


async def _replayed(
    store: Store, opened: LoadedStudy, candidate: Candidate, holdout: Results
) -> tuple[Parts, int, tuple[Model, ...], Sent]:
    """What the candidate's program is made of, how many of its runs on the holdout make only measured requests, the
    other models that they ask, and what they send that its params do not say.

    Answers come from the ledger alone.
    """
    job, scored = opened.job, {name for name, result in holdout.items() if result.score is not None}
    async with open_session(job, store=store, study=opened.row.name) as session:
        try:
            demos = await session.evaluator.demos(candidate)
        except ToolWithheld as withheld:
            do = "Promote a candidate with other demos."
            what = f"its demos were made from runs that cannot be repeated: {withheld}"
            raise UsageError(problem(opened.row.name, what, do=do)) from None
        if candidate.demo_kind is DemoKind.BOOTSTRAPPED and session.recorded.unknown:
            do = "Run `offramp optimize` on it again: it asks only for what is missing."
            raise UsageError(problem(opened.row.name, "the ledger lacks answers that its demos were made from", do=do))
        nearest = candidate.demo_kind is DemoKind.NEAREST and candidate.demo_count > 0
        parts = Parts(
            candidate=candidate,
            fields=job.task.fields,
            model=job.models[candidate.model],
            factory=job.factory,
            demos=demos,
            pool=tuple(distinct(job.task.splits.train)) if nearest else (),
            models=job.models,
            tool_results=session.tool_results,
        )
        examples = [example for example in job.task.splits.holdout if example.id in scored]
        free = {name for name in scored if not (holdout[name].calls or holdout[name].cached_calls)}
        matched, others, sent = await runs_matched(parts, examples, session.recorded, free=free)
        ends_early = not job.space.store_text or job.space.task.tools_with_effects
        if job.factory is not None and ends_early:  # not all that it asks was seen
            seen = asked_models(job.factory(), job.models)
            others = {**others, **{name: model for name, model in seen.items() if name != candidate.model}}
        return parts, matched, tuple(others[name] for name in sorted(others)), sent


async def _with_rendering(draft: Promotion, parts: Parts, opened: LoadedStudy) -> tuple[Promotion, Rows | None]:
    """The promotion with its templates, where they write what the program sends."""
    try:
        rendering, rows = await rendering_of(parts)
        promotion = replace(draft, rendering=rendering)
        scored = [example.values for example in opened.job.task.splits.holdout[:_TRIED]]
        inputs = [{name: values[name] for name in parts.fields.inputs} for values in scored]
        awkward = awkward_inputs(parts.fields)
        _check(promotion, rows, [*inputs, *awkward], await requests_for(parts, [*inputs, *awkward]))
    except NotRenderable as why:
        rows = [pool_row(example, parts) for example in parts.pool]
        promotion = replace(draft, rendering_refused=str(why))
    if not parts.pool:
        return promotion, None
    pool = rows_of(rows)
    return replace(promotion, demos=replace(promotion.demos, pool=pool.ref)), pool


def _check(
    promotion: Promotion, rows: Sequence[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]],
    requests: Sequence[CallRequest],
) -> None:  # fmt: skip
    renderer = Renderer(promotion, tuple(rows))
    for values, request in zip(inputs, requests, strict=True):
        written = renderer.request(values)
        same = written.messages == [dict(message) for message in request.messages]
        if not same or written.params != dict(request.params):
            raise NotRenderable("its messages depend on the input in a way that a template cannot express")
