"""Refuses what a module of the user's own, its inputs and its tools cannot do with what the file says of them."""

from __future__ import annotations

from typing import Any

from offramp.errors import ModelError, SpaceError, nearest, problem
from offramp.job.check_here import leaving
from offramp.job.check_params import takes
from offramp.job.resolved import ResolvedJob
from offramp.models.capabilities import takes_media
from offramp.program.asked_clients import refused_clients
from offramp.program.inputs import MEDIA_TYPES
from offramp.program.module import calls_tools, declared_inputs, lacks_interpreter, refused_inputs, unshown_fields
from offramp.program.own_models import refused_models
from offramp.program.returned import refused_return
from offramp.program.tools import tools_of
from offramp.program.values import base_of
from offramp.space.model import as_list


def check_formats(job: ResolvedJob) -> None:
    """Refuses an adapter that would send an image or a conversation of the user's own module as text."""
    if job.module is None:
        return
    if (part := lacks_interpreter(job.module)) is not None:
        what = f"task.module: {part} runs Python code in DSPy's sandbox, which needs Deno, and it is not here"
        do = 'Install it: pip install "dspy[deno]". Or give the part an `interpreter_factory` of your own.'
        raise SpaceError(problem(job.loaded.where("task.module"), what, do=do))
    incumbent = job.space.incumbent
    stated: dict[str, list[Any]] = {"program.format": [*job.space.adapters]}
    stated["incumbent.format"] = [incumbent.format] if incumbent else []
    module = job.module
    for key, adapters in stated.items():
        for adapter in adapters:
            if adapter is not None and (fields := unshown_fields(module, adapter)):
                do = "Use chat, or json." if key == "incumbent.format" else f"Remove {adapter}: use chat, json or both."
                what = f"{key}: {adapter!r} cannot show {', '.join(fields)} of the module"
                raise SpaceError(problem(job.loaded.where(key), what, do=do))


def check_own_models(job: ResolvedJob) -> None:
    """Refuses a module that would be refused at its first call of a model of its own, as far as that can be seen."""
    if job.module is None:
        return
    module = job.module
    for where, why in (*refused_models(module, job.models), *refused_clients(module)):
        raise SpaceError(problem(job.loaded.where("task.module"), f"task.module: {where}: {why}."))


def check_inputs(job: ResolvedJob) -> None:
    """Refuses inputs whose names are not those that the user's own module takes."""
    if job.module is not None and (why := refused_inputs(job.module, job.task.fields.inputs)) is not None:
        do = "Name the inputs as it does, or give the others a default."
        raise SpaceError(problem(job.loaded.where("task.inputs"), f"task.inputs: the module: {why}", do=do))


def check_returns(job: ResolvedJob) -> None:
    """Refuses a module that returns what no run can use, as far as that can be seen."""
    if job.module is not None and (found := refused_return(job.module, job.task.fields.outputs)) is not None:
        where, why = found
        raise SpaceError(problem(job.loaded.where("task.module"), f"task.module: {where}: {why}."))


def check_media(job: ResolvedJob) -> None:
    """Refuses models that do not take an input, an adapter that cannot show it, and an image that is named as text."""
    fields = job.task.fields
    if job.module is not None:
        declared = declared_inputs(job.module)
        for name in fields.inputs:
            kind = next((kind for kind, type_ in MEDIA_TYPES.items() if base_of(declared.get(name))[0] is type_), None)
            if kind is not None and name not in fields.media:
                do = f"Write `inputs: {{{name}: {{type: {kind}}}}}`."
                raise SpaceError(problem(job.loaded.where("task.inputs"), f"task.inputs: {name!r} is an {kind}", do=do))
    if not fields.media:
        return
    if job.module is None:
        _refuse_lists(job)
    named = {*job.searched_models, *([job.incumbent.model] if job.incumbent is not None else [])} - leaving(job)
    for name, kind in fields.media.items():
        if refusing := sorted(model for model in named if not takes_media(job.models[model], kind)):
            do = f"Remove {'it' if len(refusing) == 1 else 'them'}, or name a model that does."
            what = f"{', '.join(refusing)} {'takes' if len(refusing) == 1 else 'take'} no {kind}, and {name!r} is one"
            raise ModelError(problem(job.loaded.where("models"), what, do=do))
    stated: dict[str, list[Any]] = {"program.format": [*job.space.adapters]}
    stated["incumbent.format"] = [job.space.incumbent.format] if job.space.incumbent else []
    for key, adapters in stated.items():
        if job.module is None and "plain" in adapters:
            what = f"{key}: 'plain' cannot show {', '.join(fields.media)}"
            raise SpaceError(problem(job.loaded.where(key), what, do="Use chat, or json."))


def _refuse_lists(job: ResolvedJob) -> None:
    """Refuses several images in one row of a task without a module, whose inputs are single ones."""
    splits = job.task.splits
    for example in (*splits.train, *splits.search, *splits.holdout):
        for name, kind in job.task.fields.media.items():
            if isinstance(example.values[name], list):
                what = f"{name!r} is a list in row {example.row}, and an input of a signature is one {kind}"
                do = f"Name a column for each, or a `module` whose input is list[dspy.{MEDIA_TYPES[kind].__name__}]."
                raise SpaceError(problem(job.loaded.where("task.signature"), f"task.signature: {what}", do=do))


def check_tools(job: ResolvedJob) -> None:
    """Refuses native tools that no predictor uses, or that a model does not have."""
    incumbent = job.space.incumbent
    stated = {"program.tools": as_list(job.space.program.tools), "incumbent.tools": [incumbent and incumbent.tools]}
    for key in (key for key, values in stated.items() if "native" in values):
        assert job.module is not None
        if not calls_tools(job.module):
            do = "Use dspy.ReActV2, which calls them either way, or write `tools: text`, which is what dspy.ReAct does."
            what = f"{key}: 'native' has no effect: no predictor of the module has an output of dspy.ToolCalls"
            raise SpaceError(problem(job.loaded.where(key), what, do=do))
        models = [job.incumbent.model] if key == "incumbent.tools" and job.incumbent else [*job.searched_models]
        if refusing := sorted(name for name in models if not takes(job.models[name], "tools")):
            do = "Leave the model out, write `tools: text`, or list `tools` under its `supports` if it does take them."
            what = f"{key}: {', '.join(refusing)} {'has' if len(refusing) == 1 else 'have'} no native tools"
            raise SpaceError(problem(job.loaded.where(key), what, do=do))


def check_named_tools(job: ResolvedJob) -> None:
    """Refuses names in `task.tools` that no tool of the module has."""
    stated = job.space.task.tools or {}
    known = sorted(tools_of(job.module)) if stated and job.module is not None else []
    for name in (name for name in stated if name not in known):
        where, expected = job.loaded.where("task.tools"), f"one of {', '.join(known)}" if known else "no tools"
        do = nearest(name, known) or ("" if known else "The module holds no dspy.Tool: remove it.")
        raise SpaceError(problem(where, "task.tools", got=name, expected=expected, do=do or None))
