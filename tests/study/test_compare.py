"""Comparisons over a real study of the landscape: what is counted, sliced, shown and refused."""

import csv
import io
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from offramp.cli.main import offramp
from offramp.errors import UsageError
from offramp.records import Result, ResultState, Split
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.study import lookup
from offramp.study.lookup import find_candidate
from offramp.study.queries.study_rows import read_report
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, SKILL, answered_by, finished_job, reply_to, run_job, write_space


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A study whose every candidate is known, with its folder."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    grid = {"sampler": "grid", "trials": 99, "concurrency": 2}
    return tmp_path, finished_job(tmp_path, search=grid, splits={"train": 6, "search": 20, "holdout": 14}).report


def compared(job, a="recommended", b="incumbent", **options):
    folder, report = job
    return lookup.compare(report.study, a, b, results=folder, **options)


def right(example, model, instruction):
    """By the landscape alone, whether a candidate answers an example."""
    return int(example[1:]) % 10 < SKILL[model, instruction.capitalize() + "."]


def test_wins_and_losses_are_those_of_the_landscape(job):
    found = compared(job)
    a, b = found.a.params, found.b.params
    assert found.split is Split.HOLDOUT
    assert found.whole.n == 14
    expected = {"win": 0, "loss": 0, "tie": 0}
    for pair in found.pairs:
        gain = right(pair.example, a["model"], a["instruction"]) - right(pair.example, b["model"], b["instruction"])
        assert pair.gain == gain
        expected[pair.outcome] += 1
    assert (found.whole.wins, found.whole.losses, found.whole.ties) == tuple(expected.values())
    assert found.whole.quality_a == job[1].recommended.holdout.quality


def test_turned_round_it_is_the_same_with_other_signs(job):
    one, other = compared(job, split=Split.SEARCH), compared(job, "incumbent", "recommended", split=Split.SEARCH)
    assert one.whole.difference == -other.whole.difference
    assert (one.whole.wins, one.whole.losses) == (other.whole.losses, other.whole.wins)
    assert (one.whole.interval.low, one.whole.interval.high) == pytest.approx(
        (-other.whole.interval.high, -other.whole.interval.low)
    )


def test_looking_at_more_candidates_costs_certainty(job):
    held, searched = compared(job), compared(job, split=Split.SEARCH)
    front = {m.candidate for m in job[1].front} - {job[1].incumbent.candidate}
    assert held.looked_at == len(front)
    assert searched.looked_at == job[1].trials - 1  # those that were stopped early were looked at too
    assert searched.whole.p_corrected == min(1.0, searched.whole.p_value * searched.looked_at)


def test_examples_come_worst_first_with_both_answers_the_gold_and_the_inputs(job):
    found = compared(job, "incumbent", "recommended")
    gains = [pair.gain for pair in found.pairs]
    assert gains == sorted(gains)
    worst = found.pairs[0]
    number = int(worst.example[1:])
    assert worst.inputs == {"message": f"case {number:03}"}
    assert worst.gold == {"label": LABELS[number % 3]}
    assert worst.b.outputs == worst.gold != worst.a.outputs


def test_slices_split_every_example_once_and_the_worst_comes_first(job):
    found = compared(job, split=Split.SEARCH, by=["label"])
    assert {s.value for s in found.slices} == set(LABELS)
    assert sum(s.comparison.n for s in found.slices) == found.whole.n
    assert sum(s.comparison.losses for s in found.slices) == found.whole.losses
    assert [s.comparison.difference for s in found.slices] == sorted(s.comparison.difference for s in found.slices)


def test_candidates_are_named_by_prefix_trial_or_word(job):
    member = job[1].members[3]
    by_id, by_trial = (
        compared(job, member.candidate[:6], split=Split.SEARCH),
        compared(job, "trial 3", split=Split.SEARCH),
    )
    assert by_id.a.candidate == member.candidate
    assert by_trial.a.number == 3
    assert compared(job, "knee", "trial 0", split=Split.SEARCH).b.candidate == job[1].incumbent.candidate


