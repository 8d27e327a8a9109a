"""What is searched, as a flat list of params, and the way from chosen values to a candidate.

The params are `model`, `form`, `format`, `constrained`, `model.<predictor>`, `instruction` (with several predictors
`instruction.<predictor>`), `demos`, `demos.count`, and every request parameter under its own name. Values are chosen in
order, so that a condition (`when`) only ever looks back. A param with one value is part of every assignment but is
not searched.

Invariant: the same chosen values give the same candidate, and two names for the same content give the same candidate
id.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

from offramp.errors import SpaceError, problem
from offramp.records import Candidate, DemoKind, Model, Scalar
from offramp.space.forms import MAIN, VERIFY, VERIFY_TEXT, spec_of, verify_text
from offramp.space.model import OWN, Choices, Fixed, Param, Range, SpaceFile, as_list, spelled
from offramp.space.signature import output_types

Texts = Mapping[str, Mapping[str, str]]
"""Instruction texts: predictor name to variant name to text."""

PROPOSED = "proposed"
"""Proposed instructions are called `proposed-1`, `proposed-2`, ..."""

_ROUNDING = 1e-9
"""How far a float may be off the grid, in steps."""
_MOST_VALUES = 2**53
_FRACTIONS = frozenset({"temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty"})
"""Parameters whose ranges are never of whole numbers, whatever their bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParam:
    """One param with the values that it may take, what Optuna calls a distribution.

    Attributes:
        choices: the values, for a categorical param; empty for a range.
        low, high, step, log, whole: for a range; `whole` numbers are ints.
        when: params (earlier ones) to the values under which this one applies; strings may be globs.
        group: `program` for what shapes the prompt, `request` for what is sent along with it.
        reserved: names of values that may join `choices` later, such as instructions not yet proposed. They are in no
            assignment, but an Optuna distribution lists them, since it has to name all choices from the start.
        listed: where some values are no longer to be chosen, all that there were, as the Optuna distribution lists
            them; empty where none was withdrawn.
    """

    name: str
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    group: Literal["program", "request"] = "program"
    reserved: tuple[Scalar, ...] = ()
    listed: tuple[Scalar, ...] = ()

    @property
    def searched(self) -> bool:
        """Whether there is anything to choose: now, later, or earlier in the study."""
        return len(self.listed or (*self.choices, *self.reserved)) != 1

    def without(self, values: Collection[Scalar]) -> SearchParam:
        """The param without these of its choices."""
        left = tuple(choice for choice in self.choices if choice not in values)
        listed = self.listed or (*self.choices, *self.reserved)
        return self if left == self.choices else replace(self, choices=left, listed=listed)

    @property
    def filled(self) -> SearchParam:
        """The param once everything that may join has joined."""
        return replace(self, choices=(*self.choices, *self.reserved), reserved=())

    @property
    def size(self) -> float:
        """Number of values; infinite for a range without step, or too many to count."""
        if self.choices:
            return len(self.choices)
        step = self.step or (1 if self.whole else None)
        steps = math.inf if step is None else (self.high - self.low) / step + _ROUNDING
        return math.floor(steps) + 1 if steps < _MOST_VALUES else math.inf

    def holds(self, value: Scalar) -> bool:
        """Whether this is one of its values; a whole number counts as the float that equals it."""
        if self.choices:
            return any(same_value(choice, value) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.whole and value != int(value):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) <= _ROUNDING

    def own(self, value: Scalar) -> Scalar:
        """The value as this param spells it, so that 0 and 0.0 make one candidate; unchanged if it is not one."""
        if not self.holds(value):
            return value
        if self.choices:
            return next(choice for choice in self.choices if same_value(choice, value))
        return int(value or 0) if self.whole else float(value or 0)

    def applies(self, chosen: Mapping[str, Scalar]) -> bool:
        """Whether the condition holds for the values chosen so far."""
        return all(
            name in chosen and any(_allows(option, chosen[name]) for option in allowed)
            for name, allowed in self.when.items()
        )


