"""Starting from another study: front first, cells for nothing, trials as history, and a clear word where it cannot be."""

import json

import optuna
import pytest
import yaml

from offramp.errors import UsageError
from offramp.search import api
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.store.studies import StudyStore
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, essence, finished_job, reply_to, rows, run_job, write_space

GRID = {"sampler": "grid", "trials": 99, "concurrency": 2}


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(reply_to)
    answered_by(monkeypatch, transport)
    return transport


def finished(folder, **changes):
    """A space file, and the finished study of it beside it."""
    old = finished_job(folder, **changes)
    return folder / "space.yaml", old


def only(path, model, name):
    """The space file beside `path` whose one searched model is `model`; the incumbent stays where it can be priced."""
    space = yaml.safe_load(path.read_text())
    space["models"] = [part for part in space["models"] if part["name"] == model]
    space["incumbent"] = {**space["incumbent"], "model": model, "instruction": "vague"}
    new = path.with_name(f"{name}.yaml")
    new.write_text(yaml.safe_dump(space, sort_keys=False))
    return new


@pytest.mark.parametrize("given", [0, 1 / 3, 0.25])
def test_a_front_whose_numbers_are_written_another_way_is_tried_once(tmp_path, transport, given):
    params = {"temperature": {"low": 0.0, "high": 1.0}, "max_tokens": 16}
    incumbent = {"model": "small", "instruction": "vague", "params": {"temperature": given}}
    search = {"sampler": "random", "trials": 2, "concurrency": 2}
    space = write_space(tmp_path / "a", params=params, incumbent=incumbent, search=search)
    old = run_job(only(space, "small", "old"), tmp_path)
    new = write_space(tmp_path / "b", params=params, incumbent=incumbent, search={**search, "trials": 6})
    result = run_job(new, tmp_path, from_study=old.report.study, minutes=1.0)
    assert (result.report.stop_reason, result.report.trials) == ("trials", 6)


def changed(path, name, **parts):
    """The space file beside `path` with other parts."""
    new = path.with_name(f"{name}.yaml")
    new.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **parts}, sort_keys=False))
    return new


def storage_of(folder):
    return f"sqlite:///{folder / 'offramp.db'}"


def record(folder, study):
    with open_store(storage_of(folder)) as store:
        return StudyStore(store).get(study)


def candidates(folder, study):
    with open_store(storage_of(folder)) as store:
        return CandidateStore(store).all(study)


def optuna_trials(folder, study):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=study, storage=storage_of(folder)).get_trials()


def test_a_study_for_a_new_model_starts_from_the_old_front_on_it(tmp_path, transport):
    path = write_space(tmp_path, search=GRID)
    old = run_job(only(path, "small", "old"), tmp_path)
    new = run_job(only(path, "large", "new"), tmp_path, from_study=old.report.study, trials=1 + len(old.report.front))
    kept = candidates(tmp_path, new.report.study)
    first = [row for row in kept if row.origin["kind"] == "study"]
    fronts = {m.candidate: (m.params["instruction"], m.params["temperature"]) for m in old.report.front}
    assert {(row.params["instruction"], row.params["temperature"]) for row in first} <= set(fronts.values())
    assert {parent for row in first for parent in row.origin["parents"]} <= set(fronts)
    assert all(row.params["model"] == "large" for row in kept)
    assert len(first) + 1 == len(kept), "nothing but the incumbent and the old front was tried"


