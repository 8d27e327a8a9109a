"""Tools of a module: what they gave is recorded per input, so that whoever asks the same again gets the same.

A tool is a `dspy.Tool` that the module holds. A result is known by the tool's name, source and description, its
arguments, and how often the run has asked just this before. A tool with effects is never replayed. Neither is one that
gave something else than a JSON value, raised, or asked a model, whose answers are recorded as such.

Invariant: a replayed result is equal to the recorded one, of the same types, and no other run can change it.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import dspy

from offramp.ids import content_hash
from offramp.program.critical_path import Span
from offramp.program.run_log import RunLog

_log = logging.getLogger("offramp")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool gave, as JSON text, and how long it took."""

    text: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool in a run, by `time.perf_counter`. `asked` and `gave` are texts, JSON where they can be."""

    tool: str
    asked: str
    gave: str
    began: float
    seconds: float


class ToolWithheld(BaseException):
    """A tool with effects was called where recorded runs are repeated. No exception that a program could handle."""


class ToolResults(Protocol):
    """Results of the tools of a module, by key. Called from threads of programs."""

    def runs(self, tool: str) -> bool:
        """Whether this tool may run. A run ends with ToolWithheld at one that may not."""

    def replays(self, tool: str) -> bool:
        """Whether results of this tool are recorded and replayed."""

    def get(self, key: str) -> ToolResult | None:
        """What is recorded; None where nothing is."""

    def keep(self, key: str, tool: str, result: ToolResult) -> ToolResult:
        """Records a result. Returns the one that was recorded first."""


class RunTools:
    """The tools of one run.

    Attributes:
        spans: how long each call took, or had taken where it was replayed.
        calls: the same with what was asked and given; of recorded tools alone.
    """

    def __init__(self, results: ToolResults, log: RunLog) -> None:
        self._results, self._log = results, log
        self._asked: Counter[str] = Counter()
        self._owners: dict[tuple[str, str], list[Any]] = {}
        self._lock = threading.Lock()
        self.spans: list[Span] = []
        self.calls: list[ToolCall] = []

    def around(self, tool: dspy.Tool, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function of a tool, recorded and replayed.

        Args:
            func: the copy of `tool.func` that this run calls.
        """
        if not _is_of_an_agent(tool) and not self._results.runs(tool.name):
            return _withheld(tool.name)
        if not self._results.replays(tool.name) or _is_of_an_agent(tool):
            return func
        identity = [tool.name, _source_of(_plain(tool.func)), tool.desc, tool.args, self._number(tool)]
        waits = inspect.iscoroutinefunction(_plain(func))

        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            key = self._key(identity, func, args, kwargs)
            found = None if key is None else self._results.get(key)
            began, sent = time.perf_counter(), self._log.asked
            if found is not None:
                self.spans.append(Span(began=began, ended=began, counts_s=found.seconds))
                self._note(tool.name, args, kwargs, found.text, began, found.seconds)
                value = json.loads(found.text)
                return _later(value) if waits else value
            given = func(*args, **kwargs)
            if inspect.iscoroutine(given):
                return awaited(key, given)
            return self._kept(tool.name, key, given, began, sent)

        async def awaited(key: str | None, given: Any) -> Any:
            began, sent = time.perf_counter(), self._log.asked
            return self._kept(tool.name, key, await given, began, sent)

        return call

    def _kept(self, name: str, key: str | None, given: Any, began: float, sent: int) -> Any:
        """What a tool gave just now, recorded; what another run recorded meanwhile comes in its place."""
        ended = time.perf_counter()
        if self._log.asked != sent:
            return given
        result = None
        if key is None or not _is_json(given):
            _tell_not_recorded(name, "an argument" if key is None else "a result")
        else:
            result = ToolResult(text=json.dumps(given), seconds=ended - began)
            result = self._results.keep(key, name, result)
        self.spans.append(Span(began=began, ended=ended, counts_s=ended - began if result is None else result.seconds))
        return given if result is None else json.loads(result.text)

    def _note(
        self, tool: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], gave: str, began: float, seconds: float
    ) -> None:
        asked = ", ".join([*map(str, args), *(f"{name}={value}" for name, value in kwargs.items())])
        self.calls.append(ToolCall(tool=tool, asked=asked, gave=gave, began=began, seconds=seconds))

    def _key(self, identity: list[Any], func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """None where an argument has no JSON value."""
        values = [list(_bound(func)), list(args), dict(kwargs)]
        values = json.loads(json.dumps(values, default=_dumped)) if not _is_json(values) else values
        if not _is_json(values):
            return None
        asked = content_hash([identity, values])
        with self._lock:
            self._asked[asked] += 1
            return content_hash([asked, self._asked[asked]])

    def _number(self, tool: dspy.Tool) -> int:
        """Tells apart tools of one name and source: closures, and methods of different objects."""
        plain = _plain(tool.func)
        owner = getattr(plain, "__self__", plain)
        same = self._owners.setdefault((tool.name, _source_of(plain)), [])
        if not any(each is owner for each in same):
            same.append(owner)
        return next(number for number, each in enumerate(same) if each is owner)


def _withheld(tool: str) -> Callable[..., Any]:
    def call(*_args: Any, **_kwargs: Any) -> Any:
        raise ToolWithheld(f"{tool} has effects, and does not run again where recorded runs are repeated")

    return call


def tools_of(module: dspy.Module) -> dict[str, dspy.Tool]:
    """The tools that a module holds, by name; those that an agent of DSPy adds (`finish`, `submit`) are left out."""
    found: list[dspy.Tool] = []
    for _, part in module.named_sub_modules():
        for value in vars(part).values():
            held = value.values() if isinstance(value, Mapping) else value
            items = held if isinstance(value, Mapping | list | tuple) else [value]
            found += [item for item in items if isinstance(item, dspy.Tool)]
    return {tool.name: tool for tool in found if not _is_of_an_agent(tool)}


def _is_of_an_agent(tool: dspy.Tool) -> bool:
    return str(getattr(tool.func, "__module__", "")).startswith("dspy.predict.")


def _plain(func: Any) -> Any:
    """The function inside partial functions and objects that can be called; a bound method as it is."""
    while isinstance(func, functools.partial):
        func = func.func
    return func if inspect.isroutine(func) else type(func).__call__


def _bound(func: Any) -> Iterator[Any]:
    """Arguments that partial functions hold."""
    while isinstance(func, functools.partial):
        yield [list(func.args), dict(func.keywords)]
        func = func.func


def _source_of(func: Any) -> str:
    return _source(getattr(func, "__func__", func))


@functools.lru_cache(maxsize=1024)
def _source(func: Any) -> str:
    try:
        return inspect.getsource(func)
    except (OSError, TypeError):  # built in, or typed into a console
        return f"{getattr(func, '__module__', '')}.{getattr(func, '__qualname__', '')}"


def _dumped(value: Any) -> Any:
    """A pydantic argument as JSON; anything else stays what JSON cannot hold (NaN)."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else math.nan


def _is_json(value: Any) -> bool:
    """Whether JSON gives it back as it is."""
    if type(value) is dict:
        return all(type(key) is str and _is_json(each) for key, each in value.items())
    if type(value) is list:
        return all(map(_is_json, value))
    return value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))


async def _later(value: Any) -> Any:
    return value


@functools.cache
def _tell_not_recorded(tool: str, what: str) -> None:
    """Says it once for each tool."""
    _log.warning("warning: tool %s: %s is not a JSON value, so that the tool runs again every time", tool, what)
