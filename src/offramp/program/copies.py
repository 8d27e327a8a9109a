"""A module for one run: modules, predictors and small containers are copied, everything else is shared.

A module may hold 50,000 documents, an index, a client or a lock: they are what it works with, and a copy of them for
each run would cost more than the run, or fail. What a run changes is in the module itself, in its predictors and in
lists and dicts of its own; those are copied, so that no run sees the state of another.

A predictor may also be reached through code: a tool, a reward or a step that is a function inside of `__init__` holds
the module in its closure, and an object of a plain class may hold predictors. Such functions and objects are copied
too, with the copies in place of what they hold; otherwise they would ask with the original's instructions and models.

Invariant: what is reached from the copy through modules, containers, functions and objects is the copy's own module,
never the original.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule

from offramp.program.links import CACHED, CONTAINERS, MOST_ITEMS, links_of

_MOST_COPIED = 10_000
"""Items of containers that one copy of a module copies in all; beyond them containers are shared."""


AroundTool = Callable[[dspy.Tool, Callable[..., Any]], Callable[..., Any]]


def copy_for_run(module: dspy.Module, around: AroundTool | None = None) -> dspy.Module:
    """The copy.

    Args:
        around: given a tool and the copy of its function, what the copy of the tool calls.
    """
    return _Copier(around, links_of(module)).of(module)


class _Copier:
    def __init__(self, around: AroundTool | None, linked: frozenset[int]) -> None:
        self._around, self._linked = around, linked
        self._made: dict[int, Any] = {}
        self._items = 0

    def of(self, value: Any) -> Any:
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, BaseModule):
            return self._module(value)
        if type(value) in CONTAINERS and len(value) <= MOST_ITEMS:
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
        if id(value) not in self._linked:
            return value
        if isinstance(value, CACHED):  # what it keeps is of one run
            return functools.lru_cache(**value.cache_parameters())(self.of(value.__wrapped__))
        return self._function(value) if isinstance(value, types.FunctionType) else self._object(value)

    def _function(self, value: types.FunctionType) -> Any:
        """A copy with the copies of what holds a module; whatever else it counts or collects stays the original's."""
        cells = tuple(map(self._cell, value.__closure__ or ()))
        copied = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
        self._made[id(value)] = copied
        functools.update_wrapper(copied, value)
        copied.__dict__ = dict(value.__dict__)
        copied.__kwdefaults__ = value.__kwdefaults__
        if value.__defaults__ is not None:
            copied.__defaults__ = tuple(map(self._if_linked, value.__defaults__))
        if value.__kwdefaults__ is not None:
            copied.__kwdefaults__ = {name: self._if_linked(each) for name, each in value.__kwdefaults__.items()}
        for cell, new in zip(value.__closure__ or (), cells, strict=True):
            if new is not cell:
                new.cell_contents = self.of(cell.cell_contents)
        return copied

    def _cell(self, cell: types.CellType) -> types.CellType:
        """A new one, still empty, where what it holds is to be copied; the same for all functions that share it."""
        with suppress(ValueError):  # not set yet
            if id(cell.cell_contents) in self._linked:
                new: types.CellType = self._made.setdefault(id(cell), types.CellType())
                return new
        return cell

    def _if_linked(self, value: Any) -> Any:
        return self.of(value) if id(value) in self._linked else value

    def _object(self, value: Any) -> Any:
        """A copy with the copies of those attributes that hold a module; the others stay those of the original."""
        try:
            copied = copy.copy(value)
        except Exception:  # noqa: BLE001 (a class may refuse to be copied in any way)
            return value
        self._made[id(value)] = copied
        for name, each in list(vars(copied).items()):
            copied.__dict__[name] = self._if_linked(each)
        return copied

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
