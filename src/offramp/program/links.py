"""What a module of the user's holds other modules by: functions and their closures, caches, objects of plain classes.

Looked for once per module, since each run copies the same one.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule
from dspy.utils.callback import BaseCallback

MOST_ITEMS = 1_000
"""A container with more items is shared: it is data, not state."""
_MOST_LOOKED_AT = 20_000
"""Objects that are looked at for those that hold a module; what lies beyond is shared."""
CONTAINERS = (list, dict, set, tuple, deque, defaultdict)
CACHED = type(functools.lru_cache(lambda: None))
_SHARED = (type, types.ModuleType, dspy.BaseLM, BaseCallback, dspy.Adapter)
"""Objects that hold no module of a run, or are there to outlive it."""


_links: dict[int, tuple[weakref.ref[dspy.Module], frozenset[int]]] = {}
"""By id of a module (a dataclass has no hash): ids of what leads to modules in it; each run copies the same one."""


def links_of(module: dspy.Module) -> frozenset[int]:
    """Ids of the values in a module from which a module is reached, itself included."""
    name = id(module)
    known = _links.get(name)
    if known is None or known[0]() is not module:
        known = _links[name] = weakref.ref(module, lambda _: _links.pop(name, None)), _linked(module)
    return known[1]


def _linked(root: dspy.Module) -> frozenset[int]:
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
    if type(value) in CONTAINERS:
        if len(value) <= MOST_ITEMS:
            yield from value.values() if isinstance(value, dict) else value
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dspy.Tool):
        yield value.func
    elif isinstance(value, CACHED):
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
