"""From a candidate of a study to a promotion, with its demos as values and its requests as templates.

No model is asked: bootstrapped demos come from the ledger, which has every answer that made them.

Invariant: a rendering is in the promotion only if it wrote, for every example of the holdout and for inputs that are
out to break it, the very request that the program makes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from offramp import __version__
from offramp.errors import PromotionError, UsageError, problem
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
from offramp.models.capabilities import with_capabilities
from offramp.models.catalogue import resolve
from offramp.models.table import price_table_version
from offramp.program.demos import distinct
from offramp.promote.capture import (
    LedgerSend,
    NotRenderable,
    Parts,
    awkward_inputs,
    pool_row,
    recorded,
    rendering_of,
    runs_matched,
)
from offramp.promote.evidence import Results, beaten_incumbent, latency_probe, result_rows, split_evidence
from offramp.promote.promotion import (
    FORMAT_VERSION,
    Evidence,
    Gate,
    Made,
    PromotedDemos,
    PromotedModel,
    PromotedProgram,
    Promotion,
)
from offramp.promote.render import Renderer
from offramp.promote.safety import refuse_unsafe
from offramp.promote.store import Rows, now, rows_of
from offramp.records import CallRequest, Candidate, DemoKind, Model, Price, Split
from offramp.search.reopen import Opened
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.store.ledger import Ledger
from offramp.store.results import ResultStore
from offramp.study.prices import current_prices

_TRIED = 200
"""Examples of the holdout that a template is tried on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be promoted, and by whom.

    Attributes:
        feature: its name; the space's where None.
        fallbacks: models to ask when the first gives no answer, by name.
        root: the folder that holds the promotions folder; the space file is named relative to it.
    """

    feature: str | None
    fallbacks: Sequence[str]
    by: str
    root: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A promotion that has not gone through its gate, with the rows that it names."""

    promotion: Promotion
    rows: tuple[Rows, ...]


def build(store: Store, opened: Opened, row: CandidateRow, ask: Ask) -> Built:
    """The promotion of one candidate.

    Raises:
        UsageError: it cannot be promoted: its model, parameters or demos are not to be had as they were.
    """
    candidate, prepared = row.candidate, opened.prepared
    model = prepared.models[candidate.model]
    parts = asyncio.run(_parts(store, opened, candidate, model))
    results = ResultStore(store)
    holdout = results.get(opened.row.name, Split.HOLDOUT, row.id)
    matched = asyncio.run(_matched(parts, opened, store, holdout))
    prices = current_prices(opened.row)
    kept = result_rows(holdout)
    draft = Promotion(
        schema_version=FORMAT_VERSION,
        feature=ask.feature or opened.row.space_name,
        version="",
        sha256="",
        model=_model(model, prices.get(model.name)),
        fallbacks=tuple(_model(found, found.price) for found in _fallbacks(ask, opened, model, candidate)),
        request_params=dict(candidate.request_params),
        program=_program(parts, opened),
        instructions=dict(candidate.instructions),
        demos=_demos(parts),
        rendering=None,
        evidence=Evidence(
            study=opened.row.name,
            space=opened.row.space_name,
            space_file=_relative(opened.space_file, ask.root),
            space_hash=opened.row.space_hash,
            task_hash=opened.row.task_hash,
            dataset_hash=prepared.task.dataset_hash,
            splits_hash=prepared.task.splits_hash,
            metric=prepared.task.metric.name,
            seed=opened.row.seed,
            candidate=row.id,
            params=dict(row.params),
            trials=len(CandidateStore(store).all(opened.row.name)),
            price_table=price_table_version(),
            requests_matched=matched,
            search=_search(results, opened.row.name, row.id, prices.get(model.name)),
            holdout=split_evidence(holdout, prices.get(model.name)),
            holdout_results=None if kept is None else kept.ref,
            incumbent=_incumbent(store, opened, row, holdout, prices),
            probe=latency_probe(store, opened.row.name, row.id),
            gate=Gate(),
        ),
        made=Made(by=ask.by, at=now(), offramp=__version__, dspy=version("dspy")),
    )
    promotion, pool = asyncio.run(_with_rendering(draft, parts, opened))
    refuse_unsafe(promotion)
    return Built(promotion=promotion, rows=tuple(rows for rows in (kept, pool) if rows is not None))


# ----------------------------------------------------------------------------------------------- the program


