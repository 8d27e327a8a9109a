"""Forms of several requests as they run: who is asked what, what is chosen, how long it takes, and who is to blame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.calls.failures import Refused, ServerFailed
from offramp.evaluate.demos import bootstrap
from offramp.program.critical_path import steps_s
from offramp.program.forms.self_consistency import elected, value_key
from offramp.program.program import Outcome, Program, labelled_demos
from offramp.program.sent import Sent
from offramp.records import CallReply, CallRequest, DemoKind, Result, ResultState, Usage
from offramp.space.model import OutputField
from program_runs import HOSTED, LOCAL, make_candidate, make_example, make_examples, make_fields, run, transport

VERIFY = {"main": "Sort the message.", "verify": "Check it.\n\nThe task:\nSort the message."}
YES, NO = "accepted: true\nobjection: null", "accepted: false\nobjection: it was paid"
VOTE, BEST, RETRY = "self_consistency 5", "best_of 3", "verify_then_retry 2"


def candidate(form: str, **changes: Any) -> Any:
    instructions = VERIFY if form.startswith(("best_of", "verify")) else {"main": VERIFY["main"]}
    return make_candidate(
        module=form, **{"instructions": instructions, "request_params": {"temperature": 0.7}, **changes}
    )


def replies(*said: str | BaseException, seconds: Sequence[float] = ()) -> Callable[[CallRequest], CallReply]:
    """Answers in the order in which requests are made."""
    left = list(zip(said, [*seconds, *[1.0] * len(said)], strict=False))

    def reply(_: CallRequest) -> CallReply:
        text, latency_s = left.pop(0)
        if isinstance(text, BaseException):
            raise text
        return CallReply(
            text=text, finish_reason="stop", usage=Usage(input_tokens=10, output_tokens=5), latency_s=latency_s
        )

    return reply


def test_a_vote_asks_side_by_side_for_replicates_of_one_request() -> None:
    outcome, sent = run(replies("billing", "shipping", "shipping", "returns", "billing"), candidate(VOTE))
    assert outcome.outputs == {"category": "billing"}, "of two with equally many votes the first"
    assert len({request.hash for request in sent}) == 5 and len({str(request.messages) for request in sent}) == 1
    assert [exchange.predictor for exchange in outcome.exchanges] == ["main"] * 5


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        (["billing", "shipping", "returns", NO, YES, NO], "shipping"),
        (["billing", "shipping", "returns", NO, YES, YES], "shipping"),
        (["billing", "shipping", "returns", NO, NO, NO], "billing"),
        (["billing", "shipping", "billing", NO, YES], "shipping"),
        (["billing", "billing", "billing", NO], "billing"),
        (["billing", "shipping", "returns", "what?", YES, "hm"], "shipping"),
        (["billing", "shipping", "returns", "what?", "hm", "no idea"], "billing"),
        (["I cannot say", "shipping", "returns", NO, YES], "returns"),
        ([Refused("no"), "shipping", "returns", YES, NO], "shipping"),
    ],
)
def test_best_of_gives_the_first_answer_that_is_accepted(said: list[Any], chosen: str) -> None:
    outcome, sent = run(replies(*said), candidate(BEST))
    assert outcome.outputs == {"category": chosen} and len(sent) == len(said)
    assert [e.predictor for e in outcome.exchanges if "accepted" in str(e.request.messages[0])] == ["verify"] * (
        len(said) - 3
    )


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        (["billing", YES], "billing"),
        (["billing", NO, "returns", YES], "returns"),
        (["billing", NO, "returns", NO, "shipping"], "shipping"),
        (["billing", "who knows"], "billing"),
        (["billing", Refused("no")], "billing"),
        (["billing", NO, "I cannot say"], "billing"),
    ],
)
def test_an_answer_is_retried_with_the_objection_until_none_is_made(said: list[Any], chosen: str) -> None:
    outcome, sent = run(replies(*said), candidate(RETRY))
    assert outcome.outputs == {"category": chosen} and len(sent) == len(said)
    for request in sent[2::2]:
        assert request.messages[0]["content"].startswith("Sort the message.\n\nAn earlier answer was rejected.\ncat")
        assert "\nObjection: it was paid\n" in request.messages[0]["content"]
    assert outcome.trace == (("main", {"message": "case 0"}, {"category": chosen}),), "demos show what was chosen"


@pytest.mark.parametrize("form", [VOTE, BEST, RETRY, f"{VOTE} over chain_of_thought"])
def test_no_answer_that_can_be_read_is_the_programs_own_error(form: str) -> None:
    outcome, _ = run(lambda _: "I cannot say", candidate(form))
    assert outcome.program_error == "unparsable answer: I cannot say" and outcome.unreadable
    assert outcome.infrastructure_error is None and outcome.outputs is None


@pytest.mark.parametrize("said", [["billing", ServerFailed("down"), "billing", "billing", "billing"]])
@pytest.mark.parametrize("form", [VOTE, BEST])
def test_a_request_that_fails_leaves_the_run_without_a_score(form: str, said: list[Any]) -> None:
    outcome, _ = run(replies(*said, NO), candidate(form))
    assert isinstance(outcome.infrastructure_error, ServerFailed) and outcome.outputs is None


# -------------------------------------------------------------------------------------------------- time and money


def test_a_step_takes_as_long_as_its_slowest_request_and_steps_follow_one_another() -> None:
    outcome, _ = run(replies("billing", "shipping", "billing", NO, YES, seconds=[1, 3, 2, 0.5, 0.25]), candidate(BEST))
    assert outcome.latency_s == 3 + 0.5
    outcome, _ = run(replies("billing", NO, "returns", YES, seconds=[1, 2, 4, 8]), candidate(RETRY))
    assert outcome.latency_s == 15
    cost = sum(exchange.cost_usd or 0 for exchange in outcome.exchanges)
    assert cost == pytest.approx(4 * (10 * 1.0 + 5 * 10.0) / 1e6)


def test_an_embedded_model_answers_one_request_after_another() -> None:
    texts = replies("billing", "shipping", "billing", "billing", "billing", seconds=[1, 3, 2, 1, 1])
    outcome, _ = run(texts, candidate(VOTE, model="local/tiny"), model=LOCAL)
    assert outcome.latency_s == 8


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.01, 9)), min_size=1))
def test_a_run_takes_no_longer_than_its_requests_together_and_no_less_than_the_slowest(
    given: list[tuple[int, float]],
) -> None:
    seconds = [taken for _, taken in given]
    hosted = steps_s((step, taken, False) for step, taken in given)
    assert max(seconds) <= hosted <= sum(seconds) + 1e-9
    assert steps_s((step, taken, True) for step, taken in given) == pytest.approx(sum(seconds))


# ------------------------------------------------------------------------------------------------------ what is sent


def fields_written(values: Mapping[str, Any], request: CallRequest) -> str:
    if request.params.get("response_format") or "JSON object" in str(request.messages):
        return json.dumps(values)
    return "".join(f"[[ ## {n} ## ]]\n{json.dumps(v) if v is None else v}\n\n" for n, v in values.items())


@pytest.mark.parametrize("over", ["", " over chain_of_thought"])
@pytest.mark.parametrize("adapter", ["chat", "json"])
@pytest.mark.parametrize("form", [VOTE, BEST, RETRY])
def test_forms_run_in_every_format_with_the_demos_of_the_answer_alone(form: str, adapter: str, over: str) -> None:
    def reply(request: CallRequest) -> str:
        text = str(request.messages)
        if "`accepted`" in text:
            right = "shipping" in text.rsplit("## category ##", 1)[1].split("Respond")[0]
            return fields_written({"accepted": right, "objection": None if right else "no"}, request)
        label = "shipping" if "An earlier answer" in text or form == VOTE else "billing"
        return fields_written({**({"reasoning": "so"} if over else {}), "category": label}, request)

    who = candidate(
        form + over, adapter=adapter, demo_kind=DemoKind.RANDOM, demo_count=2, request_params={"temperature": 0.5}
    )
    fields, train = make_fields(), make_examples(6, start=10)
    demos = labelled_demos(who, fields=fields, factory=None, train=train, balance_by=None)
    outcome, sent = run(reply, who, demos=demos)
    assert outcome.outputs == {"category": "billing" if form == BEST else "shipping"}, outcome
    shown = {len(request.messages) - 2 for request in sent if "`accepted`" not in str(request.messages)}
    assert shown == {4}, "two demos with each answer, retries too"
    verified = [request for request in sent if "`accepted`" in str(request.messages)]
    assert {len(request.messages) for request in verified} <= {2}

    async def seen() -> Mapping[str, Any]:
        program = Program(who, fields=fields, model=HOSTED, send=transport(reply).send, demos=demos)
        found = Sent(program)
        found.add("e0", (await program.run(make_example())).exchanges)
        return found.other_than_stated()

    assert asyncio.run(seen()) == {}, "the params of the candidate say what was sent"


def test_a_verifying_call_may_have_parameters_of_its_own() -> None:
    who = candidate(
        BEST, request_params={"temperature": 0.7, "max_tokens": 5},
        predictor_params={"verify": {"temperature": 0.0, "max_tokens": 80, "top_p": None}},
    )  # fmt: skip
    outcome, sent = run(replies("billing", "billing", "billing", YES), who)
    assert [dict(request.params) for request in sent] == [{"temperature": 0.7, "max_tokens": 5}] * 3 + [
        {"temperature": 0.0, "max_tokens": 80}
    ]
    assert who.id != candidate(BEST, request_params={"temperature": 0.7, "max_tokens": 5}).id
    assert outcome.outputs == {"category": "billing"}


def test_bootstrapped_demos_are_of_chosen_answers_and_none_is_shown_to_the_verifier() -> None:
    async def judge(outcome: Outcome, candidate: Any, example: Any) -> Result:
        return Result(
            candidate="c", example=example.id, state=ResultState.SCORED, score=1.0, cost_usd=0.0, latency_s=1.0
        )

    def reply(request: CallRequest) -> str:
        return YES if "accepted" in str(request.messages[0]) else "shipping"

    async def collected() -> Mapping[str, list[dict[str, Any]]]:
        program = Program(candidate(BEST), fields=make_fields(), model=HOSTED, send=transport(reply).send)
        return await bootstrap(program, count=2, seed=0, train=make_examples(6), min_score=1.0, judge=judge)

    demos = asyncio.run(collected())
    assert set(demos) == {"main"} and [row["category"] for row in demos["main"]] == ["shipping", "shipping"]


def test_outputs_of_every_type_are_shown_to_the_verifier() -> None:
    outputs = {
        "category": OutputField(type="enum", values=["billing", "shipping"]),
        "urgent": OutputField(type="bool"), "amount": OutputField(type="float", optional=True),
        "tags": OutputField(type="list[str]"), "who": OutputField(type="object", fields={"name": "str"}),
    }  # fmt: skip
    text = 'category: billing\nurgent: true\namount: null\ntags: ["a", "b"]\nwho: {"name": "Ada"}'
    outcome, sent = run(replies(text, YES), candidate(RETRY), fields=make_fields(outputs))
    assert outcome.outputs is not None and outcome.outputs["who"] == {"name": "Ada"}
    assert sent[1].messages[-1]["content"] == f"message: case 0\n{text}"


# --------------------------------------------------------------------------------------------------------- the vote

LABELS = st.sampled_from(["a", "b", "c"])


@given(st.lists(LABELS, min_size=1, max_size=9))
def test_one_output_goes_to_the_majority_and_ties_to_the_first(labels: list[str]) -> None:
    chosen = labels[elected([{"label": label} for label in labels], ["label"])]
    most = max(labels.count(label) for label in labels)
    assert chosen == next(label for label in labels if labels.count(label) == most)


@given(st.lists(LABELS, min_size=1, max_size=9))
def test_a_text_that_is_never_the_same_leaves_the_vote_to_the_label(labels: list[str]) -> None:
    given = [{"reason": f"because {index}", "label": label} for index, label in enumerate(labels)]
    assert elected(given, ["reason", "label"]) == elected(given, ["label"])


@given(st.lists(st.fixed_dictionaries({"a": LABELS, "b": LABELS, "n": st.integers(0, 2)}), min_size=1, max_size=7))
def test_the_vote_gives_an_answer_that_none_agrees_more_with(given: list[dict[str, Any]]) -> None:
    def agreement(one: Mapping[str, Any]) -> int:
        return sum(one[name] == other[name] for other in given for name in one)

    chosen = elected(given, ["a", "b", "n"])
    assert agreement(given[chosen]) == max(map(agreement, given))
    assert all(agreement(one) < agreement(given[chosen]) for one in given[:chosen])


def test_values_count_as_the_same_by_meaning() -> None:
    assert value_key(" Lost  parcel") == value_key("lost parcel") and value_key(2) == value_key(2.0)
    assert value_key({"a": 1, "b": 2}) == value_key({"b": 2, "a": 1}) and value_key(["a"]) != value_key("a")
    assert value_key(True) != value_key(1) and value_key("1") != value_key(1) and value_key(None) != value_key("null")
