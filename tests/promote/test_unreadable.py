"""Answers that an app cannot read: shown beside quality, refused by the gate and the check, and handled by `load`."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import offramp
from offramp.errors import UsageError
from offramp.job.resolve import resolve_job
from offramp.program.deployed import AnswerError
from offramp.promote import promoting
from offramp.promote.changes import changes
from offramp.promote.gate import GateRules, refusals
from offramp.records import CallReply, CallRequest
from offramp.space.load import load_space
from offramp.space.model import ConstraintsPart
from offramp.testing.fakes import FunctionTransport
from promoted_jobs import LABELS, MODELS, promoted_job, reply
from promotion_records import SPLIT, make_promotion
from search_jobs import answered_by, main, run_job, write_space

BAD: dict[str, dict[str, Any]] = {
    "prose": {"text": "I would say that it is about money."},
    "two labels": {"text": "billing or shipping"},
    "empty": {"text": ""},
    "refused": {"text": "", "finish_reason": "refusal"},
    "cut": {"text": "It is", "finish_reason": "length"},
}


def bad_always(kind: str) -> Any:
    return lambda request: replace(reply(request), **BAD[kind])


def bad_first(kind: str = "prose") -> Any:
    """Unreadable when a request is sent for the first time, and readable from then on."""
    seen: set[str] = set()

    def answer(request: CallRequest) -> CallReply:
        first = request.hash not in seen
        seen.add(request.hash)
        return replace(reply(request), **BAD[kind]) if first else reply(request)

    return answer


@pytest.mark.parametrize(
    ("n_fault", "n", "most", "refused"),
    [(26, 30, 0.05, True), (2, 30, 0.05, True), (1, 20, 0.05, False), (0, 1, 0.0, False), (1, 1000, 0.0, True),
     (26, 30, 0.9, False), (1, 1, 1.0, False), (6, 100, 0.05, True), (5, 100, 0.05, False)],
)  # fmt: skip
def test_the_gate_refuses_more_than_the_space_file_allows(n_fault: int, n: int, most: float, refused: bool) -> None:
    made = make_promotion()
    holdout = replace(SPLIT, n=n, n_fault=n_fault)
    promotion = replace(made, evidence=replace(made.evidence, holdout=holdout, requests_matched=n))
    rules = GateRules(
        within_days=90, constraints=ConstraintsPart(), needs_price=True, complete=True, holdout_examples=n,
        retirements={}, today=dt.date(2026, 11, 25), unreadable_max=most,
    )  # fmt: skip
    found = refusals(promotion, rules)
    assert [f"{n_fault} of {n} answers unreadable" in reason for reason in found] == [True] * refused


@pytest.mark.parametrize("kind", BAD)
def test_answers_that_an_app_cannot_read_are_shown_and_refused_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, kind: str
) -> None:
    answered_by(monkeypatch, FunctionTransport(bad_always(kind)))
    incumbent = {"model": "small", "instruction": "vague"}
    search = {"sampler": "random", "trials": 1, "concurrency": 2}
    run_job(write_space(tmp_path, models=MODELS, incumbent=incumbent, search=search), tmp_path / "results")
    where = ["--results", str(tmp_path / "results"), "--promotions", str(tmp_path / "promotions")]
    assert main(["promote", "latest", "--pick", "incumbent", *where]) == 3
    assert "6 of 6 answers unreadable on the holdout" in capsys.readouterr().err
    assert main(["promote", "latest", "--pick", "incumbent", *where, "--force", "--why", "a try"]) == 0
    assert "n=6, 6 of 6 answers unreadable, $" in capsys.readouterr().out
    assert main(["pareto", *where[:2], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["incumbent"]
    assert (told["n_fault"], told["holdout"]["n_fault"], told["holdout"]["n"]) == (10, 6, 6)
    assert main(["pareto", *where[:2]]) == 0
    assert "holdout: 6 of 6 answers" in capsys.readouterr().out


def test_the_check_breaks_where_an_app_would_get_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    answered_by(monkeypatch, FunctionTransport(bad_always("prose")))
    command = ["check", "landscape", "--promotions", str(promotions)]
    assert main(command) == 3
    told = "BROKEN unreadable: 6 of 6 answers unreadable; at most 0.05 of them may be (constraints.unreadable_max)"
    assert told in capsys.readouterr().out
    assert main([*command, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["n_fault"] == 6


def test_a_candidate_that_was_promoted_by_force_is_held_to_what_it_was_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    answered_by(monkeypatch, FunctionTransport(bad_always("prose")))
    incumbent = {"model": "small", "instruction": "vague"}
    search = {"sampler": "random", "trials": 1, "concurrency": 2}
    run_job(write_space(tmp_path, models=MODELS, incumbent=incumbent, search=search), tmp_path / "results")
    options: dict[str, Any] = {"results": tmp_path / "results", "promotions": tmp_path / "promotions"}
    promoting.promote("latest", pick="incumbent", force=True, why="a try", **options)
    assert main(["check", "landscape", "--promotions", str(tmp_path / "promotions")]) == 0
    assert "6 of 6 when it was promoted (by force)" in capsys.readouterr().out


@pytest.mark.parametrize(("stated", "code"), [(None, 0), (0.05, 3), (0.9, 3), (1.0, 0)])
def test_a_study_of_a_version_that_did_not_count_them_is_promoted_and_checked_as_it_was_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, stated: float | None, code: int
) -> None:
    answered_by(monkeypatch, FunctionTransport(bad_always("prose")))
    search = {"sampler": "random", "trials": 1, "concurrency": 2}
    space: dict[str, Any] = {
        "models": MODELS,
        "incumbent": {"model": "small", "instruction": "vague"},
        "search": search,
    }
    run_job(write_space(tmp_path, **space), tmp_path / "results")
    with closing(sqlite3.connect(tmp_path / "results" / "offramp.db")) as db, db:
        db.execute("UPDATE offramp_studies SET space_json = json_remove(space_json, '$.constraints.unreadable_max')")
    where = ["--promotions", str(tmp_path / "promotions")]
    assert main(["promote", "latest", "--pick", "incumbent", "--results", str(tmp_path / "results"), *where]) == 0
    if stated is not None:
        write_space(tmp_path, **space, constraints={"unreadable_max": stated})
    capsys.readouterr()
    assert main(["check", "landscape", *where, "--json"]) == code
    named = {found["name"] for found in json.loads(capsys.readouterr().out)["conditions"]}
    assert ("unreadable" in named) is (stated is not None)


def test_a_limit_that_is_edited_after_the_search_holds_for_promotion_and_check_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Of 6 answers on the holdout 6 are unreadable; each edit is tried on the same study."""
    answered_by(monkeypatch, FunctionTransport(bad_always("prose")))
    search = {"sampler": "random", "trials": 1, "concurrency": 2}
    space: dict[str, Any] = {
        "models": MODELS, "incumbent": {"model": "small", "instruction": "vague"}, "search": search
    }  # fmt: skip
    path = write_space(tmp_path, **space, constraints={"unreadable_max": 1.0})
    run_job(path, tmp_path / "results")
    promotions = ["--promotions", str(tmp_path / "promotions")]
    promote = ["promote", "latest", "--pick", "incumbent", "--results", str(tmp_path / "results"), *promotions]
    for edited, code in (({"unreadable_max": 1.0}, 0), ({"unreadable_max": 0.5}, 3), ({}, 3), (None, 3)):
        write_space(tmp_path, **space, **({} if edited is None else {"constraints": edited}))
        assert main(promote) == code, edited
        assert main(["check", "landscape", *promotions]) == code, edited
    assert "at most 0.05 of them may be (constraints.unreadable_max)" in capsys.readouterr().out
    path.unlink()  # what it said when the study began
    assert main(promote) == 0
    write_space(tmp_path, **space, name="another", constraints={"unreadable_max": 0.0})
    assert main(promote) == 0


