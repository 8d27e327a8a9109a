"""Forms of several requests through the whole cycle against a real server: searched, promoted, checked, loaded.

The server's first answer to each message is wrong. A vote, a verifying call or another try finds the right one, so that
quality, cost and number of requests of each form are known before the search.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import offramp
from offramp.errors import UsageError
from offramp.job.resolve import resolve_job
from offramp.lifecycle.migration.origin import read_origin
from offramp.lifecycle.migration.spaces import alone, model_part, searched
from offramp.promote import promoting, recheck
from offramp.promote.exports.exporting import FORMS as EXPORTS
from offramp.promote.exports.exporting import export, source_of
from offramp.search.api import JobResult
from offramp.space.model import ModelPart
from offramp.space.params import assignments
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import LABELS, PRICES, write_space

PER_RUN = {"predict": 1, "self_consistency 3": 3, "best_of 3": 5, "verify_then_retry 2": 4}
"""Requests of one run: of best_of three answers, two of them different, each verified; of the last answer, objection,
another answer, no objection."""
FORMS: list[Any] = [
    "predict", {"self_consistency": 3, "temperature": 0.7}, {"best_of": 3, "temperature": 0.7}, {"verify_then_retry": 2},
]  # fmt: skip
USD = (10 * PRICES["small"]["input_usd"] + 5 * PRICES["small"]["output_usd"]) / 1e6
"""One request: ten tokens read, five written."""


class Script:
    """Answers by the request, and by how often it has been asked."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def __call__(self, body: dict[str, Any]) -> ServerReply:
        system, user = (str(body["messages"][i]["content"]) for i in (0, -1))
        right = LABELS[int(user.split("case ")[1][:3]) % 3]
        if "accepted:" in system:
            accepted = f"label: {right}" in user
            return ServerReply(text=f"accepted: {str(accepted).lower()}\nobjection: {'null' if accepted else 'no'}")
        key = json.dumps(body["messages"]) + str(body["temperature"])
        self.times[key] += 1
        wrong = LABELS[(LABELS.index(right) + 1) % 3]
        if "An earlier answer was rejected." in system:
            assert f"label: {wrong}\nObjection: no" in system
            return ServerReply(text=right)
        if body["temperature"] == 0.0:
            return ServerReply(text=wrong)
        return ServerReply(text=wrong if self.times[key] % 3 == 1 else right)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script()) as server:
        yield server


def space_of(folder: Path, server: ScriptedServer, form: Any, **changes: Any) -> Path:
    models = [
        {"name": "small", "route": "openai/small", "api_base": server.url, "price": PRICES["small"],
         "supports": ["temperature", "max_tokens"]}
    ]  # fmt: skip
    given: dict[str, Any] = {
        "models": models, "incumbent": {"model": "small", "form": "predict"}, "program": {"form": form},
        "instructions": {"clear": "Clear."}, "params": {"temperature": 0.0, "max_tokens": 30},
        "splits": {"train": 2, "search": 5, "holdout": 5}, "search": {"sampler": "grid", "trials": 4, "concurrency": 4, "race": None}, **changes,
    }  # fmt: skip
    return write_space(folder, base=server.url, count=12, **given)


@pytest.fixture(scope="module")
def job(server: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, JobResult]:
    folder = tmp_path_factory.mktemp("forms")
    server.requests.clear()
    found = offramp.optimize(space_of(folder, server, FORMS), results=folder / "results")
    assert found.error is None
    return folder, found


