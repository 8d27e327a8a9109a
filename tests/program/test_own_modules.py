"""The user's own dspy.Module: every request goes through the caller, every end is classified, nothing is shared."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import dspy
import pytest

from offramp import media
from offramp.calls.failures import RateLimited, Refused
from offramp.errors import JobError
from offramp.program.engine import REPEAT
from offramp.program.module import build_module, import_module_factory, predictors_of
from offramp.program.program import Outcome, Program, labelled_demos, place_of
from offramp.program.run_log import Abandoned
from offramp.records import CallReply, CallRequest, DemoKind, Usage
from offramp.space.model import OutputField
from offramp.testing.fakes import FunctionTransport
from program_runs import HOSTED, make_candidate, make_example, make_examples, make_fields, run, transport, user_text

FIELDS = make_fields({"category": OutputField()})
OWN = make_candidate(module="own", instructions={})


class TwoSteps(dspy.Module):
    """Only `forward`, two predictors."""

    def __init__(self) -> None:
        super().__init__()
        self.summary = dspy.Predict("message -> gist")
        self.sort = dspy.Predict("gist -> category", temperature=0.7)
        self.seen: list[str] = []

    def forward(self, message: str) -> dspy.Prediction:
        self.seen.append(message)
        assert self.seen == [message], "state of another run"
        gist = self.summary(message=message).gist
        return dspy.Prediction(category=self.sort(gist=gist).category)


class Single(dspy.Module):
    """One predictor; subclasses say what they do with it."""

    def __init__(self) -> None:
        super().__init__()
        self.sort = dspy.Predict("message -> category")


def own(answers: Any, factory: Any, candidate: Any = OWN, **options: Any) -> tuple[Outcome, list[CallRequest]]:
    return run(answers, candidate, fields=FIELDS, factory=factory, **options)


def echo(request: CallRequest) -> str:
    return f"<{user_text(request)}>"


# ------------------------------------------------------------------------------------------------ how it runs


def test_a_module_with_forward_alone_runs_both_of_its_predictors_in_order() -> None:
    outcome, requests = own(echo, TwoSteps)
    assert outcome.outputs == {"category": "<<case 0>>"}
    assert [user_text(r) for r in requests] == ["case 0", "<case 0>"]
    assert [name for name, _, _ in outcome.trace] == ["summary", "sort"]
    assert outcome.trace[1][1:] == ({"gist": "<case 0>"}, {"category": "<<case 0>>"})


def test_many_runs_of_forward_go_on_at_the_same_time() -> None:
    waiting: list[CallRequest] = []

    async def send(request: CallRequest) -> CallReply:
        waiting.append(request)
        while len(waiting) < 20:
            await asyncio.sleep(0.001)
        return CallReply(text="x", finish_reason="stop", usage=Usage(), latency_s=0.1)

    async def go() -> list[Outcome]:
        program = Program(OWN, fields=FIELDS, model=HOSTED, send=send, factory=TwoSteps)
        return await asyncio.wait_for(asyncio.gather(*map(program.run, make_examples(20))), 20)

    assert all(outcome.outputs == {"category": "x"} for outcome in asyncio.run(go()))


class Awaiting(Single):
    async def aforward(self, message: str) -> dspy.Prediction:
        both = await asyncio.gather(self.sort.acall(message=message), self.sort.acall(message=f"{message}!"))
        return dspy.Prediction(category="|".join(p.category for p in both))

    def forward(self, message: str) -> dspy.Prediction:
        raise AssertionError("aforward is there")


def test_a_module_with_aforward_is_awaited() -> None:
    outcome, requests = own(echo, Awaiting)
    assert outcome.outputs == {"category": "<case 0>|<case 0!>"}
    assert len(requests) == len(outcome.replies) == 2


class Overridden(dspy.ChainOfThought):
    """Inherits an `aforward` that knows nothing of what is done here."""

    def __init__(self) -> None:
        super().__init__("message -> category")

    def forward(self, message: str) -> dspy.Prediction:
        return dspy.Prediction(category=super().forward(message=message).category.upper())


def test_a_forward_that_overrides_a_module_of_dspy_is_what_runs() -> None:
    outcome, _ = own("reasoning: so\ncategory: billing", Overridden)
    assert outcome.outputs == {"category": "BILLING"}


def test_a_sync_call_in_aforward_says_so_instead_of_hanging() -> None:
    class Blocking(Single):
        async def aforward(self, message: str) -> Any:
            return self.sort(message=message)

    outcome, requests = own("billing", Blocking)
    assert isinstance(outcome.infrastructure_error, JobError) and "acall" in str(outcome.infrastructure_error)
    assert requests == []


def test_a_sync_call_in_aforward_is_no_score_when_the_module_swallows_it() -> None:
    class Blocking(Single):
        async def aforward(self, message: str) -> Any:
            try:
                return self.sort(message=message)
            except Exception:
                return dspy.Prediction(category="default")

    outcome, _ = own("billing", Blocking)
    assert isinstance(outcome.infrastructure_error, JobError) and outcome.outputs is None


def test_an_event_loop_inside_of_forward_is_carried_over_to_the_ring() -> None:
    loops = set()

    class Looping(Single):
        def forward(self, message: str) -> dspy.Prediction:
            return asyncio.run(self.sort.acall(message=message))

    async def send(request: CallRequest) -> CallReply:
        loops.add(asyncio.get_running_loop())
        return CallReply(text="x", finish_reason="stop", usage=Usage(), latency_s=0.1)

    async def go() -> Outcome:
        loops.add(asyncio.get_running_loop())
        return await Program(OWN, fields=FIELDS, model=HOSTED, send=send, factory=Looping).run(make_example())

    assert asyncio.run(go()).outputs == {"category": "x"}
    assert len(loops) == 1


def test_threads_of_dspy_belong_to_the_run() -> None:
    class Threads(Single):
        def forward(self, message: str) -> dspy.Prediction:
            pairs = [(self.sort, {"message": f"{message} {i}"}) for i in range(3)]
            answers = dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs)
            return dspy.Prediction(category="|".join(a.category for a in answers))

    outcome, requests = own(echo, Threads)
    assert outcome.outputs == {"category": "<case 0 0>|<case 0 1>|<case 0 2>"}
    assert len(outcome.replies) == len(requests) == 3


def test_the_same_question_three_times_gets_three_answers() -> None:
    class Vote(Single):
        def forward(self, message: str) -> dspy.Prediction:
            return dspy.Prediction(category=" ".join(self.sort(message=message).category for _ in range(3)))

    outcome, requests = own(["a", "b", "c"], Vote)
    assert outcome.outputs == {"category": "a b c"}
    assert [r.replicate for r in requests] == [0, REPEAT, 2 * REPEAT]
    assert len({r.hash for r in requests}) == 3


def test_several_completions_of_one_call_are_as_many_answers() -> None:
    class Vote(Single):
        def forward(self, message: str) -> dspy.Prediction:
            several = self.sort(message=message, config={"n": 3})
            return dspy.Prediction(category=" ".join(several.completions.category))

    outcome, requests = own(
        ["a", "b", "c"], Vote, make_candidate(module="own", instructions={}, request_params={"temperature": 1.0})
    )
    assert outcome.outputs == {"category": "a b c"} and len(outcome.replies) == 3
    assert [r.params["temperature"] for r in requests] == [1.0, 1.0, 1.0]


def test_what_is_in_flight_when_a_run_ends_is_waited_for_and_counted() -> None:
    sent, release = asyncio.Event(), asyncio.Event()

    class Early(Single):
        async def aforward(self, message: str) -> dspy.Prediction:
            self.task = asyncio.create_task(self.sort.acall(message="late"))
            await sent.wait()
            answer = await self.sort.acall(message=message)
            asyncio.get_running_loop().call_later(0.01, release.set)
            return answer

    async def send(request: CallRequest) -> CallReply:
        if user_text(request) == "late":
            sent.set()
            await release.wait()
        return CallReply(text="x", finish_reason="stop", usage=Usage(input_tokens=5), latency_s=0.1)

    async def go() -> Outcome:
        return await Program(OWN, fields=FIELDS, model=HOSTED, send=send, factory=Early).run(make_example())

    assert len(asyncio.run(go()).replies) == 2


def test_a_task_left_behind_can_send_nothing_after_the_run() -> None:
    class Leaving(Single):
        async def aforward(self, message: str) -> dspy.Prediction:
            async def later() -> None:
                await asyncio.sleep(0.01)
                await self.sort.acall(message="too late")

            left.append(asyncio.create_task(later()))
            return await self.sort.acall(message=message)

    left: list[asyncio.Task[None]] = []
    wire = transport("x")

    async def go() -> None:
        await Program(OWN, fields=FIELDS, model=HOSTED, send=wire.send, factory=Leaving).run(make_example())
        with pytest.raises(Exception, match="after its run has ended"):
            await left[0]

    asyncio.run(go())
    assert len(wire.requests) == 1


def test_a_cancelled_run_in_a_thread_sends_nothing_more() -> None:
    ended = threading.Event()
    sent = []

    class Stubborn(Single):
        def forward(self, message: str) -> dspy.Prediction:
            for attempt in range(3):
                try:
                    self.sort(message=f"{message} {attempt}")
                except Exception:
                    continue
            ended.set()
            return dspy.Prediction(category="x")

    async def go() -> None:
        begun = asyncio.Event()

        async def send(request: CallRequest) -> CallReply:
            sent.append(request)
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        program = Program(OWN, fields=FIELDS, model=HOSTED, send=send, factory=Stubborn)
        task = asyncio.create_task(program.run(make_example()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())
    assert ended.wait() and len(sent) == 1


def test_a_module_that_swallows_its_cancellation_does_not_go_on() -> None:
    class Deaf(Single):
        async def aforward(self, message: str) -> dspy.Prediction:
            try:
                return await self.sort.acall(message=message)
            except BaseException:
                return dspy.Prediction(category="x")

    async def go() -> None:
        begun = asyncio.Event()

        async def send(_: CallRequest) -> CallReply:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        task = asyncio.create_task(
            Program(OWN, fields=FIELDS, model=HOSTED, send=send, factory=Deaf).run(make_example())
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())


# --------------------------------------------------------------------------------------- whose doing it is


class Swallowing(Single):
    """Answers something whatever happens."""

    def forward(self, message: str) -> dspy.Prediction:
        try:
            return self.sort(message=message)
        except Exception:
            return dspy.Prediction(category="default")


def test_a_swallowed_outage_is_a_failure_and_not_scored() -> None:
    outcome, _ = own(lambda _: RateLimited("429"), Swallowing)
    assert isinstance(outcome.infrastructure_error, RateLimited) and outcome.outputs is None


def test_a_swallowed_outage_after_a_swallowed_refusal_is_a_failure_too() -> None:
    class Twice(Single):
        def forward(self, message: str) -> dspy.Prediction:
            for text in ("one", "two"):
                try:
                    self.sort(message=text)
                except Exception:
                    continue
            return dspy.Prediction(category="default")

    outcome, _ = own([Refused("no"), RateLimited("429")], Twice)
    assert isinstance(outcome.infrastructure_error, RateLimited) and outcome.outputs is None


def test_a_swallowed_refusal_is_an_answer_with_what_the_refusal_took() -> None:
    outcome, _ = own(lambda _: Refused("no", usage=Usage(input_tokens=9), latency_s=0.5), Swallowing)
    assert outcome.outputs == {"category": "default"} and outcome.program_error is None
    assert [r.usage.input_tokens for r in outcome.replies] == [9]


def test_a_second_try_after_an_unreadable_answer_is_an_answer() -> None:
    class Again(Single):
        def forward(self, message: str) -> dspy.Prediction:
            try:
                return self.sort(message=message)
            except Exception:
                return self.sort(message=message)

    outcome, requests = own(["", "billing"], Again)
    assert outcome.outputs == {"category": "billing"} and len(requests) == 2


def raising(error: Exception) -> Any:
    class Raising(Single):
        def forward(self, message: str) -> dspy.Prediction:
            self.sort(message=message)
            raise error

    return Raising


def test_a_value_error_of_the_module_is_a_program_error() -> None:
    outcome, _ = own("billing", raising(ValueError("no such customer")))
    assert (
        outcome.program_error == "ValueError: no such customer"
        and outcome.infrastructure_error is None
        and len(outcome.replies) == 1
    )


class OwnError(Exception):
    """An exception of the user's own."""


