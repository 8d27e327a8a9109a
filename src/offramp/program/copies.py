"""A module for one run: modules, predictors and small containers are copied, everything else is shared.

A module may hold 50,000 documents, an index, a client or a lock: they are what it works with, and a copy of them for
each run would cost more than the run, or fail. What a run changes is in the module itself, in its predictors and in
lists and dicts of its own; those are copied, so that no run sees the state of another.

Invariant: what is reached from the copy through modules, containers, bound methods, partial functions and tools is the
copy's own, never the original's.
"""

from __future__ import annotations

import functools
import types
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule

MOST_ITEMS = 1_000
"""A container with more items is shared: it is data, not state."""
_MOST_COPIED = 10_000
"""Items of containers that one copy of a module copies in all; beyond them containers are shared."""


AroundTool = Callable[[dspy.Tool, Callable[..., Any]], Callable[..., Any]]


def copy_for_run(module: dspy.Module, around: AroundTool | None = None) -> dspy.Module:
    """The copy.

    Args:
        around: given a tool and the copy of its function, what the copy of the tool calls.
    """
    return _Copier(around).of(module)


class _Copier:
    def __init__(self, around: AroundTool | None) -> None:
        self._around = around
        self._made: dict[int, Any] = {}
        self._items = 0

    def of(self, value: Any) -> Any:
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, BaseModule):
            return self._module(value)
        if type(value) in (list, dict, set, tuple, deque, defaultdict) and len(value) <= MOST_ITEMS:
            self._items += len(value)
            return value if self._items > _MOST_COPIED else self._container(value)
        if isinstance(value, types.MethodType):
            owner = self.of(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if isinstance(value, functools.partial):
            words = {name: self.of(word) for name, word in value.keywords.items()}
            return functools.partial(self.of(value.func), *map(self.of, value.args), **words)
        if isinstance(value, dspy.Tool):
            func = self.of(value.func)
            return value.model_copy(update={"func": self._around(value, func) if self._around else func})
        return value

    def _module(self, value: Any) -> Any:
        if "__deepcopy__" in {name for kind in type(value).__mro__ for name in vars(kind)}:
            copied = self._made[id(value)] = value.deepcopy()  # it says itself how it is copied
            return copied
        copied = self._made[id(value)] = value.__class__.__new__(value.__class__)
        for name, each in vars(value).items():
            copied.__dict__[name] = self.of(each)
        return copied

    def _container(self, value: Any) -> Any:
        if isinstance(value, tuple):
            parts = tuple(map(self.of, value))
            return value if all(part is each for part, each in zip(parts, value, strict=True)) else parts
        copied = self._made[id(value)] = value.copy()
        if isinstance(value, dict):
            copied.update({key: self.of(each) for key, each in value.items()})
        elif not isinstance(value, set):
            copied.clear()
            copied.extend(map(self.of, value))
        return copied
