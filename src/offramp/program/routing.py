"""Language models that a program calls by itself: each call goes to a declared model through the caller, or nowhere.

A program may ask other models than the candidate's: `offramp.lm("big")`, `dspy.context(lm=BIG)`, a predictor's own
model, or `BIG("...")` as such. Every such call passes a few methods of DSPy's classes, which `install` wraps once:
within a run, a copy of the model takes its place whose requests go through the caller, to the model of the space file
that it names. Requests of other clients (`clients.py`), and those of processes (`processes.py`) and threads that do not
belong to a run although its module began them, are refused. Outside of runs nothing changes, and the program's own
objects are never touched.

Invariant: within a strict run, no request to a model leaves this process but through the caller.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from offramp.errors import JobError, UsageError, nearest, problem
from offramp.program import clients, processes, threads
from offramp.program.children import refuse_in_child
from offramp.program.clients import ModelRequest
from offramp.program.engine import (
    MAKING,
    ROUTES,
    CallerEngine,
    Send,
    SyncCallerEngine,
    being_made,
    belongs_to_none,
    run_here,
)
from offramp.program.language_model import CandidateLM
from offramp.program.run_log import RunLog
from offramp.program.values import own_place
from offramp.records import Model

NAMED = "offramp/"
"""Before the name of a model of the space file, where `offramp.lm` has no other name for DSPy."""
MOST_KEPT = 100
"""Requests in the history of a language model, within a run."""
_BUILDING = "offramp_building"
_lock, _log = threading.Lock(), logging.getLogger("offramp")
_under_way: dict[int, tuple[Routes, RunLog]] = {}
"""Strict runs, by identity."""


class Undeclared(BaseException):
    """A call that no budget would count. No `except Exception` of the program's goes on after it."""


def lm(name: str, *, default: str | None = None, **params: Any) -> dspy.LM:
    """A model of the space file, for a program that asks several: `self.big = offramp.lm("big", temperature=0)`.

    Within a run of offramp it is the model of that name (of `models` in the space file), and its requests are counted.
    Elsewhere it is `dspy.LM(default, **params)`.

    Args:
        name: of the model, as the space file spells it.
        default: what DSPy calls the model, such as `openai/gpt-6.1-sol`; without it, a call outside of a run raises
            UsageError.
        params: as `dspy.LM` takes them.
    """
    install()
    made = dspy.LM(default or f"{NAMED}{name}", **params)
    made.offramp_name = name
    return made


