"""The DSPy module of a candidate, with its instructions and demos set on each predictor.

A task given by a signature has one predictor, called `main`. The user's own module is imported by path, copied for each
candidate, and its predictors keep the names DSPy gives them (`named_predictors`): `self.sort = dspy.Predict(...)` is
`sort`, `self.think = dspy.ChainOfThought(...)` is `think.predict`. What the candidate says nothing of (a text, demos
for fields that the data lacks) stays as the module has it.

Invariant: modules of two candidates share no predictor, also where a factory returns the same module twice.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import re
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import dspy
from dspy.utils.saving import get_dependency_versions

from offramp.errors import SpaceError, nearest, problem
from offramp.program.copies import copy_for_run
from offramp.program.forms.answers import CompoundModule
from offramp.program.forms.making import standard_module
from offramp.program.inputs import declared_types
from offramp.program.routing import Undeclared, building, making
from offramp.program.signature import annotation_of
from offramp.program.values import base_of
from offramp.records import Candidate
from offramp.space.forms import MAIN
from offramp.task.fields import TaskFields
from offramp.task.local_code import import_code, of_missing_file, users_code, why_not_imported

_NEW_NAMES: Mapping[str | None, str] = {
    **dict.fromkeys(["OpenAI", "AzureOpenAI", "Claude", "Cohere", "OllamaLocal", "HFModel", "Google"], "dspy.LM"),
    **dict.fromkeys(["TypedPredictor", "FunctionalTypedPredictor"], "dspy.Predict"),
    **dict.fromkeys(["TypedChainOfThought", "ChainOfThoughtWithHint"], "dspy.ChainOfThought"),
    **dict.fromkeys(["Assert", "Suggest", "assert_transform_module"], "dspy.Refine or dspy.BestOfN"),
}
"""What took the place of names that DSPy had before 3."""
ModuleFactory = Callable[[], dspy.Module]


def import_module_factory(path: str, base: Path, where: str) -> ModuleFactory:
    """The class or factory at `package.module:Name` or `file.py:Name` (relative to `base`).

    Raises:
        SpaceError: it does not import, is not callable, or does not make a dspy.Module that can be run.
    """
    source, _, name = path.rpartition(":")
    if not (source and name):
        expected, do = "`package.module:Name` or `file.py:Name`", None
        if (base / path).is_dir() or path.endswith((".pkl", ".json")):
            what = "a program that DSPy saved whole is pickled, and what is loaded here cannot run code. "
            do = f"{what}Save its state, `program.save('state.json')`, and load that where the module is made."
        raise SpaceError(problem(where, "task.module", got=path, expected=expected, do=do))
    module = _imported(path, base, where)
    factory = getattr(module, name, None)
    if factory is None:
        known = [known for known in vars(module) if not known.startswith("_")]
        do = nearest(name, known) or None
        raise SpaceError(problem(where, f"task.module: {source!r} has no {name!r}", do=do))
    if isinstance(factory, dspy.Module):
        do = "Name its class, or a function that makes it."
        raise SpaceError(problem(where, f"task.module: {path!r} is a module already", do=do))
    if not callable(factory):
        expected = "a class or a function without arguments"
        raise SpaceError(problem(where, f"task.module: {path!r}", got=type(factory).__name__, expected=expected))
    try:
        with making(), users_code():
            made = factory()
    except Undeclared as error:
        raise SpaceError(problem(where, f"task.module: {path!r}: {error}")) from error
    except Exception as error:  # the user's code: whatever it raises is the message
        missing = isinstance(error, TypeError) and "required positional argument" in str(error)
        do = _of_another_dspy(error) or of_missing_file(error)
        do = "Name a function without arguments that makes it." if missing else do
        what = f"task.module: {path!r}() raises {type(error).__name__}: {error}"
        raise SpaceError(problem(where, what, do=do)) from error
    _check_made(made, path, where)

    @functools.wraps(factory, updated=())
    def make(*args: Any, **kwargs: Any) -> dspy.Module:
        with users_code():
            return factory(*args, **kwargs)

    return make


def _imported(path: str, base: Path, where: str) -> Any:
    """The Python module, run again where it is named by its file."""
    source = path.rpartition(":")[0]
    try:
        with making():
            return import_code(source, base)
    except Undeclared as error:
        raise SpaceError(problem(where, f"task.module: {path!r}: {error}")) from error
    except (Exception, SystemExit) as error:  # the user's code: whatever it raises is the message
        do = _of_another_dspy(error)
        why = f"{type(error).__name__}: {error}." if do else why_not_imported(error, source, base)
        raise SpaceError(problem(where, f"task.module: {path!r} does not import: {why}", do=do)) from error


def _of_another_dspy(error: BaseException) -> str | None:
    """What to do where the code names what this release of DSPy does not have; None where that is not it."""
    if (of_state := _of_a_state(error)) is not None:
        return of_state
    found = re.search(r"module 'dspy[\w.]*' has no attribute '(\w+)'|cannot import name '(\w+)' from 'dspy", str(error))
    if found is None and not (isinstance(error, ModuleNotFoundError) and str(error.name).startswith("dspy.")):
        return None
    name = None if found is None else found[1] or found[2]
    new = f" Use {_NEW_NAMES[name]} in place of {name}." if name in _NEW_NAMES else ""
    return f"It was written for another DSPy than the installed {version('dspy')}.{new}"


def _of_a_state(error: BaseException) -> str | None:
    """What to do where a saved state is not one that the installed DSPy loads; None where that is not it."""
    frames = [(Path(f.f_code.co_filename), f.f_code.co_name) for f, _ in traceback.walk_tb(error.__traceback__)]
    loads = any("dspy" in file.parts and function in ("load", "load_state") for file, function in frames)
    if not loads or "dspy" not in frames[-1][0].parts or not isinstance(error, KeyError):
        return None
    if error.args == ("metadata",):
        how = "`self.load_state(json.loads(path.read_text()))`"
        return (
            f"The state was saved by an older DSPy, whose files have no metadata. Load it with {how}, or save it again."
        )
    what = f"The saved state has no {error.args[0]!r}: it is of another program, or of another DSPy"
    return f"{what} than the installed {version('dspy')}. Save it again, with the program as it is."


def _check_made(module: Any, path: str, where: str) -> None:
    if not isinstance(module, dspy.Module):
        got = type(module).__name__
        raise SpaceError(
            problem(where, f"task.module: {path!r}", got=got, expected="what it makes to be a dspy.Module")
        )
    if entry_of(module) is None:
        raise SpaceError(problem(where, f"task.module: {path!r} has neither `forward` nor `aforward`"))


def entry_of(module: dspy.Module) -> str | None:
    """`forward` or `aforward`, whichever its class defines last (both at once: `aforward`); None without either.

    A subclass of a DSPy module that overrides `forward` inherits an `aforward` that knows nothing of it.
    """
    for kind in type(module).__mro__:
        for name in ("aforward", "forward"):
            if name in vars(kind):
                return name
    return None


def refused_inputs(module: dspy.Module, inputs: Iterable[str]) -> str | None:
    """Why the module cannot be called with inputs of these names, in Python's words; None where it can."""
    entry = getattr(type(module), entry_of(module) or "forward")  # DSPy warns who asks the module itself for it
    try:
        inspect.signature(entry).bind(module, **dict.fromkeys(inputs))
    except TypeError as error:
        return f"{error} of {entry.__name__}{inspect.signature(entry)}"
    except ValueError:  # it has no signature
        return None
    return None


