"""The config half of a promotion: models, program and demos as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from offramp.errors import UsageError, problem
from offramp.job.loaded import LoadedStudy
from offramp.models.capabilities import with_capabilities
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import Basis, Retirement
from offramp.promote.capture import Parts
from offramp.promote.promotion import PromotedDemos, PromotedModel, PromotedProgram
from offramp.records import Candidate, DemoKind, Model, Price


def promoted_model(model: Model, price: Price | None, retirement: Retirement | None) -> PromotedModel:
    """A model without its address and key; an estimate of its retirement is not kept."""
    announced = retirement is not None and retirement.basis is not Basis.ESTIMATE
    stated = {name: usd for name, usd in asdict(price).items() if usd is not None} if price is not None else None
    return PromotedModel(
        name=model.name,
        route=model.route,
        revision=model.revision,
        own_address=model.api_base is not None,
        price=stated or None,
        retirement_date=retirement.date.isoformat() if retirement is not None and announced else None,
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
            raise UsageError(problem("--fallback", "it is the promoted model itself", got=name))
        takes = model.supported_params
        refused = sorted(n for n in candidate.request_params if takes is not None and n not in takes)
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
        inputs={name: fields.input_descs.get(name) for name in fields.inputs},
        outputs={
            name: {"type": output.type, **output.model_dump(mode="json", exclude_defaults=True)}
            for name, output in fields.outputs.items()
        },
        module=opened.job.space.task.module,
    )


def promoted_demos(parts: Parts) -> PromotedDemos:
    """The demos as values; the pool of `nearest` is added when its rows are written."""
    candidate = parts.candidate
    if candidate.demo_kind is DemoKind.NONE or candidate.demo_count == 0:
        return PromotedDemos(kind="none", values={})
    values = {predictor: tuple(dict(row) for row in rows) for predictor, rows in parts.demos.items()}
    return PromotedDemos(
        kind=str(candidate.demo_kind), count=candidate.demo_count, seed=candidate.demo_seed, values=values
    )