def test_a_front_whose_models_are_still_searched_costs_nothing_again(tmp_path, transport):
    path, old = finished(tmp_path, search=GRID)
    wider = changed(path, "wider", params={"temperature": {"choices": [0.0, 0.5, 0.9]}, "max_tokens": 16})
    sent = len(transport.requests)
    new = run_job(wider, tmp_path, from_study=old.report.study, trials=len(old.report.front) + 1)
    assert len(transport.requests) == sent
    assert new.calls == 0 and new.cached_calls >= 10 * new.report.trials
    assert {m.candidate for m in old.report.front} <= {m.candidate for m in new.report.members}
    assert new.report.started_from["cells"] == 10 * old.report.trials
    for row in candidates(tmp_path, new.report.study):
        assert row.origin["cells"] == {"study": old.report.study, "n": 10}
    same = {m.candidate: (m.quality, m.cost_usd) for m in old.report.members}
    assert all(same[m.candidate] == (m.quality, m.cost_usd) for m in new.report.members)


def test_the_holdout_of_an_old_candidate_is_not_paid_for_again(tmp_path, transport):
    path, old = finished(tmp_path, search=GRID)
    wider = changed(path, "wider", search={**GRID, "sampler": "random"})
    new = run_job(wider, tmp_path, from_study=old.report.study)
    assert new.calls == 0
    assert new.report.recommended == old.report.recommended


def test_where_texts_are_not_kept_cells_are_still_reused_from_results(tmp_path, transport):
    path, old = finished(tmp_path, search=GRID, store_text=False)
    new = run_job(changed(path, "new", search={**GRID, "seed": 5}), tmp_path, from_study=old.report.study)
    assert new.calls == 0 and new.report.trials == old.report.trials


def test_a_study_in_another_storage_can_be_started_from(tmp_path, transport):
    path = write_space(tmp_path, search=GRID)
    old = run_job(path, tmp_path / "old")
    sent = len(transport.requests)
    new = run_job(path, tmp_path / "new", from_study=old.report.study, from_storage=storage_of(tmp_path / "old"))
    assert len(transport.requests) == sent
    assert new.report.study != old.report.study and new.report.front == old.report.front


# ------------------------------------------------------------------------------------------------ history


def tpe(tmp_path, path, folder, trials, **more):
    return run_job(changed(path, "tpe", search={"sampler": "tpe", "trials": trials, "concurrency": 2}), folder, **more)


def many(tmp_path):
    """A space of 144 candidates, and a study that has not tried them all."""
    tried = {
        "temperature": {"choices": [i / 10 for i in range(12)]},
        "top_p": {"choices": [0.9, 1.0]},
        "max_tokens": 16,
    }
    return finished(tmp_path, params=tried, search={"sampler": "random", "trials": 40, "concurrency": 2})


def test_old_trials_change_what_tpe_proposes_and_are_in_no_front_and_no_count(tmp_path, transport):
    path, old = many(tmp_path)
    trials = len(old.report.front) + 6
    cold = tpe(tmp_path, path, tmp_path / "cold", trials)
    warm = tpe(tmp_path, path, tmp_path, trials, from_study=old.report.study)
    prior = [t for t in optuna_trials(tmp_path, warm.report.study) if "prior" in t.user_attrs]
    assert len(prior) == warm.report.started_from["prior"] > 10
    assert all(t.user_attrs["prior"] == old.report.study and "candidate" not in t.user_attrs for t in prior)
    assert warm.report.trials == trials == len(candidates(tmp_path, warm.report.study))
    own = {row.id for row in candidates(tmp_path, warm.report.study)}
    assert {m.candidate for m in warm.report.members} == own
    sampled = [row for row in candidates(tmp_path, warm.report.study) if row.origin["kind"] == "sampler"]
    assert len(sampled) >= 4
    assert {r.id for r in sampled} != {r.id for r in candidates(tmp_path / "cold", cold.report.study)}


