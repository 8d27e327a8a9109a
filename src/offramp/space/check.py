"""Whether the parts of a space file fit together: all that can be known without data, models or network.

Each check is a generator of problems about one part of the file; all of them run, so that a file is mended in one go.

Invariant: nothing is imported, opened or asked for here, but for the look whether the package of a sampler is there.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from offramp.space.check_demos import check_demos, check_splits
from offramp.space.check_incumbent import check_incumbent
from offramp.space.check_metric import check_metric, check_weight
from offramp.space.check_params import check_grid, check_params, distinct, many
from offramp.space.check_propose import check_propose
from offramp.space.check_when import check_circles, check_conditions
from offramp.space.load import MAIN, LoadedSpace, variant_names
from offramp.space.messages import AsWritten, Problem, SpaceErrors, listing, shown
from offramp.space.model import LONGEST_NAME, ModelPart, model_name
from offramp.space.outputs import output_types

MOST_USD = 100_000.0
"""A cap above this is taken for a slip of units."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_space(loaded: LoadedSpace) -> None:
    """Raises `SpaceErrors` (a SpaceError) with every problem, in the order of the file; returns where there is none."""
    problems = find_problems(loaded)
    if problems:
        raise SpaceErrors(problems)


def find_problems(loaded: LoadedSpace) -> tuple[Problem, ...]:
    """Every problem, in the order of the file."""
    named = tuple(_instructions(loaded))
    if named:
        return named
    try:
        variant_names(loaded)
    except SpaceErrors as error:  # other checks ask for the variants
        return error.problems
    found = dict.fromkeys(item for check in _CHECKS for item in check(loaded))
    return tuple(sorted(found, key=lambda item: item.line or 0))


# ------------------------------------------------------------------------------------- data, models and program


def _dataset(loaded: LoadedSpace) -> Iterator[Problem]:
    for name in ("path", "hub", "config", "hub_split", "revision", "id"):
        given = getattr(loaded.space.dataset, name)
        if given is not None and not given.strip():
            yield loaded.problem(f"dataset.{name}", got=given, expected="text that is not blank")


def _models(loaded: LoadedSpace) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, part in enumerate(loaded.space.models):
        name = part if isinstance(part, str) else part.name
        key = f"models.{index}"
        if not name.strip():
            yield loaded.problem(key, got=name, expected="the name of a model")
        elif isinstance(part, ModelPart) and part.route is not None and not part.route.strip():
            yield loaded.problem(
                f"{key}.route", got=part.route, expected="a LiteLLM name", do="Leave it out for `name`."
            )
        elif name in seen:
            first = loaded.line(f"models.{seen[name]}")
            yield loaded.problem(key, f"{name!r} is there twice, first in line {first}", do="Remove one of them.")
        seen.setdefault(name, index)
        if isinstance(part, ModelPart) and part.api_key_env is not None and not _ENV_NAME.match(part.api_key_env):
            expected = "the name of an environment variable, such as OPENAI_API_KEY"
            do = "Keep the key itself out of the file."
            yield loaded.problem(f"{key}.api_key_env", expected=expected, do=do)
        if isinstance(part, ModelPart):
            yield from _price(loaded, key, part)


def _names(loaded: LoadedSpace) -> Iterator[Problem]:
    """Names that the space file leaves free, and the storage keeps."""
    space = loaded.space
    names = {f"models.{i}": model_name(part) for i, part in enumerate(space.models)}
    names |= {f"params.{name}": name for name in space.params}
    for name, part in space.instructions.items():
        names[f"instructions.{name}"] = name
        names |= {f"instructions.{name}.{inner}": inner for inner in (part if isinstance(part, dict) else ())}
    if space.incumbent is not None:
        names["incumbent.model"] = space.incumbent.model
    if space.propose is not None:
        names["propose.model"] = model_name(space.propose.model)
    for key, name in names.items():
        if len(name) > LONGEST_NAME:
            expected = f"at most {LONGEST_NAME} characters, as a storage keeps them"
            yield loaded.problem(key, f"the name has {len(name)} characters", expected=expected)


def _price(loaded: LoadedSpace, key: str, part: ModelPart) -> Iterator[Problem]:
    stated = {} if part.price is None else part.price.model_dump(exclude_none=True)
    for name, usd in stated.items():
        if usd > MOST_USD:
            unit = "an hour" if name == "compute_usd_per_hour" else "a million tokens"
            yield loaded.problem(f"{key}.price.{name}", got=shown(usd), expected=f"at most {MOST_USD:,.0f} USD {unit}")


def _program(loaded: LoadedSpace) -> Iterator[Problem]:
    program, module = loaded.space.program, loaded.space.task.module
    for name in ("form", "format", "constrained"):
        yield from distinct(loaded, f"program.{name}", getattr(program, name))
    forms = many(program.form)
    if module is None and "own" in forms:
        do = "Use predict or chain_of_thought, or give `task.module`."
        yield loaded.problem("program.form", got="own", expected="a form that fits `task.signature`", do=do)
    others = [form for form in forms if form != "own"]
    if module is not None and "form" in program.model_fields_set and others:
        do = "The module has a form of its own: write `own`, or leave `form` out."
        yield loaded.problem("program.form", got=others[0], expected="own with `task.module`", do=do)


