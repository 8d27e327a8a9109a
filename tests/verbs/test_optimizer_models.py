"""`offramp.Optimizer` over `dspy.LM` objects: what was measured is what the compiled program sends, with whose key."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

import offramp
from offramp.errors import ModelError, UsageError
from offramp.testing.server import ScriptedServer, ServerReply


def script(body: dict[str, Any]) -> ServerReply:
    """A model that knows odd numbers, and all of them when it is large; in whichever format it is asked."""
    asked = str(body["messages"][-1]["content"])
    number = int((re.findall(r"number (\d+)", asked) or ["0"])[-1])
    value = str(number) if body["model"] == "large" or number % 2 else "no"
    if "JSON" in asked:
        return ServerReply(text=json.dumps({"answer": value}))
    if "<answer>" in asked:
        return ServerReply(text=f"<answer>\n{value}\n</answer>")
    return ServerReply(text=f"[[ ## answer ## ]]\n{value}\n\n[[ ## completed ## ]]")


def exact(example: Any, pred: Any, trace: Any = None) -> bool:
    return bool(example.answer == pred.answer)


ROWS = [dspy.Example(question=f"number {i} ?", answer=str(i)).with_inputs("question") for i in range(30)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer(script) as running:
        yield running


def lm(server: ScriptedServer, model: str = "openai/small", **more: Any) -> dspy.LM:
    return dspy.LM(model, **{"api_base": server.url, "api_key": "key-of-mine", "cache": False, **more})


def optimizer(models: list[Any], **more: Any) -> offramp.Optimizer:
    given = {"rounds": 0, "demos": (), "objectives": {"latency": None, "cost": None}, "progress": False}
    return offramp.Optimizer(exact, models=models, **{**given, **more})


def bodies(requests: list[Any], model: str, question: str) -> set[str]:
    """What was sent to a model for a question, messages and all."""
    return {
        json.dumps(r.body, sort_keys=True) for r in requests
        if r.body["model"] == model and question in str(r.body["messages"][-1])
    }  # fmt: skip


class Spoken(dspy.ChatAdapter):
    """An adapter of one's own."""

    def format_field_description(self, signature: Any) -> str:
        return f"Spoken. {super().format_field_description(signature)}"


