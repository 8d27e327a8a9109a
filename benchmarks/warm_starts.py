"""What starting from another study is worth: a search for a new model, with and without the old model's study.

    python benchmarks/warm_starts.py [SEEDS]

A landscape of 216 candidates per model, computed in this process: an answer is right when the example's difficulty is
below the candidate's skill, and a skill is the sum of effects of instruction, temperature, top_p and frequency_penalty.
The new model's effects are the old one's plus noise. Each seed runs the old model's study (30 trials), then the new
model's three times at the same number of calls: from nothing, with the old front first but without its history, and with
everything that `--from` takes over. Prints the true skill of the recommended candidate as a share of the best skill:
median, quartiles and worst over seeds.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import yaml

from offramp.ids import derived_seed
from offramp.job.resolve import resolve_job
from offramp.records import CallReply, CallRequest, Usage
from offramp.search import api
from offramp.search.outcome import JobResult, Options
from offramp.search.warm.start import start_from
from offramp.space.load import load_space
from offramp.store.engine import open_store
from offramp.store.studies import StudyStore
from offramp.testing.fakes import FunctionTransport

TEXTS = {f"text{i}": f"Text {i}." for i in range(6)}
TEMPERATURES, TOP_PS, PENALTIES = [0.0, 0.3, 0.6, 0.9], [0.8, 0.9, 1.0], [0.0, 0.5, 1.0]
TRIALS, OLD_TRIALS, ROWS = 10, 30, 60
LABELS = ("yes", "no")
PRICE = {"input_usd": 1.0, "output_usd": 2.0}
Effects = Mapping[tuple[str, Any], float]


def effects(seed: int) -> dict[str, Effects]:
    """By model: what each value adds to the skill. The new model's are the old one's plus noise."""
    rng = random.Random(derived_seed(seed, "effects"))
    keys = [("text", t) for t in TEXTS.values()]
    keys += [(n, v) for n, vs in (("t", TEMPERATURES), ("p", TOP_PS), ("f", PENALTIES)) for v in vs]
    old = {key: rng.gauss(0, 0.08) for key in keys}
    return {"old": old, "new": {key: value + rng.gauss(0, 0.04) for key, value in old.items()}}


def skill(known: Mapping[str, Effects], model: str, text: str, params: Mapping[str, Any]) -> float:
    """Probability of a right answer."""
    found = known[model]
    parts = (("text", text), ("t", params["temperature"]), ("p", params["top_p"]), ("f", params["frequency_penalty"]))
    return min(0.98, max(0.02, 0.4 + sum(found[part] for part in parts)))


def answer(known: Mapping[str, Effects], request: CallRequest) -> CallReply:
    """Right where the example's difficulty is below the candidate's skill."""
    number = int(request.messages[-1]["content"].split()[1])
    difficulty = derived_seed(number, "difficulty") / 2**32
    right = difficulty < skill(known, request.model.name, request.messages[0]["content"], request.params)
    text = LABELS[(number + (not right)) % 2]
    usage = Usage(input_tokens=100, output_tokens=2)
    return CallReply(text=text, finish_reason="stop", usage=usage, latency_s=0.1)


def space(folder: Path, model: str, seed: int, trials: int) -> Path:
    """Writes the space file of one model; returns its path."""
    rows = [{"id": f"e{i}", "message": f"case {i}", "label": LABELS[i % 2]} for i in range(ROWS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = {"name": model, "route": f"openai/{model}", "api_base": "http://127.0.0.1:9/v1", "price": PRICE}
    params = {"temperature": TEMPERATURES, "top_p": TOP_PS, "frequency_penalty": PENALTIES}
    outputs = {"label": {"type": "enum", "values": list(LABELS)}}
    file = {
        "schema_version": 1,
        "name": model,
        "task": {"signature": {"inputs": {"message": None}, "outputs": outputs}},
        "dataset": {"path": "rows.jsonl", "id": "id"},
        "splits": {"train": 5, "search": 50, "holdout": 5},
        "metric": {"kind": "exact", "field": "label"},
        "models": [part],
        "instructions": TEXTS,
        "params": {name: {"choices": values} for name, values in params.items()},
        "objectives": {"quality": {"weight": 1.0}, "cost": None, "latency": None},
        "search": {"sampler": "tpe", "trials": trials, "seed": seed, "concurrency": 4},
    }
    path = folder / f"{model}.yaml"
    path.write_text(yaml.safe_dump(file, sort_keys=False))
    return path


def one(seed: int) -> dict[str, float]:
    """One seed: the skill of what each way recommends, as a share of the best skill."""
    known = effects(seed)
    transport = FunctionTransport(partial(answer, known))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old = api.optimize(space(folder, "old", seed, OLD_TRIALS), results=folder, transport=transport).report.study
        new = space(folder, "new", seed, TRIALS)
        warm = {"from_study": old, "from_storage": f"sqlite:///{folder / 'offramp.db'}"}
        return {
            "cold": _share(known, api.optimize(new, results=folder / "cold", transport=transport)),
            "front first": _share(known, _front_first(new, folder, transport, old, seed)),
            "--from": _share(known, api.optimize(new, results=folder / "warm", transport=transport, **warm)),
        }


def _front_first(path: Path, folder: Path, transport: FunctionTransport, old: str, seed: int) -> JobResult:
    """The same start without history: the study's record is written first, without prior trials, and then continued."""
    results, source_url = folder / "front", f"sqlite:///{folder / 'offramp.db'}"
    results.mkdir()
    options = Options(trials=TRIALS, seed=seed, concurrency=4)
    with open_store(f"sqlite:///{results / 'offramp.db'}", create=True) as store, open_store(source_url) as source:
        study = start_from(resolve_job(load_space(path)), options, store, source, old).study_name(seed)
        details = StudyStore(store).get(study).details
        assert details.warm is not None
        StudyStore(store).update(study, details=replace(details, warm=replace(details.warm, prior=())))
    return api.optimize(path, results=results, transport=transport, from_study=old, from_storage=source_url)


def _share(known: Mapping[str, Effects], result: JobResult) -> float:
    """Skill of the recommended candidate, as a share of the best."""
    best = max(
        skill(known, "new", text, {"temperature": t, "top_p": p, "frequency_penalty": f})
        for text in TEXTS.values() for t in TEMPERATURES for p in TOP_PS for f in PENALTIES
    )  # fmt: skip
    params = result.report.recommended.params
    return skill(known, "new", TEXTS[params["instruction"]], params) / best


def main() -> None:
    """Prints medians and quartiles over seeds."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    runs = [one(seed) for seed in range(seeds)]
    print(f"{TRIALS} candidates of the new model at 50 calls each, {seeds} seeds: share of the best skill")
    for way in runs[0]:
        values = sorted(run[way] for run in runs)
        low, _, high = quantiles(values, n=4)
        print(f"{way:12} median {median(values):.3f}   quartiles {low:.3f} to {high:.3f}   worst {values[0]:.3f}")


if __name__ == "__main__":
    main()
