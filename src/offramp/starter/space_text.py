"""A first space file as text: short, commented, and complete enough to run as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from offramp.starter.columns import Guess, GuessedField

LOCAL = ("local/smollm2-135m", "local/qwen2.5-coder-0.5b")
"""Models that run on this machine, which a first job uses where none is named."""
_MOST_LOCAL, _MOST_HOSTED = 240, 600
"""Rows of a first job, so that it takes minutes."""
_ROWS_FOR_DEMOS = 20
TEMPERATURES = (0.0, 0.7)
_REASONING = 4096
"""Tokens for an answer and what a model thinks before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a first space file is made of.

    Attributes:
        path: of the dataset, relative to the space file.
        with_temperature: those of `models` that accept the temperatures of a first job.
        reasoning: whether a model is known to reason within `max_tokens`.
    """

    name: str
    path: str
    guess: Guess
    models: tuple[str, ...]
    with_temperature: tuple[str, ...]
    reasoning: bool

    @property
    def local(self) -> bool:
        """Whether every model runs on this machine."""
        return all(model.startswith("local/") for model in self.models)

    @property
    def labels(self) -> GuessedField | None:
        """The first answer that is one of a few labels."""
        return next((f for f in self.guess.outputs if f.output["type"] == "enum"), None)

    @property
    def structured(self) -> bool:
        """Whether an answer is a list or an object."""
        return any(f.output["type"] in ("list[str]", "object", "list[object]") for f in self.guess.outputs)

    @property
    def constrained(self) -> bool:
        """Whether decoding can follow the type of the answer on models that run here."""
        return self.structured or [f.output["type"] for f in self.guess.outputs] != ["str"]


def space_text(start: Start) -> str:
    """The space file."""
    parts = (
        _head(start), _task(start), _dataset(start), _splits(start), _metric(start.guess), _incumbent(start),
        _models(start), _instructions(start), _program(start), _demos(start), _params(start), _caps(start),
    )  # fmt: skip
    return "\n".join(part for part in parts if part)


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _head(start: Start) -> str:
    return (
        "# Written by `offramp init`: guesses to look through. `offramp space schema` lists every key.\n"
        f"schema_version: 1\nname: {flow(start.name)}\n"
    )


def _task(start: Start) -> str:
    lines = [
        "# What goes in and what comes out. A `desc` is part of the prompt.",
        "task:",
        "  signature:",
        "    inputs:",
    ]
    lines += [f"      {flow(f.name)}:" for f in start.guess.inputs]
    lines.append("    outputs:")
    for f in start.guess.outputs:
        values = f.output.get("values", ())
        if len(values) <= 8:
            lines.append(f"      {flow(f.name)}: {flow(dict(f.output))}")
            continue
        lines.append(f"      {flow(f.name)}:")
        lines += [f"        {key}: {flow(value)}" for key, value in f.output.items() if key != "values"]
        lines += ["        values:", *(f"          - {flow(value)}" for value in values)]
    return "\n".join(lines) + "\n"


def _dataset(start: Start) -> str:
    guess = start.guess
    lines = ["dataset:", f"  path: {flow(start.path)}"]
    lines += [f"  id: {flow(guess.id)}"] if guess.id is not None else []
    renamed = {f.name: f.column for f in (*guess.inputs, *guess.outputs) if f.name != f.column}
    lines += [f"  fields: {flow(renamed)}  # field: column"] if renamed else []
    most = _MOST_LOCAL if start.local else _MOST_HOSTED
    if guess.rows > most:
        lines.append(
            f"  limit: {most}  # of {guess.rows:,} rows, so that a first job takes minutes; remove it to use all"
        )
    return "\n".join(lines) + "\n"


def _splits(start: Start) -> str:
    guess = start.guess
    what = "# train: demos. search: all that the search sees. holdout: read only to confirm the choice."
    if guess.splits is not None:
        column, values = guess.splits
        lists = {split: list(values[split]) for split in ("train", "search", "holdout")}
        return f"{what}\nsplits: {flow({**lists, 'column': column})}\n"
    shares: dict[str, Any] = {"train": 0.3, "search": 0.3, "holdout": 0.4}
    if (labels := start.labels) is not None and not labels.output.get("optional") and guess.rows >= _ROWS_FOR_DEMOS:
        shares["stratify"] = labels.name
    return f"{what}\nsplits: {flow({**shares, 'seed': 0})}\n"


def _metric(guess: Guess) -> str:
    what = "# How an answer is scored, 0 to 1. Others: contains, regex, length, judge, python (your own function)."
    if len(guess.outputs) == 1:
        return f"{what}\nmetric: {flow(dict(guess.outputs[0].metric))}\n"
    lines = [f"    - {flow({**f.metric, 'weight': 1})}" for f in guess.outputs]
    return "\n".join([what, "metric:", "  kind: mix", "  parts:", *lines]) + "\n"


def _incumbent(start: Start) -> str:
    lines = [
        "# What runs today, in full: all candidates are compared with it. Replace the guess, and the text `today`.",
        "incumbent:", f"  model: {flow(start.models[0])}", "  instruction: today", f"  format: {_format(start)}",
    ]  # fmt: skip
    lines += ["  constrained: true"] if start.constrained else []
    lines += ["  params: {temperature: 0.0}"] if start.models[0] in start.with_temperature else []
    return "\n".join(lines) + "\n"


def _models(start: Start) -> str:
    what = "# Add any LiteLLM name (openai/gpt-6-luna, anthropic/...); its key stays in the environment."
    return f"{what}\nmodels: {flow(list(start.models))}\n"


def _instructions(start: Start) -> str:
    inputs = " and ".join(f.column for f in start.guess.inputs)
    outputs = " and ".join(f.column for f in start.guess.outputs)
    form = [f"Read the {inputs}. Answer with the {outputs} and nothing else."]
    for f in start.guess.outputs:
        if 2 <= len(values := f.choices) <= 40:
            what = f"Each of the {f.column}" if f.output["type"] == "list[str]" else f"The {f.column}"
            form.append(f"{what} is one of: {', '.join(values)}.")
    texts = {"today": f"Give the {outputs} of this {inputs}.", "form": " ".join(form)}
    lines = [f"  {name}: {flow(text)}" for name, text in texts.items()]
    return (
        "\n".join(["# Variants to search. `propose:` has a model write more of them.", "instructions:", *lines]) + "\n"
    )


def _format(start: Start) -> str:
    return "json" if start.structured else "plain"


def _program(start: Start) -> str:
    constrained = "  constrained: true  # where model and format allow it\n" if start.constrained else ""
    return f"program:\n  format: {_format(start)}  # plain, chat or json; a list searches them\n{constrained}"


def _demos(start: Start) -> str:
    if start.guess.rows < _ROWS_FOR_DEMOS:
        return ""
    labels = start.labels
    long = max(f.longest for f in start.guess.inputs) > 600
    count = 4 if labels is None or long else min(8, max(3, len(labels.output["values"])))
    balanced = labels is not None and not labels.output.get("optional")
    kind = "balanced" if balanced else "random"
    by = f", balance_by: {flow(labels.name)}" if balanced and labels is not None else ""
    return f"demos: {{kind: [none, {kind}], count: {count}{by}}}\n"


def _params(start: Start) -> str:
    outputs = start.guess.outputs
    short = {"enum": 16, "bool": 8, "int": 8, "float": 12}
    sizes = [short.get(f.output["type"], max(48, math.ceil(f.longest / 2))) for f in outputs]
    tokens = min(1024, 16 * math.ceil((sum(sizes) + 8 * (len(outputs) - 1)) / 16))
    lines = ["params:"]
    if start.with_temperature:
        some = start.with_temperature != start.models
        when = f", when: {{model: {flow(list(start.with_temperature))}}}" if some else ""
        lines.append(f"  temperature: {{choices: {flow(list(TEMPERATURES))}{when}}}")
    lines.append(f"  max_tokens: {_REASONING}  # with reasoning" if start.reasoning else f"  max_tokens: {tokens}")
    return "\n".join(lines) + "\n"


def _caps(start: Start) -> str:
    usd = "" if start.local else "usd: 1.00, "
    concurrency = 2 if start.local else 8
    return (
        "# Caps of the whole job. The same command again continues the study.\n"
        f"budget: {{{usd}minutes: 10}}\nsearch: {{trials: 12, seed: 0, concurrency: {concurrency}}}\n"
    )


def checks_text(name: str, space: str) -> str:
    """A test for pytest: the space file is right, and what was promoted still holds."""
    return f'''"""Checks of the job {name}; run them with `pytest`."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_space_file_is_correct():
    """Calls no model."""
    subprocess.run([sys.executable, "-m", "offramp", "space", "check", str(HERE / {space!r})], check=True)


@pytest.mark.skipif(not (HERE / "promotions" / {name!r}).is_dir(), reason="not promoted yet: offramp promote")
def test_the_promoted_feature_still_holds(offramp_check):
    """Calls the promoted model on the holdout."""
    offramp_check({name!r}, promotions=HERE / "promotions")
'''


def stub_rows(inputs: Sequence[str], outputs: Sequence[str]) -> list[dict[str, str]]:
    """Invented rows that a job runs on, to be replaced."""
    texts = {
        "billing": ("I was charged two times this month.", "Why did the price of my plan change?",
                    "Where is my invoice?", "My card was declined, please try again.", "I want my money back for May."),
        "shipping": ("Where is my parcel?", "The box arrived with a hole in it.", "Can you deliver on Saturday?",
                     "The tracking number does not work.", "My order went to the wrong address."),
        "technical": ("The app crashes when I open the settings.", "I cannot pair it.", "The screen stays black.",
                      "Notifications stopped after the update.", "It says that the server cannot be reached."),
    }  # fmt: skip
    pairs = [(text, label) for at in range(5) for label, found in texts.items() for text in found[at : at + 1]]
    return [{**dict.fromkeys(inputs, text), **dict.fromkeys(outputs, label)} for text, label in pairs]