CASES: dict[str, tuple[Callable[[ScriptedServer], list[Any]], dict[str, Any], Any]] = {
    "one value": (lambda s: [lm(s, temperature=0.3)], {}, None),
    "none": (lambda s: [lm(s)], {}, None),
    "many": (lambda s: [lm(s, temperature=0.3, top_p=0.9, max_tokens=50, seed=4, presence_penalty=1.5,
                          reasoning_effort="low", logit_bias={"5": 1}, stop=["a\n\n", "b"])], {}, None),
    "of the server alone": (lambda s: [lm(s, extra_body={"top_k": 3, "guided": {"a": [1]}}, min_p=0.1)], {}, None),
    "another one searched": (lambda s: [lm(s, temperature=0.7)], {"params": {"max_tokens": 60}}, None),
    "searched and left out": (lambda s: [lm(s, temperature=0.7)], {"params": {"temperature": {"choices": [None]}}}, None),
    "stated and left out": (lambda s: [lm(s, temperature=0.7)], {"params": {"temperature": None}}, None),
    "a limit by another name": (lambda s: [lm(s, max_completion_tokens=70)], {}, None),
    "a limit that is searched": (lambda s: [lm(s, max_completion_tokens=70)], {"params": {"max_tokens": 60}}, None),
    "of two models": (lambda s: [lm(s, temperature=0.0, max_tokens=50, stop=["x"]),
                                 lm(s, "openai/large", temperature=0.9, max_tokens=500)], {}, None),
    "of one of two models": (lambda s: [lm(s), lm(s, "openai/large", temperature=0.9)], {}, None),
    "searched for one of two": (lambda s: [lm(s, temperature=0.2), lm(s, "openai/large", temperature=0.9)],
                                {"params": {"temperature": {"choices": [0.5], "when": {"model": ["openai/small"]}}}}, None),
    "of a model that reasons": (lambda s: [lm(s, "openai/o3-mini", temperature=1.0, max_tokens=20_000)], {}, None),
    "a model by name": (lambda s: [{"name": "large", "route": "openai/large", "api_base": s.url, "supports": ["max_tokens", "verbosity"]}],
                        {"params": {"max_tokens": 40, "verbosity": "low"}}, None),
    "under JSON": (lambda s: [lm(s, "openai/large", temperature=0.1)], {}, dspy.JSONAdapter),
    "under JSON with a schema": (lambda s: [lm(s, "openai/gpt-4o", temperature=0.1)], {}, dspy.JSONAdapter),
    "under XML": (lambda s: [lm(s, "openai/large", temperature=0.1)], {}, dspy.XMLAdapter),
    "under an adapter of one's own": (lambda s: [lm(s, "openai/large", max_tokens=80)], {}, Spoken),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_compiled_program_sends_what_was_measured(server: ScriptedServer, monkeypatch: Any, case: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    models, options, adapter = CASES[case]
    with dspy.context(adapter=adapter and adapter()):
        optimize = optimizer(models(server), **options)
        compiled = optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
        model = compiled.lm.model.removeprefix("openai/")
        measured, question = (
            list(server.requests),
            next(row.question for row in ROWS[8:] if bodies(server.requests, model, row.question)),
        )
        server.requests.clear()
        compiled.lm.cache = False
        compiled(question=question)
    assert bodies(measured, model, question) == bodies(server.requests, model, question) != set()


def test_values_of_each_model_are_sent_to_it_and_what_was_searched_holds_in_place_of_them(
    server: ScriptedServer,
) -> None:
    models = [lm(server, temperature=0.2, max_tokens=50), lm(server, "openai/large", temperature=0.9, max_tokens=50)]
    optimize = optimizer(models, params={"top_p": {"choices": [0.5]}})
    optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
    sent = {(r.body["model"], r.body["temperature"], r.body["max_tokens"], r.body["top_p"]) for r in server.requests}
    assert sent == {("small", 0.2, 50, 0.5), ("large", 0.9, 50, 0.5)}
    again = optimizer([models[0], models[1].copy(temperature=0.8)], params={"top_p": {"choices": [0.5]}})
    again.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
    assert again.study.study != optimize.study.study and {r.body["temperature"] for r in server.requests} > {0.8}


def test_one_model_at_two_addresses_or_temperatures_is_two_models(server: ScriptedServer) -> None:
    with ScriptedServer(script) as elsewhere:
        models = [lm(server), lm(server, temperature=0.9), lm(elsewhere)]
        optimize = optimizer(models)
        optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
        assert elsewhere.requests and {r.body.get("temperature") for r in server.requests} == {None, 0.9}
    assert {m.params["model"] for m in optimize.study.members} <= {"openai/small", "openai/small #2", "openai/small #3"}


class Alone(dspy.LM):
    """Sends by itself."""

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        raise AssertionError("asked")


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (lambda s: [lm(s, model_type="responses")], r"models\[0\]: LM\('openai/small', model_type='responses'\) asks"),
        (lambda s: [lm(s), lm(s, "text/x", model_type="text")], r"models\[1\]: .*model_type='text'"),
        (lambda s: [Alone("openai/small", api_base=s.url)], r"models\[0\]: Alone\('openai/small'\) sends its requests by"),
        (lambda s: [lm(s, drop_params=True)], r"models\[0\]: LM\('openai/small', drop_params=...\) cannot be sent"),
        (lambda s: [lm(s, n=3)], r"models\[0\]: LM\('openai/small', n=...\)"),
        (lambda s: [lm(s), lm(s)], r"models\[1\]: 'openai/small' is given twice with the same address"),
        (lambda s: [{"name": "a", "api_base": s.url}, {"name": "a", "api_base": s.url}], r"models\[1\]: 'a' is named twice"),
        (lambda s: ["openai/no-such-model-3"], r"offramp.Optimizer: .*no model has this name"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_measured_as_given_are_refused_in_terms_of_the_call(
    server: ScriptedServer, tmp_path: Path, models: Callable[[ScriptedServer], list[Any]], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        optimizer(models(server)).compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
    assert server.requests == [] and "space.yaml" not in str(raised.value)


def test_no_message_or_warning_names_the_file_that_was_written_from_the_arguments(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    optimize = optimizer([lm(server)], trials=1)
    optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
    assert "offramp.Optimizer" in caplog.text and "space.yaml" not in caplog.text, caplog.text
    with pytest.raises(ModelError, match=r"^offramp.Optimizer: ") as raised:
        model = {"name": "a", "route": "local/no-such-file", "api_base": server.url}
        optimizer([model]).compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
    assert "space.yaml" not in str(raised.value)


def test_calls_in_threads_keep_their_keys_apart_and_leave_none_behind(server: ScriptedServer, tmp_path: Path) -> None:
    before, found = dict(os.environ), {}

    def run(name: str, at: ScriptedServer, nested: bool) -> None:
        model = lm(at, f"openai/{name}", api_key=f"sk-secret-of-{name}-0123456789")
        optimize = optimizer([model], trials=1, results=tmp_path / name, name="same")

        def compiled() -> str:
            optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
            return optimize.study.study

        async def cell() -> str:
            return compiled()

        found[name] = asyncio.run(cell()) if nested else compiled()

    with ScriptedServer(script) as second, ScriptedServer(script) as third:
        places = {"a": server, "b": second, "c": third}
        threads = [threading.Thread(target=run, args=(n, at, n == "c")) for n, at in places.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found.values())) == 3
        for name, at in places.items():
            assert {r.headers["authorization"] for r in at.requests} == {f"Bearer sk-secret-of-{name}-0123456789"}
    assert dict(os.environ) == before
    assert [p for p in tmp_path.rglob("*") if p.is_file() and b"sk-secret-of" in p.read_bytes()] == []


def test_another_key_for_the_same_model_continues_the_study(server: ScriptedServer) -> None:
    first, second = optimizer([lm(server)], trials=1), optimizer([lm(server, api_key="a-new-key")], trials=1)
    for optimize in (first, second):
        optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:8], valset=ROWS[8:])
    assert second.study.study == first.study.study and second.run.calls == 0


def test_labels_that_alternate_are_in_both_halves_of_the_valset(server: ScriptedServer) -> None:
    rows = [row.copy(label=("yes", "no")[i % 2]) for i, row in enumerate(ROWS)]
    optimize = offramp.Optimizer(
        lambda example, pred, trace=None: example.label == "yes", models=[lm(server)], rounds=0, demos=(), trials=1,
        objectives={"latency": None, "cost": None},
    )  # fmt: skip
    optimize.compile(dspy.Predict("question -> answer"), trainset=rows[:10], valset=rows[10:])
    (member,) = optimize.study.members
    assert (member.quality, member.holdout.quality) == (0.5, 0.5)


def halves_of(study: Any) -> tuple[list[str], list[str]]:
    """Questions of the rows of `search` and `holdout`, in order."""
    (file,) = Path().glob("results/*/examples.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    (space,) = Path().glob("results/*/space.yaml")
    column = yaml.safe_load(space.read_text())["splits"]["column"]
    search, holdout = ([row["question"] for row in rows if row[column] == name] for name in ("search", "holdout"))
    assert study.holdout_examples == len(holdout)
    return search, holdout


REPEATED = {
    "each twice": [*ROWS[8:18], *ROWS[8:18]],
    "twice with other labels": [*ROWS[8:18], *(row.copy(answer="else") for row in ROWS[8:18])],
    "one often": [*ROWS[8:18], *[ROWS[8]] * 6],
    "most of them one": [*ROWS[8:11], *[ROWS[20]] * 9],
    "several of several sizes": [row for i, row in enumerate(ROWS[8:18]) for _ in range(i % 4 + 1)],
    "equal once they are written": [
        dspy.Example(question=value, answer=str(i)).with_inputs("question")
        for i in range(4) for value in ([f"number {i} ?"], (f"number {i} ?",))
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", REPEATED)
def test_examples_of_a_valset_with_the_same_inputs_are_in_one_half(server: ScriptedServer, what: str) -> None:
    valset = REPEATED[what]
    optimize = optimizer([lm(server)], trials=1)
    optimize.compile(dspy.Predict("question -> answer"), trainset=ROWS[:6], valset=valset)
    search, holdout = halves_of(optimize.study)
    assert not {str(question) for question in search} & {str(question) for question in holdout}
    largest = max(Counter(map(str, search + holdout)).values())
    apart = max(1, 2 * largest - len(valset))
    assert len(search) + len(holdout) == len(valset) and abs(len(search) - len(holdout)) <= apart


def test_examples_without_a_valset_stay_together_too(server: ScriptedServer) -> None:
    optimize = optimizer([lm(server)], trials=1)
    rows = [*ROWS[:15], *(row.copy(answer="else") for row in ROWS[:15])]
    optimize.compile(dspy.Predict("question -> answer"), trainset=rows)
    assert optimize.study.holdout_examples in (10, 11)


def test_a_valset_of_one_question_cannot_be_divided(server: ScriptedServer) -> None:
    with pytest.raises(UsageError, match="valset: all examples have the same inputs"):
        optimizer([lm(server)]).compile(dspy.Predict("question -> answer"), trainset=ROWS[:6], valset=[ROWS[8]] * 9)
    assert not server.requests


def test_a_valset_without_repeated_inputs_is_divided_by_every_other_example_in_the_order_of_labels(
    server: ScriptedServer,
) -> None:
    rows = [row.copy(label=("yes", "no")[i % 2]) for i, row in enumerate(ROWS)]
    optimize = optimizer([lm(server)], trials=1)
    optimize.compile(dspy.Predict("question -> answer"), trainset=rows[:10], valset=rows[10:])
    search, _ = halves_of(optimize.study)
    numbers = [11, 12, 14, 18, 19, 23, 24, 25, 26, 27]
    assert search == [f"number {number} ?" for number in numbers]