@pytest.mark.parametrize(
    "error",
    [AttributeError("x"), KeyError("x"), TypeError("x"), RuntimeError("x"), AssertionError(), ZeroDivisionError("x"), OwnError("x")],
)  # fmt: skip
def test_an_exception_of_the_module_after_an_answer_is_its_own_error_with_its_place(error: Exception) -> None:
    outcome, _ = own("billing", raising(error))
    assert outcome.infrastructure_error is None and outcome.crash is error
    assert outcome.program_error is not None
    assert re.match(rf"{type(error).__name__}(: '?x'?)? \(test_own_modules.py:\d+\)$", outcome.program_error)


def test_a_field_that_an_answer_lacks_is_the_modules_own_error_although_dspy_raises_it() -> None:
    class Misspelt(Single):
        def forward(self, message: str) -> dspy.Prediction:
            return dspy.Prediction(category=self.sort(message=message).categroy)

    outcome, _ = own("billing", Misspelt)
    assert outcome.program_error is not None and "categroy" in outcome.program_error


@pytest.mark.parametrize("error", [ConnectionError("x"), TimeoutError("x"), FileNotFoundError("x"), MemoryError("x")])
def test_a_network_or_a_file_that_fails_in_a_tool_is_no_error_of_the_program(error: Exception) -> None:
    outcome, _ = own("billing", raising(error))
    assert outcome.infrastructure_error is error and outcome.program_error is None


