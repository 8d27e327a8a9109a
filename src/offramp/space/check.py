"""Whether the parts of a space file fit together: everything that can be known without data, models or a network.

Each check is a generator of problems about one part of the file. All of them run, so that a file can be fixed at once.
Checks of `params` and their conditions are in `check_params.py`. Sizes of splits are judged by the counts that the file
states; what a share comes to is known when the data is there.

Invariant: nothing is opened or called here, and the packages of a sampler are looked up but not imported.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from offramp.errors import nearest
from offramp.scrubbing import holds_key, know_variable
from offramp.space.check_params import (
    check_circular_conditions,
    check_conditions,
    check_fixed_params,
    check_grid,
    check_known_params,
    check_params,
)
from offramp.space.forms import MAIN, SAMPLING, ModuleSpec, spec_of
from offramp.space.load import LoadedSpace, variant_names
from offramp.space.messages import AsWritten, Problem, SpaceErrors, listing, shown
from offramp.space.model import (
    LONGEST_NAME,
    MOST_WEIGHT,
    OWN,
    Choices,
    Fixed,
    JsonFieldsMetric,
    JudgeMetric,
    MixMetric,
    ModelPart,
    PythonMetric,
    Range,
    as_list,
    model_name,
    spelled,
)
from offramp.space.params import proposal_names
from offramp.space.signature import output_types

MOST_USD = 100_000.0
"""An amount above this is taken for a mistake in the unit."""
MOST_MINUTES = 525_600.0
"""A year."""
MOST_TRIALS = 100_000
"""No job runs more candidates."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_space(loaded: LoadedSpace) -> None:
    """Raises `SpaceErrors` (a SpaceError) with every problem, in the order of the file; returns if there is none."""
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
    except SpaceErrors as error:  # the other checks need the names of the variants
        return error.problems
    found = dict.fromkeys(item for check in _CHECKS for item in check(loaded))
    return tuple(sorted(found, key=lambda item: item.line or 0))


def _instructions(loaded: LoadedSpace) -> Iterator[Problem]:
    """A task given by a signature has one predictor, which has no instruction of its own."""
    if loaded.space.task.module is not None:
        return
    if not loaded.space.instructions:
        do = "Write at least one, such as `instructions: {today: Sort the ticket.}`."
        yield loaded.problem("instructions", "none are given", do=do)
    for name, part in loaded.space.instructions.items():
        if isinstance(part, dict) and name != MAIN:
            do = "Write `name: text`, or `name: {file: path}`; only a module has named predictors."
            yield loaded.problem(f"instructions.{name}", "a mapping of variants", expected="text", do=do)


def _distinct(loaded: LoadedSpace, key: str, value: Any) -> Iterator[Problem]:
    """A list of values to search has at least one value, and no duplicates."""
    if isinstance(value, list) and not value:
        yield loaded.problem(key, got=shown(value), expected="at least one value")
    elif isinstance(value, list) and len(set(value)) < len(value):
        duplicate = next(one for index, one in enumerate(value) if one in value[:index])
        yield loaded.problem(key, "duplicate value", got=shown(duplicate), do="Remove one of them.")


# ---------------------------------------------------------------------------------- dataset, splits and models


def _dataset(loaded: LoadedSpace) -> Iterator[Problem]:
    for name in ("path", "hub", "config", "hub_split", "revision", "id"):
        given = getattr(loaded.space.dataset, name)
        if given is not None and not given.strip():
            yield loaded.problem(f"dataset.{name}", got=given, expected="text that is not blank")


def _splits(loaded: LoadedSpace) -> Iterator[Problem]:
    splits, limit = loaded.space.splits, loaded.space.dataset.limit
    sizes = [part for part in (splits.train, splits.search, splits.holdout) if not isinstance(part, list)]
    counts = sum(size for size in sizes if size >= 1)
    if limit is not None and counts > limit:
        expected = f"{counts:g} or more, the sum of the splits"
        yield loaded.problem("dataset.limit", got=limit, expected=expected, do="Raise it, or lower the counts.")


