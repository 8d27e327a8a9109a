"""From a candidate of a study to a promotion, with its demos as values and its requests as templates.

No model is asked: bootstrapped demos come from the ledger, which has every answer that made them.

Invariant: a rendering is in the promotion only if it wrote, for every example of the holdout and for inputs that are
out to break it, the very request that the program makes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from offramp import __version__
from offramp.errors import UsageError, problem
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
from offramp.job.loaded import LoadedStudy
from offramp.models.retirement.dates import Calendar, Retirement
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
from offramp.promote.config import fallback_models, promoted_demos, promoted_model, promoted_program
from offramp.promote.evidence import Results, evidence_of, result_rows
from offramp.promote.promotion import FORMAT_VERSION, Evidence, Made, Promotion
from offramp.promote.render import Renderer
from offramp.promote.safety import refuse_unsafe
from offramp.promote.store import Rows, now, rows_of
from offramp.records import CallRequest, Candidate, DemoKind, Model, Split
from offramp.store.candidates import CandidateRow
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
        calendar: who retires when.
    """

    feature: str | None
    fallbacks: Sequence[str]
    by: str
    root: Path
    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A promotion that has not gone through its gate, with the rows that it names.

    Attributes:
        retirements: of its models, by name; those without a date are left out.
    """

    promotion: Promotion
    rows: tuple[Rows, ...]
    retirements: Mapping[str, Retirement]


def build(store: Store, opened: LoadedStudy, row: CandidateRow, ask: Ask, *, trials: int) -> Built:
    """The promotion of one candidate, of so many that the study tried.

    Raises:
        UsageError: it cannot be promoted: its model, parameters or demos are not to be had as they were.
    """
    parts = asyncio.run(_parts(store, opened, row.candidate))
    holdout = ResultStore(store).get(opened.row.name, Split.HOLDOUT, row.id)
    matched = asyncio.run(_matched(parts, opened, store, holdout))
    evidence = evidence_of(store, opened, row, requests_matched=matched, root=ask.root, trials=trials)
    fallbacks = fallback_models(ask.fallbacks, opened, row.candidate)
    retirements = _retirements([parts.model, *fallbacks], ask.calendar)
    draft = _draft(parts, fallbacks, opened, evidence, ask, retirements)
    promotion, pool = asyncio.run(_with_rendering(draft, parts, opened))
    refuse_unsafe(promotion)
    rows = tuple(rows for rows in (result_rows(holdout), pool) if rows is not None)
    return Built(promotion=promotion, rows=rows, retirements=retirements)


def _retirements(models: Sequence[Model], calendar: Calendar) -> dict[str, Retirement]:
    found = {m.name: calendar.retirement(m.name, m.route, stated=m.retirement_date) for m in models}
    return {name: retirement for name, retirement in found.items() if retirement is not None}


def _draft(
    parts: Parts, fallbacks: Sequence[Model], opened: LoadedStudy, evidence: Evidence, ask: Ask,
    retirements: Mapping[str, Retirement],
) -> Promotion:  # fmt: skip
    """The promotion without what is sent."""
    candidate, price = parts.candidate, current_prices(opened.row).get(parts.model.name)
    return Promotion(
        schema_version=FORMAT_VERSION,
        feature=opened.row.space_name if ask.feature is None else ask.feature,
        version="",
        sha256="",
        model=promoted_model(parts.model, price, retirements.get(parts.model.name)),
        fallbacks=tuple(promoted_model(m, m.price, retirements.get(m.name)) for m in fallbacks),
        request_params=dict(candidate.request_params),
        program=promoted_program(parts, opened),
        instructions=dict(candidate.instructions),
        demos=promoted_demos(parts),
        rendering=None,
        evidence=evidence,
        made=Made(by=ask.by, at=now(), offramp=__version__, dspy=version("dspy")),
    )


# ----------------------------------------------------------------------------------------------- the program


async def _parts(store: Store, opened: LoadedStudy, candidate: Candidate) -> Parts:
    job = opened.job
    sender = LedgerSend(Ledger(store, opened.row.name))
    settings = EvaluatorSettings(
        concurrency=1, balance_by=job.balance_by, bootstrap_min_score=job.space.demos.min_score
    )
    evaluator = Evaluator(
        task=job.task, models=job.models, send=sender.send, results=ResultStore(store),
        study=opened.row.name, settings=settings, factory=job.factory,
    )  # fmt: skip
    demos = await evaluator.demos(candidate)
    if candidate.demo_kind is DemoKind.BOOTSTRAPPED and sender.unknown:
        do = "Run `offramp optimize` on it again: it asks only for what is missing."
        raise UsageError(problem(opened.row.name, "the ledger lacks answers that its demos were made from", do=do))
    nearest = candidate.demo_kind is DemoKind.NEAREST and candidate.demo_count > 0
    return Parts(
        candidate=candidate,
        fields=job.task.fields,
        model=job.models[candidate.model],
        factory=job.factory,
        demos=demos,
        pool=tuple(distinct(job.task.splits.train)) if nearest else (),
    )


async def _matched(parts: Parts, opened: LoadedStudy, store: Store, holdout: Results) -> int:
    examples = [e for e in opened.job.task.splits.holdout if e.id in holdout and holdout[e.id].score is not None]
    return await runs_matched(parts, examples, Ledger(store, opened.row.name))


async def _with_rendering(draft: Promotion, parts: Parts, opened: LoadedStudy) -> tuple[Promotion, Rows | None]:
    """The promotion with its templates, where they write what the program sends."""
    try:
        rendering, rows = await rendering_of(parts)
        promotion = replace(draft, rendering=rendering)
        scored = [example.values for example in opened.job.task.splits.holdout[:_TRIED]]
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
