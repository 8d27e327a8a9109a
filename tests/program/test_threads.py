"""Threads, pools and tasks that a program begins belong to its run."""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from offramp.calls.limiter import begun
from offramp.errors import JobError
from offramp.program.engine import run_here
from offramp.program.program import Outcome, Program
from offramp.records import CallRequest, Model, Price, Purpose
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_example, make_examples, make_fields, run, transport, user_text

FIELDS = make_fields({"category": OutputField()})
OWN = make_candidate(module="own", instructions={})
BIG_MODEL = Model(name="big", route="openai/gpt-big", price=Price(input_usd=10.0, output_usd=100.0))
BIG = dspy.LM("openai/gpt-big", api_key="sk-none", api_base=None)
OLD_POOL = ThreadPoolExecutor(2)
"""Made before any run, as a module of an app may have one."""
OLD_POOL.submit(int).result()

Ask = Callable[[str], Any]


def in_a_pool(ask: Ask, messages: list[str]) -> list[Any]:
    with ThreadPoolExecutor(3) as pool:
        return [future.result() for future in [pool.submit(ask, message) for message in messages]]


def mapped(ask: Ask, messages: list[str]) -> list[Any]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(ask, messages))


def in_an_old_pool(ask: Ask, messages: list[str]) -> list[Any]:
    return list(OLD_POOL.map(ask, messages))


def in_threads(ask: Ask, messages: list[str]) -> list[Any]:
    found: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda m=m: found.__setitem__(m, ask(m))) for m in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[message] for message in messages]


class Worker(threading.Thread):
    """Overrides `run`."""

    def __init__(self, ask: Ask, message: str) -> None:
        super().__init__()
        self.ask, self.message, self.found = ask, message, None

    def run(self) -> None:
        self.found = self.ask(self.message)


def in_threads_of_a_class(ask: Ask, messages: list[str]) -> list[Any]:
    workers = [Worker(ask, message) for message in messages]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.found for worker in workers]


def by_timers(ask: Ask, messages: list[str]) -> list[Any]:
    found: queue.Queue[tuple[str, Any]] = queue.Queue()
    for message in messages:
        threading.Timer(0, lambda m=message: found.put((m, ask(m)))).start()
    got = dict(found.get(timeout=20) for _ in messages)
    return [got[message] for message in messages]


def in_an_executor_of_asyncio(ask: Ask, messages: list[str]) -> list[Any]:
    async def go() -> list[Any]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(None, ask, message) for message in messages))

    return asyncio.run(go())


def to_threads(ask: Ask, messages: list[str]) -> list[Any]:
    async def go() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(ask, message) for message in messages))

    return asyncio.run(go())


def asyncified(ask: Ask, messages: list[str]) -> list[Any]:
    async def go() -> list[Any]:
        return await asyncio.gather(*(dspy.asyncify(ask)(message) for message in messages))

    return asyncio.run(go())


def in_threads_of_threads(ask: Ask, messages: list[str]) -> list[Any]:
    return in_threads(lambda message: in_a_pool(ask, [message])[0], messages)


WAYS = [
    in_a_pool, mapped, in_an_old_pool, in_threads, in_threads_of_a_class, by_timers, in_an_executor_of_asyncio,
    to_threads, asyncified, in_threads_of_threads,
]  # fmt: skip


class Asking(dspy.Module):
    """Asks the candidate's model and a model of its own, three times each, in the way it is told."""

    def __init__(self, way: Callable[[Ask, list[str]], list[Any]]) -> None:
        super().__init__()
        self.sort, self.way = dspy.Predict("message -> category"), way

    def forward(self, message: str) -> dspy.Prediction:
        messages = [f"{message} {i}" for i in range(3)]
        own = self.way(lambda text: self.sort(message=text).category, messages)
        other = self.way(lambda text: BIG(text)[0], messages)
        return dspy.Prediction(category="|".join([*own, *other]))


def echo(request: CallRequest) -> str:
    return f"{request.model.name} {user_text(request)}"