def _models(loaded: LoadedSpace) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, part in enumerate(loaded.space.models):
        name, key = model_name(part), f"models.{index}"
        if not name.strip():
            yield loaded.problem(key, got=name, expected="the name of a model")
        elif isinstance(part, ModelPart) and part.route is not None and not part.route.strip():
            do = "Leave it out to call `name`."
            yield loaded.problem(f"{key}.route", got=part.route, expected="a LiteLLM model name", do=do)
        elif name in seen:
            note = f"duplicate model {name!r}, first listed in line {loaded.line(f'models.{seen[name]}')}"
            yield loaded.problem(key, note, do="Remove one of them.")
        seen.setdefault(name, index)
        if isinstance(part, ModelPart) and part.api_key_env is not None and not _ENV_NAME.match(part.api_key_env):
            expected = "the name of an environment variable, such as OPENAI_API_KEY"
            do = "Keep the key itself out of the file."
            yield loaded.problem(f"{key}.api_key_env", expected=expected, do=do)
        prices = part.price.model_dump(exclude_none=True) if isinstance(part, ModelPart) and part.price else {}
        for field, usd in prices.items():
            if usd > MOST_USD:
                unit = "hour" if field == "compute_usd_per_hour" else "million tokens"
                expected = f"at most {MOST_USD:,.0f} USD per {unit}"
                yield loaded.problem(f"{key}.price.{field}", got=shown(usd), expected=expected)
        by_token = [field for field in prices if field != "compute_usd_per_hour"]
        if by_token and "compute_usd_per_hour" in prices:
            note = f"a price of tokens ({listing(by_token, 'and')}) beside one of the machine by the hour"
            do = "Remove one of them: a machine by the hour is paid whatever it answers."
            yield loaded.problem(f"{key}.price", note, do=do)


def _keys(loaded: LoadedSpace) -> Iterator[Problem]:
    """Values of keys in the file itself: it is stored, sent to models and shared."""
    for part in loaded.space.models:
        if isinstance(part, ModelPart):
            know_variable(part.api_key_env, (part.name, part.route, part.api_base))
    for key, text in _texts(loaded.space.model_dump(), ""):
        if holds_key(text):
            do = "Keep it in the environment variable alone."
            yield loaded.problem(key, "holds the value of a key", do=do)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text with its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, f"{key}.{name}" if key else str(name))


def _names(loaded: LoadedSpace) -> Iterator[Problem]:
    """Names that the space file is free to choose have to fit into the storage."""
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
            expected = f"at most {LONGEST_NAME}, which is what a storage can keep"
            yield loaded.problem(key, f"the name has {len(name)} characters", expected=expected)


# ------------------------------------------------------------------------------------------ program and demos


def _program(loaded: LoadedSpace) -> Iterator[Problem]:
    program, module = loaded.space.program, loaded.space.task.module
    forms = loaded.space.forms if isinstance(program.form, list) else program.form
    for name, value in (("form", forms), ("format", program.format), ("constrained", program.constrained)):
        yield from _distinct(loaded, f"program.{name}", value)
    yield from _forms(loaded)
    for predictor, names in program.models.items():
        yield from _distinct(loaded, f"program.models.{predictor}", names)
    yield from _distinct(loaded, "program.tools", program.tools)
    for key, part in (("program.tools", program), ("incumbent.tools", loaded.space.incumbent)):
        if module is None and part is not None and part.tools is not None:
            yield loaded.problem(key, "only a `task.module` has tools", do="Remove it.")
    for key in ("program.models", "incumbent.models"):
        part = program if key == "program.models" else loaded.space.incumbent
        if module is None and part is not None and part.models:
            yield loaded.problem(key, "only a `task.module` has predictors with models of their own", do="Remove it.")
    forms = as_list(program.form)
    if module is None and "own" in forms:
        do = "Use predict or chain_of_thought, or give `task.module`."
        yield loaded.problem("program.form", got="own", expected="a form that fits `task.signature`", do=do)
    others = [form for form in forms if form != "own"]
    if module is not None and "form" in program.model_fields_set and others:
        do = "The module decides its own form: write `own`, or leave `form` out."
        yield loaded.problem("program.form", got=spelled(others[0]), expected="own with `task.module`", do=do)


