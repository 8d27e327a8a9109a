"""Headlines say what the holdout proves: of `pareto`, of its JSON, of the report and of a migration's proposal."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from offramp.cli.main import offramp
from offramp.records import Candidate, DemoKind, Objective, Price, Result, ResultState, Split, Usage
from offramp.review.report_file import report as write_report
from offramp.store.aggregates import AggregateStore, aggregate_of
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.store.studies import ParkedModel, StudyDetails, StudyRow, StudyStore

SPACE = """{"schema_version": 1, "name": "heads", "task": {"signature": "text -> label: Literal['a', 'b']"},
"dataset": {"path": "gone.jsonl"}, "metric": {"kind": "exact", "field": "label"},
"models": [{"name": "m", "route": "openai/m", "price": {"input_usd": 1.0, "output_usd": 2.0}}],
"instructions": {"one": "Label the text."}}"""
PRICES = {"m": Price(input_usd=1.0, output_usd=2.0)}
N = 40


@dataclass
class Side:
    """One candidate: how many of the search split and of the holdout it gets right, out of how many that were scored."""

    search: int
    holdout: int | None
    scored: int = N
    failed: int = 0
    tokens: int = 1000
    first: int = 0  # the first example of the holdout that it gets right
    state: CandidateState = CandidateState.COMPLETE
    origin: dict = field(default_factory=dict)
    params: dict = field(default_factory=dict)
    searched: int = N  # examples of the search split with a score
    lost: int = 0  # examples of the search split that failed
    id: str = field(default="", init=False)


def study_of(folder: Path, sides: list[Side], *, incumbent: bool = True, size: int | None = N) -> str:
    """A stored study with these candidates, the incumbent first."""
    made = []
    for i, side in enumerate(sides):
        params = {"model": "m", "temperature": i / 100, **side.params}
        made.append(
            Candidate(
                params=params, model="m", module="predict", adapter="plain", constrained=False,
                instructions={"main": "Label the text."}, demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0,
                request_params={"temperature": i / 100},
            )
        )  # fmt: skip
    objectives = (Objective(name="quality", weight=1.0, scale=(0, 1)), Objective(name="cost", weight=0.1, scale=(1, 0)))
    details = StudyDetails(
        objectives=objectives, incumbent=made[0].id if incumbent else None, prices=PRICES,
        examples={} if size is None else {Split.SEARCH: N, Split.HOLDOUT: size},
    )  # fmt: skip
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        StudyStore(store).create_or_get(
            StudyRow(name="heads-1", space_name="heads", space_json=SPACE, space_hash="", task_hash="", seed=0, details=details)
        )  # fmt: skip
        for number, (one, side) in enumerate(zip(made, sides, strict=True)):
            side.id = one.id
            CandidateStore(store).put(
                "heads-1", CandidateRow(candidate=one, number=number, state=side.state, origin=side.origin)
            )
            found = {Split.SEARCH: [float(i < side.search) for i in range(side.searched)]}
            if side.holdout is not None:
                found[Split.HOLDOUT] = [float(side.first <= i < side.first + side.holdout) for i in range(side.scored)]
            for split, scores in found.items():
                results = [result(one.id, f"{split}-{i:02}", score, side.tokens) for i, score in enumerate(scores)]
                first, n = (side.scored, side.failed) if split is Split.HOLDOUT else (side.searched, side.lost)
                results += [result(one.id, f"{split}-{i:02}", None, side.tokens) for i in range(first, first + n)]
                ResultStore(store).put("heads-1", split, results)
                AggregateStore(store).put("heads-1", split, one.id, aggregate_of(results))
    return "heads-1"


def result(candidate: str, example: str, score: float | None, tokens: int) -> Result:
    state = ResultState.INFRASTRUCTURE_ERROR if score is None else ResultState.SCORED
    return Result(
        candidate=candidate, example=example, state=state, score=score, cost_usd=None,
        latency_s=None if score is None else 1.0, usage=Usage(input_tokens=tokens if score is not None else 0), calls=1,
    )  # fmt: skip


def said(folder: Path, study: str) -> tuple[str, dict, str]:
    """What pareto prints (without the table), its JSON, and the text of the report's decision."""
    run = CliRunner()
    text = run.invoke(offramp, ["pareto", study, "--results", str(folder)], catch_exceptions=False).output
    found = json.loads(run.invoke(offramp, ["pareto", study, "--results", str(folder), "--json"]).output)
    html = write_report(study, results=folder, out=folder / "r.html").read_text(encoding="utf-8")
    section = re.search(r'<section class="decision.*?</section>', html, re.DOTALL)[0]
    return " ".join(text.split()), found, section


