"""`offramp pareto` and `offramp studies` over one study: table, JSON and CSV; other weights; and what is refused."""

import csv
import io
import json

import pytest

from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, main, reply_to, run_job, write_space


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished grid over the landscape: its report, its folder."""
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        folder = tmp_path_factory.mktemp("study")
        grid = {"sampler": "grid", "trials": 50}
        space = write_space(folder / "job", search=grid, splits={"train": 2, "search": 10, "holdout": 4})
        return run_job(space, folder).report, folder


@pytest.fixture
def run(study, capsys, monkeypatch):
    """Run a command on the study's folder; its code, stdout and stderr."""
    monkeypatch.setenv("OFFRAMP_RESULTS", str(study[1]))
    monkeypatch.setenv("COLUMNS", "80")

    def runner(*args):
        code = main([*map(str, args)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return runner


def test_the_latest_study_is_shown_by_default_and_by_name_and_by_its_beginning(run, study):
    name = study[0].study
    shown = [run("pareto", *args) for args in ([], ["latest"], [name], [name[:12]])]
    assert {code for code, _, _ in shown} == {0}
    assert len({out for _, out, _ in shown}) == 1
    out = shown[0][1]
    assert all(member.candidate in out for member in study[0].front)
    assert "recommended" in out and "incumbent" in out and "Holdout: quality" in out
    assert "$ per 1,000 runs" in out, "the plot has its axis"


def test_all_shows_every_candidate(run, study):
    out = run("pareto", "--all")[1]
    assert all(member.candidate in out for member in study[0].members)


def test_json_is_the_report_that_the_job_ended_with(run, study):
    report, folder = study
    found = json.loads(run("pareto", "--json")[1])
    written = json.loads((folder / f"{report.study}.json").read_text())
    for name in ("study", "trials", "front", "incumbent", "recommended", "objectives", "stop_reason"):
        assert found[name] == written[name]


def test_csv_has_a_row_for_each_candidate_and_a_column_for_each_param(run, study):
    rows = list(csv.DictReader(io.StringIO(run("pareto", "--csv", "--all")[1])))
    assert [row["candidate"] for row in rows] == [member.candidate for member in study[0].members]
    by_id = {member.candidate: member for member in study[0].members}
    for row in rows:
        member = by_id[row["candidate"]]
        assert float(row["quality"]) == member.quality and float(row["cost_usd"]) == member.cost_usd
        assert row["param.model"] == member.params["model"]
        assert row["param.instruction"] == member.params["instruction"]
    assert [row["candidate"] for row in rows if row["recommended"] == "True"] == [study[0].recommended.candidate]
    front = list(csv.DictReader(io.StringIO(run("pareto", "--csv")[1])))
    assert [row["candidate"] for row in front] == [member.candidate for member in study[0].front]


# ------------------------------------------------------------------------------------------------------- weights


def test_other_weights_recommend_another_member_of_the_same_front(run, study):
    def with_weights(text):
        return json.loads(run("pareto", "--weights", text, "--json")[1])

    quality, cost = with_weights("quality=1,cost=0"), with_weights("quality=0, cost=1")
    assert [m["candidate"] for m in quality["front"]] == [m["candidate"] for m in cost["front"]]
    assert quality["recommended"]["quality"] == max(m.quality for m in study[0].front)
    assert cost["recommended"]["cost_usd"] == min(m.cost_usd for m in study[0].front)
    assert json.loads(run("pareto", "--json")[1])["recommended"]["candidate"] == study[0].recommended.candidate


def test_weights_count_by_their_proportion(run):
    one, other = (
        json.loads(run("pareto", "--weights", w, "--json")[1]) for w in ("quality=.6,cost=.4", "quality=6,cost=4")
    )
    assert one["recommended"] == other["recommended"]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("quality", "not a list of name=number"),
        ("quality=high", "not a list of name=number"),
        ("quality=.6;cost=.4", "not a list of name=number"),
        ("quality=nan", "the weight of quality: got nan, expected a number in [0, 1,000,000]"),
        ("quality=1e308,cost=1e308", "the weight of quality: got 1e+308"),
        ("quality=1,quality=2", "duplicate weight of 'quality'"),
        ("quality=1,cost=2, quality =1", "duplicate weight of 'quality'"),
        ("", "not a list of name=number"),
        ("qualty=1", "Did you mean 'quality'?"),
        ("latency=1", "latency"),
        ("quality=-1,cost=1", "-1"),
        ("quality=inf", "the weight of quality: got inf, expected a number in [0, 1,000,000]"),
        ("quality=0,cost=0", "got 'quality=0, cost=0', expected one above 0 at least"),
    ],
)
def test_weights_that_do_not_fit_are_one_message_and_exit_code_2(run, weights, words):
    code, out, err = run("pareto", "--weights", weights)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and words in err and err.count("\n") == 1


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("pick", ["under:usd=1,usd=2", "under:usd=1,seconds=2, usd=1"])
def test_a_limit_that_is_there_twice_is_refused(run, pick):
    code, out, err = run("pareto", "--pick", pick)
    assert (code, out) == (2, "") and "usd=..., seconds=... or both, each once" in err and err.count("\n") == 1