def _forms(loaded: LoadedSpace) -> Iterator[Problem]:
    """Answers that are sampled have to differ, and a verifier needs a form that asks it."""
    space, incumbent = loaded.space, loaded.space.incumbent
    stated = {f"program.form.{i}" if isinstance(space.program.form, list) else "program.form": name
              for i, name in enumerate(space.forms)}  # fmt: skip
    for key, name in stated.items():
        yield from _samples(loaded, key, spec_of(name), _sent_with(loaded, name))
    own = None if incumbent is None or incumbent.form is None else spec_of(spelled(incumbent.form))
    if incumbent is not None and own is not None:
        fixed = {name: values for name, values in _sent_with(loaded, own.name).items() if len(values) == 1}
        yield from _samples(loaded, "incumbent.form", own, fixed | {n: [v] for n, v in incumbent.params.items()})
        if own.temperature is not None and incumbent.params.get("temperature") is not None:
            note = "the form states a temperature, and so does `incumbent.params`"
            yield loaded.problem("incumbent.form", note, do="Remove one of them.")
    stated_forms = [*map(spec_of, space.forms), *([own] if own is not None else [])]
    if "temperature" in space.params and stated_forms and all(f.temperature is not None for f in stated_forms):
        yield loaded.problem("params.temperature", "every form states a temperature of its own", do="Remove it.")
    verifier = space.program.verifier
    if verifier is None:
        return
    if not any(form.verifies for form in stated_forms):
        do = "Remove it, or add a form such as `{verify_then_retry: 1}`."
        yield loaded.problem("program.verifier", "no form has a verifying call", do=do)
    if verifier.instruction is not None and not verifier.instruction.strip():
        key = "program.verifier.instruction"
        yield loaded.problem(key, got=verifier.instruction, expected="text that is not blank", do="Or leave it out.")
    yield from check_fixed_params(loaded, "program.verifier.params", verifier.params)
    yield from check_known_params(loaded, "program.verifier.params", verifier.params)


_SAME_ANSWERS: Mapping[str, Callable[[Any], bool]] = {
    "temperature": lambda value: value == 0, "top_k": lambda value: value == 1, "seed": lambda value: value is not None,
}  # fmt: skip
"""Values of request parameters with which a model gives the same answer each time."""


def _sent_with(loaded: LoadedSpace, form: str) -> dict[str, list[Any]]:
    """The values of each request parameter that may be sent with a form; of a range its ends."""
    found: dict[str, list[Any]] = {}
    for name, part in loaded.space.params.items():
        when = part.when.get("form") if isinstance(part, Range | Choices | Fixed) else None
        if when is None or any(fnmatch.fnmatchcase(form, str(option)) for option in when):
            values = [part.low, part.high] if isinstance(part, Range) else getattr(part, "choices", None)
            found[name] = values if values is not None else [part.value if isinstance(part, Fixed) else part]
    return found


def _samples(loaded: LoadedSpace, key: str, form: ModuleSpec, sent: Mapping[str, Sequence[Any]]) -> Iterator[Problem]:
    if form.kind not in SAMPLING:
        return
    for name, is_same in _SAME_ANSWERS.items():
        if name == "temperature" and form.temperature is not None:
            continue
        if any(value is not None and is_same(value) for value in sent.get(name, ())):
            value = next(value for value in sent[name] if value is not None and is_same(value))
            do = (
                f"Give the form its own: `{{{form.kind}: {form.n}, temperature: 0.7}}`."
                if name == "temperature"
                else f"Send {name} to the other forms alone: `when: {{form: [...]}}`."
            )
            note = f"{form.kind} samples several answers, which {name} {value:g} makes the same"
            yield loaded.problem(key, note, do=do)