def plain_text(html: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def test_a_candidate_that_is_shown_to_be_better_is_switched_to(tmp_path):
    today, better = Side(10, 10), Side(38, 38)
    text, found, html = said(tmp_path, study_of(tmp_path, [today, better]))
    assert f"Switch to {better.id}" in text and found["headline"].startswith(f"Switch to {better.id}")
    assert found["proven"] == "better" and found["shown_better"] == []
    assert "Switch to" in plain_text(html) and "Shown to be better" not in plain_text(html)


@pytest.mark.parametrize("others", [1, 3, 11])
@pytest.mark.parametrize("gain", [1, 4])
def test_what_may_be_chance_is_not_called_a_switch(tmp_path, others, gain):
    sides = [Side(20, 20), Side(38, 20 + gain), *(Side(37 - i, 20, tokens=900 - i) for i in range(others - 1))]
    text, found, html = said(tmp_path, study_of(tmp_path, sides))
    words = f"looks better; not proven after {others} comparison{'' if others == 1 else 's'}."
    assert f"{sides[1].id} (m" in found["headline"] and found["headline"].endswith(words)
    for shown in (text, found["headline"], plain_text(html)):
        assert words in shown and "Switch to" not in shown
    assert "not significant" in text and found["proven"] in ("open", "close")


@pytest.mark.parametrize("incumbent_is_best", [False, True])
def test_another_member_that_is_shown_to_be_better_is_named_and_linked(tmp_path, incumbent_is_best):
    other = Side(36, 38, tokens=500)
    sides = [Side(39 if incumbent_is_best else 10, 10), Side(38, 12), other]
    text, found, html = said(tmp_path, study_of(tmp_path, sides))
    assert found["shown_better"] == [other.id] and found["proven"] == ("keep" if incumbent_is_best else "open")
    assert f"Shown to be better on the holdout: {other.id}" in text and "+70.0 points" in text
    assert "Shown to be better on the holdout:" in plain_text(html)
    assert f'<a href="#c-{other.id}">' in html.split("Shown to be better")[1]
    assert "Switch to" not in text + plain_text(html)


@pytest.mark.parametrize(
    ("scored", "failed", "least"), [(1, 0, "0.025"), (1, 39, "0.025"), (20, 20, "0.500"), (37, 0, "0.925")]
)
def test_an_incomplete_holdout_recommends_nothing_and_states_the_lower_bound(tmp_path, scored, failed, least):
    best = Side(38, scored, scored=scored, failed=failed)
    text, found, html = said(tmp_path, study_of(tmp_path, [Side(20, 20), best]))
    for shown in (text, found["headline"], plain_text(html)):
        assert "Nothing to recommend: the holdout is incomplete." in shown
    for shown in (text, plain_text(html)):
        assert f"{scored} of 40 examples" in shown and f"{least} if the others are lost" in shown
        assert (
            "Switch to" not in shown
            and "recommended" not in shown.replace("Nothing to recommend", "").split("Money")[0]
        )
    assert found["proven"] == "incomplete"


@pytest.mark.parametrize("size", [None, N])
def test_failures_on_the_holdout_are_missing_even_where_its_size_is_not_stored(tmp_path, size):
    text, found, _ = said(tmp_path, study_of(tmp_path, [Side(20, 20), Side(38, 30, scored=30, failed=10)], size=size))
    assert found["proven"] == "incomplete" and "30 of 40 examples" in text


def test_an_incumbent_that_lacks_scores_proves_nothing_about_the_other(tmp_path):
    text, found, _ = said(tmp_path, study_of(tmp_path, [Side(10, 3, scored=12), Side(38, 40)]))
    assert found["proven"] == "incomplete" and "12 of 40 examples have a score from both sides" in text


def test_two_of_40_may_be_missing_and_that_is_said(tmp_path):
    text, found, html = said(tmp_path, study_of(tmp_path, [Side(10, 10), Side(38, 38, scored=38)]))
    assert found["proven"] == "better"
    for shown in (text, plain_text(html)):
        assert "38 of 40 examples" in shown and "0.950 if the others are lost" in shown


def test_a_cheaper_candidate_is_called_cheaper_and_not_better(tmp_path):
    sides = [Side(38, 36, tokens=200_000), Side(38, 34, tokens=10_000)]
    _, found, html = said(tmp_path, study_of(tmp_path, sides))
    assert found["headline"].endswith("is 20× cheaper; that it is as good is not proven after 1 comparison.")
    assert "20× cheaper; that it is as good is not proven" in plain_text(html)


def test_a_candidate_that_is_worse_on_the_holdout_is_called_worse(tmp_path):
    _, found, html = said(tmp_path, study_of(tmp_path, [Side(20, 38), Side(38, 5)]))
    assert found["proven"] == "worse" and found["headline"].endswith("but worse on the holdout.")
    assert "but worse on the holdout." in plain_text(html)


def test_without_a_holdout_evaluation_the_headline_says_so(tmp_path):
    text, found, html = said(tmp_path, study_of(tmp_path, [Side(20, None), Side(38, None)]))
    assert found["proven"] == "unverified" and "offramp verify" in text
    for shown in (found["headline"], plain_text(html)):
        assert "looks best; not evaluated on the holdout yet." in shown and "Switch to" not in shown


def test_without_an_incumbent_there_is_a_choice_and_none_with_an_incomplete_holdout(tmp_path):
    _, found, _ = said(tmp_path, study_of(tmp_path, [Side(20, 20), Side(38, 38)], incumbent=False))
    assert found["headline"].startswith("Choose ")
    (tmp_path / "other").mkdir()
    sides = [Side(20, 20), Side(38, 1, scored=1)]
    _, found, _ = said(tmp_path / "other", study_of(tmp_path / "other", sides, incumbent=False))
    assert found["proven"] == "incomplete"


def test_what_runs_today_is_kept_where_nothing_has_a_higher_utility(tmp_path):
    text, found, _ = said(tmp_path, study_of(tmp_path, [Side(38, 30), Side(20, 20)]))
    assert found["headline"] == "Keep what runs today." and found["proven"] == "keep"
    assert "Keep what runs today." in text


OPEN = {"state": CandidateState.STOPPED, "origin": {"open": True}}
NOTHING = "Nothing to recommend: no other candidate could be compared"


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ([], "none was run"),
        ([Side(0, None, searched=0, lost=4, **OPEN)], "none has a score"),
        ([Side(4, None, searched=4, **OPEN), Side(2, None, searched=3, **OPEN)], "for more than 4 search examples"),
        ([Side(9, None, searched=9, lost=31)], "for more than 9 search examples"),
    ],
)
@pytest.mark.parametrize("holdout", [30, None])
def test_what_runs_today_is_not_called_the_one_to_keep_where_nothing_was_compared_with_it(
    tmp_path, others, why, holdout
):
    text, found, html = said(tmp_path, study_of(tmp_path, [Side(38, holdout), *others]))
    assert found["proven"] == "incomplete" and found["headline"].startswith(NOTHING) and why in found["headline"]
    for shown in (text, plain_text(html)):
        assert NOTHING in shown and why in shown and "Keep what runs today" not in shown
    assert "recommended, incumbent" not in text


