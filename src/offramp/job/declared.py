"""What a space file declares, checked as far as that needs neither DSPy nor a client: models, texts and data.

A mistake in a file is reported by this part, well before the seconds that those imports take.

Invariant: importing this loads none of dspy, litellm, optuna and scipy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from offramp.errors import ModelError, SpaceError, nearest, problem
from offramp.job.trust import refuse_untrusted, refuse_untrusted_media
from offramp.models.capabilities import with_capabilities
from offramp.models.catalogue import resolve
from offramp.records import Model
from offramp.space.check import check_space
from offramp.space.load import LoadedSpace, instruction_texts
from offramp.space.model import JudgeMetric, MixMetric, ModelPart, PythonMetric, model_name
from offramp.space.named_files import refuse_missing_files
from offramp.space.params import Texts, predictor_models
from offramp.task.local_code import importing_once
from offramp.task.task import Task, load_task

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The declarations of a space file.

    Attributes:
        models: by name, also those of judges, the incumbent and predictors.
        searched: names of those that are searched.
        imports: the user's files that were run for it, each once.
    """

    loaded: LoadedSpace
    models: Mapping[str, Model]
    searched: tuple[str, ...]
    texts: Texts
    task: Task
    imports: dict[Path, ModuleType] = field(default_factory=dict, repr=False, compare=False)


def check_declared(loaded: LoadedSpace, *, stored: bool = False) -> Declared:
    """Reads models, texts and data of a loaded space.

    Args:
        stored: a study has run on it, so that the file itself is taken as it is: it passed the checks of its day.

    Raises:
        UsageError: (one of its kinds) with where, what, and what to do.
    """
    if not stored:
        check_space(loaded)
        refuse_untrusted(loaded)
    refuse_missing_files(loaded)
    models, searched = _models(loaded)
    texts = instruction_texts(loaded)
    imports: dict[Path, ModuleType] = {}
    with importing_once(imports):
        task = load_task(loaded.space, base=loaded.base, models=models, where=loaded.where, stored=stored)
    if not stored:
        refuse_untrusted_media(loaded, task)
    return Declared(loaded=loaded, models=models, searched=searched, texts=texts, task=task, imports=imports)


def _models(loaded: LoadedSpace) -> tuple[dict[str, Model], tuple[str, ...]]:
    space = loaded.space
    found: dict[str, Model] = {}
    for index, part in enumerate(space.models):
        model = with_capabilities(resolve(part, loaded.where(f"models.{index}")))
        found[model.name] = model
    known_only = {part.name for part in space.models if isinstance(part, ModelPart) and not part.searched}
    searched = tuple(name for name in found if name not in known_only)
    if not searched:
        do = "Set `searched: true` for one, or name another."
        raise SpaceError(problem(loaded.where("models"), "no model is left to search", do=do))
    others = [("metric.model", str(part.model)) for part in judging_parts(space.metric)]
    if space.incumbent is not None:
        others.append(("incumbent.model", space.incumbent.model))
    others += [(f"program.models.{p}", name) for p, names in predictor_models(space).items() for name in names]
    if space.program.verifier is not None and space.program.verifier.model is not None:
        others.append(("program.verifier.model", space.program.verifier.model))
    for key, name in others:
        if name not in found:
            try:
                found[name] = with_capabilities(resolve(name, f"{loaded.where(key)}: {key}"))
            except ModelError as error:
                near = nearest(name, found)
                raise (ModelError(f"{error} {near}") if near and near not in str(error) else error) from None
    if space.propose is not None and model_name(space.propose.model) not in found:
        writer = with_capabilities(resolve(space.propose.model, loaded.where("propose.model")))
        found[writer.name] = writer
    return found, searched


def metric_parts(metric: Any, kind: type[Part]) -> Iterator[Part]:
    """The parts of one kind, however deep in a mix."""
    if isinstance(metric, kind):
        yield metric
    elif isinstance(metric, MixMetric):
        for part in metric.parts:
            yield from metric_parts(part, kind)


def judging_parts(metric: Any) -> Iterator[JudgeMetric | PythonMetric]:
    """The parts that ask a model, however deep in a mix."""
    yield from metric_parts(metric, JudgeMetric)
    yield from (part for part in metric_parts(metric, PythonMetric) if part.model is not None)
