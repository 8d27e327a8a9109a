"""Studies that are not as the first one: nothing runs today, nothing answers, nothing keeps the limits, one candidate."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offramp.calls.failures import ServerFailed
from offramp.records import CallReply, CallRequest
from offramp.review.decision import Decision
from offramp.review.report_file import report_html
from offramp.review.study_page import StudyPage, study_page
from offramp.review.study_source import StudySource
from offramp.search.engine import JobResult
from offramp.store.engine import open_store
from offramp.store.results import ProbeRun, ProbeStore
from offramp.study import lookup
from offramp.study.wording import number
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

SCALES = {"quality": {"weight": 0.7}, "cost": {"weight": 0.2, "scale": [0.01, 0]}, "latency": {"weight": 0.1, "scale": [1, 0]}}  # fmt: skip
ONE = {"models": [{"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "price": {"input_usd": 1.0, "output_usd": 2.0}}], "instructions": {"vague": "Vague."}, "params": {"max_tokens": 16}}  # fmt: skip
Job = Callable[..., JobResult]


def fails(request: CallRequest) -> CallReply:
    """A provider that is down."""
    raise ServerFailed("the server is </script><b>down</b>")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Runs one; its results are in `tmp_path`."""

    def run(reply: Callable[[CallRequest], CallReply] = reply_to, **changes: Any) -> JobResult:
        answered_by(monkeypatch, FunctionTransport(reply))
        return run_job(write_space(tmp_path / "space", **changes), tmp_path)

    return run


def page_of(folder: Path, study: str) -> StudyPage:
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        return study_page(StudySource(store, study), whole=True)


def html_of(folder: Path, study: str) -> str:
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        return report_html(store, study)


def decision_of(folder: Path, result: JobResult) -> Decision:
    return page_of(folder, result.report.study).decision


def test_without_an_incumbent_the_decision_shows_the_holdout_with_its_interval(job: Job, tmp_path: Path) -> None:
    """It showed the number of the search split, the luckiest of many, though the holdout had been scored."""
    result = job(incumbent=None, objectives=SCALES)
    found, best = decision_of(tmp_path, result), result.report.recommended
    assert found.kind == "choose" and best.holdout.n == 6
    assert f"Quality {number(best.holdout.quality)} on 6 holdout examples (95% interval" in found.why
    assert found.tiles[0].name == "Quality, holdout" and found.tiles[0].now == number(best.holdout.quality)


def test_where_nothing_else_was_run_the_decision_does_not_say_to_keep_what_runs_today(job: Job, tmp_path: Path) -> None:
    found = decision_of(tmp_path, job(**ONE))
    assert found.kind == "none" and found.title.endswith("no other candidate could be compared (none was run).")
    assert "nothing was compared with it" in found.why


def test_what_is_kept_is_shown_as_it_did_on_the_holdout(job: Job, tmp_path: Path) -> None:
    dear = {**ONE["models"][0], "name": "dear", "price": {"input_usd": 100.0, "output_usd": 200.0}}
    result = job(**{**ONE, "models": [*ONE["models"], dear]})
    found = decision_of(tmp_path, result)
    assert found.kind == "keep" and found.tiles[0].now == number(result.report.incumbent.holdout.quality)
    assert found.tiles[0].name == "Quality, holdout"


def test_a_study_that_failed_says_why_and_draws_nothing(job: Job, tmp_path: Path) -> None:
    result = job(fails, incumbent=None, objectives=SCALES)
    found = decision_of(tmp_path, result)
    assert found.kind == "none" and "too many requests failed" in found.caution
    html = html_of(tmp_path, result.report.study)
    assert re.search(r'id="tiles" hidden', html) and "server failed" in html and "<b>down" not in html


def test_where_nobody_keeps_the_limits_the_decision_says_which_it_breaks(job: Job, tmp_path: Path) -> None:
    """A candidate that broke a limit was recommended without a word of it."""
    result = job(constraints={"latency_p95_s_max": 0.001, "cost_usd_max": 1e-5})
    found, best = decision_of(tmp_path, result), result.report.recommended
    assert not best.feasible and len(best.breaks) == 2
    assert "breaks a limit of the space file" in found.caution and "is above 1 ms" in found.caution
    assert all(member.feasible == (not member.breaks) for member in result.report.members)


def test_money_is_that_of_the_search_and_of_verifications(job: Job, tmp_path: Path) -> None:
    """What a verification paid was in the list by purpose, and not in what was paid."""
    from offramp.search import api as searching

    result = job(verify={"front": False})
    done = searching.verify(result.report.study, results=tmp_path, probe=3, transport=FunctionTransport(reply_to))
    money = page_of(tmp_path, result.report.study).spending
    assert money.verify.spent_usd == pytest.approx(done.spent_usd) and done.spent_usd > 0
    assert money.paid_usd == pytest.approx(money.budget.spent_usd + money.verify.spent_usd)
    assert money.paid_usd == pytest.approx(money.physical_usd, abs=1e-6)


def test_timed_runs_change_the_stamp_that_the_live_page_follows(job: Job, tmp_path: Path) -> None:
    """After a probe of a study whose holdout was scored already, the page went on showing the old latency."""
    from offramp.store.studies import change_stamp

    study = job().report
    with open_store(lookup.default_storage(tmp_path)) as store:
        before = change_stamp(store, study.study)
        ProbeStore(store).put(
            study.study, {study.incumbent.candidate: [ProbeRun(example="e001", latency_s=0.5)]}, concurrency=1
        )
        assert change_stamp(store, study.study) != before


def test_a_very_long_prompt_scrolls_in_its_place(job: Job, tmp_path: Path) -> None:
    """The page of a candidate with a prompt of 30,000 characters was 20 screens long before its wins and losses came."""
    texts = {"vague": "Vague.", "clear": "Clear. " + "Never promise what is not in the policy. " * 800}
    result = job(instructions=texts)
    html = html_of(tmp_path, result.report.study)
    long = re.findall(r'<p class="prompt"[^>]*>(?:(?!</p>).)*?never promise', html, re.DOTALL | re.IGNORECASE)
    assert long and all('tabindex="0"' in found and 'role="region"' in found for found in long)
    assert not re.search(r'<p class="prompt" dir="auto" tabindex[^>]*>Vague\.</p>', html)
