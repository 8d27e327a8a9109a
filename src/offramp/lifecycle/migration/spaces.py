"""Spaces of a migration, made from the space of the promoted config.

One candidate alone: everything is fixed, so that its study is one evaluation on search and holdout. The search: the
same choices as before on the new models, with today's config as the incumbent.

All of them use the same scales: those that came from the old incumbent are stated as numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from offramp.errors import ModelError
from offramp.job.judges import judges_in
from offramp.lifecycle.migration.origin import Origin
from offramp.models.catalogue import resolve
from offramp.promote.promotion import PromotedModel
from offramp.records import Candidate, DemoKind, Price
from offramp.space.forms import MAIN, spec_of
from offramp.space.load import LoadedSpace, instruction_texts
from offramp.space.model import (
    BudgetPart,
    Choices,
    DemosPart,
    IncumbentPart,
    ModelPart,
    ObjectivePart,
    ObjectivesPart,
    ProgramPart,
    Range,
    as_stated,
)
from offramp.space.params import instruction_param

ALONE = "as-is"
"""Ending of the names of studies of one candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A cap on output that leaves room for reasoning."""

    param: str
    before: int
    after: int

    @property
    def words(self) -> str:
        """As the proposal says it."""
        return f"{self.param} raised from {self.before} to {self.after}"


def alone(
    origin: Origin, candidate: Candidate, model: str | ModelPart, params: Mapping[str, Any] | None = None
) -> LoadedSpace:
    """The candidate on a model and nothing else; the holdout is scored at the end of its study.

    Args:
        params: what is sent along; the candidate's own for None.
    """
    space = origin.space.space
    return origin.space.changed(
        name=_short(space.name, ALONE),
        incumbent=None,
        models=[model, *_asked_beside(origin, [_name(model)])],
        instructions=_fixed_texts(candidate),
        propose=None,
        program=ProgramPart(
            form=as_stated(candidate.module),
            verifier=space.program.verifier if spec_of(candidate.module).verifies else None,
            format=candidate.adapter,
            constrained=candidate.constrained,
            models=_models_of(candidate),
            tools=_tools(candidate),
            strict=space.program.strict,
        ),
        demos=_fixed_demos(space.demos, candidate),
        params=dict(candidate.request_params if params is None else params),
        objectives=with_fixed_scales(origin),
        budget=BudgetPart(),
        search=space.search.model_copy(update={"sampler": "grid", "trials": 1}),
    )


def searched(
    origin: Origin, models: Sequence[str | ModelPart], *, incumbent: bool,
    refusing: Mapping[str, frozenset[str]] | None = None, raised: Mapping[str, Raised] | None = None,
) -> LoadedSpace:  # fmt: skip
    """The old choices on the new models.

    Args:
        incumbent: whether today's config takes part; its model is named, and not searched.
        refusing: request parameters to the models that do not take them; there they are left out.
        raised: models to the caps on output that they need.
    """
    space = origin.space.space
    names = [_name(part) for part in models]
    params = _with_room(space.params, [item for name, item in (raised or {}).items() if name in names], len(names))
    texts, variants = _texts_with(origin.space, origin.candidate)
    known: list[str | ModelPart] = [*models]
    if incumbent:
        known.append(leaving_part(origin))
    known += _asked_beside(origin, list(map(_name, known)))
    return origin.space.changed(
        models=known,
        params=_applicable(params, names, refusing or {}),
        instructions=texts,
        incumbent=_incumbent(origin.candidate, variants) if incumbent else None,
        objectives=with_fixed_scales(origin),
        budget=BudgetPart(),
        search=space.search.model_copy(update={"sampler": _sampler(space.search.sampler)}),
    )


def _models_of(candidate: Candidate) -> dict[str, str]:
    """Models of single predictors, but for the one that verifies, which the file states elsewhere."""
    return {} if spec_of(candidate.module).several else dict(candidate.models)


def _asked_beside(origin: Origin, given: Sequence[str]) -> list[ModelPart]:
    """Other models that the program asks, which stay as they are, and judges of which the old space says something."""
    space = origin.space.space
    parts = [model_part(origin, other.name) for other in origin.promotion.others]
    parts += [part for part in space.models if isinstance(part, ModelPart) and part.name in judges_in(space)]
    stated = {_name(part): ModelPart(name=part) if isinstance(part, str) else part for part in parts}
    return [part.model_copy(update={"searched": False}) for name, part in stated.items() if name not in given]


def model_part(origin: Origin, name: str) -> str | ModelPart:
    """A model as the old space states it (address, price, parameters), or the name alone."""
    for part in origin.space.space.models:
        if isinstance(part, ModelPart) and part.name == name:
            return part if part.searched else part.model_copy(update={"searched": True})
    return name


def leaving_part(origin: Origin, *, searched: bool = False) -> ModelPart:
    """The retiring model as the old space states it, else with the price it had: the table may have lost it."""
    promoted = origin.promotion.model
    part = model_part(origin, promoted.name)
    if isinstance(part, ModelPart):
        return part.model_copy(update={"searched": searched})
    return ModelPart(name=promoted.name, route=_route(promoted), price=_price(promoted), searched=searched)


def price_today(origin: Origin, candidate: Candidate) -> Price | None:
    """Of a candidate's model at the service tier that it asks for: as the old space states it, else the catalogue's,
    else that of the promotion for the model that retires; None where it is not known.
    """
    parts = [model_part(origin, candidate.model)]
    parts += [leaving_part(origin)] if candidate.model == origin.promotion.model.name else []
    for part in parts:
        with suppress(ModelError):
            if (price := resolve(part, str(origin.space.path)).price) is not None:
                return price.for_request(candidate.request_params)
    return None


def _route(promoted: PromotedModel) -> str | None:
    return None if promoted.local or promoted.route == promoted.name else promoted.route


def _price(promoted: PromotedModel) -> Any:
    return None if promoted.local or promoted.price is None else dict(promoted.price)


def with_fixed_scales(origin: Origin) -> ObjectivesPart:
    """The objectives with every scale as numbers: those of the old study, or twice what the evidence says."""
    kept = origin.row.details.objectives if origin.row is not None else ()
    scales = {objective.name: objective.scale for objective in kept if objective.scale is not None}
    parts = origin.space.space.objectives
    evidence = origin.promotion.evidence.search
    measured = {"quality": None, "cost": evidence.cost_usd, "latency": evidence.latency_p50_s}
    found = {
        name: _with_fixed_scale(getattr(parts, name), scales.get(name), measured[name])
        for name in ("quality", "cost", "latency")
    }
    return parts.model_copy(update=found)


def _with_fixed_scale(
    part: ObjectivePart | None, scale: tuple[float, float] | None, measured: float | None
) -> ObjectivePart | None:
    if part is None or isinstance(part.scale, tuple):
        return part
    if scale is None and measured:
        scale = (2 * measured, 0.0)
    return part if scale is None else part.model_copy(update={"scale": scale})


def _with_room(params: Mapping[str, Any], raised: Sequence[Raised], models: int) -> dict[str, Any]:
    """The parameters with the higher caps beside the old ones, or in their place where every model needs one."""
    found = dict(params)
    for name in {item.param for item in raised} & params.keys():
        part, more = params[name], sorted({item.after for item in raised if item.param == name})
        if isinstance(part, Range):
            found[name] = part.model_copy(update={"high": max(part.high, *more), "step": None})
            continue
        before: list[Any] = part.choices if isinstance(part, Choices) else [getattr(part, "value", part)]
        kept = [value for value in before if len(raised) < models or value is None or value > max(more)]
        found[name] = Choices(choices=[*kept, *(v for v in more if v not in kept)], when=getattr(part, "when", {}))
    return found


def _applicable(
    params: Mapping[str, Any], models: Sequence[str], refusing: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    """The parameters, each under the condition of a model that takes it; one that none takes is left out."""
    kept: dict[str, Any] = {}
    for name, part in params.items():
        when = getattr(part, "when", None) or {}
        under = [model for model in models if _holds(model, when.get("model"))]
        taking = [model for model in under if model not in refusing.get(name, ())]
        if taking:
            kept[name] = part if len(taking) == len(models) else _under(part, when, taking)
    return kept


def _holds(model: str, patterns: Sequence[str] | None) -> bool:
    return patterns is None or any(fnmatchcase(model, str(pattern)) for pattern in patterns)


def _under(part: Any, when: Mapping[str, Any], models: Sequence[str]) -> Any:
    condition = {**when, "model": list(models)}
    if isinstance(part, Choices | Range):
        return part.model_copy(update={"when": condition})
    return Choices(choices=[part], when=condition)


def _name(part: str | ModelPart) -> str:
    return part if isinstance(part, str) else part.name


def _sampler(before: str) -> str:
    """A grid goes through a space in order; what is wanted is the best within a budget."""
    return "tpe" if before == "grid" else before


def _short(name: str, ending: str) -> str:
    return f"{name[: 63 - len(ending)]}-{ending}"


def _searched_texts(candidate: Candidate) -> dict[str, str]:
    """Its instructions, without that of a form's verifying call, which the form brings along."""
    several = spec_of(candidate.module).several
    return {predictor: text for predictor, text in candidate.instructions.items() if not several or predictor == MAIN}