def _constrained(loaded: LoadedSpace) -> Iterator[Problem]:
    program, incumbent = loaded.space.program, loaded.space.incumbent
    formats = loaded.space.adapters
    if True in as_list(program.constrained):
        yield from _can_constrain(loaded, "program.constrained", formats)
    if incumbent is not None and incumbent.constrained:
        own = [incumbent.format] if incumbent.format else formats[:1]
        yield from _can_constrain(loaded, "incumbent.constrained", own)


def _can_constrain(loaded: LoadedSpace, key: str, formats: Sequence[Any]) -> Iterator[Problem]:
    """Decoding can follow a schema in the json format, and in the plain one for values that fit on one line."""
    if "json" in formats or not formats:
        return
    if "plain" not in formats:
        note = "the chat format cannot be constrained to a schema"
        yield loaded.problem(key, note, do="Add the json format, or set it to false.")
        return
    types = output_types(loaded.space.task)
    deep = [name for name, kind in types.items() if kind is not None and kind.startswith(("list", "object"))]
    if deep:
        note = f"the plain format cannot be constrained for lists and objects ({listing(deep, 'and')})"
        yield loaded.problem(key, note, do="Use the json format (`format: json`), or set it to false.")


def _demos(loaded: LoadedSpace) -> Iterator[Problem]:
    demos = loaded.space.demos
    kinds, counts = loaded.space.demo_kinds, as_list(demos.count)
    stated: dict[str, list[Any]] = {
        "demos.kind": [*kinds],
        "incumbent.demos": [loaded.space.incumbent.demos] if loaded.space.incumbent else [],
    }
    for key, given in stated.items():
        if OWN in given and loaded.space.task.module is None:
            yield loaded.problem(key, got=OWN, expected="another kind: only a `task.module` has demos of its own")
    yield from _distinct(loaded, "demos.kind", demos.kind)
    yield from _distinct(loaded, "demos.count", demos.count)
    for index, count in enumerate(counts):
        if count < 0:
            key = f"demos.count.{index}" if isinstance(demos.count, list) else "demos.count"
            yield loaded.problem(key, got=count, expected="a whole number of 0 or more")
    used = [kind for kind in kinds if kind not in ("none", OWN)]
    if used and counts and max(counts) == 0:
        do = f"Give a count, or set `kind: none` instead of {used[0]}."
        yield loaded.problem("demos.count", got=0, expected="1 or more, since `demos.kind` asks for demos", do=do)
    if "count" in demos.model_fields_set and "kind" not in demos.model_fields_set and any(counts):
        do = "Add `kind:`, such as random."
        yield loaded.problem("demos.count", "a count without a kind of demos", got=shown(demos.count), do=do)
    yield from _train(loaded, ("demos.kind", "demos.count"), used, max(counts, default=0))
    types = output_types(loaded.space.task)
    if "balanced" in used and demos.balance_by is None and types and "enum" not in types.values():
        note = "balanced demos need a column to balance by, and no output is an enum"
        yield loaded.problem("demos.kind", note, do="Name a column in `demos.balance_by`.")


def _train(loaded: LoadedSpace, keys: tuple[str, str], kinds: Sequence[Any], count: int) -> Iterator[Problem]:
    """Demos come from the train split. `keys` are those of kind and count."""
    train = loaded.space.splits.train
    if not kinds:
        return
    if not train:
        note = f"{kinds[0]} demos come from the train split, and `splits.train` is empty"
        yield loaded.problem(keys[0], note, do="Give it a share or a count, or set the kind to none.")
    elif not isinstance(train, list) and 1 <= train < count:
        yield loaded.problem(keys[1], got=count, expected=f"at most {int(train)}, the size of `splits.train`")


# --------------------------------------------------------------------------------------------------- incumbent


