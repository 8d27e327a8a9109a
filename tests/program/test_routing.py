"""Models that a program asks beside the candidate's: each call goes to a declared model through the caller, or nowhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import dspy
import pytest
from dspy.utils.dummies import DummyLM

import offramp
from offramp.errors import JobError, UsageError
from offramp.evaluate.scoring import result_of
from offramp.program.engine import REPEAT
from offramp.program.program import Outcome
from offramp.program.run_log import NoRequest
from offramp.records import CallReply, CallRequest, Model, Price, Score, Usage
from offramp.space.model import OutputField
from offramp.testing.server import ScriptedServer, ServerReply
from program_runs import HOSTED, make_candidate, make_example, make_fields, run

FIELDS = make_fields({"category": OutputField()})
OWN = make_candidate(module="own", instructions={}, adapter="chat")
BIG_MODEL = Model(name="big", route="openai/gpt-big", price=Price(input_usd=10.0, output_usd=100.0))
USAGE = Usage(input_tokens=100, output_tokens=10)
HOSTED_USD, BIG_USD = 200 / 1e6, 2000 / 1e6
"""Of one reply with that usage, at the prices of `hosted` and `big`."""


@pytest.fixture(scope="module")
def outside() -> Iterator[ScriptedServer]:
    """Where the program's own models would send, if a call escaped."""
    with ScriptedServer(lambda _: ServerReply(text="[[ ## category ## ]]\nescaped")) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_escapes(outside: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_BASE", outside.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    outside.requests.clear()
    yield
    assert outside.requests == []


def big(**params: Any) -> dspy.LM:
    return dspy.LM("openai/gpt-big", api_key="sk-none", **params)


BIG = big(temperature=0.4)


def answer(request: CallRequest) -> CallReply:
    text = f"[[ ## category ## ]]\n{request.model.name}\n\n[[ ## completed ## ]]"
    return CallReply(text=text, finish_reason="stop", usage=USAGE, latency_s=0.1)


class Sorting(dspy.Module):
    """Asks the candidate's model once; subclasses ask another one too, in the way they are about."""

    def __init__(self) -> None:
        super().__init__()
        self.sort = dspy.Predict("message -> category")

    def forward(self, message: str) -> dspy.Prediction:
        first = self.sort(message=message).category
        return dspy.Prediction(category=f"{first}|{self.second(message)}")

    def second(self, message: str) -> str:
        raise NotImplementedError


def own(factory: Any, **options: Any) -> tuple[Outcome, list[CallRequest]]:
    options = {"models": {"big": BIG_MODEL}, **options}
    return run(answer, OWN, fields=FIELDS, factory=factory, **options)


def second(ask: Callable[[Sorting, str], str]) -> type[Sorting]:
    """A module whose second question is asked so."""
    return type("Second", (Sorting,), {"second": ask})


def in_context(module: Sorting, message: str) -> str:
    with dspy.context(lm=BIG):
        return module.sort(message=message).category


def in_context_with_another_format(module: Sorting, message: str) -> str:
    with dspy.context(lm=BIG, adapter=dspy.ChatAdapter()):
        return module.sort(message=message).category


def in_context_with_callbacks_of_its_own(module: Sorting, message: str) -> str:
    with dspy.context(lm=BIG, callbacks=[]):
        return module.sort(message=message).category


def at_the_call(module: Sorting, message: str) -> str:
    return module.sort(message=message, lm=BIG).category


def raw(module: Sorting, message: str) -> str:
    return BIG(message)[0].split("\n")[1]


def raw_messages(module: Sorting, message: str) -> str:
    return BIG(messages=[{"role": "user", "content": message}])[0].split("\n")[1]


def by_forward(module: Sorting, message: str) -> str:
    return BIG.forward(message).choices[0].message.content.split("\n")[1]


def copied(module: Sorting, message: str) -> str:
    return BIG.copy(temperature=0.4, rollout_id=3)(message)[0].split("\n")[1]


def made_on_the_spot(module: Sorting, message: str) -> str:
    return big(temperature=0.4)(message)[0].split("\n")[1]


def by_name(module: Sorting, message: str) -> str:
    return module.sort(message=message, lm=offramp.lm("big", temperature=0.4)).category


def by_name_with_a_default(module: Sorting, message: str) -> str:
    lm = offramp.lm("big", default="openai/another", api_key="sk-none", temperature=0.4)
    return module.sort(message=message, lm=lm).category


def awaited(module: Sorting, message: str) -> str:
    async def both() -> str:
        return (await BIG.acall(message))[0].split("\n")[1]

    return asyncio.run(both())


WAYS = [
    in_context, in_context_with_another_format, in_context_with_callbacks_of_its_own, at_the_call, raw, raw_messages,
    by_forward, copied, made_on_the_spot, by_name, by_name_with_a_default, awaited,
]  # fmt: skip


@pytest.mark.parametrize("ask", WAYS)
def test_a_model_of_the_programs_own_is_the_declared_one_with_its_own_parameters(
    ask: Callable[[Sorting, str], str],
) -> None:
    outcome, requests = own(second(ask))
    assert outcome.outputs == {"category": "hosted|big"}
    assert [request.model for request in requests] == [HOSTED, BIG_MODEL]
    assert [dict(request.params) for request in requests] == [{}, {"temperature": 0.4}]
    assert [exchange.request for exchange in outcome.exchanges] == requests


class OnThePredictor(Sorting):
    def __init__(self) -> None:
        super().__init__()
        self.check = dspy.ChainOfThought("message -> category")
        self.check.set_lm(BIG)

    def second(self, message: str) -> str:
        return self.check(message=message).category


class FromAState(Sorting):
    def __init__(self) -> None:
        super().__init__()
        saved = dspy.Predict("message -> category")
        saved.lm = BIG
        self.check = dspy.Predict("message -> category")
        self.check.load_state(saved.dump_state())

    def second(self, message: str) -> str:
        return self.check(message=message).category


class AsAnAttribute(Sorting):
    def __init__(self) -> None:
        super().__init__()
        self.big = big(temperature=0.4)

    def second(self, message: str) -> str:
        return self.big(message)[0].split("\n")[1]


@pytest.mark.parametrize("kind", [OnThePredictor, FromAState, AsAnAttribute])
def test_a_model_that_the_module_holds_is_the_declared_one(kind: type[Sorting]) -> None:
    outcome, requests = own(kind)
    assert [request.model.name for request in requests] == ["hosted", "big"]
    assert requests[1].params["temperature"] == 0.4 and len(outcome.replies) == 2


def test_each_reply_is_priced_by_the_model_that_gave_it() -> None:
    class Metric:
        name = "always"

        async def score(self, *_: Any) -> Score:
            return Score(value=1.0)

    outcome, _ = own(second(raw))
    scored = asyncio.run(
        result_of(
            outcome,
            candidate=OWN,
            example=make_example(),
            model=HOSTED,
            metric=Metric(),
            ask=None,  # type: ignore[arg-type]
        )
    )
    assert scored.cost_usd == pytest.approx(HOSTED_USD + BIG_USD) and scored.others_usd == pytest.approx(BIG_USD)
    assert scored.usage == USAGE and scored.calls == 2


def test_the_same_question_to_another_model_is_no_repeat_and_three_completions_are_three_requests() -> None:
    def thrice(module: Sorting, message: str) -> str:
        return "|".join(text.split("\n")[1] for text in big(n=3, temperature=1.0)(message))

    outcome, requests = own(second(thrice))
    assert outcome.outputs == {"category": "hosted|big|big|big"}
    assert [request.replicate for request in requests] == [0, 0, REPEAT, 2 * REPEAT]


def test_the_models_of_dspys_settings_are_the_candidates() -> None:
    outcome, requests = own(second(lambda module, message: dspy.settings.lm(message)[0].split("\n")[1]))
    assert outcome.outputs == {"category": "hosted|hosted"} and len(requests) == 2


def test_a_model_at_an_address_of_its_own_is_the_one_declared_there() -> None:
    def local(module: Sorting, message: str) -> str:
        lm = dspy.LM("openai/gpt-big", api_base="http://127.0.0.1:9/v1/", api_key="x", timeout=3, cache=True)
        return lm(message)[0].split("\n")[1]

    there = Model(name="there", route="openai/gpt-big", api_base="http://127.0.0.1:9/v1", price=BIG_MODEL.price)
    outcome, requests = own(second(local), models={"big": BIG_MODEL, "there": there})
    assert [request.model.name for request in requests] == ["hosted", "there"]
    outcome, requests = own(second(raw), models={"there": there, "big": BIG_MODEL})
    assert [request.model.name for request in requests] == ["hosted", "big"]
    outcome, requests = own(second(local))
    assert "declares it at its vendor" in str(outcome.infrastructure_error) and len(requests) == 1


def best_of(module: Sorting, message: str) -> str:
    predictor = dspy.Predict("message -> category")
    predictor.lm = BIG
    best = dspy.BestOfN(predictor, N=2, reward_fn=lambda *_: 0.0, threshold=1.0)
    return str(best(message=message).category)


def rewarded(module: Sorting, message: str) -> str:
    def reward(*_: Any) -> float:
        return float(bool(BIG("how good?")))

    refine = dspy.Refine(dspy.Predict("message -> category"), N=1, reward_fn=reward, threshold=0.5)
    return str(refine(message=message).category)


def in_a_tool(module: Sorting, message: str) -> str:
    def lookup(word: str) -> str:
        """Asks the other model."""
        return BIG(word)[0].split("\n")[1]

    return str(dspy.Tool(lookup)(word=message))


def evaluated(module: Sorting, message: str) -> str:
    rows = [dspy.Example(message=f"{message} {i}").with_inputs("message") for i in range(3)]
    evaluate = dspy.Evaluate(devset=rows, metric=lambda *_: True, num_threads=2, display_progress=False)
    with dspy.context(lm=BIG):
        return str(evaluate(module.sort).score)


def by_request(module: Sorting, message: str) -> str:
    asked = dspy.lm15.Request(model="openai/gpt-big", messages=(dspy.lm15.Message.user(message),))
    return str(BIG(asked).text).split("\n")[1]


def streamed(module: Sorting, message: str) -> str:
    async def last() -> Any:
        return [part async for part in dspy.streamify(module.sort)(message=message, lm=BIG)][-1]

    return str(asyncio.run(last()).category)


def in_parallel(module: Sorting, message: str) -> str:
    pairs = [(module.sort, {"message": f"{message} {i}", "lm": BIG}) for i in range(2)]
    return "|".join(each.category for each in dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs))


