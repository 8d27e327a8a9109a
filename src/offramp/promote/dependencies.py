"""The models that a feature needs beside those that answer: judges of its metric, and what proposes instructions."""

from __future__ import annotations

from collections.abc import Iterator

from offramp.errors import ModelError
from offramp.job.declared import judging_parts
from offramp.models.catalogue import resolve
from offramp.promote.promotion import Dependency, PromotedModel
from offramp.space.model import ModelPart, SpaceFile, model_name


def dependencies_of(space: SpaceFile) -> tuple[Dependency, ...]:
    """Judges first, each once. A model that the table no longer has is named as the file names it."""
    stated = {part.name: part for part in space.models if isinstance(part, ModelPart)}
    return tuple(
        Dependency(role=role, model=_promoted(stated.get(model_name(part), part))) for role, part in _named(space)
    )


def _named(space: SpaceFile) -> Iterator[tuple[str, str | ModelPart]]:
    for judge in dict.fromkeys(str(part.model) for part in judging_parts(space.metric)):
        yield "judge", judge
    if space.propose is not None:
        yield "proposer", space.propose.model


def _promoted(part: str | ModelPart) -> PromotedModel:
    given = ModelPart(name=part) if isinstance(part, str) else part
    try:
        model = resolve(given, "dependencies")
    except ModelError:  # gone from the table: this is what has to be told
        return PromotedModel(name=given.name, route=given.route or given.name, own_address=given.api_base is not None)
    return PromotedModel(
        name=model.name,
        route=model.route,
        revision=model.revision,
        own_address=model.api_base is not None,
        retirement_date=model.retirement_date,
    )