def _incumbent(loaded: LoadedSpace) -> Iterator[Problem]:
    """What the incumbent names has to be in the file; its values need not be among those that are searched.

    Its model may be one that is not searched, as in a migration away from it. Whether that model is known is checked
    when models are resolved.
    """
    part = loaded.space.incumbent
    if part is None:
        return
    yield from _incumbent_instruction(loaded, part.instruction)
    own = loaded.space.task.module is not None
    if part.form is not None and (part.form == "own") != own:
        expected = "own with `task.module`" if own else "predict or chain_of_thought with `task.signature`"
        yield loaded.problem("incumbent.form", got=spelled(part.form), expected=expected)
    yield from check_fixed_params(loaded, "incumbent.params", part.params)
    yield from check_known_params(loaded, "incumbent.params", part.params)
    if part.demos not in (None, "none", OWN):
        if part.demo_count == 0:
            note = f"{part.demos} demos without a count"
            yield loaded.problem("incumbent.demos", note, do="Add `demo_count:`, or set it to none.")
        yield from _train(loaded, ("incumbent.demos", "incumbent.demo_count"), [part.demos], part.demo_count)
    elif part.demo_count:
        do = "Add `demos:`, such as random."
        yield loaded.problem("incumbent.demo_count", "a count without a kind of demos", got=part.demo_count, do=do)


def _incumbent_instruction(loaded: LoadedSpace, given: str | dict[str, str] | None) -> Iterator[Problem]:
    known = variant_names(loaded)
    named = {"": given} if isinstance(given, str) else given or {}
    for predictor, variant in named.items():
        key = f"incumbent.instruction.{predictor}" if predictor else "incumbent.instruction"
        if predictor and predictor not in known:
            do = nearest(predictor, known) or f"Known predictors: {listing(list(known), 'and')}."
            yield loaded.problem(key, "no such predictor under `instructions`", do=do)
            continue
        for name in [predictor] if predictor else known:
            if variant not in known[name] and not (variant == OWN and loaded.space.task.module is not None):
                of = f" of {name}" if not predictor and name != MAIN else ""
                expected = f"a variant under `instructions`{of} ({', '.join(known[name])})"
                yield loaded.problem(key, got=shown(variant), expected=expected, do=nearest(variant, known[name]))


# ------------------------------------------------------------------------------------------ metric and weights


def _metric(loaded: LoadedSpace) -> Iterator[Problem]:
    """Fields that a metric names are outputs of the task; columns are checked against the data."""
    outputs = list(output_types(loaded.space.task))
    if outputs:
        yield from _metric_part(loaded, "metric", loaded.space.metric, outputs)


def _metric_part(loaded: LoadedSpace, key: str, part: Any, outputs: Sequence[str]) -> Iterator[Problem]:
    yield from _weight(loaded, f"{key}.weight", part.weight)
    if isinstance(part, MixMetric):
        for index, one in enumerate(part.parts):
            yield from _metric_part(loaded, f"{key}.parts.{index}", one, outputs)
        return
    if isinstance(part, JudgeMetric | PythonMetric):
        yield from check_fixed_params(loaded, f"{key}.params", part.params)
    if isinstance(part, JsonFieldsMetric | JudgeMetric):
        named = [(f"{key}.fields.{i}", name) for i, name in enumerate(part.fields or [])]
    else:
        named = [] if isinstance(part, PythonMetric) else [(f"{key}.field", part.field)]
    for inner, name in named:
        if name not in outputs:
            expected = f"an output of the task ({', '.join(outputs)})"
            yield loaded.problem(inner, got=shown(name), expected=expected, do=nearest(name, outputs))
    if isinstance(part, JsonFieldsMetric):
        for field, weight in part.weights.items():
            yield from _weight(loaded, f"{key}.weights.{field}", weight)
            if field not in part.fields:
                expected = f"a field of this metric ({', '.join(part.fields)})"
                yield loaded.problem(f"{key}.weights.{field}", "unknown field", got=shown(field), expected=expected)


def _weight(loaded: LoadedSpace, key: str, weight: float) -> Iterator[Problem]:
    if weight > MOST_WEIGHT:
        do = "Only the proportions count."
        yield loaded.problem(key, got=shown(weight), expected=f"at most {MOST_WEIGHT:,.0f}", do=do)


# ------------------------------------------------------------------------- objectives, budget, search, proposals