@pytest.mark.parametrize(
    ("ask", "answered", "sent"),
    [
        (best_of, "big", {"hosted": 1, "big": 2}),
        (rewarded, "hosted", {"hosted": 2, "big": 1}),
        (in_a_tool, "big", {"hosted": 1, "big": 1}),
        (evaluated, "100.0", {"hosted": 1, "big": 3}),
        (by_request, "big", {"hosted": 1, "big": 1}),
        (streamed, "big", {"hosted": 1, "big": 1}),
        (in_parallel, "big|big", {"hosted": 1, "big": 2}),
    ],
)
def test_what_dspy_builds_on_models_is_counted_too(
    ask: Callable[[Sorting, str], str], answered: str, sent: dict[str, int]
) -> None:
    outcome, requests = own(second(ask))
    assert outcome.outputs == {"category": f"hosted|{answered}"}
    assert Counter(request.model.name for request in requests) == sent and len(outcome.replies) == len(requests)


def test_every_parameter_of_a_call_is_sent_and_what_only_steers_dspy_is_not() -> None:
    lm = big(temperature=0.4, top_p=0.9, timeout=3, cache=True, num_retries=5, callbacks=[])
    params = {"temperature": 0.1, "max_tokens": 9, "seed": 3, "stop": ["x"], "rollout_id": 7}
    _, requests = own(second(lambda module, message: str(lm(message, **params))))
    assert dict(requests[1].params) == {"temperature": 0.1, "top_p": 0.9, "max_tokens": 9, "seed": 3, "stop": ["x"]}


