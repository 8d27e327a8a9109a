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
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule
from dspy.utils.callback import BaseCallback

MOST_ITEMS = 1_000
"""A container with more items is shared: it is data, not state."""
_MOST_COPIED = 10_000
"""Items of containers that one copy of a module copies in all; beyond them containers are shared."""
_MOST_LOOKED_AT = 20_000
"""Objects that are looked at for those that hold a module; what lies beyond is shared."""
_CONTAINERS = (list, dict, set, tuple, deque, defaultdict)
_CACHED = type(functools.lru_cache(lambda: None))
_SHARED = (type, types.ModuleType, dspy.BaseLM, BaseCallback, dspy.Adapter)
"""Objects that hold no module of a run, or are there to outlive it."""


AroundTool = Callable[[dspy.Tool, Callable[..., Any]], Callable[..., Any]]


def copy_for_run(module: dspy.Module, around: AroundTool | None = None) -> dspy.Module:
    """The copy.

    Args:
        around: given a tool and the copy of its function, what the copy of the tool calls.
    """
    return _Copier(around, _links_of(module)).of(module)


_links: dict[int, tuple[weakref.ref[dspy.Module], frozenset[int]]] = {}
"""By id of a module (a dataclass has no hash): ids of what leads to modules in it; each run copies the same one."""


def _links_of(module: dspy.Module) -> frozenset[int]:
    name = id(module)
    known = _links.get(name)
    if known is None or known[0]() is not module:
        known = _links[name] = weakref.ref(module, lambda _: _links.pop(name, None)), _linked(module)
    return known[1]


def _linked(root: dspy.Module) -> frozenset[int]:
    """Ids of all from which a module is reached, itself included."""
    holders: defaultdict[int, list[int]] = defaultdict(list)
    found: dict[int, Any] = {id(root): root}
    waiting = deque([root])
    while waiting and len(found) < _MOST_LOOKED_AT:
        value = waiting.popleft()
        for each in _parts(value):
            holders[id(each)].append(id(value))
            if id(each) not in found:
                found[id(each)] = each
                waiting.append(each)
    above = [name for name, value in found.items() if isinstance(value, BaseModule)]
    linked = set(above)
    while above:
        for holder in holders[above.pop()]:
            if holder not in linked:
                linked.add(holder)
                above.append(holder)
    return frozenset(linked)


def _parts(value: Any) -> Iterator[Any]:
    """What a value holds, as far as a module may be among it."""
    if value is None or isinstance(value, (str, bytes, int, float, *_SHARED)):
        return
    if type(value) in _CONTAINERS:
        if len(value) <= MOST_ITEMS:
            yield from value.values() if isinstance(value, dict) else value
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dspy.Tool):
        yield value.func
    elif isinstance(value, _CACHED):
        yield value.__wrapped__
    elif isinstance(value, types.FunctionType):
        yield from _held(value)
    else:
        with suppress(Exception):  # a proxy may refuse to be looked at
            yield from vars(value).values()


def _held(function: types.FunctionType) -> Iterator[Any]:
    """What a function holds in its closure and its defaults."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not set yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


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
        if id(value) not in self._linked:
            return value
        if isinstance(value, _CACHED):  # what it keeps is of one run
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
