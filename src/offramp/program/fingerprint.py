"""What an object of this process depends on, as a hash that another process gives to the same object too.

Code that has no file (of a notebook, a closure, an object with a state) cannot be named by its source: the same text
does something else with another value in its closure. So the hash is over what running it can meet: its bytecode with
its constants, defaults and closures, the globals that it reads, the classes of objects with their methods, and all
values by content.

- Code of installed packages counts by its name, as does a module of theirs.
- An object of an installed package that cannot be pickled (a client, a connection, an open file, a lock) counts by its
  class. A language model counts by its name, address and parameters.
- What the code itself assigns (`global count`), what is computed once and kept (`functools.cache`, `cached_property`),
  and what DSPy keeps of its calls (history, traces) does not count.
- Of data beyond `MOST_BYTES` and `MOST_ITEMS`, size and evenly spaced parts count; beyond `MOST_VALUES` objects, and in
  containers beyond `MOST_DEEP` levels, classes alone.

Invariant: no address, hash seed, order of a set, line number or path of a source file is part of a hash; nothing of the
user's is called, and nothing is pickled.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.util
import json
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS
from pydantic import BaseModel

from offramp.task.local_code import import_folders, is_installed, local_code

MOST_BYTES = 64 * 2**20
MOST_ITEMS = 1_000_000
MOST_VALUES = 1_000_000
MOST_DEEP = 100
_PARTS = 256
"""Parts that are read of a text or buffer beyond `MOST_BYTES`."""
_AT_ONCE = 10_000
_MOST_WITHIN = 3
"""Sets within objects within sets that are read."""
_OFFRAMP = Path(__file__).parents[1]
_BY_TEXT = (
    int, float, complex, date, time, timedelta, tzinfo, Decimal, Fraction, UUID, PurePath, range, slice, type(...)
)  # fmt: skip
"""Values whose `repr` says all of them."""
_OF_CALLS = frozenset({"history", "callbacks", "traces", "train", "stage", "study", "_compiled"})
"""Attributes in which DSPy keeps what happened, or what is drawn at random."""
_OF_CLASSES = frozenset(
    {
        "__dict__", "__weakref__", "__module__", "__qualname__", "__abstractmethods__", "__firstlineno__", "_abc_impl",
        "__static_attributes__", "__parameters__", "__orig_bases__", "__class_vars__", "__private_attributes__",
        "__signature__", "__annotate__", "__annotate_func__", "__annotations_cache__", "model_config", "model_fields",
        "__doc__", "__hash__", "_member_map_", "_member_names_", "_value2member_map_", "__dataclass_params__",
        "__dataclass_fields__", "__match_args__",
    }
)  # fmt: skip
_OF_FIELDS = (
    "annotation", "default", "default_factory", "alias", "title", "description", "json_schema_extra", "metadata",
)  # fmt: skip
_WRAPPED = (property, classmethod, staticmethod, functools.cached_property, functools.partialmethod)


def fingerprint(value: Any) -> str:
    """64 hex characters. Looks, and changes nothing; takes seconds at most."""
    return _Reader().whole(value)


class _CannotTell(Exception):
    """An object whose state cannot be read."""


class _Reader:
    """Functions, classes and objects are numbered as they are met, and read one after the other: chains of calls may be
    of any length, and may lead back. Whatever else they hold is read on the spot.
    """

    def __init__(self, level: int = 0) -> None:
        self._level = level
        self._known: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._met: deque[Any] = deque()
        self._under_way: dict[int, int] = {}
        self._kept: list[Any] = []  # as long as their ids are names here
        self._left = MOST_VALUES

    def whole(self, value: Any) -> str:
        """The hash of a value and of all that it leads to."""
        read = [self.of(value)]
        while self._met:
            read.append(self._described(self._met.popleft()))
        return _hashed("whole", *read)

    def of(self, value: Any) -> str:
        """The hash of one value, in which functions, classes and objects are numbers."""
        if value is None or type(value) in (bool, str, int, float):
            return self._text(value) if type(value) is str else _hashed(type(value).__name__, repr(value))
        name = id(value)
        if name in self._known:
            return self._known[name]
        if name in self._under_way:
            return _hashed("above", str(self._under_way[name]))
        self._left -= 1
        if self._left < 0 or len(self._under_way) >= MOST_DEEP:
            return _hashed("beyond", _named(type(value)), _size(value))
        self._kept.append(value)
        self._under_way[name] = len(self._under_way)
        try:
            found = self._read(value)
        finally:
            del self._under_way[name]
        self._known[name] = found
        return found

    def _read(self, value: Any) -> str:
        kind = type(value)
        for kinds, read in self._READERS:
            if isinstance(value, kinds):
                return str(read(self, value))
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            return self._array(value)
        if getattr(value, "__origin__", None) is not None and hasattr(value, "__args__"):  # list[str], Literal["a"]
            return _hashed("generic", self.of(value.__origin__), *map(self.of, value.__args__))
        return self._number(value)

    def _number(self, value: Any) -> str:
        if isinstance(value, type | types.FunctionType) and _is_known(value):
            return _hashed("installed", _named(value))
        number = self._numbers[id(value)] = len(self._numbers)
        self._met.append(value)
        return _hashed("met", str(number))

    def _described(self, value: Any) -> str:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        return self._class(value) if isinstance(value, type) else self._object(value)

    # ------------------------------------------------------------------------------------------------------- code

    def _function(self, value: types.FunctionType) -> str:
        code = value.__code__
        names = code.co_freevars
        cells = [(name, self._cell(cell)) for name, cell in zip(names, value.__closure__ or (), strict=True)]
        parts = [value.__defaults__, value.__kwdefaults__, value.__dict__, _annotations(value)]
        return _hashed(
            "function", value.__name__, self._code(code), *(part for pair in cells for part in pair),
            *map(self.of, parts), *self._globals(code, value.__globals__),
        )  # fmt: skip

    def _cell(self, cell: types.CellType) -> str:
        try:
            return self.of(cell.cell_contents)
        except ValueError:  # not set yet
            return _hashed("empty")

    def _code(self, code: types.CodeType) -> str:
        constants = [self._code(each) if isinstance(each, types.CodeType) else self.of(each) for each in code.co_consts]
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        jumps = getattr(code, "co_exceptiontable", b"")
        return _hashed("code", code.co_code, jumps, repr(counts), repr(names), *constants)

    def _globals(self, code: types.CodeType, known: Mapping[str, Any]) -> Iterator[str]:
        """What the code reads of the module that it is in, and of the modules that it imports."""
        steps = {(step.opname, str(step.argval)) for each in _codes(code) for step in dis.get_instructions(each)}
        attributes = {name for each in _codes(code) for name in each.co_names}
        written = {name for does, name in steps if does == "STORE_GLOBAL"}
        for name in sorted({name for does, name in steps if does in ("LOAD_GLOBAL", "LOAD_NAME")} - written):
            if name in known:
                yield from (name, self._read_as(known[name], attributes))
        for name in sorted({name for does, name in steps if does == "IMPORT_NAME"}):
            yield from (name, self._imported(name, known))

    def _read_as(self, value: Any, attributes: Set[str]) -> str:
        """A value that code reads which names these attributes."""
        return self._module(value, attributes) if _is_module(value) else self.of(value)

    def _module(self, module: types.ModuleType, attributes: Set[str] | None = None) -> str:
        """Of a module of the user's what is read of it; all of its source where that is not known."""
        file = getattr(module, "__file__", None)
        if module.__name__.partition(".")[0] in _NAMED or (file is not None and is_installed(Path(file))):
            return _hashed("installed", module.__name__)
        if attributes is None or id(module) in self._under_way:
            return _source(file)
        self._under_way[id(module)] = len(self._under_way)
        try:
            names = sorted(attributes & vars(module).keys())
            read = [part for name in names for part in (name, self._read_as(vars(module)[name], attributes))]
        finally:
            del self._under_way[id(module)]
        return _hashed("module", *read)

    def _imported(self, name: str, known: Mapping[str, Any]) -> str:
        """A module that a function imports when it runs."""
        top = name.partition(".")[0]
        package = str(known.get("__package__") or "")
        found = sys.modules.get(name) or sys.modules.get(f"{package}.{name}" if package else name)
        file = getattr(found, "__file__", None)
        if found is None and top and top not in _NAMED:
            with suppress(Exception):  # finders of installed packages may raise anything
                file = getattr(importlib.util.find_spec(top), "origin", None)
        if top in _NAMED or file is None or is_installed(Path(file)):
            return _hashed("installed", name)
        return _source(file)

    def _class(self, value: type) -> str:
        held = {n: v for n, v in vars(value).items() if n not in _OF_CLASSES and not n.startswith("__pydantic_")}
        held = {name: each for name, each in held.items() if not isinstance(each, _DESCRIPTORS)}
        if issubclass(value, Enum):
            held = {name: each for name, each in held.items() if not isinstance(each, value)}
            held["(members)"] = [(name, each.value) for name, each in value.__members__.items()]
        if issubclass(value, BaseModel):
            held["(fields)"] = [(name, _field(field)) for name, field in value.model_fields.items()]
            held.pop("__annotations__", None)
        elif hasattr(value, "__dataclass_fields__"):
            held["(fields)"] = [(f.name, f.default, f.default_factory) for f in value.__dataclass_fields__.values()]
        held["(doc)"] = value.__doc__
        bases = [] if issubclass(value, dspy.Signature) else [*map(self.of, value.__bases__)]
        return _hashed("class", value.__name__, *bases, *self._named_values(held))

    # ----------------------------------------------------------------------------------------------------- objects

    def _object(self, value: Any) -> str:
        kind = type(value)
        if not _is_known(kind) or isinstance(value, dspy.Module):
            return _hashed("object", self.of(kind), *self._named_values(_attributes(value)), *self._within(value))
        state = _state_of(value)
        if state is None:
            return _hashed("resource", _named(kind))
        return _hashed("object", _named(kind), self.of(state))

    def _within(self, value: Any) -> Iterator[str]:
        """What a value of the user's own class has as a container, a number or a text."""
        readers: Any = ((dict, self._mapping), ((list, tuple), self._items), ((set, frozenset), self._set))
        for kinds, read in readers:
            if isinstance(value, kinds):
                yield read(value)
        if isinstance(value, str | int | float | bytes) and not isinstance(value, Enum):
            kind = next(base for base in (str, int, float, bytes) if isinstance(value, base))
            yield self.of(getattr(kind, "__getnewargs__", kind.__repr__)(value))

    def _named_values(self, held: Mapping[str, Any]) -> Iterator[str]:
        for name in sorted(held):
            yield from (name, self.of(held[name]))

    def _lm(self, value: dspy.BaseLM) -> str:
        told = {name: each for name, each in value.kwargs.items() if name not in CLIENT_KEYS}
        address = value.kwargs.get("api_base") or value.kwargs.get("base_url")
        name = (value.model, getattr(value, "offramp_name", None), value.model_type, address)
        return _hashed("model", self.of(type(value)), self.of(name), self.of(told))

    def _partial(self, value: functools.partial[Any]) -> str:
        return _hashed("partial", self.of(value.func), self.of(value.args), *self._named_values(value.keywords))

    def _method(self, value: types.MethodType) -> str:
        return _hashed("method", self.of(value.__func__), self.of(value.__self__))

    def _builtin(self, value: Any) -> str:
        owner = getattr(value, "__self__", None)
        held = [] if owner is None or _is_module(owner) else [self.of(owner)]
        return _hashed("builtin", _named(value), *held)

    def _wrapped(self, value: Any) -> str:
        names = ("fget", "fset", "fdel", "__func__", "func", "args", "keywords")
        return _hashed(type(value).__name__, *(self.of(getattr(value, name, None)) for name in names))

    # ------------------------------------------------------------------------------------------------------ values

    def _text(self, value: str) -> str:
        if len(value) > MOST_BYTES:
            value = "".join(_parts_of(value)) + str(len(value))
        return _hashed("str", value)

    def _bytes(self, value: bytes | bytearray | memoryview) -> str:
        view = memoryview(value).cast("B")
        if len(view) <= MOST_BYTES:
            return _hashed("bytes", view)
        return _hashed("bytes", str(len(view)), *_parts_of(view))

    def _array(self, value: Any) -> str:
        """A numpy array, whose bytes are read where they are."""
        about = (str(value.dtype), repr(value.shape))
        if value.dtype.hasobject:
            step = max(1, value.size // MOST_ITEMS)
            return _hashed("array", *about, self._items(list(value.flat[::step])))
        if not value.flags.c_contiguous:
            value = value.T if value.flags.f_contiguous else value.copy()
        return _hashed("array", *about, self._bytes(value.reshape(-1).view("uint8")) if value.size else "")

    def _items(self, value: Iterable[Any]) -> str:
        items = list.__iter__(value) if isinstance(value, list) else iter(value)
        found = list(items)
        size, step = len(found), -(-len(found) // MOST_ITEMS) or 1
        return _hashed("items", str(size), *self._each(found[::step]))

    def _each(self, found: list[Any]) -> Iterator[str]:
        """Hashes of values; many texts and numbers at once."""
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            if len(some) > 100 and all(type(each) in (str, int, float, bool, type(None)) for each in some):
                yield _hashed("plain", json.dumps(some))
            else:
                yield from map(self.of, some)

    def _set(self, value: Iterable[Any]) -> str:
        return _hashed("set", *sorted(map(self._item, value)))

    def _item(self, value: Any) -> str:
        """An item of a set, by itself: numbers would be given in the order of the set, and the set may be in it."""
        if _is_plain(value) and not isinstance(value, Enum):
            return self.of(value)
        return _named(type(value)) if self._level >= _MOST_WITHIN else _Reader(self._level + 1).whole(value)

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        keys, values = list(value.keys()), list(value.values())
        return _hashed("mapping", self._items(keys), self._items(values))

    def _shown(self, value: Any) -> str:
        return _hashed(_named(type(value)), repr(value))

    _READERS: tuple[tuple[Any, Callable[[_Reader, Any], str]], ...] = ()


def _exactly(*kinds: type) -> Any:
    """A check for `isinstance` that subclasses do not pass: those have a class and attributes of their own."""

    class _Exact(type):
        def __instancecheck__(cls, value: object) -> bool:
            return type(value) in kinds

    return _Exact("_Exact", (), {})


_Reader._READERS = (
    ((type, types.FunctionType), _Reader._number),
    (types.MethodType, _Reader._method),
    ((types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType), _Reader._builtin),
    ((types.MethodDescriptorType, types.ClassMethodDescriptorType), _Reader._builtin),
    (type(functools.lru_cache(len)), lambda self, value: _hashed("cached", self.of(value.__wrapped__))),
    (functools.partial, _Reader._partial),
    (_WRAPPED, _Reader._wrapped),
    (types.CodeType, _Reader._code),
    (types.ModuleType, _Reader._module),
    (types.CellType, _Reader._cell),
    (dspy.BaseLM, _Reader._lm),
    (Enum, lambda self, value: _hashed("member", self.of(type(value)), value.name)),
    (_exactly(str), _Reader._text),
    (_exactly(bytes, bytearray, memoryview), _Reader._bytes),
    (_exactly(list, tuple, deque), _Reader._items),
    (_exactly(set, frozenset), _Reader._set),
    (_exactly(dict, types.MappingProxyType), _Reader._mapping),
    (_exactly(*_BY_TEXT), _Reader._shown),
    ((PurePath, tzinfo), _Reader._shown),
)
_NOT_APART = (type, types.FunctionType, types.MethodType, types.ModuleType, dspy.BaseLM)
_DESCRIPTORS = (types.GetSetDescriptorType, types.MemberDescriptorType)
_NAMED = frozenset({*sys.stdlib_module_names, "offramp"} - {"__main__", "builtins"})


def _hashed(*parts: str | bytes | memoryview) -> str:
    """One hash of texts and bytes; where one ends counts."""
    made = hashlib.blake2b(digest_size=32)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "big"))
        made.update(data)
    return made.hexdigest()