def calls(folder: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        return [json.loads(row[0]) for row in db.execute("select request_json from offramp_calls")]


def named(job: JobResult, form: str) -> Any:
    return next(m for m in job.report.members if str(m.params["form"]).partition(" at ")[0] == form)


def test_forms_are_one_dimension_of_a_search_and_counted_by_request(
    job: tuple[Path, JobResult], server: ScriptedServer
) -> None:
    folder, found = job
    sent = [request.body for request in server.requests]
    assert len(calls(folder)) == len(sent) and found.spent_usd == pytest.approx(len(sent) * USD)
    assert {str(m.params["form"]) for m in found.report.members} == {
        "predict", "self_consistency 3 at temperature 0.7", "best_of 3 at temperature 0.7", "verify_then_retry 2",
    }  # fmt: skip
    cost = {form: named(found, form).cost_usd for form in PER_RUN}
    assert cost == {form: pytest.approx(n * USD) for form, n in PER_RUN.items()}
    quality = {form: named(found, form).quality for form in PER_RUN}
    assert quality == {"predict": 0, "self_consistency 3": 1, "best_of 3": 1, "verify_then_retry 2": 1}
    assert named(found, "best_of 3").params["temperature"] == 0.7 and named(found, "predict").params["temperature"] == 0
    hot = Counter("accepted:" in b["messages"][0]["content"] for b in sent if b["temperature"] == 0.7)
    examples = 5 if named(found, "best_of 3").holdout is None else 10
    assert hot[True] == 2 * examples, "each different answer of best_of, once"
    assert hot[False] in (3 * 5, 3 * 10), "both forms that sample ask for the same three answers, which are paid once"


@pytest.mark.parametrize("stated", FORMS[1:], ids=lambda stated: next(iter(stated)))
def test_a_form_is_promoted_checked_and_loaded_with_the_requests_that_were_measured(
    stated: dict[str, Any], server: ScriptedServer, tmp_path: Path
) -> None:
    params = {"max_tokens": 30, **({} if "temperature" in stated else {"temperature": 0.0})}
    path = space_of(tmp_path, server, stated, incumbent={"model": "small", "form": stated}, params=params)
    assert offramp.optimize(path, results=tmp_path / "results").error is None
    promoted = promoting.promote("latest", results=tmp_path / "results", promotions=tmp_path, by="ada").promotion
    form = f"{next(iter(stated))} {next(iter(stated.values()))}"
    assert promoted.program.form == form and promoted.evidence.sent is None
    assert promoted.evidence.requests_matched == 5, "every run on the holdout is on the ledger, sample by sample"
    again = len(server.requests)
    assert offramp.optimize(path, results=tmp_path / "results").error is None
    assert len(server.requests) == again, "nothing is asked again"
    verifying = promoted.instructions.get("verify", "")
    assert verifying.endswith("The task:\nClear.") is (form != "self_consistency 3")
    assert promoted.rendering is None and "takes several requests" in str(promoted.rendering_refused)

    server.requests.clear()
    report = recheck.check("landscape", promotions=tmp_path)
    assert report.calls == len(server.requests) == 5 * PER_RUN[form]
    checked = {json.dumps(dict(request.body), sort_keys=True) for request in server.requests}

    server.requests.clear()
    load = offramp.load("landscape", promotions=tmp_path, api_base=server.url)
    with sqlite3.connect(tmp_path / "results" / "offramp.db") as db:
        ids = sorted(
            row[0] for row in db.execute("select distinct example from offramp_results where split = 'holdout'")
        )
    for example in ids:
        assert load(message=f"case {example[1:]}").label == LABELS[int(example[1:]) % 3]
    assert {json.dumps(dict(request.body), sort_keys=True) for request in server.requests} == checked
    assert len(server.requests) == 5 * PER_RUN[form]

    with pytest.raises(UsageError, match="takes several requests"):
        offramp.load_messages("landscape", {"message": "case 001"}, promotions=tmp_path)
    with pytest.raises(UsageError, match="takes several requests"):
        load.save(tmp_path / "state.json")
    for tool in EXPORTS:
        if tool != "json":  # the promotion as it is
            with pytest.raises(UsageError, match=r"takes several requests.*Use `offramp\.load`"):
                export(source_of("landscape", promotions=tmp_path), tool)


@pytest.mark.parametrize("stated", FORMS[1:], ids=lambda stated: next(iter(stated)))
def test_a_migration_runs_the_promoted_form_on_another_model(
    stated: dict[str, Any], server: ScriptedServer, tmp_path: Path
) -> None:
    verifier = {} if "self_consistency" in stated else {"verifier": {"params": {"max_tokens": 60, "top_p": 0.9}}}
    params = {"max_tokens": 30, **({} if "temperature" in stated else {"temperature": 0.0})}
    path = space_of(
        tmp_path, server, stated, incumbent={"model": "small", "form": stated}, params=params,
        program={"form": stated, **verifier}, splits={"train": 0, "search": 2, "holdout": 2},
    )  # fmt: skip
    path.write_text(path.read_text().replace("- max_tokens\n", "- max_tokens\n  - top_p\n"))
    server.requests.clear()
    job = offramp.optimize(path, results=tmp_path / "results")
    assert job.error is None
    promoting.promote("latest", results=tmp_path / "results", promotions=tmp_path, by="ada", force=True, why="small")
    storage = f"sqlite:///{tmp_path / 'results' / 'offramp.db'}"
    origin = read_origin("landscape", label="production", promotions=tmp_path, storage=storage)
    assert origin.candidate.predictor_params == ({"verify": {"max_tokens": 60, "top_p": 0.9}} if verifier else {})
    sent = [request.body for request in server.requests if "accepted:" in str(request.body["messages"])]
    assert {body["max_tokens"] for body in sent} == ({60} if verifier else set())
    alone_on_it = resolve_job(alone(origin, origin.candidate, model_part(origin, "small")))
    [only] = assignments(alone_on_it.search_params)
    assert alone_on_it.candidate(only).id == origin.candidate.id
    small = model_part(origin, "small")
    assert isinstance(small, ModelPart)
    large = small.model_copy(update={"name": "large", "route": "openai/large"})
    job_again = resolve_job(searched(origin, [large], incumbent=True))
    assert job_again.incumbent is not None and job_again.incumbent.id == origin.candidate.id


@pytest.mark.parametrize("form", [{"best_of": 3, "temperature": 0.7}, {"verify_then_retry": 2}])
def test_a_cap_on_calls_holds_for_every_request_of_a_run(
    form: dict[str, Any], server: ScriptedServer, tmp_path: Path
) -> None:
    server.requests.clear()
    path = space_of(tmp_path, server, ["predict", form], budget={"calls": 17})
    job = offramp.optimize(path, results=tmp_path / "results")
    assert len(server.requests) == job.calls <= 17
    assert job.spent_usd == pytest.approx(len(server.requests) * USD)
