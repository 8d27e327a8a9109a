"""A judge that retired or was replaced in the space file: what check and migrate do, and what they say."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.calls.failures import ModelNotFound
from offramp.errors import OfframpError, UsageError
from offramp.job.judges import JudgeNotFound, only_judges_differ
from offramp.lifecycle.migration.migrating import Places, run_migration
from offramp.lifecycle.migration.proposal import migration_json, page
from offramp.lifecycle.migration.record import Basis
from offramp.promote import promoting
from offramp.promote.recheck import check
from offramp.records import CallReply, CallRequest, Purpose, Usage
from offramp.space.load import load_space
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, PRICES, answered_by, main, reply_to, run_job, wire, write_space

OLD, NEW = "openai/gpt-4-0314", "strict-judge"
OWN = {"api_base": "http://127.0.0.1:9/v1", "price": {"input_usd": 1.0, "output_usd": 2.0}, "searched": False}


class Graded:
    """The landscape with judges: the old one is generous, the new one gives 1 grade less. `gone` no longer answer."""

    def __init__(self, *gone: str) -> None:
        self.gone, self.asked = set(gone), Counter[tuple[str, str]]()

    def __call__(self, request: CallRequest) -> CallReply | ModelNotFound:
        self.asked[request.model.name, str(request.purpose)] += 1
        if request.model.name in self.gone:
            return ModelNotFound(f"the model {request.model.name} has been retired")
        if request.purpose is not Purpose.JUDGE:
            return reply_to(request)
        text = request.messages[-1]["content"]
        right = LABELS[int(re.findall(r"case (\d+)", text)[-1]) % 3] in text.split("answer label")[1]
        grade = (5 if right else 2) - (request.model.name == NEW)
        return CallReply(
            text=json.dumps({"grade": grade}), finish_reason="stop", usage=Usage(input_tokens=9, output_tokens=9),
            latency_s=0.1,
        )  # fmt: skip


def promoted(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Graded:
    """A judged feature, promoted; every later job is answered by what is given back."""
    models = [{"name": n, "route": f"openai/{n}", **OWN, "searched": True, "price": p} for n, p in PRICES.items()]
    models.append({"name": OLD, "route": OLD, **OWN, "retirement_date": "2026-03-26"})
    metric = {"kind": "judge", "model": OLD, "rubric": "The label fits the message."}
    space = write_space(folder, **{"models": models, "metric": metric, **changes})
    answered_by(monkeypatch, FunctionTransport(Graded()))
    study = run_job(space, folder / "results", trials=3).report.study
    promoting.promote(
        study, pick="incumbent", promotions=folder / "promotions", results=folder / "results", within_days=0,
        force=True, why="what runs today",
    )  # fmt: skip
    return answering(monkeypatch, Graded(OLD))


def answering(monkeypatch: pytest.MonkeyPatch, feature: Graded) -> Graded:
    answered_by(monkeypatch, FunctionTransport(feature))
    return feature


def replace_judge(folder: Path, **changes: Any) -> None:
    path = folder / "space.yaml"
    space = yaml.safe_load(path.read_text())
    space["metric"] |= {"model": NEW, **changes}
    space["models"] = [part for part in space["models"] if part["name"] != OLD]
    space["models"].append({"name": NEW, "route": f"openai/{NEW}", **OWN})
    path.write_text(yaml.safe_dump(space, sort_keys=False))


def checked(folder: Path, **options: Any) -> Any:
    return check("landscape", promotions=folder / "promotions", **wire(), **options)


def migrated(folder: Path, **more: Any) -> Any:
    places = Places(promotions=folder / "promotions", results=folder / "results", **more)
    return run_migration("landscape", places=places, to=["large"], trials=8, **wire())


def line_of_judge(folder: Path) -> str:
    lines = (folder / "space.yaml").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line == "metric:")
    return f"space.yaml:{next(n for n in range(start, len(lines)) if lines[n].startswith('  model:')) + 1}"


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_a_retired_judge_is_named_with_its_line_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, capsys: Any
) -> None:
    promoted(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect(tmp_path / "results" / "offramp.db") as db:
        db.execute("delete from offramp_calls where purpose = 'judge'")  # else all that is asked has been answered
    more = ["--to", "large", "--results", "results"] if command == "migrate" else []
    assert main([command, "landscape", *more]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert f"{line_of_judge(tmp_path)}: metric.model: the judge {OLD} retired on 2026-03-26" in told
    assert "Name another judge" in told and "grade the recorded answers by it too" in told and "Traceback" not in told


def test_a_judge_that_is_gone_ends_optimize_with_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(tmp_path, monkeypatch)
    result = run_job(tmp_path / "space.yaml", tmp_path / "elsewhere")
    assert isinstance(result.error, JudgeNotFound) and line_of_judge(tmp_path) in str(result.error)


def test_check_grades_the_recorded_answers_by_the_new_judge_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    feature = promoted(tmp_path, monkeypatch)
    replace_judge(tmp_path)
    report = checked(tmp_path)
    assert report.holds and report.n == 6 and report.losses == report.wins == 0
    assert report.regraded.before == (OLD,) and report.regraded.now == (NEW,) and report.regraded.answers == 6
    assert feature.asked[NEW, "judge"] == 6  # the answers are the same, and one is asked about once
    assert feature.asked[OLD, "judge"] == 0
    assert f"the judge was {OLD} and is {NEW} now" in report.notes[0] and line_of_judge(tmp_path) in report.notes[0]
    monkeypatch.chdir(tmp_path)
    assert main(["check", "landscape", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["regraded"]["now"] == [NEW]


def test_a_loss_is_found_by_the_new_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(tmp_path, monkeypatch)
    replace_judge(tmp_path)

    class Worse(Graded):
        def __call__(self, request: CallRequest) -> CallReply | ModelNotFound:
            found = super().__call__(request)
            if request.purpose is Purpose.JUDGE or not isinstance(found, CallReply):
                return found
            number = int(request.messages[-1]["content"].split()[1])
            return CallReply(text=LABELS[(number + 1) % 3], finish_reason="stop", usage=found.usage, latency_s=0.1)

    answering(monkeypatch, Worse(OLD))
    report = checked(tmp_path)
    assert not report.holds and report.losses > 0 and report.wins == 0


def test_answers_that_are_not_on_record_are_said_to_be_missing_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = promoted(tmp_path, monkeypatch)
    replace_judge(tmp_path)
    with pytest.raises(
        UsageError, match=r"space.yaml:\d+: the judge is strict-judge, and .* graded .* Name the storage"
    ):
        checked(tmp_path, study_storage=f"sqlite:///{tmp_path / 'nowhere.db'}")
    with sqlite3.connect(tmp_path / "results" / "offramp.db") as db:
        db.execute("update offramp_results set outputs = null")
    with pytest.raises(UsageError, match=r"its answers were not stored"):
        checked(tmp_path)
    assert not feature.asked


@pytest.mark.parametrize("changes", [{"rubric": "The label is short and polite."}, {"points": 3}])
def test_another_rubric_or_scale_is_another_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    promoted(tmp_path, monkeypatch)
    replace_judge(tmp_path, **changes)
    with pytest.raises(UsageError, match="data, splits or metric are not those"):
        checked(tmp_path)


@pytest.mark.parametrize("named", [False, True])
def test_migrate_grades_both_sides_by_the_new_judge_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    promoted(tmp_path, monkeypatch)
    replace_judge(tmp_path)
    feature = answering(monkeypatch, Graded(OLD, "small"))  # the retiring model no longer answers either
    found = migrated(tmp_path, **({"space": tmp_path / "space.yaml"} if named else {}))
    assert found.baseline.basis is Basis.MEASURED and found.baseline.holdout.n == 6
    assert feature.asked["small", "program"] == 0 and feature.asked[OLD, "judge"] == 0
    assert {r.score for r in found.baseline.results.values()} <= {0.0, 0.75}
    assert found.chosen.holdout.quality == 0.75
    assert f"the judge was {OLD} and is {NEW} now" in migration_json(found)["regraded"]
    assert f"The judge was {OLD} and is {NEW} now" in page(found, promote_command="promote")


def test_without_recorded_answers_a_migration_says_that_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(tmp_path, monkeypatch, store_text=False)
    replace_judge(tmp_path)
    answering(monkeypatch, Graded(OLD, "small"))
    with pytest.raises(OfframpError, match=r"Not all of these answers are stored, and small no longer answers"):
        migrated(tmp_path)


def test_parameters_and_addresses_of_a_judge_are_the_judge(tmp_path: Path) -> None:
    judge = {"kind": "judge", "model": NEW, "rubric": "The label fits the message."}
    own = [{"name": NEW, "route": f"openai/{NEW}", **OWN}, {"name": "small", **OWN, "searched": True}]

    def space(folder: str, **changes: Any) -> Any:
        metric = {"kind": "mix", "parts": [{"kind": "exact", "field": "label"}, {**judge, **changes.pop("judge", {})}]}
        return load_space(write_space(tmp_path / folder, metric=metric, **{"models": own, **changes})).space

    plain = space("a")
    assert not only_judges_differ(plain, space("b"))
    assert only_judges_differ(plain, space("c", judge={"params": {"max_tokens": 9}}))
    assert only_judges_differ(plain, space("d", models=[{**own[0], "route": "openai/other"}, own[1]]))
    assert not only_judges_differ(plain, space("e", judge={"model": "small", "rubric": "Another rubric here."}))