def _parts_of(value: Any) -> Iterator[Any]:
    """Evenly spaced parts of a text or buffer, as much as `MOST_BYTES` in all, its beginning and end among them."""
    size = MOST_BYTES // _PARTS
    last = len(value) - size
    yield from (value[last * i // (_PARTS - 1) :][:size] for i in range(_PARTS))


def _named(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _size(value: Any) -> str:
    return str(len(value)) if isinstance(value, str | bytes | list | tuple | dict | set | frozenset) else ""


def _is_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType)


def _is_known(value: types.FunctionType | type) -> bool:
    """Whether a function or class is of an installed package, of Python or of offramp: its name says what it is."""
    if isinstance(value, types.FunctionType):
        place = value.__code__.co_filename
        if place.startswith("<frozen"):
            return True
        file = Path(place)
        if file.is_file():
            return is_installed(file) or file.is_relative_to(_OFFRAMP)
        return False
    name = str(value.__module__)
    if issubclass(value, dspy.Signature):  # made by DSPy, of the user's fields
        return value is dspy.Signature
    if name == "builtins":  # also that of a class whose code has no module
        return not any(isinstance(each, types.FunctionType) for each in vars(value).values())
    if name.partition(".")[0] in _NAMED:
        return True
    found = getattr(sys.modules.get(name), "__file__", None)
    return found is not None and is_installed(Path(found))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A piece of code, and those of the functions and classes in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _codes(each)


def _source(file: str | None) -> str:
    """Hash of a file of the user's and of those that it imports."""
    if file is None or not Path(file).is_file():
        return _hashed("no file")
    place = Path(file).resolve()
    return _hashed("source", *sorted(local_code([place], import_folders(place.parent, place)).values()))


def _annotations(value: types.FunctionType) -> Any:
    with suppress(Exception):  # names in them may not exist
        return value.__annotations__
    return None


def _field(field: Any) -> list[Any]:
    return [getattr(field, name, None) for name in _OF_FIELDS]


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes of an object, those in slots too, without what only keeps what was computed or asked."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and name[-2:] != "__" else name
            with suppress(AttributeError):
                found[name] = object.__getattribute__(value, private)
    with suppress(AttributeError, TypeError):
        found |= object.__getattribute__(value, "__dict__")
    found.pop("__dict__", None)
    found.pop("__weakref__", None)
    if isinstance(value, dspy.Module):
        found = {name: each for name, each in found.items() if name not in _OF_CALLS}
    kept = {
        n for kind in type(value).__mro__ for n, v in vars(kind).items() if isinstance(v, functools.cached_property)
    }
    return {str(name): each for name, each in found.items() if name not in kept}


def _state_of(value: Any) -> Any:
    """What an object of an installed package is made of; None where it, or a part of it, cannot be pickled.

    It is taken apart as `copy` and `pickle` do, and nothing is written.
    """
    try:
        state = _taken_apart(value)
        todo: list[Any] = [state]
        seen, left = {id(value)}, 10_000
        while todo and left:
            each, left = todo.pop(), left - 1
            if id(each) in seen or _is_plain(each):
                continue
            seen.add(id(each))
            if isinstance(each, dict):
                todo += [*each.values()]
            elif isinstance(each, list | tuple | set | frozenset):
                todo += [*each][:_AT_ONCE]
            elif not isinstance(each, _NOT_APART) and _is_known(type(each)):
                todo.append(() if hasattr(type(each), "__array_interface__") else _taken_apart(each))
    except Exception:  # noqa: BLE001 (an object may refuse to be looked at in any way)
        return None
    return state


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, bytes, bytearray, Enum, *_BY_TEXT))


def _taken_apart(value: Any) -> tuple[Any, ...]:
    if isinstance(value, types.GeneratorType | types.CoroutineType | types.FrameType):
        raise _CannotTell
    parts = value.__reduce_ex__(4)
    if isinstance(parts, str):
        return (parts,)
    made, args, state, items, pairs = (*parts, *[None] * (5 - len(parts)))[:5]
    return (
        made, args, state, None if items is None else list(items), None if pairs is None else list(pairs)
    )  # fmt: skip