def test_what_differs_has_the_unreadable_answers_apart_from_the_numbers() -> None:
    made = make_promotion()
    worse = replace(made, evidence=replace(made.evidence, holdout=replace(SPLIT, n_fault=3)))
    found = changes(made, worse).to_json()
    assert (found["numbers"], found["unreadable"]) == ([], [{"key": "holdout.n_fault", "before": 0, "after": 3}])
    assert "unreadable" not in changes(made, made).to_json()


def test_how_many_answers_may_be_unreadable_does_not_make_another_study(tmp_path: Path) -> None:
    names = {
        resolve_job(load_space(write_space(tmp_path / str(i), **given))).study_name(0)
        for i, given in enumerate([{}, {"constraints": {}}, {"constraints": {"unreadable_max": 0.2}}])
    }
    assert len(names) == 1


# ------------------------------------------------------------------------------------------------------ in an app

INPUTS = {"message": "case 003"}


def load(promotions: Path, wire: FunctionTransport, **options: Any) -> Any:
    return offramp.load("landscape", promotions=promotions, transport=wire, api_base="http://127.0.0.1:9/v1", **options)


@pytest.fixture(scope="module")
def promotions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield promoted_job(tmp_path_factory.mktemp("promoted"), patch)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(
    ("options", "requests", "label"),
    [({}, 1, None), ({"on_unreadable": "raise"}, 1, None), ({"on_unreadable": "retry"}, 2, None),
     ({"on_unreadable": "default", "default": {"label": "returns"}}, 1, "returns"),
     ({"on_unreadable": "retry", "default": {"label": "returns"}}, 2, "returns")],
)  # fmt: skip
def test_an_app_says_what_an_unreadable_answer_comes_to(
    promotions: Path, caplog: pytest.LogCaptureFixture, kind: str, options: dict[str, Any], requests: int,
    label: str | None,
) -> None:  # fmt: skip
    wire = FunctionTransport(bad_always(kind))
    program = load(promotions, wire, **options)
    with caplog.at_level(logging.WARNING, logger="offramp"):
        if label is None:
            with pytest.raises(AnswerError, match="small: "):
                program(**INPUTS)
        else:
            assert program(**INPUTS).label == label
    assert len(wire.requests) == requests
    said = " ".join(record.getMessage() for record in caplog.records)
    assert ("asking once more" in said, "the default is returned" in said) == (requests == 2, label is not None)


