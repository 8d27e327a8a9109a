"""How sure a run is of its answer: asked for, recorded, replayed, and what a cascade by it decides in an app."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_forms_promoted import Script, space_of

import offramp
from offramp.calls.transports.replies import read_reply
from offramp.program.cascade import run_rule
from offramp.program.program import Outcome
from offramp.records import CallReply, CallRequest, Price, Result, ResultState, Usage
from offramp.study.domain.cascade_results import MemberResults, composed
from offramp.study.domain.cascade_rule import CascadeRule, Decisions, read_rule
from offramp.testing.server import ScriptedServer, ServerReply
from program_runs import HOSTED
from search_jobs import LABELS

GOOD, BAD = [-0.1, -0.3], [-2.0, -1.0]


def scripted(body: dict[str, Any]) -> ServerReply:
    """The small model is right, and sure, on even cases; log probabilities where they were asked for."""
    number = int(str(body["messages"][-1]["content"]).split("case ")[1][:3])
    right = body["model"] == "big" or number % 2 == 0
    choice: dict[str, Any] = {
        "index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": LABELS[(number + (not right)) % 3]},
    }  # fmt: skip
    if body.get("logprobs"):
        tokens = [{"token": "x", "logprob": one, "bytes": None, "top_logprobs": []} for one in (GOOD if right else BAD)]
        choice["logprobs"] = {"content": tokens, "refusal": None}
    return ServerReply(choices=[choice])


def asking(folder: Path, server: ScriptedServer, **params: Any) -> Path:
    path = space_of(folder, server, "predict", params={"max_tokens": 30, "temperature": 0.0, **params},
                    splits={"train": 0, "search": 24, "holdout": 12},
                    objectives={"quality": {"weight": 0.9}, "cost": {"weight": 0.1, "scale": [0.01, 0.0]}, "latency": None})  # fmt: skip
    rows = [{"id": f"e{i:03}", "message": f"case {i:03}", "label": LABELS[i % 3]} for i in range(36)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    space = yaml.safe_load(path.read_text())
    [small] = space["models"]
    small["supports"] = ["temperature", "max_tokens", "logprobs"]
    big = {**small, "name": "big", "route": "openai/big", "price": {"input_usd": 50.0, "output_usd": 50.0}}
    path.write_text(yaml.safe_dump({**space, "models": [small, big]}, sort_keys=False))
    return path


def column(folder: Path, name: str, table: str) -> list[float | None]:
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        return [row[0] and round(row[0], 6) for row in db.execute(f"select {name} from {table}")]


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(scripted) as server:
        yield server


def test_log_probabilities_are_asked_for_where_the_file_says_so_and_a_cascade_by_them_is_promoted(
    server: ScriptedServer, tmp_path: Path
) -> None:
    for name, params in (("plain", {}), ("sure", {"logprobs": True})):
        (tmp_path / name).mkdir()
        server.requests.clear()
        job = offramp.optimize(asking(tmp_path / name, server, **params), results=tmp_path / name / "results")
        assert job.error is None and {request.body.get("logprobs") for request in server.requests} == {
            params.get("logprobs")
        }
    assert set(column(tmp_path / "plain", "confidence", "offramp_results")) == {None}
    found = set(column(tmp_path / "sure", "confidence", "offramp_results"))
    assert found == {round(sum(GOOD) / 2, 6), round(sum(BAD) / 2, 6)}
    assert set(column(tmp_path / "sure", "logprob", "offramp_calls")) == found

    results = tmp_path / "sure" / "results"
    report = offramp.cascades("latest", results=results)
    by_kind = {one.kind: one for one in report.crossed}
    assert by_kind["confidence"].quality == 1.0 and report.best["confidence"].of == "confidence"
    assert "confidence" in offramp.cascades("latest", results=tmp_path / "plain" / "results").missing

    offramp.verify("latest", results=results, cascade="confidence", probe=0)
    promotions = tmp_path / "promotions"
    from offramp.promote import promoting, recheck

    promoted = promoting.promote(
        "latest", cascade="confidence", results=results, promotions=promotions, by="ada", force=True, why="a test"
    ).promotion
    assert promoted.cascade is not None and promoted.cascade.of == "confidence"
    assert promoted.evidence.holdout is not None and promoted.evidence.holdout.quality == 1.0
    server.requests.clear()
    program = offramp.load("landscape", promotions=promotions, api_base=server.url)
    for number in range(4):
        assert program(message=f"case {number:03}").label == LABELS[number % 3]
    assert [request.body["model"] for request in server.requests] == ["small", "small", "big", "small", "small", "big"]
    checked = recheck.check("landscape", promotions=promotions)
    assert checked.difference == 0.0 and not checked.broken


@pytest.mark.parametrize(
    ("form", "sure"),
    [({"self_consistency": 3, "temperature": 0.7}, {2 / 3}), ({"best_of": 3, "temperature": 0.7}, {1.0}),
     ({"verify_then_retry": 2}, {1.0}), ("predict", {None})],
    ids=["vote", "best_of", "retry", "predict"],
)  # fmt: skip
def test_a_form_says_how_sure_it_is(form: Any, sure: set[float | None], tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server:
        params = {"max_tokens": 30, **({} if "temperature" in form else {"temperature": 0.0})}
        path = space_of(tmp_path, server, form, params=params, incumbent={"model": "small", "form": form})
        assert offramp.optimize(path, results=tmp_path / "results").error is None
    assert set(column(tmp_path, "confidence", "offramp_results")) == {one and round(one, 6) for one in sure}


# --------------------------------------------------------------------------------------- reading log probabilities


def reply_with(logprobs: Any) -> CallReply:
    choice = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop", "logprobs": logprobs}
    return read_reply({"choices": [choice], "model": "m", "usage": {}}, Usage(input_tokens=1, output_tokens=1), 0.1)


def test_the_mean_of_the_tokens_is_read_from_objects_and_from_json() -> None:
    tokens = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2}]
    assert reply_with({"content": tokens}).logprob == -1.5
    assert reply_with(SimpleNamespace(content=[SimpleNamespace(**token) for token in tokens])).logprob == -1.5


ODD = [
    None, {}, {"content": None}, {"content": []}, {"content": "text"}, {"content": [{}]}, {"content": [{"logprob": None}]},
    {"content": [{"logprob": "x"}]}, {"content": [{"logprob": -1.0}, {"token": "b"}]}, {"tokens": [1]}, [], "odd",
    {"content": [{"logprob": float("nan")}]}, {"content": [{"logprob": float("-inf")}]},
]  # fmt: skip


@pytest.mark.parametrize("logprobs", ODD, ids=str)
def test_anything_else_is_not_known(logprobs: Any) -> None:
    assert reply_with(logprobs).logprob is None


# ------------------------------------------------------------------------------- an app decides as was recorded

RUN = st.tuples(
    st.sampled_from(["ok", "ok", "ok", "fault"]),
    st.floats(1e-4, 1e-2),
    st.one_of(st.none(), st.floats(-3, 0)),
    st.floats(0.1, 2.0),
)
PRICED = Price(input_usd=1.0, output_usd=1.0)


def rule_of(kind: str, thresholds: tuple[float, float]) -> CascadeRule:
    of = "confidence" if kind.endswith("confidence") else "cost_usd"
    members = ("a", "b", "c") if kind.startswith("stages") else ("a", "b")
    return CascadeRule(
        source="s", kind=kind, members=members, params=({},) * len(members), compared=("label",), prior=None, inputs={},
        utilities=(), crossed={}, holdout=None, of=of, threshold=thresholds[0],
        second_of=of if len(members) > 2 else None, second_threshold=thresholds[1] if len(members) > 2 else None,
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["cost", "confidence", "stages_cost", "stages_confidence"]),
    runs=st.tuples(RUN, RUN, RUN),
    cuts=st.tuples(st.floats(1e-4, 1e-2), st.floats(1e-4, 1e-2), st.floats(-3, 0), st.floats(-3, 0)),
)
def test_what_is_composed_from_recorded_runs_is_what_an_app_does_and_what_a_hand_count_says(
    kind: str, runs: Any, cuts: Any
) -> None:
    import asyncio

    by_confidence = kind.endswith("confidence")
    rule = rule_of(kind, cuts[2:] if by_confidence else cuts[:2])
    decisions, names = Decisions(rule), "abc"[: len(rule.members)]

    ran = [0]  # by hand
    for place in range(len(names) - 1):
        state, usd, sure, _ = runs[place]
        cut = rule.second_threshold if place else rule.threshold
        assert cut is not None
        unsure = (sure is None or sure < cut - 1e-9) if by_confidence else usd > cut * (1 + 1e-9)
        if state == "ok" and not unsure:
            break
        ran.append(place + 1)

    def outcome(place: int) -> Outcome:
        state, usd, sure, seconds = runs[place]
        model = HOSTED
        usage = Usage(output_tokens=0, input_tokens=0)
        from offramp.program.run_log import Exchange

        price = Price(input_usd=0.0, output_usd=usd * 1e6)
        from dataclasses import replace

        request = CallRequest(model=replace(model, price=price), messages=(), params={})
        reply = CallReply(text="x", finish_reason="stop", usage=replace(usage, output_tokens=1), latency_s=seconds)
        exchange = Exchange(request=request, reply=reply)
        good = state == "ok"
        return Outcome(
            outputs={"label": names[place]} if good else None, program_error=None if good else "unreadable",
            latency_s=seconds, exchanges=(exchange,), confidence=sure,
        )  # fmt: skip

    asked: list[int] = []

    async def run(place: int) -> Outcome:
        asked.append(place)
        return outcome(place)

    for strict in (True, False):
        asked.clear()
        found = asyncio.run(run_rule(decisions, {}, run, strict=strict))
        assert asked == ran
        expected = runs[ran[-1]][0] == "ok"
        assert found.outputs == ({"label": names[ran[-1]]} if expected else None)
        assert found.latency_s == pytest.approx(math.fsum(runs[i][3] for i in ran)) and len(found.exchanges) == len(ran)

    results = [
        MemberResults(
            price=PRICED,
            results={"e": Result(
                candidate=name, example="e", state=ResultState.SCORED if runs[i][0] == "ok" else ResultState.PROGRAM_ERROR,
                score=1.0 if runs[i][0] == "ok" else 0.0, cost_usd=runs[i][1], others_usd=runs[i][1], latency_s=runs[i][3],
                outputs={"label": name} if runs[i][0] == "ok" else None, confidence=runs[i][2], calls=1,
            )},
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    one = composed(decisions, results, {"e": {}}, name="rule")
    assert one.ran["e"] == tuple(ran)
    assert one.results["e"].cost_usd == pytest.approx(math.fsum(runs[i][1] for i in ran))
    assert one.results["e"].latency_s == pytest.approx(math.fsum(runs[i][3] for i in ran))


def test_a_saved_rule_of_three_stages_is_read_again(tmp_path: Path) -> None:
    for kind in ("stages_cost", "stages_confidence", "confidence"):
        rule = rule_of(kind, (0.5, 0.7))
        (tmp_path / "rule.json").write_text(rule.to_text())
        assert read_rule(tmp_path / "rule.json") == rule