def declared_inputs(module: dspy.Module) -> dict[str, Any]:
    """Type by input of a module, as its `forward` or a predictor declares it."""
    return declared_types(module, entry_of(module) or "forward", predictors_of(module))


def declared_outputs(module: dspy.Module, names: Iterable[str]) -> dict[str, Any]:
    """Type by output of a module, where all predictors that have an output of the name agree on it.

    Of an output that the module's code is seen to compute from theirs, no more is known than whether it may be null.
    """
    from offramp.program.returned import computed_names

    found: dict[str, Any] = {}
    for name in names:
        fields = [predictor.signature.output_fields.get(name) for predictor in predictors_of(module).values()]
        kinds = [field.annotation for field in fields if field is not None]
        if kinds and all(kind == kinds[0] for kind in kinds):
            found[name] = kinds[0]
    for name in computed_names(module) & found.keys():
        _, nullable = base_of(found.pop(name))
        found |= {name: Any | None} if nullable else {}
    return found


def predictors_of(module: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors by name; a module with a single unnamed one calls it `main`."""
    if isinstance(module, CompoundModule):
        return module.predictors
    found = dict(module.named_predictors())
    return {MAIN: next(iter(found.values()))} if set(found) <= {"self", "predict"} and len(found) == 1 else found


def shown_demos(module: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors that demos of the task are shown to; a verifying call of a form is not among them."""
    return {n: p for n, p in predictors_of(module).items() if n == MAIN or not isinstance(module, CompoundModule)}


def build_module(
    candidate: Candidate, fields: TaskFields, factory: ModuleFactory | None, demos: Mapping[str, list[dict[str, Any]]]
) -> dspy.Module:
    """The module of a candidate, with instructions and static demos in place."""
    if factory is None:
        module = standard_module(candidate.module, candidate.instructions, fields)
    else:
        with building():
            module = copy_for_run(factory())
    for name, predictor in predictors_of(module).items():
        if name in candidate.instructions:
            text = _within_scaffold(module, predictor, candidate.instructions[name])
            predictor.signature = predictor.signature.with_instructions(text)
        if name in demos:
            predictor.demos = list(demos[name])
    return module


def _within_scaffold(module: dspy.Module, predictor: dspy.Predict, text: str) -> str:
    """The instruction with what the predictor's module wrote around its own, such as an agent's rules and tools.

    DSPy's agents (ReAct, ReActV2, CodeAct) put the instructions of their signature in front of how to act and of the
    list of tools. A searched instruction takes the place of the former alone, unless it has the rest itself.
    """
    before = predictor.signature.instructions
    for owner in _owners(module, predictor):
        own = getattr(getattr(owner, "signature", None), "instructions", None)
        if own and own != before and own in before:
            head, _, tail = before.partition(own)
            return text if tail.strip() in text else f"{head}{text}{tail}"
    tools = [str(tool) for owner in _owners(module, predictor) for tool in _tools_of(owner)]
    listed = [tool for tool in tools if tool in before and tool not in text]
    return "\n".join([f"{text}\n", "Tools:", *listed]) if listed else text


def own_instructions(module: dspy.Module) -> dict[str, str]:
    """The instruction that each predictor of a module has; of an agent the part that comes from its signature."""
    found = {}
    for name, predictor in predictors_of(module).items():
        whole = predictor.signature.instructions
        parts = [
            getattr(getattr(owner, "signature", None), "instructions", None) for owner in _owners(module, predictor)
        ]
        found[name] = next((part for part in parts if part and part != whole and part in whole), whole)
    return found


def _owners(module: dspy.Module, predictor: dspy.Predict) -> list[dspy.Module]:
    """The modules that have this predictor as an attribute of theirs, through a chain of thought as well."""
    modules = [each for _, each in module.named_sub_modules()]
    holders = [each for each in modules if any(value is predictor for value in vars(each).values())]
    return holders + [each for each in modules if any(held in vars(each).values() for held in holders)]


def _tools_of(module: dspy.Module) -> list[dspy.Tool]:
    tools = getattr(module, "tools", None)
    values = tools.values() if isinstance(tools, Mapping) else tools if isinstance(tools, list | tuple) else ()
    return [tool for tool in values if isinstance(tool, dspy.Tool)]


def lacks_interpreter(module: dspy.Module) -> str | None:
    """The name of a part that runs Python code in DSPy's sandbox where this machine has no Deno; None otherwise."""
    if dspy.settings.get("interpreter_factory") or shutil.which("deno") or importlib.util.find_spec("deno"):
        return None
    named = ((name, vars(part).get("_interpreter_factory")) for name, part in module.named_sub_modules())
    return next((name.removeprefix("self.") for name, made in named if made is dspy.PythonInterpreter), None)


def calls_tools(module: dspy.Module) -> bool:
    """Whether a predictor of the module asks for calls of tools, which a provider may have an interface for."""
    kinds = [field.annotation for p in predictors_of(module).values() for field in p.signature.output_fields.values()]
    return any(dspy.ToolCalls in (kind, *get_args(kind)) for kind in kinds)


def unshown_fields(module: dspy.Module, adapter: str) -> list[str]:
    """Fields that an adapter cannot write as text (`predictor.field (Image)`); the others show or refuse them alone."""
    if adapter != "plain":
        return []
    found = []
    for name, predictor in predictors_of(module).items():
        for field, info in predictor.signature.fields.items():
            kinds = [*dspy.adapters.types.Type.extract_custom_type_from_annotation(info.annotation)]
            if dspy.History in (info.annotation, *get_args(info.annotation)):
                kinds.append(dspy.History)
            if kinds:
                found.append(f"{name}.{field} ({kinds[0].__name__})")
    return found


def check_modules(modules: Iterable[str], fields: TaskFields, where: str) -> None:
    """Makes each of the modules, so that a field name that DSPy cannot have is found before a job begins.

    Raises:
        SpaceError: DSPy cannot have a field of that name, or the module adds one of the same name.
    """
    for name in modules:
        standard_module(name, {MAIN: "Answer."}, fields, where)


def module_state(
    candidate: Candidate, fields: TaskFields, demos: Mapping[str, list[dict[str, Any]]]
) -> tuple[Mapping[str, Any], str]:
    """What DSPy's `module.save(path)` writes to a JSON file for the candidate, and the signature that it fits."""

    def shown(annotation: Any) -> str:
        return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")

    module = build_module(candidate, fields, None, demos)
    state = {**module.dump_state(), "metadata": {"dependency_versions": get_dependency_versions()}}
    outputs = ", ".join(f"{name}: {shown(annotation_of(name, kind))}" for name, kind in fields.outputs.items())
    return state, f"{', '.join(fields.inputs)} -> {outputs}"