def _constrained(loaded: LoadedSpace) -> Iterator[Problem]:
    program, incumbent = loaded.space.program, loaded.space.incumbent
    yield from _held(loaded, "program.constrained", many(program.constrained), many(program.format))
    if incumbent is not None and incumbent.constrained:
        yield from _held(loaded, "incumbent.constrained", [True], [incumbent.format or many(program.format)[0]])


def _held(loaded: LoadedSpace, key: str, values: Sequence[Any], formats: Sequence[Any]) -> Iterator[Problem]:
    """A decoder can be held to a schema in the json format, and in the plain one to values that fit on a line."""
    if True not in values or "json" in formats or not formats:
        return
    if "plain" not in formats:
        yield loaded.problem(key, "the chat format cannot be held to a schema", do="Add the json format, or set false.")
        return
    types = output_types(loaded.space.task)
    deep = [name for name, kind in types.items() if kind is not None and kind.startswith(("list", "object"))]
    if deep:
        note = f"the plain format cannot be held to lists and objects ({listing(deep, 'and')})"
        yield loaded.problem(key, note, do="Use the json format (`format: json`), or set false.")


def _instructions(loaded: LoadedSpace) -> Iterator[Problem]:
    """A task given by a signature has one predictor."""
    if loaded.space.task.module is not None:
        return
    for name, part in loaded.space.instructions.items():
        if isinstance(part, dict) and name != MAIN:
            do = "Write `name: text`, or `name: {file: path}`; only a module has predictors with names."
            yield loaded.problem(f"instructions.{name}", "a mapping of variants", expected="a text", do=do)


# --------------------------------------------------------------------------- objectives, limits and search


def _objectives(loaded: LoadedSpace) -> Iterator[Problem]:
    parts = loaded.space.objectives
    for name in ("quality", "cost", "latency"):
        part = getattr(parts, name)
        if part is None:
            continue
        key = f"objectives.{name}"
        yield from check_weight(loaded, f"{key}.weight", part.weight)
        if isinstance(part.scale, tuple):
            yield from _scale(loaded, key, name, part.scale)
        elif part.scale == "incumbent" and name == "quality":
            yield loaded.problem(f"{key}.scale", got="incumbent", expected="[worst, best], such as [0, 1]")
        if "statistic" in part.model_fields_set and name != "latency":
            yield loaded.problem(f"{key}.statistic", "only latency has one", do="Remove it.")


def _scale(loaded: LoadedSpace, key: str, name: str, scale: tuple[float, float]) -> Iterator[Problem]:
    worst, best = scale
    if worst == best:
        yield loaded.problem(f"{key}.scale", got=_pair(scale), expected="two different numbers, [worst, best]")
    elif (best > worst) != (name == "quality"):
        do = f"Turn them round: [{best:g}, {worst:g}]."
        more = "more" if name == "quality" else "less"
        yield loaded.problem(f"{key}.scale", got=_pair(scale), expected=f"[worst, best], and {more} is better", do=do)


def _pair(numbers: Sequence[float]) -> AsWritten:
    return AsWritten(f"[{', '.join(f'{n:g}' for n in numbers)}]")


def _limits(loaded: LoadedSpace) -> Iterator[Problem]:
    budget, constraints = loaded.space.budget, loaded.space.constraints
    if budget.usd is not None and budget.usd > MOST_USD:
        do = "Leave it out for no cap."
        yield loaded.problem("budget.usd", got=shown(budget.usd), expected=f"at most {MOST_USD:,.0f} USD", do=do)
    if budget.usd is not None and constraints.cost_usd_max is not None and constraints.cost_usd_max > budget.usd:
        expected = f"at most {budget.usd:g}, the budget of the whole job (USD per run)"
        yield loaded.problem("constraints.cost_usd_max", got=shown(constraints.cost_usd_max), expected=expected)


def _sampler(loaded: LoadedSpace) -> Iterator[Problem]:
    if loaded.space.search.sampler != "gp":
        return
    missing = [name for name in ("torch", "scipy") if importlib.util.find_spec(name) is None]
    if missing:
        note = f"sampler gp needs {listing(missing, 'and')}, which is not installed"
        yield loaded.problem("search.sampler", note, do="Run: pip install 'offramp[gp]'")


_CHECKS: tuple[Callable[[LoadedSpace], Iterator[Problem]], ...] = (
    _dataset, _names, _models, _program, _constrained, check_demos, check_splits, check_incumbent, check_params,
    check_conditions, check_circles, check_grid, check_metric, _objectives, _limits, _sampler, check_propose,
)  # fmt: skip
