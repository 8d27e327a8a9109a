"""What a metric of the user's is given: a row and a prediction that read like DSPy's, and that cannot be changed.

Both are read-only mappings whose keys are attributes as well (`row["answer"]` is `row.answer`), with the methods of
`dspy.Example` that only read. JSON objects inside read the same way: `prediction.invoice.vendor`. What a module of the
user's own gives has the type that it gave it. They are copies, so that a metric that changes a list of its own row
changes nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

PREDICTION = "the prediction"
"""What a prediction is called in messages."""


class Answer(dict[str, Any]):
    """The outputs of one run as JSON values, with what else is known of it.

    Attributes:
        objects: outputs as a module of the user's own gave them: an Enum, a date, a pydantic object.
        beside: what the program gave beside the outputs of the task, such as the passages it found; as it gave it.
        methods: gives the attributes of a `dspy.Prediction` that are not fields, such as `completions`.
        steps: (name of a predictor, its inputs, its outputs) in order.
        predictor: the one that feedback is asked for; None for the program as a whole.
        calling: what a metric runs in, so that its calls of a language model are counted or refused; None: in nothing.
    """

    def __init__(
        self, outputs: Mapping[str, Any], *, objects: Mapping[str, Any] | None = None,
        beside: Mapping[str, Any] | None = None, methods: Callable[[], Mapping[str, Any]] = dict,
        steps: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = (), predictor: str | None = None,
        calling: Callable[..., AbstractAsyncContextManager[None]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(outputs)
        self.objects = dict(objects or {})
        self.beside, self.steps, self.predictor = dict(beside or {}), tuple(steps), predictor
        self.calling, self.methods = calling, methods

    @property
    def as_given(self) -> dict[str, Any]:
        """The outputs as the program gave them: copies of objects, and JSON values, which are copied later."""
        return {**self, **{n: value if is_json(value) else _copied(value) for n, value in self.objects.items()}}


class Missing(AttributeError, KeyError):
    """A name that a row, a prediction or an object inside does not have; the text says which it has.

    Attributes:
        owner: what does not have it: `row 7`, `the prediction`, `the object`.
    """

    __str__ = Exception.__str__

    def __init__(self, owner: str, name: str, known: Iterable[object]) -> None:
        super().__init__(f"{owner} has no {name!r}; it has {', '.join(map(str, known))}")
        self.owner = owner


class Row(Mapping[str, Any]):
    """Named values of an example or of a prediction."""

    def __init__(
        self, values: Mapping[str, Any], kind: str, *, inputs: Collection[str] = (),
        beside: Mapping[str, Any] | None = None, methods: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Make it.

        Args:
            kind: what it is, for messages: `row 7`.
            inputs: names of those values that the program is given.
            beside: values that can be asked for by name, though the mapping does not list them.
            methods: attributes that are not values.
        """
        for name, value in (
            ("_values", {name: readable(value) for name, value in values.items()}), ("_kind", kind),
            ("_inputs", tuple(inputs)), ("_beside", dict(beside or {})), ("_methods", methods or {}),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    _values: dict[str, Any]
    _kind: str
    _inputs: tuple[str, ...]
    _beside: dict[str, Any]
    _methods: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """The value. Raises Missing."""
        for values in (self._values, self._beside):
            if name in values:
                return values[name]
        raise Missing(self._kind, name, [*self._values, *self._beside])

    def __getattr__(self, name: str) -> Any:
        """The value. Raises Missing."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._methods[name] if name in self._methods and name not in self else self[name]

    def __setattr__(self, name: str, value: object) -> None:
        """Raises AttributeError: it cannot be changed."""
        raise AttributeError(f"{self._kind} cannot be changed: {name!r} is read-only")

    def __contains__(self, name: object) -> bool:
        """Whether there is a value of that name."""
        return name in self._values or name in self._beside

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        """Both in one dict; the other's values win."""
        return {**self._values, **other}

    def __repr__(self) -> str:
        """As a dict."""
        return repr(self._values)

    def toDict(self) -> dict[str, Any]:
        """A dict with the values."""
        return dict(self._values)

    def copy(self, **changed: Any) -> Row:
        """Another one, with these values instead."""
        return Row({**self._values, **changed}, self._kind, inputs=self._inputs, **self._more)

    def without(self, *names: str) -> Row:
        """Another one without these values."""
        left = {name: value for name, value in self._values.items() if name not in names}
        return Row(left, self._kind, inputs=self._inputs, **self._more)

    def with_inputs(self, *names: str) -> Row:
        """Another one whose inputs are these."""
        return Row(self._values, self._kind, inputs=names, **self._more)

    def inputs(self) -> Row:
        """Its inputs alone."""
        return Row({name: self._values[name] for name in self._inputs if name in self._values}, self._kind)

    def labels(self) -> Row:
        """All but its inputs."""
        return self.without(*self._inputs)

    @property
    def _more(self) -> dict[str, Any]:
        return {"beside": self._beside, "methods": self._methods}


class _Object(dict[str, Any]):
    """A JSON object whose keys are attributes as well, unless a dict has a method of that name."""

    def __getattr__(self, name: str) -> Any:
        """The value. Raises Missing."""
        if name in self:
            return self[name]
        raise Missing("the object", name, self)


def readable(value: Any) -> Any:
    """A copy of a JSON value whose objects have attributes."""
    if isinstance(value, Mapping):
        return _Object((name, readable(inner)) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return type(value)(readable(item) for item in value) if type(value) in (list, tuple) else value
    return value


def is_json(value: Any) -> bool:
    """Whether it is what JSON has, through and through."""
    if type(value) is dict:
        return all(type(name) is str and is_json(inner) for name, inner in value.items())
    if type(value) is list:
        return all(map(is_json, value))
    return value is None or type(value) in (str, int, float, bool)


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 (a class may refuse to be copied in any way)
        return value