def test_with_the_same_first_trials_tpe_proposes_something_else_with_history(tmp_path, transport, monkeypatch):
    """The front first alone would change proposals too: here only the history is taken away."""
    path, old = many(tmp_path)
    trials = len(old.report.front) + 6
    warm = tpe(tmp_path, path, tmp_path, trials, from_study=old.report.study)
    monkeypatch.setattr("offramp.search.loop.add_prior", lambda *_, **__: None)
    without = tpe(
        tmp_path, path, tmp_path / "w", trials, from_study=old.report.study, from_storage=storage_of(tmp_path)
    )
    first, second = (
        [(r.id, r.origin["kind"]) for r in candidates(folder, study.report.study)]
        for folder, study in ((tmp_path, warm), (tmp_path / "w", without))
    )
    assert first != second
    assert [x for x in first if x[1] != "sampler"] == [x for x in second if x[1] != "sampler"]


def test_history_works_in_utility_mode_and_for_every_sampler(tmp_path, transport):
    path, old = many(tmp_path)
    for sampler in ("tpe", "nsga2", "random"):
        search = {"sampler": sampler, "mode": "utility", "trials": 8, "concurrency": 2}
        new = run_job(changed(path, sampler, search=search), tmp_path, from_study=old.report.study)
        assert new.report.trials == 8 and new.error is None


# ------------------------------------------------------------------------------------------ going on


def test_the_same_command_goes_on_whatever_the_old_study_has_become(tmp_path, transport):
    path, old = finished(tmp_path, search={**GRID, "sampler": "tpe", "trials": 5})
    later = changed(path, "later", search={"sampler": "tpe", "trials": 6, "seed": 3, "concurrency": 2})
    for trials in (3, 6):
        unchanged = run_job(
            later, tmp_path / "once", trials=trials, from_study=old.report.study, from_storage=storage_of(tmp_path)
        )
    begun = run_job(later, tmp_path, trials=3, from_study=old.report.study)
    run_job(path, tmp_path, trials=9)
    gone_on = run_job(later, tmp_path, trials=6, from_study=old.report.study)
    assert begun.report.study == gone_on.report.study
    assert essence(gone_on) == essence(unchanged)


def test_a_job_that_dies_while_it_takes_over_takes_over_the_same_again(tmp_path, transport, monkeypatch):
    """The record that says that all is there is written last: cells and texts without it are written again."""
    path, old = finished(tmp_path, search=GRID)
    fewer = changed(path, "fewer", instructions={"vague": "Vague.", "clear": "Clear."})
    start = {"from_study": old.report.study, "from_storage": storage_of(tmp_path)}
    whole = run_job(fewer, tmp_path / "whole", **start)

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("offramp.search.warm.start.study_row", dies)
        run_job(fewer, tmp_path / "dies", **start)
    again = run_job(fewer, tmp_path / "dies", **start)
    assert again.calls == 0 and essence(again) == essence(whole)
    assert again.report.started_from == whole.report.started_from


def test_the_beginning_of_a_name_and_latest_mean_the_old_study_also_the_second_time(tmp_path, transport):
    path, old = finished(tmp_path, search={**GRID, "trials": 3})
    later = changed(path, "later", search={**GRID, "trials": 3, "seed": 3})
    for name in ("landscape", "latest"):
        studies = {run_job(later, tmp_path, from_study=name).report.study for _ in range(2)}
        assert len(studies) == 1
        assert record(tmp_path, studies.pop()).details.warm.study == old.report.study


def test_an_old_text_that_the_file_has_not_comes_along(tmp_path, transport):
    path, old = finished(tmp_path, search=GRID)
    best = next(m for m in old.report.front if m.params["instruction"] == "strict")
    fewer = changed(path, "fewer", instructions={"vague": "Vague.", "clear": "Clear."})
    new = run_job(fewer, tmp_path, from_study=old.report.study)
    assert best.candidate in {m.candidate for m in new.report.front}
    assert [(v.name, v.text, v.kind) for v in new.report.proposals] == [("strict", "Strict.", "study")]
    assert new.calls == 0
    again = run_job(fewer, tmp_path, from_study=old.report.study)
    assert essence(again) == essence(new)


# ------------------------------------------------------------------------------------------ what cannot be


