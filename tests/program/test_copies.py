"""What one run of the user's own module shares with the next, and what is its own."""

from __future__ import annotations

import dataclasses
import functools
import gc
import threading
import weakref
from collections import deque
from typing import Any

import dspy

from offramp.program.copies import copy_for_run
from offramp.program.links import MOST_ITEMS
from offramp.program.module import predictors_of


class Index:
    """A client: it cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("a connection cannot be copied")

    __copy__ = __deepcopy__  # type: ignore[assignment]


class Search(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.documents = [f"document {number}" for number in range(MOST_ITEMS + 1)]
        self.index, self.lock = Index(), threading.Lock()
        self.seen: list[str] = []
        self.counts = {"runs": 0, "by": {"city": 0}}
        self.recent: deque[str] = deque(maxlen=3)
        self.first = dspy.Predict("question -> query")
        self.hops = [dspy.ChainOfThought("question, context -> query") for _ in range(2)]
        self.named = {"last": dspy.Predict("context -> answer")}
        self.same = self.first
        self.step = self.look
        self.later = functools.partial(self.look, limit=3)
        self.agent = dspy.ReAct("question -> answer", tools=[self.look])

    def look(self, query: str, limit: int = 1) -> str:
        """Looks a query up."""
        self.seen.append(query)
        return self.documents[limit]


def test_documents_clients_and_locks_are_shared_and_nothing_is_warned_of(caplog: Any) -> None:
    module = Search()
    copied = copy_for_run(module)
    assert copied.documents is module.documents
    assert copied.index is module.index and copied.lock is module.lock
    assert not caplog.records


def test_predictors_and_small_state_are_the_copys_own() -> None:
    module = Search()
    copied = copy_for_run(module)
    mine, theirs = predictors_of(module), predictors_of(copied)
    assert list(mine) == list(theirs) and not {id(p) for p in mine.values()} & {id(p) for p in theirs.values()}
    assert copied.same is copied.first, "one predictor under two names stays one"
    copied.first.demos.append({"question": "q"})
    copied.first.signature = copied.first.signature.with_instructions("Other.")
    copied.counts["by"]["city"] += 1
    copied.recent.append("x")
    assert module.first.demos == [] and module.first.signature.instructions != "Other."
    assert module.counts == {"runs": 0, "by": {"city": 0}} and not module.recent and copied.recent.maxlen == 3


def test_methods_partial_functions_and_tools_work_on_the_copy() -> None:
    module = Search()
    copied = copy_for_run(module)
    assert copied.step("a") == "document 1" and copied.later("b") == "document 3"
    assert copied.agent.tools["look"](query="c") == "document 1"
    assert copied.seen == ["a", "b", "c"] and module.seen == []


def test_a_module_that_holds_itself_is_copied_once() -> None:
    class Loop(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.me = [self]

    copied = copy_for_run(Loop())
    assert copied.me[0] is copied


def test_a_module_that_says_how_it_is_copied_is_copied_so() -> None:
    class Own(dspy.Module):
        def __deepcopy__(self, memo: Any) -> Any:
            made = Own()
            made.copied = True
            return made

    assert copy_for_run(Own()).copied


class Pipeline:
    """No module of DSPy's: it holds two."""

    def __init__(self, *steps: dspy.Module) -> None:
        self.steps, self.lock = list(steps), threading.Lock()

    def first(self) -> Any:
        return self.steps[0]


class Linked(dspy.Module):
    """Reaches its predictors through code."""

    def __init__(self) -> None:
        super().__init__()
        self.gist, self.sort = dspy.Predict("q -> gist"), dspy.Predict("gist -> a")
        gist, calls = self.gist, 0

        def closure(count: bool = False, *, default: Any = gist) -> Any:
            nonlocal calls
            calls += count
            return gist, default, calls, closure

        def unlinked() -> str:
            return "x"

        self.by_lambda = lambda: self.gist
        self.closure, self.unlinked, self.tool = closure, unlinked, dspy.Tool(lambda: self.sort, name="t", desc="t")
        self.pipeline = Pipeline(self.gist, self.sort)
        self.through_async = dspy.asyncify(self.gist)
        self.kept = functools.lru_cache(maxsize=8)(lambda: self.gist)


def test_predictors_behind_closures_caches_and_plain_objects_are_the_copys_own() -> None:
    module = Linked()
    for copied in (copy_for_run(module), copy_for_run(copy_for_run(module))):
        gist, sort = copied.gist, copied.sort
        assert gist is not module.gist and sort is not module.sort
        assert copied.by_lambda() is gist and copied.tool.func() is sort and copied.kept() is gist
        before = module.closure()[2]
        assert copied.closure(count=True) == (gist, gist, before + 1, copied.closure), "what it counts is shared"
        assert copied.pipeline.first() is gist and copied.pipeline.lock is module.pipeline.lock
        assert copied.unlinked is module.unlinked and copied.closure.__name__ == "closure"
    assert module.closure() == (module.gist, module.gist, 2, module.closure) and module.kept() is module.gist
    assert module.pipeline.first() is module.gist and copy_for_run(module).kept.cache_parameters()["maxsize"] == 8


def test_an_object_that_cannot_be_copied_stays_the_originals() -> None:
    module = Linked()
    module.odd = Index()
    module.odd.held = module.gist  # type: ignore[attr-defined]
    assert copy_for_run(module).odd is module.odd


@dataclasses.dataclass
class Record(dspy.Module):
    """It has an equality of its own, and so no hash."""

    name: str = "a"

    def __post_init__(self) -> None:
        super().__init__()
        self.sort = dspy.Predict("q -> a")
        self.step = lambda: self.sort


def test_a_module_without_a_hash_is_copied_and_not_kept_alive() -> None:
    module = Record()
    copied = copy_for_run(module)
    assert copied.step() is copied.sort and copied.sort is not module.sort
    known = weakref.ref(module)
    del module
    gc.collect()
    assert known() is None