def test_an_exception_before_any_answer_is_a_failure_and_no_zero() -> None:
    class Early(Single):
        def forward(self, message: str) -> dspy.Prediction:
            raise KeyError(message)

    outcome, requests = own("billing", Early)
    assert isinstance(outcome.infrastructure_error, KeyError) and not requests


def test_a_bug_met_after_a_refusal_is_a_program_error() -> None:
    class Careless(Single):
        def forward(self, message: str) -> dspy.Prediction:
            try:
                answer = self.sort(message=message)
            except Exception:
                answer = None
            return dspy.Prediction(category=answer.category)  # type: ignore[union-attr]

    outcome, _ = own(lambda _: Refused("no"), Careless)
    assert outcome.program_error == "no" and outcome.infrastructure_error is None


def test_an_unreadable_answer_in_a_task_group_is_a_program_error() -> None:
    class Grouped(Single):
        async def aforward(self, message: str) -> dspy.Prediction:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.sort.acall(message=message))
            return task.result()

    outcome, _ = own("", Grouped)
    assert outcome.program_error is not None and outcome.program_error.startswith("unparsable")


def test_what_a_client_in_a_task_group_raises_is_said_with_the_line_of_the_module() -> None:
    class Tools(Single):
        async def aforward(self, message: str) -> dspy.Prediction:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.open_connection("127.0.0.1", 1))
            return dspy.Prediction(category=message)

    outcome, _ = own("billing", Tools)
    assert isinstance(error := outcome.infrastructure_error, ConnectionRefusedError)
    assert "test_own_modules.py" in place_of(error)


