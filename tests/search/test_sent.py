"""What is shown and promoted of a candidate is what its requests say, and candidates with equal requests are one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offramp.job.clock import Timing
from offramp.promote import promoting
from offramp.records import CallReply, CallRequest, Usage
from offramp.study.wording import short_params
from own_programs import right, transport, write_own
from search_jobs import LABELS, at_once, run_job

ONE = """\
import dspy


class Sorter(dspy.Module):
    def __init__(self):
        super().__init__()
        {made}

    def forward(self, message):
        {forward}
"""
SORT = "self.sort = dspy.Predict('message -> label')"
CALL = "return self.sort(message=message)"
BEST = "self.sort = dspy.{}(dspy.Predict('message -> label'), N=2, reward_fn=lambda a, p: 1.0, threshold=1.0)"
TWO = "self.gist = dspy.Predict('message -> gist'); self.sort = dspy.Predict('gist -> label', temperature=0.9)"
CHAIN = "return self.sort(gist=self.gist(message=message).gist)"
BLOCK = "\n        "
TEMPERATURES = {"params": {"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 64}}
CONSTANT = {"params": {"temperature": 0.0, "max_tokens": 64}}
BOOTSTRAPPED = {"demos": {"kind": ["none", "bootstrapped"], "count": 2}}


def one(made: str = SORT, forward: str = CALL) -> str:
    return ONE.format(made=made, forward=forward)


def run(folder: Path, source: str, wire: Any = None, **changes: Any) -> Any:
    given = {"instructions": None, "search": {"sampler": "grid", "trials": 8, "concurrency": 2}, **changes}
    models = [{"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1",
               "supports": ["temperature", "max_tokens"], "price": {"input_usd": 1.0, "output_usd": 2.0}}]  # fmt: skip
    space = write_own(folder, {"program.py": source}, models=models, **given)
    found = run_job(space, folder / "results", transport=wire or transport(), timing=Timing(sleep=at_once))
    assert found.error is None
    return found.report


def promoted(folder: Path, pick: str = "recommended") -> Any:
    return promoting.promote("latest", pick=pick, results=folder / "results", promotions=folder / "promotions",
                             by="ada", force=True, why="a test")  # fmt: skip


def answered(request: CallRequest) -> CallReply:
    """The right answer in the chat format or in JSON, as it is asked for."""
    if "JSON object" not in str(request.messages[-1]["content"]):
        return right(request)
    number = int(re.findall(r"case (\d+)", str(request.messages[-1]["content"]))[-1])
    return replace(right_of(number), text=json.dumps({"label": LABELS[number % 3]}))


def right_of(number: int) -> CallReply:
    usage = Usage(input_tokens=20, output_tokens=5)
    return CallReply(text="", finish_reason="stop", usage=usage, latency_s=0.1)


def wrong(request: CallRequest) -> CallReply:
    text = "[[ ## label ## ]]\nnone of these\n\n[[ ## completed ## ]]"
    return CallReply(text=text, finish_reason="stop", usage=Usage(input_tokens=20, output_tokens=5), latency_s=0.1)


SHAPES = {
    "BestOfN": (one(BEST.format("BestOfN")), CONSTANT, {"temperature": [1.0]}, "temperature=1.0"),
    "Refine": (one(BEST.format("Refine")), CONSTANT, {"temperature": [1.0]}, "temperature=1.0"),
    "a predictor's own": (
        one("self.sort = dspy.Predict('message -> label', temperature=0.9)"), CONSTANT, {"temperature": [0.9]},
        "temperature=0.9",
    ),
    "one predictor of two": (
        one(TWO, CHAIN), CONSTANT, {"temperature": {"gist": [0.0], "sort": [0.9]}}, "temperature=0.0/0.9",
    ),
    "max_tokens": (
        one("self.sort = dspy.ChainOfThought('message -> label', max_tokens=77)"), CONSTANT, {"max_tokens": [77]},
        "max_tokens=77",
    ),
    "at the call": (
        one(forward="return self.sort(message=message, config={'temperature': 0.7})"), CONSTANT,
        {"temperature": [0.7]}, "temperature=0.7",
    ),
    "an adapter of its own": (
        one(forward=BLOCK.join(["with dspy.context(adapter=dspy.ChatAdapter()):", f"    {CALL}"])),
        {"program": {"format": "json"}}, {"format": ["ChatAdapter"]}, "ChatAdapter",
    ),
    "demos that are cleared": (
        one(forward=f"self.sort.demos = []; {CALL}"), {"demos": {"kind": "bootstrapped", "count": 2}},
        {"demos.count": [0]}, "0 of 2 bootstrapped demos",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_label_and_the_promotion_say_what_the_requests_say(tmp_path: Path, shape: str) -> None:
    source, changes, sent, label = SHAPES[shape]
    wire = transport()
    report = run(tmp_path, source, wire, **changes)
    member = report.recommended or report.members[0]
    for name, values in sent.items():
        found = member.sent[name]
        assert (found if isinstance(values, dict) else next(iter(found.values()))) == values
        if name in ("temperature", "max_tokens"):
            asked = {request.params[name] for request in wire.requests}
            assert asked == {value for each in found.values() for value in each}
    assert label in short_params(member.shown)
    assert report.to_json()["front"][0]["sent"] == member.sent
    done = promoted(tmp_path, member.candidate)
    assert done.promotion.evidence.sent == member.sent
    assert any("is not what was sent" in note for note in done.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        TEMPERATURES,
        {"demos": {"kind": "bootstrapped", "count": 2}},
        {"demos": {"kind": "random", "count": 2}},
        {"demos": {"kind": "nearest", "count": 2}},
        {"program": {"format": "json"}, "demos": {"kind": "random", "count": 3}},
    ],
)
def test_where_the_params_say_it_nothing_is_added(tmp_path: Path, changes: dict[str, Any]) -> None:
    report = run(tmp_path, one(), transport(answered), **changes)
    assert [member.sent for member in report.members] == [{}] * len(report.members)
    done = promoted(tmp_path, report.members[0].candidate)
    assert done.promotion.evidence.sent is None and done.notes == ()
    assert "sent:" not in done.path.read_text()


EQUAL = {
    "an adapter of its own": (SHAPES["an adapter of its own"][0], {"program": {"format": ["chat", "json"]}}),
    "its code sets the temperature": (SHAPES["at the call"][0], TEMPERATURES),
    "bootstrapped demos that are cleared": (SHAPES["demos that are cleared"][0], BOOTSTRAPPED),
}


@pytest.mark.parametrize("shape", EQUAL)
def test_candidates_with_equal_requests_are_one_and_paid_once(tmp_path: Path, shape: str) -> None:
    source, changes = EQUAL[shape]
    wire = transport()
    report = run(tmp_path, source, wire, **changes)
    assert report.trials == 1 and len(report.members) == 1
    sent = [request.hash for request in wire.requests]
    assert len(sent) == len(set(sent)), "no answer is paid for twice"
    again = transport()
    assert run(tmp_path, source, again, **changes).trials == 1 and again.requests == []


def test_bootstrapped_demos_that_found_none_are_the_candidate_without_demos(tmp_path: Path) -> None:
    wire = transport(wrong)
    report = run(tmp_path, one(), wire, **BOOTSTRAPPED)
    assert [member.params["demos"] for member in report.members] in (["none"], ["bootstrapped"])
    assert "2 bootstrapped" not in short_params(report.members[0].shown).replace("0 of 2 bootstrapped", "")


def test_a_value_that_changes_a_later_request_alone_is_another_candidate(tmp_path: Path) -> None:
    report = run(tmp_path, one(TWO.replace("temperature=0.9", "").replace("gist')", "gist', temperature=0.9)"), CHAIN),
                 **TEMPERATURES)  # fmt: skip
    assert len(report.members) == 2


def test_candidates_with_other_requests_stay_apart(tmp_path: Path) -> None:
    report = run(tmp_path, one(), **TEMPERATURES)
    assert len(report.members) == 2 and all(member.sent == {} for member in report.members)