@pytest.mark.parametrize(
    ("a", "b", "options", "told"),
    [
        ("nobody", "incumbent", {}, "no such candidate"),
        ("trial 99", "incumbent", {}, "no such candidate"),
        ("incumbent", "incumbent", {}, "the same candidate"),
        ("recommended", "incumbent", {"by": ["labl"]}, "'label'"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_to_do(job, a, b, options, told):
    with pytest.raises(UsageError, match=told):
        compared(job, a, b, **options)


def test_a_candidate_without_holdout_results_is_compared_on_the_holdout_once_it_is_verified(job):
    unverified = next(member.candidate for member in job[1].members if member.holdout is None)
    with pytest.raises(UsageError, match="offramp verify"):
        compared(job, unverified, "incumbent", split=Split.HOLDOUT)


def test_an_example_without_a_score_is_in_no_count(job):
    folder, report = job
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        lost = Result(candidate=report.recommended.candidate, example=compared(job).pairs[0].example,
                      state=ResultState.INFRASTRUCTURE_ERROR, score=None, cost_usd=None, latency_s=None, reason="no reply")  # fmt: skip
        ResultStore(store).put(report.study, Split.HOLDOUT, [lost])
    found = compared(job)
    assert (found.whole.n, found.unpaired) == (13, 1)
    assert lost.example not in {pair.example for pair in found.pairs}


def test_without_the_dataset_examples_are_shown_by_id_and_slices_are_refused(job):
    (job[0] / "rows.jsonl").unlink()
    found = compared(job)
    assert found.pairs[0].inputs is None
    assert found.pairs[0].a.outputs is not None
    assert "cannot be read" in found.missing
    with pytest.raises(UsageError, match="slices need the dataset"):
        compared(job, by=["label"])


def test_a_dataset_that_has_changed_is_not_taken_for_the_one_that_was_run(job):
    path = job[0] / "rows.jsonl"
    path.write_text(path.read_text().replace("case 001", "another"))
    assert "changed" in compared(job).missing


def test_a_moved_dataset_is_found_by_its_space_file(job, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved")
    (job[0] / "rows.jsonl").rename(moved / "rows.jsonl")
    found = compared(job, by=["label"], space_file=moved / "space.yaml")
    assert found.missing is None
    assert found.slices


# ---------------------------------------------------------------------------------------------------- the command


def command(job, *args):
    result = CliRunner().invoke(offramp, ["compare", job[1].study, *args, "--results", str(job[0])])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_text_json_and_csv_say_the_same(job):
    found = compared(job, by=["label"])
    text, values = command(job, "--by", "label"), json.loads(command(job, "--by", "label", "--json"))
    rows = list(csv.DictReader(io.StringIO(command(job, "--csv"))))
    assert f"A wins {values['wins']}, loses {values['losses']}, ties {values['ties']}." in text
    assert values["difference"] == found.whole.difference
    assert [row["example"] for row in rows] == [e["example"] for e in values["examples"]]
    assert [float(row["gain"]) for row in rows] == [pair.gain for pair in found.pairs]
    assert sum(row["outcome"] == "loss" for row in rows) == values["losses"]
    assert len(values["slices"]) == 3
    assert values["regressions"] is None


def test_a_formula_in_an_answer_is_text_in_the_csv_and_a_control_character_is_written_out(job):
    folder, report = job
    pair = compared(job).pairs[0]
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        odd = Result(candidate=report.recommended.candidate, example=pair.example, state=ResultState.SCORED, score=0.0,
                     cost_usd=0.0, latency_s=1.0, outputs={"label": "=HYPERLINK(1)\x1b[2J"})  # fmt: skip
        ResultStore(store).put(report.study, Split.HOLDOUT, [odd])
    row = next(r for r in csv.DictReader(io.StringIO(command(job, "--csv"))) if r["example"] == pair.example)
    assert row["a.label"].startswith("'=")
    assert "\x1b" not in command(job, "--limit", "99")


def test_limit_shows_so_many_examples(job):
    assert command(job, "--limit", "2").count("    gold: ") == 2
    assert "    gold: " not in command(job, "--limit", "0")


def test_a_study_that_recommends_nobody_says_so(job):
    folder, report = job
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        bare = replace(read_report(store, report.study), recommended=None, front=(), incumbent=None)
        for word in ("recommended", "incumbent", "knee"):
            told = rf"--pick: no candidate of {report.study} \(finished\) is that: got '{word}'"
            with pytest.raises(UsageError, match=told):
                find_candidate(store, bare, CandidateStore(store).all(report.study), word, where="--pick")


def test_a_comparison_reads_the_list_of_candidates_once(job, monkeypatch):
    reads = []
    whole = CandidateStore.all

    def counted(self, study, **options):
        reads.append(study)
        return whole(self, study, **options)

    monkeypatch.setattr(CandidateStore, "all", counted)
    compared(job, "trial 1", "incumbent", split=Split.SEARCH)
    assert reads == [job[1].study]


def test_slices_are_told_with_each_example_and_fit_into_eighty_columns(job):
    """The table of slices was 85 columns wide, and every line of it wrapped."""
    folder, report = job
    asked = ["compare", report.study, "--by", "label", "--by", "message", "--results", str(folder)]
    text = CliRunner().invoke(offramp, asked).output
    lines = text.partition("slices, the worst first")[2].partition("p*:")[0].splitlines()
    assert len(lines) > 10 and all(len(line.rstrip()) <= 80 for line in lines)
    told = json.loads(CliRunner().invoke(offramp, [*asked, "--json"]).output)
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(offramp, [*asked, "--csv"]).output)))
    for one, row in zip(told["examples"], rows, strict=True):
        assert one["slices"] == {"label": one["gold"]["label"], "message": one["inputs"]["message"]}
        assert row["slice.label"] == one["gold"]["label"] and row["slice.message"] == row["input.message"]
    counts = {s["value"]: s["n"] for s in told["slices"] if s["column"] == "label"}
    assert counts == {label: sum(e["slices"]["label"] == label for e in told["examples"]) for label in counts}


def test_a_long_slice_of_any_script_keeps_the_columns_in_place():
    from rich.cells import cell_len

    from offramp.cli.compare import _columns

    cells = ("100", "50", "50", "-100.0", "-100.0 to +100.0", "1.2e-10")
    for name in ("a", "x" * 200, "語" * 40, "\u05e9" * 27, "\U0001f600" * 14):
        assert cell_len(_columns(name, cells)) == 80


def test_the_name_of_a_space_goes_before_the_beginning_of_another(tmp_path, monkeypatch):
    """`offramp compare triage` said that the name was that of several, with `triage-v2` beside it."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    one, other = (run_job(write_space(tmp_path / n, name=n), tmp_path, trials=2).report.study for n in ("triage", "triage-v2"))  # fmt: skip
    assert (
        lookup.pareto("triage", results=tmp_path).study == one
        and lookup.pareto("triage-v", results=tmp_path).study == other
    )
    with pytest.raises(UsageError, match="more than one study matches"):
        lookup.pareto("tri", results=tmp_path)


def test_a_policy_that_chooses_nobody_says_why_and_a_missing_incumbent_what_to_do(job, tmp_path_factory):
    folder, report = job
    with pytest.raises(UsageError, match="on the front is known to cost"):
        lookup.compare(report.study, "under:usd=0", results=folder)
    other = tmp_path_factory.mktemp("none")
    alone = run_job(write_space(other, incumbent=None, objectives={"cost": {"scale": [1, 0]}, "latency": None}), other)
    with pytest.raises(UsageError, match="Name another, such as recommended or knee"):
        lookup.compare(alone.report.study, "recommended", results=other)


def test_compare_calls_better_whom_the_table_calls_better(job):
    """The table's correction was Holm's and that of compare Bonferroni's: one said better, the other that nothing is shown."""
    from offramp.store.aggregates import AggregateStore, aggregate_of

    folder, report = job
    other = next(m for m in report.members if m not in report.front and not m.incumbent)
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        there = ResultStore(store).get(report.study, Split.HOLDOUT, report.recommended.candidate)
        ResultStore(store).put(
            report.study, Split.HOLDOUT, [replace(r, candidate=other.candidate) for r in there.values()]
        )
        seen = aggregate_of(ResultStore(store).get(report.study, Split.HOLDOUT, other.candidate).values())
        AggregateStore(store).put(report.study, Split.HOLDOUT, other.candidate, seen)
    now = lookup.pareto(report.study, results=folder)
    against = {m.candidate: m.against_incumbent for m in now.front if m.holdout is not None and m.against_incumbent}
    assert len(against) > 1
    for candidate, seen in against.items():
        found = lookup.compare(report.study, candidate, results=folder)
        assert found.whole.p_corrected == seen.p_corrected and found.looked_at == len(against) + 1
        assert (found.whole.better, found.whole.worse) == (seen.better, seen.worse)
    raw = sorted(seen.p_value for seen in against.values())
    assert min(seen.p_corrected for seen in against.values()) == min(1.0, raw[0] * (len(against) + 1))


def test_one_comparison_is_not_called_corrected(tmp_path, monkeypatch):
    """It said "both corrected for 1 candidates"."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(tmp_path / "space", search={"trials": 2, "race": None})
    report = run_job(space, tmp_path).report
    others = [m.candidate for m in report.members if not m.incumbent]
    args = ["compare", report.study, others[0], "incumbent", "--results", str(tmp_path), "--split", "search"]
    out = CliRunner().invoke(offramp, args, catch_exceptions=False).output
    assert "p = " in out and "corrected for" not in out