def test_a_wrong_call_of_dspy_is_a_failure_although_it_raises_value_error() -> None:
    class Positional(Single):
        def forward(self, message: str) -> dspy.Prediction:
            return self.sort(message)

    outcome, _ = own("billing", Positional)
    assert isinstance(outcome.infrastructure_error, ValueError) and outcome.program_error is None


@pytest.mark.parametrize("returned", [("billing", 1), None, ["billing"], object()])
def test_returning_no_prediction_is_an_infrastructure_error(returned: Any) -> None:
    class Odd(Single):
        def forward(self, message: str) -> Any:
            return returned

    outcome, _ = own("billing", Odd)
    assert isinstance(outcome.infrastructure_error, TypeError) and "dspy.Prediction" in str(
        outcome.infrastructure_error
    )


def test_an_output_that_the_module_never_gives_is_an_infrastructure_error_with_both_names() -> None:
    class Misnamed(Single):
        def forward(self, message: str) -> Any:
            return dspy.Prediction(label="billing")

    outcome, _ = own("billing", Misnamed)
    assert "label" in str(outcome.infrastructure_error) and "category" in str(outcome.infrastructure_error)


def test_a_time_limit_of_the_modules_own_is_an_infrastructure_error_and_cancels_nobody_else() -> None:
    class Hasty(Single):
        async def aforward(self, message: str) -> dspy.Prediction:
            try:
                return await asyncio.wait_for(self.sort.acall(message=message), 0.01)
            except TimeoutError:
                return dspy.Prediction(category="default")

    async def send(_: CallRequest) -> CallReply:
        await asyncio.Event().wait()
        raise AssertionError

    async def go() -> Outcome:
        return await Program(OWN, fields=FIELDS, model=HOSTED, send=send, factory=Hasty).run(make_example())

    assert isinstance(asyncio.run(go()).infrastructure_error, Abandoned)


