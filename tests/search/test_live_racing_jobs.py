"""The live search races: behind candidates are stopped early, told as pruned, and the same front is found for less."""

import optuna
import pytest

from offramp.job.resolve import resolve_job
from offramp.program.demos import choose_demos
from offramp.search import api
from offramp.space.load import as_loaded
from offramp.store.candidates import CandidateState, CandidateStore
from offramp.store.engine import open_store
from offramp.store.waves import WaveStore
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, finished_job, reply_to, run_job, write_space

SPLITS = {"train": 6, "search": 120, "holdout": 20}


def job(folder, race, **changes):
    search = {"sampler": "random", "trials": 12, "concurrency": 2, "race": race}
    return finished_job(folder, count=146, splits=SPLITS, search=search, **changes)


def values(members):
    return {(m.quality, m.cost_usd) for m in members}


@pytest.fixture
def both(tmp_path):
    return job(tmp_path / "raced", {}), job(tmp_path / "full", None)


def test_racing_finds_the_front_of_full_evaluation_for_fewer_calls(both):
    raced, full = both
    assert values(raced.report.front) == values(full.report.front)  # of equals, one may be stopped
    assert values([raced.report.recommended]) == values([full.report.recommended])
    assert raced.report.stopped >= 2
    assert full.report.stopped == 0
    assert raced.calls < 0.9 * full.calls
    assert raced.report.trials == full.report.trials == 12


def test_a_stopped_candidate_is_pruned_in_optuna_and_its_partial_score_is_in_no_report(both, tmp_path):
    raced, _ = both
    url = f"sqlite:///{tmp_path}/raced/offramp.db"
    with open_store(url, write_probe=False) as store:
        rows = CandidateStore(store).all(raced.report.study)
    stopped = {row.id: row for row in rows if row.state is CandidateState.STOPPED}
    members = {member.candidate for member in raced.report.members}
    assert stopped and not members & set(stopped)
    assert all(row.reason.split()[0] in members for row in stopped.values())
    assert all(member.search.n == 120 for member in raced.report.members)
    trials = optuna.load_study(study_name=raced.report.study, storage=url).get_trials()
    pruned = [t for t in trials if t.state is optuna.trial.TrialState.PRUNED and "duplicate_of" not in t.user_attrs]
    assert {t.user_attrs["candidate"] for t in pruned} == set(stopped)
    assert all(t.values is None and 8 <= t.user_attrs["n"] < 120 for t in pruned)


def test_a_raced_study_continues_without_a_call(tmp_path, monkeypatch):
    first = job(tmp_path, {})
    transport = FunctionTransport(reply_to)
    answered_by(monkeypatch, transport)
    again = run_job(tmp_path / "space.yaml", tmp_path)
    assert transport.requests == []
    assert again.calls == 0
    assert [m.candidate for m in again.report.front] == [m.candidate for m in first.report.front]
    assert again.report.stopped == first.report.stopped


def test_how_a_job_races_is_part_of_which_study_it_is(tmp_path):
    one = job(tmp_path / "a", {})
    two = job(tmp_path / "b", {"confidence": 0.8})
    assert one.report.study != two.report.study
    assert api.result_json(one)["stopped"] == one.report.stopped


def test_nobody_is_stopped_for_a_rival_that_misses_a_constraint(tmp_path):
    changes = {
        "incumbent": {"model": "large", "instruction": "strict"},
        "params": {"temperature": 0.0, "max_tokens": 16},
        "objectives": {"quality": {"weight": 1.0}, "cost": None, "latency": None},
        "constraints": {"cost_usd_max": 0.001},
    }
    raced = job(tmp_path / "raced", {}, **changes).report
    full = job(tmp_path / "full", None, **changes).report
    assert raced.recommended.feasible and full.recommended.feasible
    assert values([raced.recommended]) == values([full.recommended])


@pytest.mark.parametrize("cap", ["calls", "usd"])
def test_first_looks_are_as_large_whether_calls_or_money_are_capped(tmp_path, monkeypatch, cap):
    """Money was taken for cells: under a cap in USD every block had a single cell."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    splits, price = {"train": 6, "search": 60, "holdout": 10}, {"input_usd": 100.0, "output_usd": 100.0}
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "price": price}
        for name in ("small", "large")
    ]
    search = {"sampler": "random", "trials": 20, "concurrency": 2}
    space = write_space(tmp_path, count=76, splits=splits, search=search, models=models)
    calls, each_usd = 60 + 20 + 240, (100 + 10 * 6 + 3.5) * 100 / 1e6
    limits = {"calls": calls} if cap == "calls" else {"usd": calls * each_usd * 1.05}
    study = run_job(space, tmp_path, **limits).report.study
    with open_store(f"sqlite:///{tmp_path}/offramp.db", write_probe=False) as store:
        first = next(row for row in WaveStore(store).all(study) if row.purpose == "search")
    assert max(len(ids) for _, ids in first.cells) in (4, 5)  # a fifth of 300 cells for looks at 12 candidates


@pytest.mark.parametrize(("counts", "distinct"), [([1], 1), ([1, 3], 3)])
def test_two_kinds_of_demos_that_choose_the_same_rows_are_one_candidate(tmp_path, counts, distinct):
    demos = {"kind": ["balanced", "random"], "count": counts, "balance_by": "label"}
    params = {"temperature": 0.0, "max_tokens": 16}
    found = finished_job(tmp_path, demos=demos, params=params, search={"concurrency": 2, "race": None})
    with open_store(f"sqlite:///{tmp_path}/offramp.db", write_probe=False) as store:
        kept = CandidateStore(store).all(found.report.study)
    job = resolve_job(as_loaded(tmp_path / "space.yaml"))
    shown = {
        (kind, n): [e.id for e in choose_demos(kind, n, 0, job.task.splits.train, "label")]
        for kind in demos["kind"]
        for n in counts
    }
    assert len({tuple(ids) for ids in shown.values()}) == distinct < len(shown)
    assert len(kept) == found.report.trials == 6 * distinct + 1  # two models, three instructions; and what runs today
    assert found.report.stop_reason == "space_exhausted"
