"""What a metric says of a run reaches the proposer that improves an instruction: of the whole, or of one predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from proposing import WRITER, kind_of

from offramp.job.clock import Timing
from offramp.records import CallReply, CallRequest, Usage
from own_programs import right, transport, write_own
from search_jobs import LABELS, at_once, run_job

METRICS = {
    "of the whole": (
        "def metric(example, pred, trace=None):\n"
        "    return example.label == pred.label, f'the label of {example.message} is {example.label}'\n",
        "the label of case",
    ),
    "in a prediction": (
        "import dspy\ndef metric(gold, pred, trace, pred_name, pred_trace):\n"
        "    return dspy.Prediction(score=gold.label == pred.label, feedback=f'not as in {pred.context[0]}')\n",
        "not as in case",
    ),
    "of one predictor": (
        "import dspy\ndef metric(gold, pred, trace=None, pred_name=None, pred_trace=None):\n"
        "    told = None if pred_name is None else f'{pred_name} was given {pred_trace[0][1].gist}, step 2 of {len(trace)}'\n"
        "    return dspy.Prediction(score=gold.label == pred.label, feedback=told)\n",
        "sort was given case",
    ),
}


def wrong_label(request: CallRequest) -> CallReply:
    """Every label is wrong; the proposer writes a text."""
    if kind_of(request) is not None:
        usage = Usage(input_tokens=50, output_tokens=9)
        return CallReply(text="```\nSort with care.\n```", finish_reason="stop", usage=usage, latency_s=0.1)
    reply = right(request)
    wrong = {label: LABELS[(i + 1) % 3] for i, label in enumerate(LABELS)}
    text = reply.text
    for label, other in wrong.items():
        if f"\n{label}\n" in text:
            text = text.replace(f"\n{label}\n", f"\n{other}\n")
            break
    return CallReply(text=text, finish_reason="stop", usage=reply.usage, latency_s=0.1)


@pytest.mark.parametrize("kind", METRICS)
def test_feedback_is_shown_to_the_proposer_that_reflects(tmp_path: Path, kind: str) -> None:
    source, words = METRICS[kind]
    propose: dict[str, Any] = {"model": WRITER, "rounds": 1, "count": 1, "every": 1, "kinds": ["reflection"]}
    space = write_own(
        tmp_path, {"metric.py": source}, propose=propose, metric={"kind": "python", "path": "metric.py:metric"}
    )
    wire = transport(wrong_label)
    result = run_job(space, tmp_path / "results", transport=wire, timing=Timing(sleep=at_once))
    assert result.error is None
    asked = [request for request in wire.requests if kind_of(request) == "reflection"]
    assert len(asked) == 1 and words in asked[0].messages[0]["content"]