@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_begins_belongs_to_its_run(way: Any) -> None:
    outcome, requests = run(echo, OWN, fields=FIELDS, factory=lambda: Asking(way), models={"big": BIG_MODEL})
    wanted = [f"{model} case 0 {i}" for model in ("hosted", "big") for i in range(3)]
    assert outcome.outputs == {"category": "|".join(wanted)}
    assert len(requests) == len(outcome.replies) == 6


@pytest.mark.parametrize("way", [in_an_old_pool, in_threads, to_threads])
def test_many_runs_at_once_keep_their_requests_apart(way: Any) -> None:
    async def go() -> list[Outcome]:
        program = Program(
            OWN, fields=FIELDS, model=HOSTED, send=transport(echo).send, factory=lambda: Asking(way),
            models={"big": BIG_MODEL},
        )  # fmt: skip
        return await asyncio.gather(*map(program.run, make_examples(8)))

    for number, outcome in enumerate(asyncio.run(go())):
        assert len(outcome.exchanges) == 6
        assert all(f"case {number}" in user_text(exchange.request) for exchange in outcome.exchanges)


def test_a_pool_that_a_run_began_belongs_to_no_run_afterwards() -> None:
    pool = ThreadPoolExecutor(1)

    def kept(ask: Ask, messages: list[str]) -> list[Any]:
        return list(pool.map(ask, messages))

    outcome, _ = run(echo, OWN, fields=FIELDS, factory=lambda: Asking(kept), models={"big": BIG_MODEL})
    assert outcome.outputs is not None and pool.submit(run_here).result() is None
    pool.shutdown()


def test_a_refused_call_in_a_thread_ends_the_run_also_when_nobody_looks_at_it() -> None:
    def unseen(ask: Ask, messages: list[str]) -> list[Any]:
        thread = threading.Thread(target=dspy.LM("openai/gpt-other", api_key="x"), args=("hello",))
        thread.start()
        thread.join()
        return ["x"]

    previous, threading.excepthook = threading.excepthook, lambda _: None
    try:
        outcome, requests = run(echo, OWN, fields=FIELDS, factory=lambda: Asking(unseen))
    finally:
        threading.excepthook = previous
    assert isinstance(outcome.infrastructure_error, JobError) and requests == []


def _ask_big(answers: Any) -> None:
    try:
        answers.put(BIG("hello")[0])
    except BaseException as error:
        answers.put(f"{type(error).__name__}: {error}")


def test_a_call_from_a_forked_process_is_refused_and_does_not_hang() -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")

    def forked(ask: Ask, messages: list[str]) -> list[Any]:
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        process = context.Process(target=_ask_big, args=(answers,))
        process.start()
        said = answers.get(timeout=30)
        process.join()
        return [said]

    outcome, _ = run(echo, OWN, example=make_example(), fields=FIELDS, factory=lambda: Asking(forked), strict=False,
                     models={"big": BIG_MODEL})  # fmt: skip
    assert "from a process of its own" in outcome.outputs["category"]  # type: ignore[index]


def test_dspy_s_own_work_around_a_request_begins_no_thread() -> None:
    before, seen = set(threading.enumerate()), list[str]()  # other tests may have left some

    def answer(request: CallRequest) -> str:
        seen.extend(thread.name for thread in threading.enumerate() if thread not in before)
        return "billing"

    outcome, sent = run(answer)
    assert outcome.outputs is not None and len(sent) == 1
    assert not [name for name in seen if name.startswith("asyncio_")]


@pytest.mark.parametrize(("purpose", "expected"), [(Purpose.PROGRAM, False), (Purpose.JUDGE, True)])
def test_only_a_program_s_first_request_may_be_dropped_where_the_job_stops(purpose: Purpose, expected: bool) -> None:
    seen: list[bool] = []

    def answer(request: CallRequest) -> str:
        seen.append(begun.get())
        return "billing"

    async def go() -> Outcome:
        program = Program(make_candidate(), fields=make_fields(), model=HOSTED, send=transport(answer).send)
        return await program.run(make_example(), purpose=purpose)

    assert asyncio.run(go()).outputs is not None
    assert seen == [expected]
