"""A metric that calls a language model asks the model that the space file states for it, and every call is booked."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.calls.failures import ModelNotFound, Unreachable
from offramp.errors import JobError, UsageError
from offramp.job.clock import Timing
from offramp.job.resolve import resolve_job
from offramp.promote import promoting
from offramp.promote.recheck import check
from offramp.records import CallReply, CallRequest, Purpose, Usage
from offramp.search import api
from offramp.space.load import load_space
from own_programs import fields_of, right, transport, write_own
from search_jobs import LABELS, PRICES, at_once, run_job

JUDGE = {"name": "grader", "route": "openai/grader", "api_base": "http://127.0.0.1:9/v1", "searched": False,
         "price": {"input_usd": 5.0, "output_usd": 5.0}}  # fmt: skip
MODELS = [
    {"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "price": dict(PRICES["small"])},
    JUDGE,
]
VERDICT = "import dspy\njudge = dspy.Predict('message, label -> verdict: bool')\n"
ASKS = {
    "a predictor": VERDICT + (
        "def metric(example, pred, trace=None):\n"
        "    return judge(message=example.message, label=pred.label).verdict\n"
    ),
    "a coroutine": VERDICT + (
        "async def metric(example, pred, trace=None):\n"
        "    return (await judge.acall(message=example.message, label=pred.label)).verdict\n"
    ),
    "a module": VERDICT + (
        "class Graded(dspy.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.judge = dspy.ChainOfThought('message, label -> verdict: bool')\n"
        "    def forward(self, example, pred, trace=None):\n"
        "        return dspy.Prediction(score=self.judge(message=example.message, label=pred.label).verdict)\n"
        "metric = Graded()\n"
    ),
    "a thread of its own": VERDICT + (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def metric(example, pred, trace=None):\n    with ThreadPoolExecutor(2) as pool:\n"
        "        asked = pool.submit(judge, message=example.message, label=pred.label)\n"
        "        return asked.result().verdict\n"
    ),
    "an object of its own for the same model": VERDICT + (
        "lm = dspy.LM('openai/grader', api_base='http://127.0.0.1:9/v1', api_key='k')\n"
        "def metric(example, pred, trace=None):\n    with dspy.context(lm=lm):\n"
        "        return judge(message=example.message, label=pred.label).verdict\n"
    ),
    "DSPy's own": (
        "from dspy.evaluate import SemanticF1\nscore = SemanticF1(threshold=0.5)\n"
        "class Named:\n    def __init__(self, **values):\n        self.__dict__.update(values)\n"
        "def metric(example, pred, trace=None):\n"
        "    given = Named(question=example.message, response=example.label)\n"
        "    return score(given, Named(response=pred.label))\n"
    ),
    "DSPy's own, by key ideas": (
        "from dspy.evaluate import SemanticF1\nscore = SemanticF1(threshold=0.5, decompositional=True)\n"
        "class Named:\n    def __init__(self, **values):\n        self.__dict__.update(values)\n"
        "def metric(example, pred, trace=None):\n"
        "    given = Named(question=example.message, response=example.label)\n"
        "    return score(given, Named(response=pred.label))\n"
    ),
}  # fmt: skip


def graded(request: CallRequest) -> CallReply:
    """The grader says whether the label is the right one; everybody else is right."""
    if request.model.name != "grader":
        return right(request)
    text = request.messages[-1]["content"]
    number = int(text.split("case ")[-1][:3])
    good = str(f"\n{LABELS[number % 3]}\n" in text)
    values = {"verdict": good, "reasoning": "as asked", "recall": "1.0", "precision": "1.0"}
    values |= dict.fromkeys(("ground_truth_key_ideas", "system_response_key_ideas", "discussion"), "one idea")
    reply = "\n\n".join(f"[[ ## {name} ## ]]\n{values[name]}" for name in fields_of(request))
    usage = Usage(input_tokens=100, output_tokens=10)
    return CallReply(text=f"{reply}\n\n[[ ## completed ## ]]", finish_reason="stop", usage=usage, latency_s=0.1)


def space_of(
    folder: Path, source: str, *, path: str = "grade.py:metric", model: str | None = "grader", **more: Any
) -> Path:
    part = {"kind": "python", "path": path, **({} if model is None else {"model": model, "params": {"max_tokens": 50}})}
    return write_own(folder, {"grade.py": source}, metric=part, models=MODELS, **more)


def run(space: Path, wire: Any, **more: Any) -> Any:
    return run_job(space, space.parent / "results", transport=wire, timing=Timing(sleep=at_once), **more)


def booked(folder: Path) -> Counter[tuple[str, str]]:
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        return Counter(db.execute("select purpose, model from offramp_calls").fetchall())


@pytest.mark.parametrize("how", ASKS)
def test_every_call_of_a_metric_is_sent_booked_and_kept_as_the_judges(tmp_path: Path, how: str) -> None:
    space, wire = space_of(tmp_path, ASKS[how]), transport(graded)
    result = run(space, wire)
    assert result.error is None
    sent = Counter(request.purpose for request in wire.requests)
    asked = [request for request in wire.requests if request.purpose is Purpose.JUDGE]
    assert {request.model.name for request in asked} == {"grader"} and asked[0].params.get("max_tokens", 50) == 50
    assert sent[Purpose.JUDGE] == sum(n for (purpose, _), n in booked(tmp_path).items() if purpose == "judge") > 0
    assert len(wire.requests) == result.calls == sum(booked(tmp_path).values())
    assert result.spent_by_purpose_usd["judge"] == pytest.approx(sent[Purpose.JUDGE] * 110 * 5.0 / 1e6)
    assert [member.quality for member in result.report.members] == [1.0] * len(result.report.members)
    again = transport(graded)
    run(space, again)
    assert again.requests == []


def test_the_metrics_calls_are_expected_capped_and_refused_where_the_budget_ends(tmp_path: Path) -> None:
    space = space_of(tmp_path, ASKS["a predictor"])
    _, expected = api.dry_run(space, results=tmp_path / "results")
    assert expected.judge_calls > 0
    wire = transport(graded)
    result = run(space, wire, calls=20)
    assert len(wire.requests) <= 20 and result.report.stop_reason is not None


@pytest.mark.parametrize("how", ASKS)
def test_a_metric_that_calls_a_model_without_naming_one_is_refused_before_anything_is_sent(
    tmp_path: Path, how: str
) -> None:
    space = space_of(tmp_path, ASKS[how], model=None)
    with pytest.raises(UsageError) as caught:
        resolve_job(load_space(space))
    assert "grade.py:metric: it calls a language model, which no budget would count. State the model with" in str(
        caught.value
    )
    wire = transport(graded)
    with pytest.raises(UsageError, match="calls a language model"):
        run(space, wire)
    assert wire.requests == []


SWALLOWS = VERDICT + (
    "def metric(example, pred, trace=None):\n    if pred.label == example.label:\n        return 1.0\n"
    "    try:\n        return judge(message=example.message, label=pred.label).verdict\n    except {kind}:\n        return 0.5\n"
)


@pytest.mark.parametrize("kind", ["KeyError", "Exception", "BaseException"])
def test_a_call_that_only_some_rows_make_ends_the_job_at_the_first_also_where_it_is_swallowed(
    tmp_path: Path, kind: str
) -> None:
    def wrong(request: CallRequest) -> CallReply:
        reply = right(request)
        return CallReply(
            text=reply.text.replace("billing", "returns"), finish_reason="stop", usage=reply.usage, latency_s=0.1
        )

    wire = transport(wrong)
    result = run(space_of(tmp_path, SWALLOWS.replace("{kind}", kind), model=None), wire)
    assert isinstance(result.error, JobError) and "it calls a language model" in str(result.error)
    assert all(request.model.name == "small" for request in wire.requests)


def test_a_model_that_the_metric_names_by_itself_has_to_be_the_stated_one(tmp_path: Path) -> None:
    source = ASKS["an object of its own for the same model"].replace("openai/grader", "openai/other")
    result = run(space_of(tmp_path, source), transport(graded))
    assert isinstance(result.error, JobError) and "openai/other" in str(result.error)
    assert "the program" not in str(result.error)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(Unreachable("the server is down"), "the server is down"), ("no verdict in here", "could not be read")],
)
@pytest.mark.parametrize("source", [ASKS["a predictor"], ASKS["a coroutine"]])
def test_without_an_answer_of_its_model_a_metric_scores_nothing(
    tmp_path: Path, answer: Any, words: str, source: str
) -> None:
    def broken(request: CallRequest) -> Any:
        return answer if request.model.name == "grader" else right(request)

    space = space_of(tmp_path, source, calls={"attempts": 1})
    result = run(space, transport(broken))
    assert result.error is not None and words in str(result.error)
    with sqlite3.connect(tmp_path / "results" / "offramp.db") as db:
        states = {row[0] for row in db.execute("select state from offramp_results")}
    assert states == {"failed"}


def test_a_metric_with_a_model_is_promoted_and_checked(tmp_path: Path) -> None:
    space = space_of(tmp_path, ASKS["a module"])
    assert run(space, transport(graded)).error is None
    promoting.promote(
        "latest", results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada", force=True, why="a test"
    )
    wire = transport(graded)
    report = check("landscape", promotions=tmp_path / "promotions", transport=wire, timing=Timing(sleep=at_once))
    assert report.holds and {r.purpose for r in wire.requests} >= {Purpose.JUDGE}
    assert report.calls == len(wire.requests)


def test_a_model_of_a_metric_that_is_gone_is_named_with_its_place_and_another_grades_the_recorded_answers(
    tmp_path: Path,
) -> None:
    space = space_of(tmp_path, ASKS["a predictor"])

    def gone(request: CallRequest) -> Any:
        return ModelNotFound("no such model") if request.model.name == "grader" else graded(request)

    assert run(space, transport(graded)).error is None
    places = {"promotions": tmp_path / "promotions", "by": "ada", "force": True, "why": "a test"}
    promoting.promote("latest", results=tmp_path / "results", **places)
    result = run_job(space, tmp_path / "others", transport=transport(gone), timing=Timing(sleep=at_once))
    assert "metric.model: the judge grader no longer exists" in str(result.error)
    other = {**JUDGE, "name": "newer", "route": "openai/newer"}
    values = yaml.safe_load(space.read_text())
    values["metric"]["model"], values["models"] = "newer", [MODELS[0], other]
    space.write_text(yaml.safe_dump(values))

    def newer(request: CallRequest) -> Any:
        same = replace(request.model, name="grader") if request.model.name == "newer" else request.model
        return graded(replace(request, model=same))

    wire = transport(newer)
    storage = f"sqlite:///{tmp_path}/results/offramp.db"
    at = {"promotions": tmp_path / "promotions", "storage": storage, "timing": Timing(sleep=at_once)}
    report = check("landscape", transport=wire, **at)
    assert report.holds and {r.model.name for r in wire.requests} == {"newer"}


def test_a_check_goes_on_where_a_metric_reads_what_no_record_of_an_answer_has(tmp_path: Path) -> None:
    source = ASKS["a predictor"].replace("message=example.message", "message=pred.context[0]")
    space = space_of(tmp_path, source)
    assert run(space, transport(graded)).error is None
    places = {"promotions": tmp_path / "promotions", "by": "ada", "force": True, "why": "a test"}
    promoting.promote("latest", results=tmp_path / "results", **places)

    def worse(request: CallRequest) -> CallReply:
        reply = graded(request)
        return replace(reply, text=reply.text.replace("billing", "returns"))

    report = check(
        "landscape", promotions=tmp_path / "promotions", transport=transport(worse), timing=Timing(sleep=at_once)
    )
    assert not report.holds and report.losses > 0


def test_a_part_of_a_mix_may_ask_a_model(tmp_path: Path) -> None:
    parts = [{"kind": "exact", "field": "label"}, {"kind": "python", "path": "grade.py:metric", "model": "grader"}]
    space = write_own(
        tmp_path, {"grade.py": ASKS["a predictor"]}, metric={"kind": "mix", "parts": parts}, models=MODELS
    )
    wire = transport(graded)
    result = run(space, wire)
    assert result.error is None and Counter(r.purpose for r in wire.requests)[Purpose.JUDGE] > 0


def test_a_metric_without_a_model_keeps_its_studies_and_params_need_a_model(tmp_path: Path) -> None:
    plain = {"kind": "python", "path": "grade.py:metric"}
    source = "def metric(example, pred, trace=None):\n    return 1\n"
    space = write_own(tmp_path, {"grade.py": source}, metric=plain)
    job = resolve_job(load_space(space))
    named = job.space.model_dump(mode="json")["metric"]
    assert named["model"] is None and job.hash(0) == resolve_job(load_space(space)).hash(0)
    with pytest.raises(UsageError, match="params"):
        load_space(write_own(tmp_path, metric={**plain, "params": {"max_tokens": 5}}))
