"""Language models that a program calls by itself: each call goes to a declared model through the caller, or nowhere.

A program may ask other models than the candidate's: `offramp.lm("big")`, `dspy.context(lm=BIG)`, a predictor's own
model, or `BIG("...")` as such. Every such call passes a few methods of DSPy's classes, which `install` wraps once:
within a run, a copy of the model takes its place whose requests go through the caller, to the model of the space file
that it names. Outside of a run nothing changes, and the program's own objects are never touched.

Invariant: within a strict run, no request of DSPy's leaves but through the caller.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from offramp.errors import JobError, UsageError, nearest, problem
from offramp.program import threads
from offramp.program.engine import CallerEngine, Send, SyncCallerEngine, run_here
from offramp.program.values import own_place
from offramp.records import Model

NAMED = "offramp/"
"""Before the name of a model of the space file, where `offramp.lm` has no other name for DSPy."""
_ROUTES, _MAKING = "offramp_routes", "making"
_lock = threading.Lock()


class Undeclared(BaseException):
    """A call that no budget would count. No `except Exception` of the program's goes on after it."""


def lm(name: str, *, default: str | None = None, **params: Any) -> dspy.LM:
    """A model of the space file, for a program that asks several: `self.big = offramp.lm("big", temperature=0)`.

    Within a run of offramp it is the model of that name (of `models` in the space file), and its requests are counted.
    Elsewhere it is `dspy.LM(default, **params)`.

    Args:
        name: of the model, as the space file spells it.
        default: what DSPy calls the model, such as `openai/gpt-4.1`; without it, a call outside of a run raises
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
    """

    def __init__(self, models: Mapping[str, Model], send: Send, *, constrained: bool, strict: bool) -> None:
        install()
        threads.install()
        self.strict, self._models, self._pid = strict, models, os.getpid()
        self._engines: dict[str, tuple[SyncCallerEngine, CallerEngine]] = {}
        for name, model in models.items():
            engine = CallerEngine(model, {}, send, constrained=constrained and model.local, grammars=model.local)
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
        return lm.copy(engine=engine, async_engine=async_engine, cache=False, num_retries=0, **client)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Calls in here, and in threads and tasks that are begun here, lead where these routes say."""
        with dspy.context(**{_ROUTES: self}):
            yield


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
    overridden = any(getattr(type(lm), name) is not getattr(dspy.LM, name) for name in _WRAPPED[dspy.LM])
    return not own and not overridden


def routed(lm: Any) -> Any:
    """What is asked in place of a language model: within a run, the same over the caller; else the model itself.

    Raises:
        Undeclared: within a run, or while a module is made, where its requests would not be counted.
        UsageError: outside of a run, where `offramp.lm` has no default.
    """
    _refuse_while_made(str(getattr(lm, "model", type(lm).__name__)))
    routes = dspy.settings.get(_ROUTES) if run_here() is not None else None
    if isinstance(routes, Routes):
        lm = routes.lm_for(lm)
    if str(getattr(lm, "model", "")).startswith(NAMED) and isinstance(getattr(lm, "engine", ""), str):
        what, do = "is called outside of a run of offramp", 'Give it a default: offramp.lm(NAME, default="openai/...").'
        raise UsageError(problem(f"offramp.lm({lm.model.removeprefix(NAMED)!r})", what, do=do))
    return lm


def refused(why: str) -> Undeclared:
    """The exception that ends the run, noted on it."""
    place = own_place(traceback.walk_stack(None))
    text = f"{place}: {why}." if place else f"{why}."
    if (log := run_here()) is not None:
        log.note_infrastructure_error(JobError(text))
    return Undeclared(text)


@contextmanager
def making() -> Iterator[None]:
    """While the user's module is imported or made: there is no run yet, so that a call of a model is refused."""
    install()
    with dspy.context(**{_ROUTES: _MAKING}):
        yield


def _refuse_while_made(name: str) -> None:
    if dspy.settings.get(_ROUTES) == _MAKING:
        do = "Call it in forward, or put it under `if __name__ == '__main__':`"
        raise refused(f"{name} is asked while the module is imported or made, where no budget would count it. {do}")


def _embedded(embedder: Any) -> Any:
    """The embedder, unless a hosted model embeds: its requests would not be counted."""
    if isinstance(embedder.model, str):
        _refuse_while_made(embedder.model)
    routes = dspy.settings.get(_ROUTES) if run_here() is not None else None
    if isinstance(routes, Routes) and routes.strict and (why := embeds_elsewhere(embedder)) is not None:
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
    dspy.Embedder: ("__call__", "acall"),
}
"""Methods through which DSPy's requests pass."""


def install() -> None:
    """Has the methods look where a call leads first. Once a process; outside of runs they do what they did."""
    with _lock:
        for kind, names in _WRAPPED.items():
            for name in names:
                method = vars(kind).get(name)
                if method is not None and not hasattr(method, "offramp_wraps"):
                    setattr(kind, name, _following(method, _embedded if kind is dspy.Embedder else routed))


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
