"""Jobs whose program is a module of one's own, as its user writes it: files beside a space file, and a model that echoes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offramp.records import CallReply, CallRequest, Usage
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, write_space

TWO_STEPS = """\
import dspy


class Sorter(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("message -> gist")
        self.sort = dspy.Predict("gist -> label")

    def forward(self, message):
        gist = self.gist(message=message).gist
        return dspy.Prediction(label=self.sort(gist=gist).label, context=[gist])
"""


def write_own(folder: Path, files: Mapping[str, str] | None = None, **changes: Any) -> Path:
    """A space file whose module is `program.py:Sorter`, with `files` beside it by relative path."""
    for name, text in {"program.py": TWO_STEPS, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    task = {"module": "program.py:Sorter", "inputs": ["message"], "outputs": ["label"]}
    space = {
        "task": task, "instructions": {"sort": {"vague": "Vague.", "clear": "Clear."}},
        "program": {"format": "chat"}, "incumbent": None, "params": {"temperature": 0.0, "max_tokens": 64},
        "objectives": {"quality": {"weight": 1.0}, "cost": None, "latency": None},
        "search": {"sampler": "random", "trials": 2, "concurrency": 2}, **changes,
    }  # fmt: skip
    return write_space(folder, **space)


def fields_of(request: CallRequest) -> tuple[str, ...]:
    """The output fields that a request in the chat format asks for, in order."""
    named = re.findall(r"`\[\[ ## (\w+) ## \]\]`", request.messages[-1]["content"])
    return tuple(name for name in named if name != "completed")


def right(request: CallRequest) -> CallReply:
    """What a model writes that is right on every row: the label where `label` is asked for, the number elsewhere."""
    number = int(re.findall(r"case (\d+)", "\n".join(str(m["content"]) for m in request.messages))[-1])
    values = {name: LABELS[number % 3] if name == "label" else f"case {number:03}" for name in fields_of(request)}
    text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()) + "\n\n[[ ## completed ## ]]"
    return CallReply(text=text, finish_reason="stop", usage=Usage(input_tokens=20, output_tokens=5), latency_s=0.1)


def transport(answer: Any = right) -> FunctionTransport:
    """What answers every request of a job, and keeps them."""
    return FunctionTransport(answer)
