"""Candidates whose answers cannot be read: on no front, and a doubtful incumbent is named; jobs that evaluated nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offramp.job.job_warnings import job_warnings
from offramp.job.resolve import resolve_job
from offramp.promote import promoting
from offramp.promote.recheck import check
from offramp.records import CallReply, CallRequest
from offramp.space.load import load_space
from offramp.study.domain.members import front_of
from offramp.study.study_report import StudyReport
from offramp.testing.fakes import FunctionTransport
from promoted_jobs import promoted_job, reply
from search_jobs import answered_by, main, reply_to, run_job, wire, write_space


def unreadable(model: str, *, below: int = 10) -> Any:
    """The landscape, where a model writes prose on examples whose number ends below so many."""

    def answer(request: CallRequest) -> CallReply:
        number = int(request.messages[-1]["content"].split()[1])
        bad = model in ("*", request.model.name) and number % 10 < below
        return replace(reply_to(request), text="Well, that depends.") if bad else reply_to(request)

    return answer


def report(folder: Path, patch: pytest.MonkeyPatch, answers: Any, **changes: Any) -> StudyReport:
    answered_by(patch, FunctionTransport(answers))
    return run_job(write_space(folder, **changes), folder / "results").report


@pytest.mark.parametrize("below", [10, 9, 5, 1])
def test_a_candidate_without_one_readable_answer_is_on_no_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: int
) -> None:
    found = report(tmp_path, monkeypatch, unreadable("small", below=below))
    cheapest = min(found.members, key=lambda member: (member.cost_usd or 0.0, -(member.quality or 0.0)))
    unread = cheapest.search.n_fault == cheapest.search.n
    assert cheapest.params["model"] == "small" and (unread or below < 10)
    assert any(member.candidate == cheapest.candidate for member in found.front) is not unread
    assert any(member.params["model"] == "large" for member in found.front)
    assert found.incumbent is not None and (found.incumbent.on_holdout_front is False or below < 10)


def test_where_nobody_can_be_read_nobody_is_recommended_and_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    found = report(tmp_path, monkeypatch, unreadable("*"))
    assert (found.front, found.recommended, front_of(found.members, found.objectives)) == ((), None, ())
    for pick in ("weights", "knee", "within:5", "under:usd=1", "no-loss"):
        assert main(["pareto", "--results", str(tmp_path / "results"), "--pick", pick]) == 0
        assert "No recommendation: no candidate gave a readable answer." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "below", "incumbent"),
    [("small", 10, True), ("small", 8, True), ("small", 6, True), ("small", 3, True), ("small", 0, True),
     ("large", 10, True), ("small", 10, False)],
)  # fmt: skip
def test_an_incumbent_that_is_mostly_unreadable_is_questioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, model: str, below: int, incumbent: bool
) -> None:
    changes: dict[str, Any] = {"incumbent": None, "objectives": {"cost": None, "latency": None}}
    found = report(tmp_path, monkeypatch, unreadable(model, below=below), **({} if incumbent else changes))
    n_fault = 0 if found.incumbent is None else found.incumbent.search.n_fault
    assert (n_fault > 5) is (incumbent and model == "small" and below > 5), n_fault
    assert main(["pareto", "--results", str(tmp_path / "results"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["warnings"]
    said = f"The incumbent has {n_fault} of 10 answers unreadable: is this what runs today?"
    assert [said in text for text in told] == [True] * (n_fault > 5)
    assert main(["pareto", "--results", str(tmp_path / "results")]) == 0
    assert (said in capsys.readouterr().out) is (n_fault > 5)


@pytest.mark.parametrize(
    ("incumbent", "program", "says"),
    [
        ({}, {"constrained": [True, False]}, "`constrained` is left out, so it runs without constrained decoding, and"),
        ({}, {"constrained": True}, "temperature is not sent"),
        ({"params": {"temperature": 0.0}}, {"constrained": True}, "constrained decoding; state what runs today"),
        ({"constrained": False}, {"constrained": [True, False]}, None),
        ({"constrained": True}, {"constrained": [True, False]}, None),
        ({}, {"constrained": False}, None),
        ({}, {}, None),
    ],
)
def test_an_incumbent_that_leaves_out_constrained_decoding_is_named_before_a_job(
    tmp_path: Path, incumbent: dict[str, Any], program: dict[str, Any], says: str | None
) -> None:
    part = {"model": "local/smollm2-135m", "instruction": "vague", **incumbent}
    path = write_space(tmp_path, incumbent=part, models=["local/smollm2-135m"], program=program)
    job = resolve_job(load_space(path))
    told = [warning for warning in job_warnings(job) if "incumbent: " in warning]
    assert [says in text for text in told] == [True] if says else told == []
    assert job.incumbent is not None and job.incumbent.constrained is bool(incumbent.get("constrained"))


@pytest.mark.parametrize("limits", [["--minutes", "0.0000001"], ["--budget-calls", "1"]])
def test_a_job_that_evaluated_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, limits: list[str]
) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(tmp_path)
    assert main(["optimize", str(space), "--results", str(tmp_path / "results"), *limits]) == 1
    assert "error" in capsys.readouterr().err
    assert main(["optimize", str(space), "--results", str(tmp_path / "results"), "--trials", "2"]) == 0


@pytest.mark.parametrize("lost", [1, 3, 5])
def test_a_check_runs_the_examples_that_the_evidence_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    promoted_job(tmp_path, monkeypatch)
    with closing(sqlite3.connect(tmp_path / "results" / "offramp.db")) as db, db:
        ids = [row[0] for row in db.execute("select example from offramp_results where split = 'holdout'")]
        for name in ids[:lost]:
            db.execute("delete from offramp_results where split = 'holdout' and example = ?", (name,))
    options: dict[str, Any] = {"promotions": tmp_path / "partly"}
    promoting.promote("latest", pick="incumbent", results=tmp_path / "results", force=True, why="a try", **options)
    answers = FunctionTransport(reply)
    answered_by(monkeypatch, answers)
    found = check("landscape", space=tmp_path / "space.yaml", **options, **wire())
    assert set(found.ids) == set(ids[lost:]) and len(answers.requests) == found.n == 6 - lost
    assert found.holds and f"the evidence is of {6 - lost} of the 6 examples" in found.notes[0]