def test_a_language_model_of_the_modules_own_is_never_asked() -> None:
    class Stray(Single):
        def forward(self, message: str) -> dspy.Prediction:
            try:
                with dspy.context(lm=dspy.LM("openai/gpt-4o", api_key="unused")):
                    return self.sort(message=message)
            except Exception:
                return dspy.Prediction(category="default")

    outcome, requests = own("billing", Stray)
    assert isinstance(outcome.infrastructure_error, JobError) and "budget" in str(outcome.infrastructure_error)
    assert requests == []


def test_an_image_of_the_modules_own_is_sent_by_its_digest() -> None:
    class Seeing(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look = dspy.Predict(dspy.Signature({
                "picture": (dspy.Image, dspy.InputField()), "category": (str, dspy.OutputField())
            }))  # fmt: skip

        def forward(self, message: str) -> dspy.Prediction:
            return self.look(picture=dspy.Image("data:image/png;base64,iVBORw0KGgo="))

    outcome, requests = own(
        "[[ ## category ## ]]\nx", Seeing, make_candidate(module="own", instructions={}, adapter="chat")
    )
    assert outcome.outputs == {"category": "x"}
    parts = requests[0].messages[-1]["content"]
    (shown,) = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert media.data_of(shown) == base64.b64decode("iVBORw0KGgo=") and len(shown) < 100


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"b", "a"}, ["a", "b"]),
        (dspy.Prediction(x=1), {"x": 1}),
        ((1, 2), [1, 2]),
        (
            OutputField(type="int").model_copy(),
            {"type": "int", "values": None, "fields": None, "optional": False, "desc": None},
        ),
        (b"raw", "raw"),
    ],
)
def test_outputs_are_stored_as_json(given: Any, stored: Any) -> None:
    class Giving(Single):
        def forward(self, message: str) -> dspy.Prediction:
            return dspy.Prediction(category=given)

    outcome, _ = own("x", Giving, strict=False)
    assert outcome.outputs == {"category": stored}


def test_numpy_numbers_are_numbers() -> None:
    np = pytest.importorskip("numpy")

    class Giving(Single):
        def forward(self, message: str) -> dspy.Prediction:
            return dspy.Prediction(category=[np.float32(0.5), np.int64(3), np.float64(0.25)])

    assert own("x", Giving, strict=False)[0].outputs == {"category": [0.5, 3, 0.25]}


# -------------------------------------------------------------------------- instructions, parameters, demos


def test_instructions_and_parameters_are_set_by_predictor() -> None:
    candidate = make_candidate(
        module="own", instructions={"sort": "Name the category."}, request_params={"temperature": 0.0, "max_tokens": 9}
    )
    _, requests = own(echo, TwoSteps, candidate)
    assert [r.messages[0]["content"] for r in requests] == [
        "Given the fields `message`, produce the fields `gist`.", "Name the category."
    ]  # fmt: skip
    assert [dict(r.params) for r in requests] == [
        {"temperature": 0.0, "max_tokens": 9}, {"temperature": 0.7, "max_tokens": 9}
    ], "a temperature that the module states for a predictor is its own"  # fmt: skip


def test_a_limit_of_the_modules_own_takes_the_place_of_the_candidates() -> None:
    class Limited(Single):
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.Predict("message -> category", max_tokens=5)

        def forward(self, message: str) -> dspy.Prediction:
            return self.sort(message=message)

    _, requests = own("x", Limited, make_candidate(module="own", instructions={}, request_params={"max_tokens": 9}))
    assert dict(requests[0].params) == {"max_tokens": 5}
    newer = make_candidate(module="own", instructions={}, request_params={"max_completion_tokens": 9})
    assert dict(own("x", Limited, newer)[1][0].params) == {"max_completion_tokens": 5}