def test_a_retry_gives_the_second_answer_also_without_blocking(promotions: Path) -> None:
    wire = FunctionTransport(bad_first())
    program = load(promotions, wire, on_unreadable="retry", default={"label": "returns"})
    assert asyncio.run(program.acall(**INPUTS)).label == LABELS[0] and len(wire.requests) == 2
    assert program(**INPUTS).label == LABELS[0] and len(wire.requests) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [({"on_unreadable": "defualt"}, "Did you mean 'default'"),
     ({"on_unreadable": "ignore"}, "expected one of raise, retry, default"),
     ({"on_unreadable": "default"}, "needs a default"),
     ({"default": {"label": "returns"}}, "no effect with on_unreadable='raise'"),
     ({"on_unreadable": "default", "default": {"labl": "returns"}}, "a value for each of ['label']"),
     ({"on_unreadable": "default", "default": {}}, "a value for each of ['label']"),
     ({"on_unreadable": "retry", "default": "returns"}, "a value for each of ['label']"),
     ({"on_unreadable": "retry", "default": {"label": "other"}}, "Input should be 'billing', 'shipping' or 'returns'")],
)  # fmt: skip
def test_a_default_that_the_task_cannot_give_is_refused_when_the_app_starts(
    promotions: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as raised:
        load(promotions, FunctionTransport(reply), **options)
    assert says in str(raised.value)
