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
from offramp.job.loaded import LoadedStudy
from offramp.job.session import open_session
from offramp.models.retirement.dates import Calendar, Retirement
from offramp.program.demos import distinct
from offramp.promote.capture import (
    NotRenderable,
    Parts,
    awkward_inputs,
    pool_row,
    rendering_of,
    requests_for,
    runs_matched,
)
from offramp.promote.config import fallback_models, promoted_demos, promoted_model, promoted_program
from offramp.promote.evidence import Results, evidence_of, result_rows
from offramp.promote.promotion import FORMAT_VERSION, Evidence, Made, Promotion
from offramp.promote.promotion_store import Rows, now, rows_of
from offramp.promote.render import Renderer
from offramp.promote.running import refuse_unsafe
from offramp.records import CallRequest, Candidate, DemoKind, Model, Split
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.study.queries.study_rows import current_prices

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
    holdout = ResultStore(store).get(opened.row.name, Split.HOLDOUT, row.id)
    parts, matched = asyncio.run(_replayed(store, opened, row.candidate, holdout))
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


async def _replayed(store: Store, opened: LoadedStudy, candidate: Candidate, holdout: Results) -> tuple[Parts, int]:
    """What the candidate's program is made of, and how many of its runs on the holdout make only measured requests.

    Answers come from the ledger alone.
    """
    job, scored = opened.job, {name for name, result in holdout.items() if result.score is not None}
    async with open_session(job, store=store, study=opened.row.name) as session:
        demos = await session.evaluator.demos(candidate)
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
        )
        examples = [example for example in job.task.splits.holdout if example.id in scored]
        return parts, await runs_matched(parts, examples, session.recorded)


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
            raise NotRenderable("its messages depend on the input in a way that no template can follow")
