"""A report's intervals, holdout and budgets are those of the results; text, JSON and CSV say the same."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from offramp.cli.main import offramp
from offramp.errors import SpaceError
from offramp.job.resolve import resolve_job
from offramp.records import Result, ResultState, Split
from offramp.space.load import load_space
from offramp.stats import difference_interval, mean_interval, non_dominated, share_at_most
from offramp.store.aggregates import AggregateStore, aggregate_of
from offramp.store.engine import open_store
from offramp.store.results import ResultStore, counts_against
from offramp.study import lookup
from offramp.study.queries.study_rows import read_report
from offramp.study.wording import limit_words
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, finished_job, reply_to, run_job, write_space

GRID = {"sampler": "grid", "trials": 99, "concurrency": 2}
SPLITS = {"train": 4, "search": 20, "holdout": 16}


@pytest.fixture
def landscape(monkeypatch):
    answered_by(monkeypatch, FunctionTransport(reply_to))


def scores(store, study, split, candidate):
    return {e: r.score for e, r in ResultStore(store).get(study, split, candidate).items() if r.score is not None}


def put_on_holdout(folder, report, values):
    """Results on the holdout for members of the front, as a verification would leave them."""
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        for candidate, found in values.items():
            rows = [
                Result(candidate=candidate, example=f"e{i:03}", state=ResultState.SCORED, score=score, cost_usd=0.0, latency_s=1.0)
                for i, score in enumerate(found)
            ]  # fmt: skip
            ResultStore(store).put(report.study, Split.HOLDOUT, rows)
            AggregateStore(store).put(report.study, Split.HOLDOUT, candidate, aggregate_of(rows))


def test_quality_has_the_interval_that_the_scores_give(tmp_path, landscape):
    report = finished_job(tmp_path, search=GRID, splits=SPLITS).report
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        for member in report.members:
            expected = mean_interval(list(scores(store, report.study, Split.SEARCH, member.candidate).values()))
            assert (member.search.quality_low, member.search.quality_high) == pytest.approx(
                (expected.low, expected.high)
            )


def test_members_that_fall_off_the_front_on_the_holdout_are_marked(tmp_path, landscape):
    space = write_space(tmp_path, search=GRID, splits=SPLITS, objectives={"cost": None, "latency": {"scale": [9, 0]}})
    first = run_job(space, tmp_path).report
    others = [m.candidate for m in first.members][:3]
    put_on_holdout(tmp_path, first, {c: [float(i < 3 * k + 1) for i in range(16)] for k, c in enumerate(others)})
    report = lookup.pareto(first.study, results=tmp_path)
    held = [m for m in report.front if m.holdout is not None]
    points = np.array([[m.holdout.quality, m.value("latency", Split.HOLDOUT)] for m in held])
    incumbent = report.incumbent.holdout
    everyone = np.vstack([points, [[incumbent.quality, incumbent.latency_s()]]])
    mask = non_dominated(everyone, maximise=[True, False])[: len(held)]
    assert [m.on_holdout_front for m in held] == mask.tolist()
    text = CliRunner().invoke(offramp, ["pareto", first.study, "--results", str(tmp_path)]).output
    assert text.count("off the front on the holdout") == (~mask).sum()


def test_against_the_incumbent_a_member_has_the_paired_interval_and_holm_s_p(tmp_path, landscape):
    report = finished_job(tmp_path, search=GRID, splits=SPLITS).report
    best = report.recommended
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        new, old = (scores(store, report.study, Split.HOLDOUT, c.candidate) for c in (best, report.incumbent))
    gains = [new[e] - old[e] for e in new]
    interval = difference_interval(gains)
    against = best.against_incumbent
    assert (against.interval.low, against.interval.high) == pytest.approx((interval.low, interval.high))
    assert (against.wins, against.losses) == (sum(g > 0 for g in gains), sum(g < 0 for g in gains))
    assert against.p_corrected >= against.p_value
    assert report.incumbent.against_incumbent is None


def test_counts_in_sql_are_the_counts_of_the_scores(tmp_path, landscape):
    report = finished_job(tmp_path, search=GRID, splits=SPLITS).report
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        counts = counts_against(store, report.study, Split.SEARCH, report.incumbent.candidate)
        old = scores(store, report.study, Split.SEARCH, report.incumbent.candidate)
        for member in report.members:
            if not member.incumbent:
                new = scores(store, report.study, Split.SEARCH, member.candidate)
                found = counts[member.candidate]
                assert (found.n, found.wins, found.losses) == (
                    20, sum(new[e] > old[e] for e in new), sum(new[e] < old[e] for e in new)
                )  # fmt: skip
    assert report.incumbent.candidate not in counts


# ------------------------------------------------------------------------------------------------ regression budget


def test_a_regression_budget_keeps_who_makes_examples_worse_off_the_front(tmp_path, landscape):
    budget = {"regressions": {"max": 0.25, "confidence": 0.9}}
    space = write_space(tmp_path, search=GRID, splits=SPLITS, constraints=budget,
                        incumbent={"model": "large", "instruction": "clear"})  # fmt: skip
    report = run_job(space, tmp_path).report
    assert {m.feasible for m in report.members} == {True, False}
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        old = scores(store, report.study, Split.SEARCH, report.incumbent.candidate)
        for member in report.members:
            new = scores(store, report.study, Split.SEARCH, member.candidate)
            bound = 0.0 if member.incumbent else share_at_most(sum(new[e] < old[e] for e in new), 20, confidence=0.9)
            assert member.regressed_at_most == pytest.approx(bound)
            assert member.feasible == (bound <= 0.25)
    assert all(m.feasible for m in report.front)
    assert report.incumbent.feasible


def test_optuna_is_told_the_regression_budget_as_a_constraint(tmp_path, landscape):
    import optuna

    budget = {"regressions": {"max": 0.25}}
    report = finished_job(tmp_path, search=GRID, splits=SPLITS, constraints=budget).report
    study = optuna.load_study(study_name=report.study, storage=f"sqlite:///{tmp_path / 'offramp.db'}")
    members = {m.candidate: m for m in report.members}
    for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        member = members[trial.user_attrs["candidate"]]
        assert trial.constraints["regressions"] == pytest.approx(member.regressed_at_most - 0.25)


def test_a_budget_that_nobody_can_keep_is_refused_with_what_would_do(tmp_path):
    space = write_space(tmp_path, constraints={"regressions": {"max": 0.03, "confidence": 0.9}})
    with pytest.raises(SpaceError, match=r"10 examples of the search split.*0\.206 or more.*76 examples"):
        resolve_job(load_space(space))


def test_a_budget_without_an_incumbent_is_refused(tmp_path):
    space = write_space(tmp_path, incumbent=None, constraints={"regressions": {"max": 0.5}},
                        objectives={"cost": None, "latency": None})  # fmt: skip
    with pytest.raises(SpaceError, match="there is none"):
        resolve_job(load_space(space))


# ---------------------------------------------------------------------------------------------------- one source


def test_text_json_and_csv_say_the_same_numbers(tmp_path, landscape):
    study = finished_job(tmp_path, search=GRID, splits=SPLITS).report.study
    report = lookup.pareto(study, results=tmp_path, pick="within:10")

    def command(*args):
        result = CliRunner().invoke(
            offramp, ["pareto", study, "--results", str(tmp_path), "--pick", "within:10", *args]
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    values, rows, text = json.loads(command("--json")), list(csv.DictReader(io.StringIO(command("--csv")))), command()
    assert (
        [m["candidate"] for m in values["front"]]
        == [r["candidate"] for r in rows]
        == [m.candidate for m in report.front]
    )
    for member, value, row in zip(report.front, values["front"], rows, strict=True):
        assert value["quality_low"] == member.search.quality_low == float(row["quality_low"])
        assert f"{member.quality:.3f}" in text
        if member.holdout is not None:
            assert value["holdout"]["quality"] == member.holdout.quality == float(row["holdout_quality"])
            assert value["holdout"]["on_front"] == member.on_holdout_front == (row["holdout_on_front"] == "True")
            assert (
                value["holdout"]["against"]["low"]
                == member.against_incumbent.interval.low
                == float(row["incumbent_low"])
            )
        else:
            assert row["holdout_quality"] == ""
    assert values["picked"]["why"] == report.picked.why
    assert report.picked.why in text


def test_numbers_of_a_report_fit_on_a_terminal_of_80_columns(tmp_path, landscape):
    study = finished_job(tmp_path, search=GRID, splits=SPLITS).report.study
    text = CliRunner().invoke(offramp, ["pareto", study, "--results", str(tmp_path)]).stdout
    numbers = [line for line in text.splitlines() if line[:12].isalnum() or line.startswith("       ")]
    assert numbers
    assert max(map(len, numbers)) <= 80


def test_csv_says_who_is_better_and_takes_no_formula(tmp_path, landscape):
    instructions = {"vague": "Vague.", "=HYPERLINK(1)": "Clear.", "strict": "Strict."}
    report = finished_job(tmp_path, search=GRID, splits=SPLITS, instructions=instructions).report
    asked = ["pareto", report.study, "--results", str(tmp_path), "--all", "--csv"]
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(offramp, asked).output)))
    names = {row["candidate"]: row for row in rows}
    assert {row["param.instruction"] for row in rows} == {"vague", "'=HYPERLINK(1)", "strict"}
    compared = [m for m in report.front if m.holdout is not None and m.against_incumbent is not None]
    assert compared
    for member in compared:
        row, seen = names[member.candidate], member.against_incumbent
        assert (row["incumbent_better"], row["incumbent_worse"]) == (str(seen.better), str(seen.worse))
        assert float(row["incumbent_worse_at_most"]) == seen.worse_at_most


def test_whoever_breaks_a_limit_is_marked_in_the_terminal(tmp_path, landscape):
    """Better candidates stood above the front, and nothing said why they were not on it."""
    space = write_space(tmp_path, search=GRID, splits=SPLITS, constraints={"cost_usd_max": 0.0005})
    report = run_job(space, tmp_path).report
    text = CliRunner().invoke(offramp, ["pareto", report.study, "--results", str(tmp_path), "--all"]).output
    broken = [member for member in report.members if not member.feasible]
    assert broken and f"{len(broken)} break a limit" in text and text.count("breaks a limit: ") == len(broken)
    assert all("per 1,000 runs is above $0.5000" in limit_words(member.breaks[0]) for member in broken)


def test_a_provider_that_fails_on_the_hard_examples_gains_nothing_by_it(tmp_path, landscape):
    """A candidate that is right wherever it has a score, and has none where it is hard, is ranked on common rows."""
    report = finished_job(tmp_path, search=GRID, splits=SPLITS).report
    better, worse = (m.candidate for m in report.members[:2])
    examples = [f"e{i:03}" for i in range(20)]
    right = {better: 17, worse: 17}  # both right on the same 17; the other fails where it is hard
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        for candidate, hits in right.items():
            known = ResultStore(store).get(report.study, Split.SEARCH, candidate)
            rows = []
            for i, example in enumerate(sorted(known) or examples):
                lost = candidate == worse and i >= hits
                rows.append(
                    Result(
                        candidate=candidate, example=example, cost_usd=None if lost else 0.001, latency_s=None if lost else 1.0,
                        state=ResultState.INFRASTRUCTURE_ERROR if lost else ResultState.SCORED, score=None if lost else float(i < hits),
                    )
                )  # fmt: skip
            ResultStore(store).put(report.study, Split.SEARCH, rows)
            AggregateStore(store).put(report.study, Split.SEARCH, candidate, aggregate_of(rows))
        after = {m.candidate: m for m in read_report(store, report.study).members}
    assert after[worse].search.quality == 1.0 and after[better].search.quality == pytest.approx(17 / 20)
    assert 17 / 20 < after[worse].quality == after[worse].value("quality") < 1.0
    assert after[better].value("quality") == after[better].quality == after[better].search.quality
    assert after[worse].search.n_failed == 3


def test_a_holdout_that_is_not_complete_is_said_in_place_of_its_quality(tmp_path, landscape):
    report = finished_job(tmp_path, search=GRID, splits=SPLITS).report
    best = report.recommended
    assert report.proof(best).missing == 0 and report.to_json()["holdout_examples"] == 16
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        known = ResultStore(store).get(report.study, Split.HOLDOUT, best.candidate)
        lost = [replace(r, state=ResultState.INFRASTRUCTURE_ERROR, score=None) for r in list(known.values())[1:]]
        ResultStore(store).put(report.study, Split.HOLDOUT, lost)
        seen = aggregate_of([*list(known.values())[:1], *lost])
        AggregateStore(store).put(report.study, Split.HOLDOUT, best.candidate, seen)
    shown = CliRunner().invoke(offramp, ["pareto", report.study, "--results", str(tmp_path)])
    text = " ".join(shown.output.split())
    assert "Holdout incomplete: 1 of 16 examples have a score" in text
    assert "examples the search never saw" not in text
