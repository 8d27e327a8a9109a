"""What is searched, as a flat list of dimensions, and the way from chosen values to a candidate.

A dimension is one param: `model`, `form`, `format`, `constrained`, `instruction` (with several predictors
`instruction.<predictor>`), `demos`, `demos.count`, and every request parameter under its own name. Values are chosen in
order, so that a condition (`when`) only ever looks back. A dimension with one value is part of every assignment but is
not searched.

Invariant: the same chosen values give the same candidate, and two names for the same content give the same candidate id.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from offramp.errors import SpaceError, problem
from offramp.records import Candidate, DemoKind, Model, Scalar
from offramp.space.model import Choices, Fixed, Range, SpaceFile

Texts = Mapping[str, Mapping[str, str]]
"""Instruction texts: predictor name to variant name to text."""

MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One param.

    Attributes:
        choices: the values, for a categorical param; empty for a range.
        low, high, step, log, whole: for a range; `whole` numbers are ints.
        when: params (earlier ones) to the values under which this one applies; strings may be globs.
        group: `program` for what shapes the prompt, `request` for what is sent along with it.
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

    @property
    def searched(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.choices) != 1

    @property
    def size(self) -> float:
        """Number of values; infinite for a range without step."""
        if self.choices:
            return len(self.choices)
        if self.whole and not self.log:
            return (self.high - self.low) // (self.step or 1) + 1
        return float("inf") if self.step is None else (self.high - self.low) / self.step + 1

    def holds(self, value: Scalar) -> bool:
        """Whether this is one of its values."""
        if self.choices:
            return _matches(value, [c for c in self.choices if not isinstance(c, str) or c == value])
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return number and self.low <= float(value or 0) <= self.high

    def applies(self, chosen: Mapping[str, Scalar]) -> bool:
        """Whether the condition holds for the values chosen so far."""
        return all(name in chosen and _matches(chosen[name], allowed) for name, allowed in self.when.items())


def _matches(value: Scalar, allowed: Sequence[Any]) -> bool:
    for option in allowed:
        if isinstance(option, str) and isinstance(value, str):
            if fnmatch.fnmatchcase(value, option):
                return True
        elif type(option) is type(value) and option == value:
            return True
    return False


def dimensions(space: SpaceFile, texts: Texts, models: Mapping[str, Model]) -> tuple[Dimension, ...]:
    """All dimensions of a space in the order in which they are chosen.

    Args:
        texts: instruction texts by predictor and variant.
        models: resolved models by name, in the order of the file.

    Raises:
        SpaceError: when conditions form a circle or name a param that does not exist.
    """
    program = [*_program_dimensions(space, models), *_instruction_dimensions(texts), *_demo_dimensions(space)]
    request = [_request_dimension(name, part) for name, part in space.params.items()]
    return _in_order(tuple(program), request)


def _program_dimensions(space: SpaceFile, models: Mapping[str, Model]) -> Iterator[Dimension]:
    yield Dimension(name="model", choices=tuple(models))
    yield Dimension(name="form", choices=_many(space.program.form if space.task.module is None else "own"))
    yield Dimension(name="format", choices=_many(space.program.format))
    yield Dimension(name="constrained", choices=_many(space.program.constrained))


def _instruction_dimensions(texts: Texts) -> Iterator[Dimension]:
    for predictor, variants in texts.items():
        yield Dimension(name=instruction_param(predictor), choices=tuple(variants))


def instruction_param(predictor: str) -> str:
    """The param that chooses the instruction of a predictor."""
    return "instruction" if predictor == MAIN else f"instruction.{predictor}"


def _demo_dimensions(space: SpaceFile) -> Iterator[Dimension]:
    kinds = _many(space.demos.kind)
    yield Dimension(name="demos", choices=kinds)
    others = tuple(kind for kind in kinds if kind != "none")
    if others:
        yield Dimension(name="demos.count", choices=_many(space.demos.count), when={"demos": others})


def _many(value: Any) -> tuple[Scalar, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _request_dimension(name: str, part: Any) -> Dimension:
    if isinstance(part, Choices):
        return Dimension(name=name, choices=tuple(part.choices), when=_when(part.when), group="request")
    if isinstance(part, Fixed):
        return Dimension(name=name, choices=(part.value,), when=_when(part.when), group="request")
    if isinstance(part, Range):
        numbers = [n for n in (part.low, part.high, part.step) if n is not None]
        whole = part.type == "int" or (
            part.type is None and all(n == int(n) for n in numbers) and not _is_fraction(name)
        )
        return Dimension(
            name=name, low=part.low, high=part.high, step=part.step, log=part.log, whole=whole,
            when=_when(part.when), group="request",
        )  # fmt: skip
    return Dimension(name=name, choices=(part,), group="request")


def _is_fraction(name: str) -> bool:
    return name in {"temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty"}


def _when(conditions: Mapping[str, list[Any]]) -> Mapping[str, tuple[Any, ...]]:
    return {name: tuple(values) for name, values in conditions.items()}


def _in_order(first: tuple[Dimension, ...], rest: list[Dimension]) -> tuple[Dimension, ...]:
    done = {d.name for d in first}
    ordered = list(first)
    while rest:
        ready = [d for d in rest if set(d.when) <= done]
        if not ready:
            names = sorted(d.name for d in rest)
            raise SpaceError(
                problem("params", f"the conditions of {names} form a circle or name no param of this file")
            )
        ordered += ready
        done |= {d.name for d in ready}
        rest = [d for d in rest if d not in ready]
    return tuple(ordered)


def choose(dims: Sequence[Dimension], pick: Callable[[Dimension], Scalar]) -> dict[str, Scalar]:
    """One assignment: `pick` is asked for every searched dimension that applies, in order."""
    chosen: dict[str, Scalar] = {}
    for dim in dims:
        if dim.applies(chosen):
            chosen[dim.name] = pick(dim) if dim.searched else dim.choices[0]
    return chosen


def cardinality(dims: Sequence[Dimension], *, at_most: int = 100_000) -> float:
    """Number of different assignments, counted under conditions; infinite with an open range or above `at_most`."""
    if any(dim.size == float("inf") for dim in dims):
        return float("inf")
    count = 0
    for _ in assignments(dims):
        count += 1
        if count > at_most:
            return float("inf")
    return count


def assignments(dims: Sequence[Dimension], chosen: Mapping[str, Scalar] | None = None) -> Iterator[dict[str, Scalar]]:
    """Every assignment of a space without open ranges, in order."""
    chosen = dict(chosen or {})
    if not dims:
        yield chosen
        return
    head, *tail = dims
    if not head.applies(chosen):
        yield from assignments(tail, chosen)
        return
    for value in values_in(head):
        yield from assignments(tail, {**chosen, head.name: value})


def values_in(dim: Dimension) -> tuple[Scalar, ...]:
    """All values of a dimension of finite size."""
    if dim.choices:
        return dim.choices
    step = dim.step or 1
    numbers = [dim.low + i * step for i in range(int(dim.size + 1e-9))]
    return tuple(int(n) for n in numbers) if dim.whole else tuple(round(n, 12) for n in numbers)


def candidate_of(params: Mapping[str, Scalar], *, space: SpaceFile, texts: Texts, models: Mapping[str, Model],
                 dims: Sequence[Dimension]) -> Candidate:  # fmt: skip
    """The candidate for one assignment.

    `constrained` is true only where it can be kept: the plain format on embedded models, and the json format on models
    that take a JSON schema. Elsewhere the assignment says False, whatever was chosen.
    """
    model = models[str(params["model"])]
    constrained = bool(params["constrained"]) and can_constrain(model, str(params["format"]))
    kind = DemoKind(str(params.get("demos", "none")))
    count = int(params.get("demos.count") or 0) if kind is not DemoKind.NONE else 0
    request_names = {d.name for d in dims if d.group == "request"}
    return Candidate(
        params={**params, "constrained": constrained},
        model=model.name,
        form=str(params["form"]),
        format=str(params["format"]),
        constrained=constrained,
        instructions={p: variants[str(params[instruction_param(p)])] for p, variants in texts.items()},
        demo_kind=kind if count else DemoKind.NONE,
        demo_count=count,
        demo_seed=space.demos.seed,
        request_params={n: v for n, v in params.items() if n in request_names and v is not None},
    )


def can_constrain(model: Model, format: str) -> bool:
    """Whether the model's decoder can be held to the output schema in this format."""
    if format == "plain":
        return model.local
    return format == "json" and model.supports_json_schema


