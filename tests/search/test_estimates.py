"""A job that a cap ends shows who is likely on the front and was not run on all examples, apart from the members."""

import json
import re

import pytest
from click.testing import CliRunner

from offramp.cli.main import offramp
from offramp.cli.study_tables import MOST_LIKELY, plot
from offramp.job.clock import Timing
from offramp.review.likely_dots import MOST
from offramp.review.report_file import report as report_file
from offramp.study import lookup
from offramp.study.study_report import reweigh
from offramp.study.wording import LIKELY, likely_words
from offramp.testing.fakes import FunctionTransport
from search_jobs import api, at_once, reply_to, write_space

SEARCH = 40
CAP = 160


def run(space, folder, calls):
    wire = {"transport": FunctionTransport(reply_to), "timing": Timing(sleep=at_once)}
    return api.optimize(space, results=folder, calls=calls, trials=50, **wire).report


@pytest.fixture(scope="module", params=["mean", "p95"])
def capped(request, tmp_path_factory):
    """A study that ran out of calls, and its folder."""
    folder = tmp_path_factory.mktemp("capped")
    space = write_space(
        folder, count=80, splits={"train": 6, "search": SEARCH, "holdout": 6}, search={"concurrency": 2},
        objectives={"latency": {"weight": 0.1, "scale": [1, 0], "statistic": request.param}},
    )  # fmt: skip
    return run(space, folder, CAP), folder, space


def test_estimates_are_of_candidates_that_are_not_members_and_have_an_interval_and_n(capped):
    report, _, _ = capped
    assert report.stop_reason == "budget_calls" and report.estimates
    members = {member.candidate for member in report.members}
    for one in report.estimates:
        assert one.candidate not in members
        assert 0 < one.n < one.of == SEARCH and 0 < one.trust <= 1
        assert set(one.values) == {"quality", "cost", "latency"}
        assert all(seen.low <= seen.mean <= seen.high for seen in one.values.values())
        assert one.values["quality"].low >= 0 and one.values["quality"].high <= 1
    utilities = [one.utility for one in report.estimates]
    assert utilities == sorted(utilities, reverse=True)


def test_the_stored_study_shows_the_same_estimates_as_the_job(capped):
    report, folder, _ = capped
    stored = lookup.pareto(report.study, results=folder)
    assert stored.estimates == report.estimates
    assert json.loads((folder / f"{report.study}.json").read_text())["estimates"] == stored.to_json()["estimates"]
    assert {member["candidate"] for member in stored.to_json()["front"]} == {m.candidate for m in report.front}


def test_table_and_page_show_them_apart_from_the_front_as_estimates(capped):
    report, folder, _ = capped
    table = CliRunner().invoke(offramp, ["pareto", report.study, "--results", str(folder)]).stdout
    front, _, likely = table.partition(LIKELY)
    html = report_file(report.study, results=folder, out=folder / "page.html").read_text()
    _, _, section = html.partition('<section id="likely"')
    section = section.partition("</section>")[0]
    assert all(len(line) <= 80 for line in likely.partition("They are")[0].splitlines())
    for number, one in enumerate(report.estimates):
        assert one.candidate not in front
        assert (one.candidate in likely) == (number < MOST_LIKELY)
        assert one.candidate in section and f"{one.n}/{SEARCH}" in section
    assert section.count(">estimate<") == len(report.estimates)
    csv = CliRunner().invoke(offramp, ["pareto", report.study, "--all", "--csv", "--results", str(folder)]).stdout
    assert not any(one.candidate in csv for one in report.estimates)


def test_every_picture_shows_them_hollow_with_n_of_all_examples(capped):
    """The page, the notebook and the terminal; they are no points of the front, and on no staircase."""
    report, folder, _ = capped
    html = report_file(report.study, results=folder, out=folder / "page.html").read_text()
    for chart in re.findall(r'<svg class="front.*?</svg>', html, re.DOTALL):
        points = re.findall(r'<g class="dot likely" data-id="(.*?)".*?aria-label="(.*?)"', chart)
        assert [candidate for candidate, _ in points] == [one.candidate for one in report.estimates][:MOST]
        for (_, words), one in zip(points, report.estimates, strict=False):
            assert f"run on {one.n} of {SEARCH} examples, not complete" in words
            assert likely_words(one).quality_interval in words
        front = {member.candidate for member in report.front}
        assert not front & {candidate for candidate, _ in points}
    assert "expected, not complete" in html and f"{report.estimates[0].n} of {SEARCH} examples" in html
    notebook = report._repr_html_()
    assert notebook.count(f" of {SEARCH} examples: expected, not complete") == len(report.estimates)
    drawn = plot(report).plain
    assert "○ expected, not complete" in drawn and "○" in drawn.rpartition("○ expected")[0]


def test_other_weights_rank_estimates_and_change_none_of_them(capped):
    report, folder, _ = capped
    other = reweigh(report, {"cost": 1.0})
    values = {m.candidate: m.estimate.values for m in report.unfinished}
    assert {m.candidate: m.estimate.values for m in other.unfinished} == values
    utilities = [one.utility for one in other.estimates]
    assert utilities == sorted(utilities, reverse=True)
    stored = lookup.pareto(report.study, results=folder, weights={"cost": 1.0}).to_json()
    assert {**other.to_json(), "study_money": None} == {**stored, "study_money": None}


def test_the_recommended_one_may_be_an_estimate_and_is_evaluated_on_the_whole_holdout(capped):
    report, folder, _ = capped
    best = report.recommended
    assert best.estimate is not None and 0 < best.search.n < SEARCH
    assert best in report.front and best.candidate not in {one.candidate for one in report.estimates}
    assert best.holdout.n == report.holdout_examples == 6
    assert all(m.utility <= best.utility for m in report.members)
    shown = report.to_json()["recommended"]
    assert shown["estimate"] == {"n": best.search.n, "of": SEARCH} and shown["n"] == best.search.n
    assert any("estimate" in note for note in shown["notes"])
    table = CliRunner().invoke(offramp, ["pareto", report.study, "--results", str(folder)]).stdout
    assert "recommended, estimate: " in table


def test_a_recommended_estimate_can_be_promoted_by_its_holdout(capped, monkeypatch, tmp_path):
    report, folder, _ = capped
    monkeypatch.chdir(tmp_path)  # promotions/ is made there
    said = CliRunner().invoke(offramp, ["promote", report.study, "--results", str(folder)])
    assert said.exit_code == 0, said.output
    assert (tmp_path / "promotions" / "landscape" / "labels.yaml").exists()


def test_with_a_higher_cap_the_job_goes_on_until_nothing_is_estimated(tmp_path):
    space = write_space(
        tmp_path, count=40, splits={"train": 6, "search": 20, "holdout": 6}, params={"max_tokens": 16},
        search={"concurrency": 2},
    )  # fmt: skip
    before, after = run(space, tmp_path, 60), run(space, tmp_path, 1000)
    assert before.estimates and not after.estimates
    assert not lookup.pareto(after.study, results=tmp_path).estimates
    assert {one.candidate for one in before.estimates} <= {row["candidate"] for row in after.to_json()["front"]} | {
        member.candidate for member in after.members
    } | _stopped(after, tmp_path)


def _stopped(report, folder):
    import sqlite3

    with sqlite3.connect(folder / "offramp.db") as db:
        rows = db.execute("SELECT candidate FROM offramp_candidates WHERE state = 'stopped'").fetchall()
    return {row[0] for row in rows}