def test_a_number_of_a_trial_that_nobody_can_have_is_one_message(run):
    code, _, err = run("compare", "latest", "trial " + "9" * 5000)
    assert code == 2 and "no such candidate" in err and "Traceback" not in err


@pytest.mark.parametrize("margin", ["nan", "inf", "1"])
def test_a_margin_that_is_no_loss_is_refused(run, margin):
    code, out, err = run("compare", "latest", "--margin", margin)
    assert (code, out) == (2, "") and "expected a number between 0 and 1" in err and "Traceback" not in err


def test_a_misspelt_study_is_not_served(run, study):
    code, out, err = run("review", study[0].study + "x", "--port", "0")
    assert (code, out) == (2, "") and "no such study" in err and f"Did you mean '{study[0].study}'?" in err


@pytest.mark.parametrize("name", ["", "  "])
@pytest.mark.parametrize("command", ["pareto", "report", "compare", "verify", "promote", "review"])
def test_a_name_of_nothing_is_not_the_latest_study(run, command, name):
    code, out, err = run(command, name, *(["--port", "0"] if command == "review" else []))
    assert (code, out) == (2, "") and err.startswith("error: study: the name: got '") and "`latest`" in err


@pytest.mark.parametrize(
    "args",
    [
        ("pareto", "--storage", ""), ("pareto", "--results", ""), ("pareto", "--storage", "  "), ("optimize", ""),
        ("optimize", "space.yaml", "--from", ""), ("space", "check", ""), ("promote", "--promotions", ""),
        ("report", "--out", ""), ("replay", ""), ("watch", "--scan", ""),
    ],
)  # fmt: skip
def test_what_an_unset_variable_leaves_is_refused_and_means_no_default(run, args):
    code, out, err = run(*args)
    assert (code, out) == (2, "") and "is blank: got '" in err and err.count("\n") == 1


def test_json_and_csv_at_once_are_refused(run):
    code, out, err = run("pareto", "--json", "--csv")
    assert (code, out) == (2, "") and "Choose one." in err


def test_a_misspelt_study_names_the_nearest(run, study):
    name = study[0].study
    code, _, err = run("pareto", "x" + name)
    assert code == 2 and "no such study" in err and name in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--results", "\udcff"), "--results: is not text: got '\\udcff', expected UTF-8."),
        (("--storage", "sqlite:///\udcff.db"), "--storage: is not text: got 'sqlite:///\\udcff.db', expected UTF-8."),
        (("\udcff",), "no such study: got '\\udcff'"),
        (("a\0b",), "no such study: got 'a\\x00b'"),
    ],
)
def test_bytes_that_are_no_text_are_one_message(run, args, words):
    code, out, err = run("pareto", *args)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


@pytest.mark.parametrize("command", ["pareto", "studies"])
def test_looking_where_nothing_ever_ran_says_so_and_creates_nothing(run, tmp_path, command):
    code, out, err = run(command, "--results", tmp_path / "nowhere")
    assert (code, out) == (2, "") and err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_is_something_else_is_one_message(run, tmp_path):
    (tmp_path / "offramp.db").write_text("not a database, but long enough to be looked at " * 100)
    code, _, err = run("pareto", "--results", tmp_path)
    assert code == 2 and "is not a database" in err and "Traceback" not in err


# -------------------------------------------------------------------------------------------------------- studies


def test_studies_are_listed_with_what_they_found(run, study):
    code, out, _ = run("studies")
    assert code == 0 and study[0].study in out and "space_exhausted" in out
    [row] = json.loads(run("studies", "--json")[1])
    assert row["study"] == study[0].study and row["space"] == "landscape"
    assert (row["status"], row["trials"]) == ("finished", study[0].trials)
    assert row["recommended"] == study[0].recommended.candidate
    assert row["quality"] == study[0].recommended.quality and row["spent_usd"] > 0