def _fixed_texts(candidate: Candidate) -> dict[str, Any]:
    """Each text under the name that it had."""
    texts = {
        predictor: {str(candidate.params.get(instruction_param(predictor), "promoted")): text}
        for predictor, text in _searched_texts(candidate).items()
    }
    return dict(texts[MAIN]) if set(texts) == {MAIN} else dict(texts)


def _fixed_demos(before: DemosPart, candidate: Candidate) -> DemosPart:
    kind = candidate.demo_kind.value
    return before.model_copy(update={"kind": kind, "count": candidate.demo_count, "seed": candidate.demo_seed})


def _texts_with(loaded: LoadedSpace, candidate: Candidate) -> tuple[dict[str, Any], dict[str, str]]:
    """All texts, with the promoted ones among them, and the promoted variant of each predictor."""
    texts = {predictor: dict(variants) for predictor, variants in instruction_texts(loaded).items()}
    names: dict[str, str] = {}
    for predictor, text in _searched_texts(candidate).items():
        variants = texts.setdefault(predictor, {})
        name = next((name for name, known in variants.items() if known == text), None)
        names[predictor] = name or next(n for n in ("promoted", "promoted-config") if n not in variants)
        variants[names[predictor]] = text
    return (dict(texts[MAIN]) if set(texts) == {MAIN} else dict(texts)), names


def _tools(candidate: Candidate) -> Literal["native"] | None:
    return "native" if candidate.tools == "native" else None


def _incumbent(candidate: Candidate, names: dict[str, str]) -> IncumbentPart:
    own = candidate.demo_kind is DemoKind.OWN
    demos = candidate.demo_kind.value if candidate.demo_count or own else "none"
    return IncumbentPart(
        model=candidate.model,
        instruction=names[MAIN] if set(names) == {MAIN} else names,
        form=as_stated(candidate.module),
        format=candidate.adapter,
        constrained=candidate.constrained,
        demos=demos,
        demo_count=candidate.demo_count,
        models=_models_of(candidate),
        tools=_tools(candidate),
        params=dict(candidate.request_params),
    )