# ---------------------------------------------------------------------------------------------- what is refused


class Custom(dspy.BaseLM):
    """Sends by itself."""

    asked: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__("openai/gpt-big")

    def forward(self, prompt: Any = None, messages: Any = None, **_: Any) -> Any:
        self.asked["custom"] += 1
        raise AssertionError("it was asked")


class Overriding(dspy.LM):
    """Sends by itself although it is a `dspy.LM`."""

    def forward(self, prompt: Any = None, messages: Any = None, **_: Any) -> Any:
        raise AssertionError("it was asked")


REFUSED = {
    "an undeclared model": (lambda: dspy.LM("openai/gpt-other", api_key="x"), "openai/gpt-other, which `models`"),
    "an undeclared name": (lambda: offramp.lm("bigg"), "offramp.lm('bigg')"),
    "an undeclared name with a default": (lambda: offramp.lm("bigg", default="openai/gpt-big"), "offramp.lm('bigg')"),
    "a class of one's own": (Custom, "a Custom, which sends its requests by itself"),
    "an override": (lambda: Overriding("openai/gpt-big", api_key="x"), "a Overriding"),
    "a dummy": (lambda: DummyLM([{"category": "x"}] * 9), "a DummyLM"),
}


def swallowing(ask: Callable[[Sorting, str], str]) -> type[Sorting]:
    def swallowed(module: Sorting, message: str) -> str:
        try:
            return ask(module, message)
        except Exception:
            return "default"

    return second(swallowed)


