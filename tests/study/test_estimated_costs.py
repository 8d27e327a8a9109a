"""A server that reports no tokens: its costs are estimated from the length of texts, and wherever they stand that is said."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from offramp.cli.main import offramp
from offramp.records import Usage
from offramp.review.report_file import report as write_report
from offramp.study import lookup
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of which the model `small` is on a server that counts no tokens."""

    def reply(request):
        found = reply_to(request)
        return replace(found, usage=Usage()) if request.model.name == "small" else found

    answered_by(monkeypatch, FunctionTransport(reply))
    return run_job(write_space(tmp_path / "space", search={"trials": 4, "race": None}), tmp_path)


def test_costs_of_a_server_that_reports_no_tokens_are_called_estimated(tmp_path, job):
    """They were shown as if they had been measured."""
    (told,) = lookup.pareto(job.report.study, results=tmp_path).warnings
    n, of = (int(told.split()[place]) for place in (3, 5))
    assert n == of > 0
    words = (
        f"The cost of {n} of {n} answers of small is estimated from the length of texts: the server reports no tokens."
    )
    assert told == words
    run, args = CliRunner(), ["pareto", job.report.study, "--results", str(tmp_path)]
    assert words in " ".join(run.invoke(offramp, args).output.split())
    assert json.loads(run.invoke(offramp, [*args, "--json"]).output)["warnings"] == [words]
    assert words in write_report(job.report.study, results=tmp_path, out=tmp_path / "r.html").read_text(
        encoding="utf-8"
    )


def test_the_report_of_a_run_says_how_much_of_the_money_is_estimated(job):
    money = job.report.money
    assert 0 < money.assumed_usd < money.spent_usd
    assert any("spent is estimated: the server reported no tokens" in told for told in job.report.warnings)
    assert job.report.to_json()["warnings"] == list(job.report.warnings)


def test_a_machine_by_the_hour_is_paid_for_its_time_whatever_it_counts(tmp_path, monkeypatch):
    answered_by(monkeypatch, FunctionTransport(lambda request: replace(reply_to(request), usage=Usage(compute_s=0.1))))
    price = {"compute_usd_per_hour": 3.0}
    models = [{"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "price": price}]
    space = write_space(tmp_path / "space", models=models, incumbent={"model": "small", "instruction": "vague"})
    done = run_job(space, tmp_path)
    assert lookup.pareto(done.report.study, results=tmp_path).warnings == ()