def _allows(option: Any, value: Scalar) -> bool:
    if isinstance(option, str) and isinstance(value, str):
        return fnmatch.fnmatchcase(value, option) or option == value
    return same_value(option, value)


def same_value(option: Any, value: Scalar) -> bool:
    """Equal, where true is not 1."""
    return isinstance(option, bool) == isinstance(value, bool) and option == value


def params_of(space: SpaceFile, texts: Texts, models: Mapping[str, Model]) -> tuple[SearchParam, ...]:
    """All params of a space in the order in which they are chosen.

    Args:
        texts: instruction texts by predictor and variant.
        models: resolved models by name, in the order of the file.

    Raises:
        SpaceError: conditions depend on each other, or name a param that does not exist.
    """
    program = _program_params(space, texts, models)
    request = [_beside_forms(space, _request_param(name, part)) for name, part in space.params.items()]
    taken = sorted({param.name for param in program} & {param.name for param in request})
    if taken:
        raise SpaceError(problem("params", f"{taken} are params of the program and cannot be request parameters"))
    ordered, done = [*program], {param.name for param in program}
    while request:
        ready = [param for param in request if set(param.when) <= done]
        if not ready:
            names = sorted(param.name for param in request)
            what = f"the conditions of {names} depend on each other or on an unknown param"
            raise SpaceError(problem("params", what))
        ordered += ready
        done |= {param.name for param in ready}
        request = [param for param in request if param not in ready]
    return tuple(ordered)


def _program_params(space: SpaceFile, texts: Texts, models: Mapping[str, Model]) -> list[SearchParam]:
    kinds = tuple(space.demo_kinds)
    params = [
        SearchParam(name="model", choices=tuple(models)),
        SearchParam(name="form", choices=tuple(space.forms)),
        SearchParam(name="format", choices=tuple(space.adapters)),
        SearchParam(name="constrained", choices=tuple(as_list(space.program.constrained))),
    ]
    if space.program.tools is not None:
        params.append(SearchParam(name="tools", choices=tuple(as_list(space.program.tools))))
    params += [SearchParam(name=model_param(p), choices=tuple(as_list(v))) for p, v in space.program.models.items()]
    for predictor, variants in texts.items():
        reserved = tuple(name for name in proposal_names(space) if name not in variants)
        params.append(SearchParam(name=instruction_param(predictor), choices=tuple(variants), reserved=reserved))
    params.append(SearchParam(name="demos", choices=kinds))
    if used := tuple(kind for kind in kinds if kind not in ("none", OWN)):
        params.append(SearchParam(name="demos.count", choices=tuple(as_list(space.demos.count)), when={"demos": used}))
    return params


def _request_param(name: str, part: Param) -> SearchParam:
    when = {n: tuple(values) for n, values in part.when.items()} if isinstance(part, Choices | Fixed | Range) else {}
    if isinstance(part, Choices):
        return SearchParam(name=name, choices=tuple(part.choices), when=when, group="request")
    if not isinstance(part, Range):
        value = part.value if isinstance(part, Fixed) else part
        return SearchParam(name=name, choices=(value,), when=when, group="request")
    whole_numbers = all(n == int(n) for n in (part.low, part.high, part.step) if n is not None)
    if part.type == "int" and not whole_numbers:
        raise SpaceError(problem(f"params.{name}", "`type: int` needs whole bounds and a whole step"))
    whole = part.type == "int" or (part.type is None and whole_numbers and name not in _FRACTIONS)
    return SearchParam(
        name=name, low=part.low, high=part.high, step=part.step, log=part.log, whole=whole, when=when, group="request"
    )


def _beside_forms(space: SpaceFile, param: SearchParam) -> SearchParam:
    """The temperature applies where a form does not state its own."""
    names = [*space.forms, *([spelled(space.incumbent.form)] if space.incumbent and space.incumbent.form else [])]
    left = [name for name in dict.fromkeys(names) if spec_of(name).temperature is None]
    if param.name != "temperature" or len(left) == len(dict.fromkeys(names)):
        return param
    allowed = param.when.get("form", ("*",))
    applies = tuple(name for name in left if any(_allows(option, name) for option in allowed))
    return replace(param, when={**param.when, "form": applies or ("none",)})