@pytest.mark.parametrize(
    "other",
    [
        Side(10, None, searched=10, **OPEN),  # as many as a race needs
        Side(2, None, searched=5, state=CandidateState.STOPPED),  # a race ended it
        Side(9, None, searched=38, lost=2),
    ],
)
def test_what_runs_today_is_kept_where_another_was_compared_on_part_of_the_examples(tmp_path, other):
    _, found, _ = said(tmp_path, study_of(tmp_path, [Side(38, 30), other]))
    assert found["headline"] == "Keep what runs today." and found["proven"] == "keep"


def test_what_runs_today_is_not_kept_on_an_incomplete_holdout(tmp_path):
    """A cap ended the job at 30 of 40 examples, and the headline was "Keep what runs today."."""
    text, found, html = said(tmp_path, study_of(tmp_path, [Side(38, 30, scored=30), Side(20, None)]))
    assert found["proven"] == "incomplete"
    for shown in (text, found["headline"], plain_text(html)):
        assert "Nothing to recommend: the holdout is incomplete." in shown and "Keep what" not in shown


def test_what_runs_today_looks_best_where_it_was_not_evaluated_on_the_holdout(tmp_path):
    text, found, html = said(tmp_path, study_of(tmp_path, [Side(38, None), Side(20, None)]))
    assert found["proven"] == "unverified" and "offramp verify" in text
    assert found["headline"].endswith("looks best; not evaluated on the holdout yet.")
    assert "no candidate on the front has a higher utility" in plain_text(html)