@pytest.mark.parametrize("made", REFUSED)
@pytest.mark.parametrize("how", ["raw", "predictor", "awaited", "in parallel"])
def test_a_call_that_no_budget_would_count_ends_the_run_before_it_is_sent(made: str, how: str) -> None:
    make, words = REFUSED[made]
    lm = make()
    asking = {
        "raw": lambda module, message: lm(message)[0],
        "predictor": lambda module, message: module.sort(message=message, lm=lm).category,
        "awaited": lambda module, message: asyncio.run(lm.acall(message))[0],
        "in parallel": lambda module, message: str(
            dspy.Parallel(num_threads=2, disable_progress_bar=True)([(module.sort, {"message": message, "lm": lm})])
        ),
    }
    outcome, requests = own(swallowing(asking[how]))
    assert isinstance(outcome.infrastructure_error, JobError) and words in str(outcome.infrastructure_error)
    assert how == "in parallel" or str(outcome.infrastructure_error).startswith("test_routing.py:")
    assert len(requests) == 1 and not Custom.asked


def test_a_refused_call_in_a_task_group_ends_the_run() -> None:
    async def grouped(message: str) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(dspy.LM("openai/gpt-other", api_key="x").acall(message))

    class Grouped(Sorting):
        async def aforward(self, message: str) -> dspy.Prediction:
            await grouped(message)
            return dspy.Prediction(category="x")

    outcome, requests = own(Grouped)
    assert isinstance(outcome.infrastructure_error, JobError) and requests == []


def test_hosted_embeddings_are_refused_and_a_function_of_ones_own_is_not() -> None:
    def embedding(model: Any) -> Callable[[Sorting, str], str]:
        return lambda module, message: str(len(dspy.Embedder(model, caching=False)([message])))

    outcome, _ = own(swallowing(embedding("openai/text-embedding-3-small")))
    assert "text-embedding-3-small for embeddings" in str(outcome.infrastructure_error)
    outcome, _ = own(second(embedding(lambda texts: [[0.0] for _ in texts])))
    assert outcome.outputs == {"category": "hosted|1"}


def test_an_answer_without_any_request_is_no_free_success() -> None:
    class Free(Sorting):
        def forward(self, message: str) -> dspy.Prediction:
            return dspy.Prediction(category="hosted")

    outcome, requests = own(Free)
    assert isinstance(outcome.infrastructure_error, NoRequest) and requests == [] and outcome.outputs is None


# ----------------------------------------------------------------------------------------- outside of runs


def test_outside_of_a_run_models_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    own(second(raw))
    with ScriptedServer(lambda _: ServerReply(text="mine")) as server:
        lm = dspy.LM("openai/gpt-big", api_base=server.url, api_key="sk-none", cache=False)
        state = lm.dump_state()
        there = Model(name="there", route="openai/gpt-big", api_base=server.url, price=BIG_MODEL.price)
        outcome, _ = own(second(lambda module, message: lm(message)[0].split("\n")[1]), models={"there": there})
        assert outcome.outputs == {"category": "hosted|there"} and not server.requests
        assert lm("hello") == ["mine"] and lm.dump_state() == state and len(server.requests) == 1
        named = offramp.lm("big", default="openai/gpt-big", api_base=server.url, api_key="sk-none", cache=False)
        assert named("hello") == ["mine"]
    with pytest.raises(UsageError, match="outside of a run"):
        offramp.lm("big")("hello")


def test_in_an_app_other_models_are_the_apps_own_affair() -> None:
    with ScriptedServer(lambda _: ServerReply(text="mine")) as server:
        lm = dspy.LM("openai/gpt-other", api_base=server.url, api_key="sk-none", cache=False)
        outcome, _ = own(second(lambda module, message: lm(message)[0]), strict=False)
        assert outcome.outputs == {"category": "hosted|mine"} and len(server.requests) == 1
