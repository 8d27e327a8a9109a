"""Language models that can be seen in a module of one's own before it runs, such as those that would be refused.

Looked at are predictors, attributes of the module and its parts, and globals that its code names. What only shows when
the code runs is refused at its first call (`routing.py`).
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from offramp.models.acceptance import rejection
from offramp.program.module import predictors_of
from offramp.program.routing import declared, embeds_elsewhere
from offramp.records import Model

_OF_DSPY = frozenset({"n", "rollout_id", "num_generations", "prompt_cache"})
"""Of a language model's parameters, those that DSPy keeps for itself."""
_MOST = 50
"""Values of a container that are looked at."""


def refused_models(module: dspy.Module, models: Mapping[str, Model]) -> Iterator[tuple[str, str]]:
    """Where a language model or hosted embedder is (`self.big`, `BIG`), and why its calls could not be counted, or
    would be rejected for the parameters that it is made with.
    """
    for where, found in _seen(module):
        why = embeds_elsewhere(found) if not isinstance(found, dspy.BaseLM) else declared(found, models)
        if isinstance(why, str):
            yield where, why
        elif why is not None and (no := rejection(why, _sampling(found))) is not None:
            yield where, f"it is made with {no.what}, which {no.model!r} does not accept ({no.why})"


def _sampling(lm: dspy.BaseLM) -> dict[str, Any]:
    """The parameters of a language model that its requests have."""
    given = {name: value for name, value in lm.kwargs.items() if isinstance(value, str | int | float)}
    return {name: value for name, value in given.items() if name not in CLIENT_KEYS | _OF_DSPY}


def asked_models(module: dspy.Module, models: Mapping[str, Model]) -> dict[str, Model]:
    """The declared models that the module may ask by itself, as far as that can be seen, by name."""
    found = [declared(lm, models) for _, lm in _seen(module) if isinstance(lm, dspy.BaseLM)]
    return {model.name: model for model in found if isinstance(model, Model)}


def held_models(module: dspy.Module, models: Mapping[str, Model]) -> tuple[dict[str, str], set[str]]:
    """The declared model that each predictor of a module holds, by name of the predictor; and those that it asks by
    itself in other ways, as far as that can be seen.
    """
    held = {name: predictor.lm for name, predictor in predictors_of(module).items() if predictor.lm is not None}
    known = {name: declared(lm, models) for name, lm in held.items()}
    seen = [
        lm for _, lm in _seen(module) if isinstance(lm, dspy.BaseLM) and not any(lm is own for own in held.values())
    ]
    others = [declared(lm, models) for lm in seen]
    by_predictor = {name: model.name for name, model in known.items() if isinstance(model, Model)}
    return by_predictor, {model.name for model in others if isinstance(model, Model)}


def _seen(module: dspy.Module) -> Iterator[tuple[str, Any]]:
    """Language models and embedders, each once, with where they are."""
    seen: set[int] = set()
    for where, found in (*_held(module), *_named(module)):
        if id(found) not in seen:
            seen.add(id(found))
            yield where, found


def _held(module: dspy.Module) -> Iterator[tuple[str, Any]]:
    """Language models and embedders that the module and its parts have as attributes, by their path."""
    parts = [("self", module), *((f"self.{name}", part) for name, part in module.named_sub_modules() if name != "self")]
    parts += [(f"self.{name}", predictor) for name, predictor in module.named_predictors()]
    for path, part in parts:
        for name, value in vars(part).items():
            for key, each in _items(value):
                yield from _asking(f"{path.replace('self.self', 'self')}.{name}{key}", each)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", each) for key, each in list(value.items())[:_MOST]]
    if isinstance(value, list | tuple):
        return [(f"[{i}]", each) for i, each in enumerate(value[:_MOST])]
    return [("", value)]


def _asking(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value where it is a language model or an embedder, or the embedder that a retriever holds."""
    if isinstance(value, dspy.BaseLM | dspy.Embedder):
        yield path, value
    elif isinstance(held := getattr(value, "__dict__", {}).get("embedder"), dspy.Embedder):
        yield f"{path}.embedder", held


def _named(module: dspy.Module) -> Iterator[tuple[str, Any]]:
    """Globals that the module's own methods name, and the functions of its file that they call."""
    todo: list[types.FunctionType] = []
    for kind in type(module).__mro__:
        if kind.__module__.partition(".")[0] not in ("dspy", "builtins"):
            todo += [each for each in vars(kind).values() if inspect.isfunction(each) and each.__name__ != "__init__"]
    seen = set(todo)
    while todo:
        function = todo.pop()
        for name in _globals_in(function.__code__):
            value = function.__globals__.get(name)
            if inspect.isfunction(value) and value.__globals__ is function.__globals__ and value not in seen:
                seen.add(value)
                todo.append(value)
            yield from _asking(name, value)


def _globals_in(code: types.CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_in(constant)