async def _parts(store: Store, opened: Opened, candidate: Candidate, model: Model) -> Parts:
    prepared = opened.prepared
    sender = LedgerSend(Ledger(store, opened.row.name))
    settings = EvaluatorSettings(
        concurrency=1, balance_by=prepared.balance_by, bootstrap_min_score=prepared.space.demos.min_score
    )
    evaluator = Evaluator(
        task=prepared.task, models=prepared.models, send=sender.send, results=ResultStore(store),
        study=opened.row.name, settings=settings, factory=prepared.factory,
    )  # fmt: skip
    demos = await evaluator.demos(candidate)
    if candidate.demo_kind is DemoKind.BOOTSTRAPPED and sender.unknown:
        do = "Run `offramp optimize` on it again: it asks only for what is missing."
        raise UsageError(problem(opened.row.name, "the ledger lacks answers that its demos were made from", do=do))
    nearest = candidate.demo_kind is DemoKind.NEAREST and candidate.demo_count > 0
    return Parts(
        candidate=candidate,
        fields=prepared.task.fields,
        model=model,
        factory=prepared.factory,
        demos=demos,
        pool=tuple(distinct(prepared.task.splits.train)) if nearest else (),
    )


async def _matched(parts: Parts, opened: Opened, store: Store, holdout: Results) -> int:
    examples = [e for e in opened.prepared.task.splits.holdout if e.id in holdout and holdout[e.id].score is not None]
    return await runs_matched(parts, examples, Ledger(store, opened.row.name))


async def _with_rendering(draft: Promotion, parts: Parts, opened: Opened) -> tuple[Promotion, Rows | None]:
    """The promotion with its templates, where they write what the program sends."""
    try:
        rendering, rows = await rendering_of(parts)
        promotion = replace(draft, rendering=rendering)
        scored = [example.values for example in opened.prepared.task.splits.holdout[:_TRIED]]
        inputs = [{name: values[name] for name in parts.fields.inputs} for values in scored]
        awkward = awkward_inputs(parts.fields)
        _check(promotion, rows, [*inputs, *awkward], await recorded(parts, [*inputs, *awkward]))
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
            raise NotRenderable("its messages depend on the input in a way that no template can follow")


# ------------------------------------------------------------------------------------------------- the parts


def _model(model: Model, price: Price | None) -> PromotedModel:
    stated = {name: usd for name, usd in asdict(price).items() if usd is not None} if price is not None else None
    return PromotedModel(
        name=model.name,
        route=model.route,
        revision=model.revision,
        own_address=model.api_base is not None,
        price=stated or None,
        retirement_date=model.retirement_date,
    )


def _fallbacks(ask: Ask, opened: Opened, first: Model, candidate: Candidate) -> list[Model]:
    """Models by name, each able to take what the candidate sends."""
    found = []
    for name in ask.fallbacks:
        model = opened.prepared.models.get(name) or with_capabilities(resolve(name, "--fallback"))
        if model.route == first.route:
            raise UsageError(problem("--fallback", "it is the promoted model itself", got=name))
        takes = model.supported_params
        refused = sorted(n for n in candidate.request_params if takes is not None and n not in takes)
        if candidate.constrained and not model.supports_json_schema:
            refused.append("constrained decoding")
        if refused:
            raise UsageError(problem("--fallback", f"{name} does not take {', '.join(refused)}", do="Name another."))
        found.append(model)
    return found


def _program(parts: Parts, opened: Opened) -> PromotedProgram:
    fields = parts.fields
    return PromotedProgram(
        form=parts.candidate.form,
        format=parts.candidate.format,
        constrained=parts.candidate.constrained,
        inputs={name: fields.input_descs.get(name) for name in fields.inputs},
        outputs={
            name: {"type": output.type, **output.model_dump(mode="json", exclude_defaults=True)}
            for name, output in fields.outputs.items()
        },
        module=opened.prepared.space.task.module,
    )


def _demos(parts: Parts) -> PromotedDemos:
    candidate = parts.candidate
    if candidate.demo_kind is DemoKind.NONE or candidate.demo_count == 0:
        return PromotedDemos(kind="none", values={})
    values = {predictor: tuple(dict(row) for row in rows) for predictor, rows in parts.demos.items()}
    return PromotedDemos(
        kind=str(candidate.demo_kind), count=candidate.demo_count, seed=candidate.demo_seed, values=values
    )


def _search(results: ResultStore, study: str, candidate: str, price: Price | None) -> Any:
    found = split_evidence(results.get(study, Split.SEARCH, candidate), price)
    if found is None:
        raise PromotionError(problem(study, "the candidate has no results", got=candidate))
    return found


def _incumbent(
    store: Store, opened: Opened, row: CandidateRow, holdout: Results, prices: Mapping[str, Price | None]
) -> Any:
    incumbent = opened.row.extra.get("incumbent")
    if incumbent == row.id:
        return None
    return beaten_incumbent(store, opened.row.name, incumbent, holdout, prices)


def _relative(space_file: Path, root: Path) -> str | None:
    try:
        return Path(os.path.relpath(space_file.resolve(), root.resolve())).as_posix()
    except ValueError:  # another drive
        return None