class Routes:
    """Where the language models that a program calls lead: each to the declared model that it names.

    To be made on the event loop of the caller.

    Args:
        models: those that the program may call, by name.
        constrained: whether the candidate's decoder is held to the output schema; so are those on this machine.
        strict: whether a call of any other model is refused; else it goes its own way, as in an app of one's own.
        files: source of the module.
        abilities: by name of the model, what adapters find that it can do, in place of what is known of it.
    """

    def __init__(
        self, models: Mapping[str, Model], send: Send, *, constrained: bool, strict: bool, files: Iterable[Path] = (),
        abilities: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        install()
        threads.install()
        self.strict, self._models, self._pid = strict, models, os.getpid()
        self.files = frozenset(map(str, files))
        self._engines: dict[str, tuple[SyncCallerEngine, CallerEngine]] = {}
        for name, model in models.items():
            engine = CallerEngine(model, {}, send, constrained=constrained and model.local, grammars=model.local)
            engine.set_abilities(abilities.get(name))
            self._engines[name] = SyncCallerEngine(engine), engine

    def lm_for(self, lm: Any) -> Any:
        """The same language model over the caller. Of a model that is not declared: itself, unless runs are strict.

        Raises:
            Undeclared: its requests would not be counted.
        """
        if os.getpid() != self._pid:
            raise refused("the program calls a model from a process of its own. Use threads or asyncio")
        if isinstance(getattr(lm, "engine", None), SyncCallerEngine):
            return lm
        found = declared(lm, self._models)
        if isinstance(found, str):
            if self.strict:
                raise refused(found)
            return lm
        engine, async_engine = self._engines[found.name]
        client = {name: None for name in lm.kwargs if name in CLIENT_KEYS}
        copied = lm.copy(engine=engine, async_engine=async_engine, cache=False, num_retries=0, **client)
        copied.history = lm.history
        return copied

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Calls in here, and in threads and tasks that are begun here, lead where these routes say."""
        log = run_here()
        with dspy.context(**{ROUTES: self}):
            if log is not None and self.strict:
                _under_way[id(log)] = self, log
            try:
                yield
            finally:
                _under_way.pop(id(log), None)

    def refuse(self, why: str) -> Undeclared:
        """The exception that ends the run."""
        return refused(why)


def declared(lm: Any, models: Mapping[str, Model]) -> Model | str:
    """The declared model that a language model names, or in words why its calls cannot be counted."""
    if not sends_by_engine(lm):
        kind = type(lm).__name__
        return f"the program calls a {kind}, which sends its requests by itself. Use dspy.LM or offramp.lm(NAME)"
    name = getattr(lm, "offramp_name", None) or lm.model
    if name.startswith(NAMED) or hasattr(lm, "offramp_name"):
        name = name.removeprefix(NAMED)
        do = nearest(name, models) or f"Declared are {sorted(models)}."
        return models.get(name) or f"the program calls offramp.lm({name!r}), and no model has that name. {do}"
    asked = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    found = [m for m in models.values() if name in (m.name, m.route, m.route.removeprefix("openai/"))]
    if not found:
        do = f"Declare it under `models` as {{name: {name}, searched: false}}, or use offramp.lm(NAME)"
        return f"the program calls {name}, which `models` does not declare, so that no budget would count it. {do}"
    at = [m for m in found if asked is None or (m.api_base or "").rstrip("/") == str(asked).rstrip("/")]
    if not at:
        do = "State the same `api_base` under `models`, or use offramp.lm(NAME)"
        stated = found[0].api_base or "its vendor"
        return f"the program calls {name} at {asked}, and `models` declares it at {stated}. {do}"
    return min(at, key=lambda model: model.api_base is not None)  # where both are declared, its vendor's


def sends_by_engine(lm: Any) -> bool:
    """Whether its requests go to an engine, so that another can take its place; a class of one's own may send alone."""
    if not isinstance(lm, dspy.LM):
        return False
    own = {"forward", "aforward"} & vars(lm).keys()
    kind = dspy.LM if type(lm) is CandidateLM else type(lm)
    overridden = any(getattr(kind, name) is not getattr(dspy.LM, name) for name in _WRAPPED[dspy.LM])
    return not own and not overridden


def routed(lm: Any) -> Any:
    """What is asked in place of a language model: within a run, the same over the caller; else the model itself.

    Raises:
        Undeclared: within a run, or while a module is made, where its requests would not be counted.
        UsageError: outside of a run, where `offramp.lm` has no default.
    """
    name = str(getattr(lm, "model", type(lm).__name__))
    refuse_in_child(f"the program asks {name}")
    _refuse_while_made(name)
    if (routes := _routes_here()) is None:
        _refuse_stray(name)
    else:
        lm = routes.lm_for(lm)
    if str(getattr(lm, "model", "")).startswith(NAMED) and isinstance(getattr(lm, "engine", ""), str):
        what, do = "is called outside of a run of offramp", 'Give it a default: offramp.lm(NAME, default="openai/...").'
        raise UsageError(problem(f"offramp.lm({lm.model.removeprefix(NAMED)!r})", what, do=do))
    return lm


def refused(why: str) -> Undeclared:
    """The exception that ends the run, noted on it."""
    text = _with_place(why)
    if (log := run_here()) is not None:
        log.note_infrastructure_error(JobError(text))
    return Undeclared(text)


@contextmanager
def making() -> Iterator[None]:
    """While the user's module is imported or made: there is no run yet, so that a call of a model is refused."""
    install()
    with dspy.context(**{ROUTES: MAKING}):
        yield


@contextmanager
def building() -> Iterator[None]:
    """While a candidate's module is made, on any thread or task: `dspy.configure` in its constructor is allowed."""
    install()
    with dspy.context(**{_BUILDING: True}):
        yield


def _configuring(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """DSPy's check of who may call `dspy.configure`, which lets the user's module do so in its constructor and runs.

    What it sets holds for the process, as at the top of its file; model and adapter of a run are the candidate's.
    """

    @functools.wraps(check)
    def checked(settings: Any) -> None:
        if run_here() is None and not settings.get(_BUILDING) and not being_made():
            check(settings)

    checked.offramp_wraps = True  # type: ignore[attr-defined]
    return checked


def _with_place(why: str) -> str:
    place = own_place(traceback.walk_stack(None))
    return f"{place}: {why}." if place else f"{why}."


def _routes_here() -> Routes | None:
    """Where models lead within the run that is under way here; None outside of any."""
    routes = dspy.settings.get(ROUTES) if run_here() is not None else None
    return routes if isinstance(routes, Routes) else None


def _keeping(update: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """What keeps the history of requests: within a strict run on the language model and the modules that asked alone,
    and not on the list of the process, which would hold thousands of prompts.
    """

    @functools.wraps(update)
    def kept(lm: Any, entry: Any) -> None:
        if (routes := _routes_here()) is None or not routes.strict:
            update(lm, entry)
            return
        for owner in (lm, *(dspy.settings.caller_modules or ())):
            owner.history.append(entry)
            del owner.history[:-MOST_KEPT]

    kept.offramp_wraps = True  # type: ignore[attr-defined]
    return kept


def _refuse_stray(name: str) -> None:
    """Refuses a call that a strict run waits for and that belongs to none: of a thread that its module began before.

    Such a thread is known by the module's files among those that its code is from.
    """
    if not _under_way or run_here() is not None or belongs_to_none():
        return
    files = {os.path.realpath(frame.f_code.co_filename) for frame, _ in traceback.walk_stack(None)}
    waiting = [log for routes, log in list(_under_way.values()) if routes.files & files]
    if waiting:
        do = "Begin the thread in forward, or use a ThreadPoolExecutor"
        what = f"the program asks {name} from a thread that it began before the run, where no budget would count it"
        text = _with_place(f"{what}. {do}")
        for log in waiting:
            log.give_up(JobError(text))
        raise Undeclared(text)


def _predicted(predictor: Any) -> Any:
    """The predictor, unless a module that is being made, or a thread that belongs to no run, asks it: it may have no
    language model there at all.
    """
    if run_here() is None:
        _refuse_while_made("a model")
        if _under_way:
            _refuse_stray("a model")
    return predictor


def _asked_directly(asked: ModelRequest) -> None:
    """Refuses a request to a model that does not come from DSPy; embeddings of other clients are named once."""
    if belongs_to_none():
        return
    if not asked.embeds:
        refuse_in_child(f"the program asks {asked.what}")
        _refuse_while_made(asked.what)
    if (routes := _routes_here()) is None:
        if not asked.embeds:
            _refuse_stray(asked.what)
    elif routes.strict and asked.embeds:
        _tell_embeddings(own_place(traceback.walk_stack(None)) or "the program", asked.what)
    elif routes.strict:
        do = "Ask it through DSPy: dspy.Predict, dspy.LM or offramp.lm(NAME)"
        raise routes.refuse(f"the program asks {asked.what} by a client of its own, which no budget would count. {do}")


@functools.cache
def _tell_embeddings(place: str, what: str) -> None:
    _log.warning("warning: %s: embeddings of %s are not counted by any budget", place, what)


def _refuse_while_made(name: str) -> None:
    if being_made():
        do = "Call it in forward, or put it under `if __name__ == '__main__':`"
        raise refused(f"{name} is asked while the module is imported or made, where no budget would count it. {do}")


def _embedded(embedder: Any) -> Any:
    """The embedder, unless a hosted model embeds: its requests would not be counted."""
    routes = _routes_here()
    followed = being_made() or (routes is not None and routes.strict)
    if followed and (why := embeds_elsewhere(embedder)) is not None:
        raise refused(why)
    return embedder


def embeds_elsewhere(embedder: dspy.Embedder) -> str | None:
    """Why a hosted embedder cannot be asked, in words; None where a function of one's own embeds."""
    if not isinstance(embedder.model, str):
        return None
    do = "Embed with a function of your own: dspy.Embedder(function)"
    return f"the program asks {embedder.model} for embeddings, which no budget would count. {do}"


_WRAPPED: Mapping[Any, tuple[str, ...]] = {
    dspy.BaseLM: ("__call__", "acall"),
    dspy.LM: ("__call__", "acall", "forward", "aforward"),
    CandidateLM: ("acall",),
    dspy.Embedder: ("__call__", "acall"),
    dspy.Predict: ("_forward_preprocess",),
}
"""Methods through which DSPy's requests pass."""
_INSTEAD: Mapping[Any, Callable[[Any], Any]] = {dspy.Embedder: _embedded, dspy.Predict: _predicted}
"""What is called in place of an object of another class than a language model."""


def install() -> None:
    """Has the methods look where a call leads first. Once a process; outside of runs they do what they did."""
    with _lock:
        for kind, names in _WRAPPED.items():
            for name in names:
                method = vars(kind).get(name)
                if method is not None and not hasattr(method, "offramp_wraps"):
                    setattr(kind, name, _following(method, _INSTEAD.get(kind, routed)))
        settings = type(dspy.settings)
        if not hasattr(settings._ensure_configure_allowed, "offramp_wraps"):
            settings._ensure_configure_allowed = _configuring(settings._ensure_configure_allowed)
        if not hasattr(dspy.BaseLM.update_history, "offramp_wraps"):
            dspy.BaseLM.update_history = _keeping(dspy.BaseLM.update_history)
        clients.install(_asked_directly, belongs_to_none)
        processes.install(refused, lambda: own_place(traceback.walk_stack(None)))


def _following(method: Callable[..., Any], instead: Callable[[Any], Any]) -> Callable[..., Any]:
    """The method, called on what is to be asked instead."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await method(instead(self), *args, **kwargs)

    else:

        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            return method(instead(self), *args, **kwargs)

    wrapped.offramp_wraps = True  # type: ignore[attr-defined]
    return wrapped