class Thinking(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.ChainOfThought("message -> category")
        self.steps = [dspy.Predict("category -> label")]

    def forward(self, message: str) -> dspy.Prediction:
        return dspy.Prediction(category=self.steps[0](category=self.think(message=message).category).label)


def test_predictors_have_the_names_that_dspy_gives_them() -> None:
    assert list(predictors_of(Thinking())) == ["think.predict", "steps[0]"]
    assert list(predictors_of(TwoSteps())) == ["summary", "sort"]
    assert list(predictors_of(dspy.Predict("q -> a"))) == ["main"]
    assert list(predictors_of(dspy.ChainOfThought("q -> a"))) == ["main"]
    candidate = make_candidate(module="own", instructions={"think.predict": "Think.", "steps[0]": "Name it."})
    outcome, requests = own(
        lambda r: "reasoning: so\ncategory: x" if len(r.messages[1]["content"]) > 1 else "y", Thinking, candidate
    )
    assert outcome.outputs == {"category": "y"}
    assert [r.messages[0]["content"].splitlines()[0] for r in requests] == ["Think.", "Name it."]


def test_an_edit_of_a_module_file_counts_also_when_size_and_time_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "own_steps.py"
    names = []
    for name in ("sort", "pick"):
        lines = ["import dspy", "class Own(dspy.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        self.{name} = dspy.Predict('message -> category')", "    def forward(self, message): ..."]
        file.write_text("\n".join(lines))
        os.utime(file, (1_000_000, 1_000_000))
        factory = import_module_factory("own_steps.py:Own", tmp_path, "space.yaml")
        names += [found for found, _ in factory().named_predictors()]
    assert names == ["sort", "pick"]


def test_two_candidates_share_nothing_where_a_factory_gives_the_same_module_twice() -> None:
    only = TwoSteps()
    one, two = (make_candidate(module="own", instructions={"sort": text}) for text in ("One.", "Two."))
    modules = [build_module(candidate, FIELDS, lambda: only, {}) for candidate in (one, two)]
    assert [predictors_of(m)["sort"].signature.instructions for m in modules] == ["One.", "Two."]
    assert predictors_of(only)["sort"].signature.instructions not in ("One.", "Two.")


def test_state_of_one_run_is_not_there_in_the_next_also_with_parts_that_cannot_be_copied() -> None:
    class Counting(Single):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.asked = threading.Lock(), {"times": 0}

        def forward(self, message: str) -> dspy.Prediction:
            with self.lock:
                self.asked["times"] += 1
            self.sort(message=message)
            return dspy.Prediction(category=str(self.asked["times"]))

    async def go() -> list[Outcome]:
        program = Program(OWN, fields=FIELDS, model=HOSTED, send=transport("x").send, factory=Counting)
        return [await program.run(example) for example in make_examples(3)]

    assert [outcome.outputs for outcome in asyncio.run(go())] == [{"category": "1"}] * 3


def test_a_module_that_changes_its_input_does_not_change_the_example() -> None:
    class Popping(Single):
        def forward(self, message: list[str]) -> dspy.Prediction:
            return dspy.Prediction(category=message.pop())

    example = make_example(0, message=["a", "b"], category="b")
    outcome, _ = own("x", Popping, example=example, strict=False)
    assert outcome.outputs == {"category": "b"} and example.values["message"] == ["a", "b"]


def test_demos_go_to_the_predictors_whose_fields_the_data_has() -> None:
    candidate = make_candidate(module="own", instructions={}, demo_kind=DemoKind.RANDOM, demo_count=2)
    train = [make_example(0, message=f"m{i}", category=f"c{i}", gist=f"g{i}") for i in range(3)]
    partly = [make_example(0, message=f"m{i}", category=f"c{i}") for i in range(3)]
    found = labelled_demos(candidate, fields=FIELDS, factory=TwoSteps, train=train, balance_by=None)
    assert {name: [sorted(row) for row in rows] for name, rows in found.items()} == {
        "summary": [["gist", "message"]] * 2, "sort": [["category", "gist"]] * 2
    }  # fmt: skip
    assert labelled_demos(candidate, fields=FIELDS, factory=TwoSteps, train=partly, balance_by=None) == {}


def test_demos_of_the_modules_own_stay_where_the_data_has_none() -> None:
    def compiled() -> TwoSteps:
        module = TwoSteps()
        module.sort.demos = [{"gist": "own", "category": "demo"}]
        return module

    _, requests = own(echo, compiled, demos={"summary": [{"message": "m", "gist": "g"}]})
    assert [[m["content"] for m in r.messages[1:-1]] for r in requests] == [["m", "g"], ["own", "demo"]]
    _, requests = own(echo, compiled, demos={"sort": []})
    assert [r.messages[1:-1] for r in requests] == [(), ()], "an empty list removes them"


def test_a_transport_is_asked_from_the_loop_of_the_caller_alone() -> None:
    threads = set()

    def answer(_: CallRequest) -> str:
        threads.add(threading.get_ident())
        return "x"

    own(FunctionTransport(answer), TwoSteps)
    assert threads == {threading.get_ident()}