def proposal_names(space: SpaceFile) -> tuple[str, ...]:
    """The names that proposed instructions of a predictor will have, in the order in which they join."""
    part = space.propose
    return () if part is None else tuple(f"{PROPOSED}-{i + 1}" for i in range(part.rounds * part.count))


def instruction_param(predictor: str) -> str:
    """The param that chooses the instruction of a predictor."""
    return "instruction" if predictor == MAIN else f"instruction.{predictor}"


def model_param(predictor: str) -> str:
    """The param that chooses the model of a single predictor."""
    return f"model.{predictor}"


def predictor_models(space: SpaceFile) -> dict[str, tuple[str, ...]]:
    """Models that single predictors may run on, the incumbent's among them, by predictor."""
    stated = {} if space.incumbent is None else space.incumbent.models
    found = {p: [*as_list(names), stated.get(p, OWN)] for p, names in space.program.models.items()}
    found |= {p: [name] for p, name in stated.items() if p not in found}
    return {p: tuple(dict.fromkeys(name for name in names if name != OWN)) for p, names in found.items()}


# ----------------------------------------------------------------------------------------------- assignments


def choose(params: Sequence[SearchParam], pick: Callable[[SearchParam], Scalar]) -> dict[str, Scalar]:
    """One assignment: `pick` is asked for every searched param that applies, in order."""
    chosen: dict[str, Scalar] = {}
    for param in params:
        if param.applies(chosen):
            chosen[param.name] = pick(param) if param.searched else param.choices[0]
    return chosen


def cardinality(params: Sequence[SearchParam], *, at_most: int = 100_000) -> float:
    """Number of different assignments, counted under conditions; infinite with an open range or above `at_most`."""
    if any(param.size == float("inf") for param in params):
        return float("inf")
    count = 0
    for _ in assignments(params):
        count += 1
        if count > at_most:
            return float("inf")
    return count


def assignments(
    params: Sequence[SearchParam], chosen: Mapping[str, Scalar] | None = None
) -> Iterator[dict[str, Scalar]]:
    """Every assignment of a space without open ranges, in order."""
    chosen = dict(chosen or {})
    if not params:
        yield chosen
        return
    head, *tail = params
    if not head.applies(chosen):
        yield from assignments(tail, chosen)
        return
    for value in values_in(head):
        yield from assignments(tail, {**chosen, head.name: value})


def narrowed(param: SearchParam, value: Scalar) -> SearchParam:
    """The param with this value alone. For another value choices stay as they are, a range takes its low end."""
    if param.holds(value):
        return replace(param, choices=(value,))
    return param if param.choices else replace(param, choices=(param.low,))


def values_in(param: SearchParam) -> Sequence[Scalar]:
    """All values of a param of finite size; those of a range are computed when asked for."""
    return param.choices or _Steps(param)


class _Steps(Sequence[Scalar]):
    """The numbers of a range with steps. There may be billions: `seed: {low: 0, high: 2147483647}`."""

    def __init__(self, param: SearchParam) -> None:
        self._param, self._places = param, range(int(param.size))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Scalar: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Scalar]: ...
    def __getitem__(self, index: int | slice) -> Scalar | Sequence[Scalar]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        number = self._param.low + self._places[index] * (self._param.step or 1)
        return int(number) if self._param.whole else round(number, 12)


# ------------------------------------------------------------------------------------------------ candidates