def test_another_task_is_refused_and_nothing_is_written(tmp_path, transport):
    old = run_job(write_space(tmp_path / "a", search={**GRID, "trials": 2}), tmp_path)
    signature = {"inputs": {"message": None}, "outputs": {"label": {"type": "str"}}}
    other = write_space(tmp_path / "b", task={"signature": signature}, name="other")
    with pytest.raises(UsageError, match="is of another task"):
        run_job(other, tmp_path, from_study=old.report.study)
    with open_store(storage_of(tmp_path)) as store:
        assert [row.name for row in StudyStore(store).list()] == [old.report.study]


def test_a_study_that_is_not_there_is_named_with_the_nearest(tmp_path, transport):
    path, old = finished(tmp_path, search={**GRID, "trials": 2})
    with pytest.raises(UsageError, match=r"no such study.*landscope.*Did you mean.*landscape"):
        run_job(path, tmp_path, from_study=old.report.study.replace("landscape", "landscope"))


def test_of_other_data_the_front_alone_is_used_and_it_says_so(tmp_path, transport):
    _, old = finished(tmp_path, search=GRID)
    more = write_space(tmp_path / "more", count=50, search=GRID)
    new = run_job(more, tmp_path, from_study=old.report.study, trials=4)
    start = new.report.started_from
    assert start["cells"] == start["prior"] == 0 and start["first"] >= len(old.report.front)
    assert "the data and the splits differ: its front is tried first" in start["notes"][0]
    assert len(rows(50)) == 50
    assert {row.origin["kind"] for row in candidates(tmp_path, new.report.study)} == {"incumbent", "study"}


def test_a_model_of_the_same_name_elsewhere_gives_no_cell(tmp_path, transport):
    path, old = finished(tmp_path, search=GRID)
    moved = yaml.safe_load(path.read_text())["models"]
    moved[1]["api_base"] = "http://127.0.0.1:10/v1"
    new = run_job(changed(path, "moved", models=moved), tmp_path, from_study=old.report.study, trials=3)
    with_cells = [r for r in candidates(tmp_path, new.report.study) if "cells" in r.origin]
    assert all(r.candidate.model == "small" for r in with_cells)
    assert new.calls > 0


def test_balanced_demos_of_another_column_give_no_cell(tmp_path, transport):
    demos = {"kind": "balanced", "count": 2}
    path, old = finished(tmp_path, demos=demos, search={**GRID, "trials": 3})
    other = changed(path, "other", demos={**demos, "balance_by": "id"})
    new = run_job(other, tmp_path, from_study=old.report.study, trials=3)
    incumbent = new.report.incumbent.candidate
    assert set(record(tmp_path, new.report.study).details.warm.reused) <= {incumbent}


# ------------------------------------------------------------------------------------------------- dry run


def test_a_dry_run_says_what_would_be_taken_over_and_writes_nothing(tmp_path, transport):
    path, old = finished(tmp_path, search=GRID)
    before = (tmp_path / "offramp.db").read_bytes()
    new = changed(path, "new", search={**GRID, "seed": 9})
    _, cold = api.dry_run(new, results=tmp_path)
    _, warm = api.dry_run(new, results=tmp_path, from_study=old.report.study)
    assert warm.reused == 10 * len({m.candidate for m in old.report.front} | {old.report.incumbent.candidate})
    assert warm.calls == cold.calls - warm.reused
    assert old.report.study in warm.started_from and "go first" in warm.started_from
    assert (tmp_path / "offramp.db").read_bytes() == before


def test_the_report_tells_what_the_study_started_from(tmp_path, transport):
    path, old = finished(tmp_path, search={**GRID, "trials": 3})
    new = run_job(changed(path, "new", search={**GRID, "seed": 9}), tmp_path, from_study=old.report.study)
    told = json.loads((tmp_path / f"{new.report.study}.json").read_text())["started_from"]
    assert told["study"] == old.report.study and told["cells"] == 30