def incumbent_params(space: SpaceFile, texts: Texts, dims: Sequence[Dimension]) -> dict[str, Scalar] | None:
    """The incumbent as an assignment; parts it leaves out take the first value. None when the file names none.

    Its values need not be among those that are searched: what runs today is measured as it is.
    """
    part = space.incumbent
    if part is None:
        return None
    stated: dict[str, Scalar] = {"model": part.model, "demos": part.demos or "none", "demos.count": part.demo_count}
    for name, value in (("form", part.form), ("format", part.format), ("constrained", part.constrained)):
        if value is not None:
            stated[name] = value
    stated["constrained"] = stated.get("constrained", False)
    for predictor in texts:
        variant = part.instruction if isinstance(part.instruction, str) or part.instruction is None else (
            part.instruction.get(predictor))  # fmt: skip
        if variant is not None:
            stated[instruction_param(predictor)] = variant
    chosen = choose(dims, lambda dim: stated.get(dim.name, _first(dim)))
    chosen.update({name: value for name, value in stated.items() if name in chosen or name.startswith("demos")})
    if stated["demos"] == "none":
        chosen.pop("demos.count", None)
    for dim in dims:
        if dim.group == "request" and dim.searched:
            chosen.pop(dim.name, None)
    chosen.update(part.params)
    return chosen


def _first(dim: Dimension) -> Scalar:
    return values_in(dim)[0] if dim.size != float("inf") else dim.low