def test_candidates_of_a_model_that_no_longer_answers_are_not_compared(tmp_path):
    gone = ParkedModel(model="m", retired=False, said="", used_by={"model.b": ("gone",)})
    study = study_of(tmp_path, [Side(38, 30), Side(20, 20, params={"model.b": "gone"})])
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        row = StudyStore(store).get(study)
        StudyStore(store).update(study, details=replace(row.details, parked=(gone,)))
    _, found, _ = said(tmp_path, study)
    assert found["headline"] == f"{NOTHING} (their models no longer answer)."


@pytest.mark.parametrize("holdouts", [[22, 24], [26, 30, 31, 33, 20, 12], [30, 4, 28, 27, 29, 21, 22, 23, 24, 25, 26]])
def test_interval_and_verdict_agree_in_text_json_csv_report_and_compare(tmp_path, holdouts):
    sides = [Side(20, 20), *(Side(39 - i, held, tokens=900 - i) for i, held in enumerate(holdouts))]
    study = study_of(tmp_path, sides)
    text, found, html = said(tmp_path, study)
    verdicts = {}
    for member in found["front"]:
        if (one := (member["holdout"] or {}).get("against")) is not None:
            excludes = one["low_corrected"] > 0 or one["high_corrected"] < 0
            assert excludes == (one["better"] or one["worse"]) and one["looked_at"] == len(holdouts)
            verdicts[member["candidate"]] = excludes
    assert len(verdicts) == len(holdouts)
    best = found["recommended"]["candidate"]
    for interval in (
        re.search(r"points, ([-+.0-9]+) to ([-+.0-9]+)[^:)]*: (better|worse|not significant)\)", text),
        re.search(r"95% interval ([-+.0-9]+) to ([-+.0-9]+)", plain_text(html)),
    ):
        low, high = float(interval[1]), float(interval[2])
        assert (low > 0 or high < 0) == verdicts[best]
    run = CliRunner()
    rows = csv.DictReader(
        io.StringIO(run.invoke(offramp, ["pareto", study, "--results", str(tmp_path), "--csv"]).output)
    )
    for row in rows:
        low, high = float(row["incumbent_low_corrected"] or 0), float(row["incumbent_high_corrected"] or 0)
        assert (low > 0 or high < 0) == verdicts.get(row["candidate"], False)
    for candidate, excludes in verdicts.items():
        for split in ("holdout", "search"):
            args = ["compare", study, candidate, "incumbent", "--results", str(tmp_path), "--split", split]
            one = json.loads(run.invoke(offramp, [*args, "--json"]).output)
            low, high = one["corrected"]["low"], one["corrected"]["high"]
            assert (low > 0 or high < 0) == (one["better"] or one["worse"])
            assert split == "search" or (one["better"] or one["worse"]) == excludes
            words = re.search(
                r"95% interval ([-+.0-9]+) to ([-+.0-9]+)\): (A is|not)", run.invoke(offramp, args).output
            )
            assert (float(words[1]) > 0 or float(words[2]) < 0) == (words[3] == "A is")