def candidate_of(params: Mapping[str, Scalar], *, space: SpaceFile, texts: Texts, models: Mapping[str, Model],
                 search_params: Sequence[SearchParam]) -> Candidate:  # fmt: skip
    """The candidate for one assignment.

    `constrained` is true only where it is possible (see `_can_constrain`); elsewhere the assignment says False,
    whatever was chosen. A temperature that the form states is that of the assignment, too.
    """
    model, form, adapter = models[str(params["model"])], spec_of(str(params["form"])), str(params["format"])
    chosen = {p: params.get(model_param(p)) for p in predictor_models(space)}
    own = {p: str(name) for p, name in chosen.items() if name not in (None, OWN)}
    verifier = space.program.verifier
    if form.verifies and verifier is not None and verifier.model not in (None, model.name):
        own[VERIFY] = str(verifier.model)
    asked = [model, *(models[name] for name in own.values())]
    constrained = bool(params["constrained"]) and all(_can_constrain(space, m, form.over, adapter) for m in asked)
    kind = DemoKind(str(params.get("demos", "none")))
    count = int(params.get("demos.count") or 0) if kind not in (DemoKind.NONE, DemoKind.OWN) else 0
    request_names = {d.name for d in search_params if d.group == "request"}
    instructions = {p: variants[str(params[instruction_param(p)])] for p, variants in texts.items()}
    if form.verifies:
        instructions[VERIFY] = verify_text((verifier and verifier.instruction) or VERIFY_TEXT, instructions[MAIN])
    if form.temperature is not None:
        params, request_names = {**params, "temperature": form.temperature}, {*request_names, "temperature"}
    return Candidate(
        params={**params, "constrained": constrained},
        model=model.name,
        module=form.module,
        adapter=adapter,
        constrained=constrained,
        instructions=instructions,
        demo_kind=kind if count or kind is DemoKind.OWN else DemoKind.NONE,
        demo_count=count,
        demo_seed=space.demos.seed,
        request_params={n: v for n, v in params.items() if n in request_names and v is not None},
        models=own,
        tools=str(params.get("tools") or "text"),
        predictor_params={VERIFY: dict(verifier.params)} if form.verifies and verifier and verifier.params else {},
    )


def _can_constrain(space: SpaceFile, model: Model, module: str, adapter: str) -> bool:
    """Whether decoding can follow the output schema.

    With the plain adapter: on embedded models, without lists and objects, and with more than a single text to write. A
    module of the user's (`own`) has its own signatures; it counts as fitting.
    """
    if adapter != "plain":
        return adapter == "json" and model.supports_json_schema
    kinds = [kind for kind in output_types(space.task).values() if kind is not None]
    if not model.local or any(kind.startswith(("list", "object")) for kind in kinds):
        return False
    return module != "predict" or kinds != ["str"]


def incumbent_params(space: SpaceFile, texts: Texts, search_params: Sequence[SearchParam]) -> dict[str, Scalar] | None:
    """The incumbent as an assignment. None when the file names none.

    Its values need not be among those that are searched: what runs today is measured as it is. Where it leaves
    something out, form, format and instruction take the first value in the file, and constants of the file hold under
    their conditions; demos and constrained decoding are off, and searched request parameters are not sent. A module has
    instructions and demos of its own (`own`), which hold for what is left out.
    """
    part = space.incumbent
    if part is None:
        return None
    stated: dict[str, Scalar] = {
        "model": part.model,
        "constrained": bool(part.constrained),
        "demos": part.demos or ("none" if space.task.module is None else OWN),
        "demos.count": part.demo_count,
    }
    form = None if part.form is None else spelled(part.form)
    parts = (("form", form), ("format", part.format), ("tools", part.tools))
    stated |= {name: value for name, value in parts if value is not None}
    for predictor in texts:
        named = part.instruction.get(predictor) if isinstance(part.instruction, dict) else part.instruction
        if named is not None or space.task.module is not None:
            stated[instruction_param(predictor)] = named or OWN
    stated |= {model_param(p): part.models.get(p, OWN) for p in predictor_models(space)}
    stated |= part.params
    chosen: dict[str, Scalar] = {}
    for param in search_params:
        if param.name in stated:
            chosen[param.name] = param.own(stated[param.name])
        elif param.applies(chosen) and not (param.group == "request" and param.searched):
            chosen[param.name] = values_in(param)[0] if param.size != float("inf") else param.low
    chosen |= {name: value for name, value in stated.items() if name not in chosen}
    if stated["demos"] in ("none", OWN):
        chosen.pop("demos.count", None)
    return chosen