def _objectives(loaded: LoadedSpace) -> Iterator[Problem]:
    parts = loaded.space.objectives
    for name in ("quality", "cost", "latency"):
        part = getattr(parts, name)
        if part is None:
            continue
        key = f"objectives.{name}"
        yield from _weight(loaded, f"{key}.weight", part.weight)
        if isinstance(part.scale, tuple):
            yield from _scale(loaded, f"{key}.scale", name, part.scale)
        elif part.scale == "incumbent" and name == "quality":
            yield loaded.problem(f"{key}.scale", got="incumbent", expected="[worst, best], such as [0, 1]")
        if "statistic" in part.model_fields_set and name != "latency":
            yield loaded.problem(f"{key}.statistic", "only latency has a statistic", do="Remove it.")


def _scale(loaded: LoadedSpace, key: str, name: str, scale: tuple[float, float]) -> Iterator[Problem]:
    worst, best = scale
    got = AsWritten(f"[{worst:g}, {best:g}]")
    if worst == best:
        yield loaded.problem(key, got=got, expected="two different numbers, [worst, best]")
    elif (best > worst) != (name == "quality"):
        more = "more" if name == "quality" else "less"
        do = f"Swap them: [{best:g}, {worst:g}]."
        yield loaded.problem(key, got=got, expected=f"[worst, best], and {more} is better", do=do)


def _caps(loaded: LoadedSpace) -> Iterator[Problem]:
    budget, constraints = loaded.space.budget, loaded.space.constraints
    if budget.usd is not None and budget.usd > MOST_USD:
        expected = f"at most {MOST_USD:,.0f} USD"
        yield loaded.problem("budget.usd", got=shown(budget.usd), expected=expected, do="Leave it out for no cap.")
    if budget.minutes is not None and budget.minutes > MOST_MINUTES:
        expected = f"at most {MOST_MINUTES:,.0f} minutes, which is a year"
        shortened = AsWritten(f"{budget.minutes:g}")
        yield loaded.problem("budget.minutes", got=shortened, expected=expected, do="Leave it out for no cap.")
    if budget.usd is not None and constraints.cost_usd_max is not None and constraints.cost_usd_max > budget.usd:
        expected = f"at most {budget.usd:g}, the budget of the whole job (this is USD per run)"
        yield loaded.problem("constraints.cost_usd_max", got=shown(constraints.cost_usd_max), expected=expected)


def _sampler(loaded: LoadedSpace) -> Iterator[Problem]:
    if loaded.space.search.sampler != "gp":
        return
    missing = [name for name in ("torch", "scipy") if importlib.util.find_spec(name) is None]
    if missing:
        note = f"the sampler gp needs {listing(missing, 'and')}, which is not installed"
        yield loaded.problem("search.sampler", note, do="Run: pip install 'offramp[gp]'")


def _propose(loaded: LoadedSpace) -> Iterator[Problem]:
    """What proposals are written from, that a round can start at all, and that their names are free."""
    part = loaded.space.propose
    if part is None:
        return
    yield from _distinct(loaded, "propose.kinds", part.kinds)
    yield from check_fixed_params(loaded, "propose.params", part.params)
    if not loaded.space.splits.train:
        do = "Give it a share or a count, or leave `propose` out."
        yield loaded.problem("splits.train", "`propose` writes from train examples, and there are none", do=do)
    trials = loaded.space.search.trials or MOST_TRIALS
    if part.every >= trials:
        expected = f"less than search.trials ({trials}): the first round starts after that many candidates"
        yield loaded.problem("propose.every", got=part.every, expected=expected)
    taken = set(proposal_names(loaded.space))
    for predictor, names in variant_names(loaded).items():
        for name in sorted(taken & set(names)):
            flat = f"instructions.{name}"
            key = flat if flat in loaded.lines else f"instructions.{predictor}.{name}"
            yield loaded.problem(key, "the name is reserved for a proposed instruction", do="Rename it.")


_CHECKS: tuple[Callable[[LoadedSpace], Iterator[Problem]], ...] = (
    _dataset, _names, _models, _keys, _program, _constrained, _demos, _splits, _incumbent, check_params,
    check_conditions, check_circular_conditions, check_grid, _metric, _objectives, _caps, _sampler, _propose,
)  # fmt: skip
