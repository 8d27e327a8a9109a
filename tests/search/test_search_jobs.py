"""Whole jobs on a landscape with a known front, in process: what is proposed, in which order, and how a job ends."""

import asyncio
import importlib.util
import itertools
from collections import Counter

import optuna
import pytest

from offramp.calls.failures import TimedOut
from offramp.errors import UsageError
from offramp.job.resolve import resolve_job
from offramp.space.load import as_loaded, load_space, space_from_json
from offramp.space.model import IncumbentPart
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.testing.fakes import FunctionTransport
from search_jobs import (
    PRICES,
    SKILL,
    answer,
    answered_by,
    essence,
    finished_job,
    reply_to,
    rows,
    run_job,
    trials_of,
    write_space,
)

TEXTS = {"vague": "Vague.", "clear": "Clear.", "strict": "Strict."}


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(reply_to)
    answered_by(monkeypatch, transport)
    return transport


def storage_of(folder):
    return f"sqlite:///{folder / 'offramp.db'}"


def kept_trials(folder, result):
    return trials_of(storage_of(folder), result.report.study)


def search(**changes):
    return {"sampler": "random", "trials": 6, "concurrency": 2, **changes}


def true_values(space, member):
    """Quality and cost of a candidate by the landscape alone: no code of the search is used."""
    examples = resolve_job(load_space(space)).task.splits.search
    model, text = member.params["model"], TEXTS[member.params["instruction"]]
    replies = [(e, answer(model, text, e.values["message"])) for e in examples]
    price = PRICES[model]
    usd = [read * price["input_usd"] / 1e6 + written * price["output_usd"] / 1e6 for _, (_, read, written) in replies]
    right = sum(reply == e.values["label"] for e, (reply, *_) in replies)
    return right / len(examples), sum(usd) / len(usd)


def dominates(one, other):
    (quality, cost), (quality_2, cost_2) = one, other
    return quality >= quality_2 and cost <= cost_2 and (quality > quality_2 or cost < cost_2)


# ------------------------------------------------------------------------------------------------ what is found


def test_a_grid_finds_the_front_that_brute_force_finds(tmp_path, transport):
    space = write_space(
        tmp_path, search=search(sampler="grid", trials=50, race=None), splits={"train": 2, "search": 12, "holdout": 2}
    )
    report = run_job(space, tmp_path).report
    known = {m.candidate: true_values(space, m) for m in report.members}
    assert len(known) == 13  # 2 models, 3 instructions, 2 temperatures; and the incumbent, which states no temperature
    for member in report.members:
        assert (member.quality, member.cost_usd) == pytest.approx(known[member.candidate])
    best = {c for c in known if not any(dominates(known[other], known[c]) for other in known)}
    assert {m.candidate for m in report.front} == best
    assert len({m.params["instruction"] for m in report.front}) > 1


def test_a_grid_visits_every_point_once_and_then_says_that_the_space_is_exhausted(tmp_path, transport):
    space = write_space(tmp_path, search=search(sampler="grid", trials=50), incumbent=None,
                        objectives={"cost": None, "latency": None}, splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    result = run_job(space, tmp_path)
    points = [tuple(v for _, v in params) for *_, params in kept_trials(tmp_path, result)]
    assert sorted(points) == sorted(itertools.product(TEXTS, PRICES, (0.0, 0.5)))
    assert result.report.stop_reason == "space_exhausted"
    assert result.report.trials == 12


def test_a_grid_visits_only_points_whose_conditions_hold(tmp_path, transport):
    params = {"temperature": {"choices": [0.0, 0.5], "when": {"model": ["large"]}}, "max_tokens": 16}
    space = write_space(tmp_path, search=search(sampler="grid", trials=50), params=params,
                        splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    result = run_job(space, tmp_path)
    assert result.report.stop_reason == "space_exhausted"
    assert result.report.trials == 3 + 6
    for member in result.report.members:
        assert ("temperature" in member.params) == (member.params["model"] == "large")


def test_an_incumbent_outside_of_the_space_takes_no_place_from_it(tmp_path, transport):
    space = write_space(tmp_path, search=search(sampler="grid", trials=50), params={"max_tokens": 16},
                        incumbent={"model": "small", "instruction": "vague", "params": {"max_tokens": 12}},
                        splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    report = run_job(space, tmp_path).report
    assert report.trials == 1 + 6
    assert report.stop_reason == "space_exhausted"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_reaches_the_end_of_a_small_space_and_pays_for_no_candidate_twice(tmp_path, transport, sampler):
    space = write_space(tmp_path, search=search(sampler=sampler, trials=99), params={"max_tokens": 16},
                        splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    result = run_job(space, tmp_path)
    assert result.report.stop_reason == "space_exhausted"
    assert result.report.trials == 6
    assert len({r.hash for r in transport.requests}) == len(transport.requests)
    assert len({m.candidate for m in result.report.members}) == 6


def test_an_exhausted_space_gets_no_more_trials_when_it_is_run_again(tmp_path, transport):
    space = write_space(tmp_path, search=search(trials=99), params={"max_tokens": 16},
                        splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    first = run_job(space, tmp_path)
    before = kept_trials(tmp_path, first)
    again = run_job(space, tmp_path)
    assert kept_trials(tmp_path, again) == before
    assert again.report.stop_reason == "space_exhausted"


def test_two_names_for_one_text_are_one_candidate(tmp_path, transport):
    texts = {"one": "Clear.", "two": "Clear."}
    space = write_space(tmp_path, search=search(trials=99), params={"max_tokens": 16}, instructions=texts,
                        incumbent={"model": "small", "instruction": "one"}, splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    report = run_job(space, tmp_path).report
    assert report.trials == 2
    assert report.stop_reason == "space_exhausted"


def test_the_weights_alone_decide_what_is_recommended_in_utility_mode(tmp_path, transport):
    weights = {"quality": {"weight": 0.0}, "cost": {"weight": 1.0, "scale": [0.01, 0.0]}, "latency": None}
    space = write_space(tmp_path, search=search(sampler="tpe", mode="utility", trials=99), objectives=weights,
                        params={"max_tokens": 16}, splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    result = run_job(space, tmp_path)
    study = optuna.load_study(study_name=result.report.study, storage=storage_of(tmp_path))
    assert study.metric_names == ["utility"]
    assert [d.name for d in study.directions] == ["MAXIMIZE"]
    assert study.best_trial.user_attrs["candidate"] == result.report.recommended.candidate
    assert result.report.recommended.cost_usd == min(m.cost_usd for m in result.report.members)


def test_a_recommended_candidate_keeps_the_constraints(tmp_path, transport):
    space = write_space(tmp_path, search=search(sampler="tpe", trials=99), params={"max_tokens": 16},
                        constraints={"cost_usd_max": 0.0005}, splits={"train": 2, "search": 4, "holdout": 2})  # fmt: skip
    report = run_job(space, tmp_path).report
    assert {m.feasible for m in report.members} == {True, False}
    assert all(m.cost_usd <= 0.0005 for m in report.front)
    assert report.recommended.params["model"] == "small"
    study = optuna.load_study(study_name=report.study, storage=storage_of(tmp_path))
    for trial in study.get_trials():
        if trial.values is not None:
            assert (trial.constraints["cost_usd_max"] > 0) == (trial.values[1] > 0.0005)


def test_where_nothing_is_feasible_the_front_is_of_all(tmp_path, transport):
    space = write_space(tmp_path, search=search(trials=3), constraints={"cost_usd_max": 1e-9},
                        splits={"train": 2, "search": 2, "holdout": 2})  # fmt: skip
    report = run_job(space, tmp_path).report
    assert report.front
    assert not any(m.feasible for m in report.members)


def test_a_searched_range_on_a_logarithmic_scale_keeps_its_digits(tmp_path, transport):
    space = write_space(tmp_path, search=search(trials=4), splits={"train": 2, "search": 2, "holdout": 2},
                        params={"temperature": {"low": 1e-8, "high": 1e-6, "log": True}, "max_tokens": 16})  # fmt: skip
    report = run_job(space, tmp_path).report
    searched = [m.params["temperature"] for m in report.members if "temperature" in m.params]
    assert len(searched) == 3
    assert all(1e-8 <= value <= 1e-6 for value in searched)


def test_an_incumbent_between_the_steps_of_a_range_is_measured_as_it_is(tmp_path, transport):
    incumbent = {"model": "small", "instruction": "vague", "params": {"temperature": 0.25}}
    space = write_space(tmp_path, search=search(trials=2), incumbent=incumbent, splits={"train": 2, "search": 2, "holdout": 2},
                        params={"temperature": {"low": 0, "high": 1, "step": 0.1}, "max_tokens": 16})  # fmt: skip
    report = run_job(space, tmp_path).report
    assert report.incumbent.params["temperature"] == 0.25
    assert {r.params.get("temperature") for r in transport.requests[:2]} == {0.25}


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_an_incumbent_outside_of_the_space_does_not_keep_a_sampler_from_a_param(tmp_path, transport, sampler):
    from offramp.search.sampling.samplers import make_sampler

    job = resolve_job(load_space(write_space(tmp_path)))
    told = make_sampler(sampler, job.search_params, 0)
    study = optuna.create_study(directions=["maximize"])
    study.add_trial(optuna.trial.create_trial(value=1.0))
    found = told.infer_relative_search_space(study, study.ask())
    assert set(found) == {"model", "instruction", "temperature"}


# ------------------------------------------------------------------------------------------ the same, or another study


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_the_same_seed_gives_the_same_study_in_another_storage(tmp_path, transport, sampler):
    space = write_space(
        tmp_path, search=search(sampler=sampler, trials=8), splits={"train": 2, "search": 3, "holdout": 2}
    )
    one, other = run_job(space, tmp_path / "1"), run_job(space, tmp_path / "2")
    assert essence(one) == essence(other)
    assert kept_trials(tmp_path / "1", one) == kept_trials(tmp_path / "2", other)


def test_another_seed_gives_another_study_in_another_order(tmp_path, transport):
    space = write_space(tmp_path, splits={"train": 2, "search": 2, "holdout": 2})
    zero, one = (run_job(space, tmp_path, seed=seed) for seed in (0, 1))
    assert zero.report.study != one.report.study
    assert [t[0] for t in kept_trials(tmp_path, zero)] != [t[0] for t in kept_trials(tmp_path, one)]


def test_concurrency_does_not_change_the_study(tmp_path, transport):
    space = write_space(
        tmp_path, search=search(sampler="tpe", trials=8, wave=6), splits={"train": 2, "search": 5, "holdout": 2}
    )
    one, many = run_job(space, tmp_path / "1", concurrency=1), run_job(space, tmp_path / "8", concurrency=8)
    assert kept_trials(tmp_path / "1", one) == kept_trials(tmp_path / "8", many)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "grid"])
def test_more_trials_continue_the_study_and_pay_for_nothing_again(tmp_path, transport, sampler):
    space = write_space(tmp_path, search=search(sampler=sampler), splits={"train": 2, "search": 2, "holdout": 2})
    before: list = []
    for trials in (4, 9):
        result = run_job(space, tmp_path, trials=trials)
        kept = kept_trials(tmp_path, result)
        assert kept[: len(before)] == before and len(kept) == trials
        before = kept
    assert before[0][0] == result.report.incumbent.candidate
    assert len({(r.hash, r.replicate) for r in transport.requests}) == len(transport.requests)


def test_a_finished_job_run_again_sends_nothing_and_finds_the_same(tmp_path, transport):
    first = finished_job(tmp_path)
    again = run_job(tmp_path / "space.yaml", tmp_path)
    assert not transport.requests
    assert (again.calls, again.spent_usd, again.cached_calls) == (0, 0.0, first.calls)
    assert essence(first) == essence(again)


def test_the_same_answers_cost_another_study_nothing(tmp_path, transport):
    space = write_space(tmp_path, search=search(sampler="grid", trials=99, race=None))
    first = run_job(space, tmp_path)
    sent = len(transport.requests)
    other = run_job(space, tmp_path, seed=5)
    assert len(transport.requests) == sent
    assert other.spent_usd == 0.0
    by_id = {m.candidate: m.cost_usd for m in first.report.members}
    assert {m.candidate: m.cost_usd for m in other.report.members} == by_id


def test_the_search_never_sees_the_holdout_and_those_who_stand_at_its_end_are_scored_on_it(tmp_path, transport):
    result = finished_job(tmp_path)
    standing = {m.candidate for m in (result.report.incumbent, *result.report.front)}
    with open_store(storage_of(tmp_path)) as store:
        held = ResultStore(store).all(result.report.study, "holdout")
    assert set(held) == standing
    assert all(len(results) == 6 for results in held.values())


class Counting(FunctionTransport):
    """Counts how many candidates have a request under way, at each request."""

    def __init__(self):
        super().__init__(reply_to)
        self._under_way, self.together = Counter(), []

    async def send(self, request, attempt=1):
        key = (request.model.name, request.messages[0]["content"], request.params.get("temperature"))
        self._under_way[key] += 1
        await asyncio.sleep(0)
        self.together.append(len(+self._under_way))
        self._under_way[key] -= 1
        return reply_to(request)


@pytest.mark.parametrize(
    ("routes", "side_by_side"),
    [(("ollama/a", "ollama/b"), True), (("local/smollm2-135m", "local/qwen2.5-coder-0.5b"), False)],
)
def test_the_rest_of_the_front_is_evaluated_side_by_side_but_for_embedded_models(
    tmp_path, monkeypatch, routes, side_by_side
):
    """Each of them had few examples and waited for the one before: most places in flight were empty."""
    counting = Counting()
    answered_by(monkeypatch, counting)
    models = [{"name": n, "route": r, "price": dict(PRICES[n])} for n, r in zip(PRICES, routes, strict=True)]
    settings = search(sampler="grid", trials=50, race=None, concurrency=12)
    report = run_job(write_space(tmp_path, search=settings, models=models), tmp_path).report
    assert len(report.front) > 3 and all(m.holdout is not None and m.holdout.n == 6 for m in report.front)
    rest = counting.together[-6 * (len(report.front) - 2) :]
    assert (max(rest) > 1) == side_by_side


# ------------------------------------------------------------------------------------------------ what others read


def test_optunas_own_tools_read_the_study_and_its_verbosity_is_as_it_was(tmp_path, transport):
    before = optuna.logging.get_verbosity()
    result = run_job(write_space(tmp_path, search=search(sampler="tpe", trials=5)), tmp_path)
    assert optuna.logging.get_verbosity() == before
    study = optuna.load_study(study_name=result.report.study, storage=storage_of(tmp_path))
    assert study.metric_names == ["quality", "cost"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    complete = [t for t in study.get_trials() if t.state.name == "COMPLETE"]
    assert {t.user_attrs["candidate"] for t in complete} == {m.candidate for m in result.report.members}
    assert all({"candidate", "params", "utility", "n", "n_fault", "n_failed", "latency_p95_s"} <= set(t.user_attrs) for t in complete)  # fmt: skip
    assert {t.user_attrs["candidate"] for t in study.best_trials} >= {m.candidate for m in result.report.front}


def test_reports_of_many_trials_keep_no_connection_open(tmp_path, transport):
    import gc
    from pathlib import Path

    space = write_space(tmp_path, search=search(trials=1), splits={"train": 2, "search": 2, "holdout": 2})
    run_job(space, tmp_path)
    gc.collect()
    gc.disable()
    try:
        before = sum("offramp.db" in str(p.resolve()) for p in Path("/proc/self/fd").iterdir())
        run_job(space, tmp_path, trials=8)
        after = sum("offramp.db" in str(p.resolve()) for p in Path("/proc/self/fd").iterdir())
    finally:
        gc.enable()
    assert after <= before


def test_gp_without_torch_is_refused_before_anything_is_written(tmp_path, transport, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a))
    with pytest.raises(UsageError, match=r"offramp\[gp\]"):
        run_job(write_space(tmp_path, search=search(sampler="gp")), tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_space_made_by_a_program_is_the_study_of_its_file(tmp_path, transport):
    """A migration changes a space in memory: a path, what was read from it, and the bare space are one study."""
    path = write_space(tmp_path, search=search(trials=2))
    loaded = load_space(path)
    by_path = run_job(path, tmp_path / "a")
    for number, space in enumerate((loaded, space_from_json(loaded.space.model_dump_json()))):
        if number:
            space = as_loaded(space, base=tmp_path)
        assert essence(run_job(space, tmp_path / str(number))) == essence(by_path)


def test_a_changed_space_is_another_study_and_leaves_the_first_as_it_is(tmp_path, transport):
    loaded = load_space(write_space(tmp_path, search=search(trials=2)))
    newer = loaded.changed(models=[loaded.space.models[1]], incumbent=IncumbentPart(model="large"))
    assert loaded.space.models != newer.space.models
    study = run_job(newer, tmp_path)
    assert {member.params["model"] for member in study.report.members} == {"large"}


def test_the_landscape_has_a_skill_for_every_point_and_a_row_for_every_label():
    assert set(SKILL) == set(itertools.product(PRICES, TEXTS.values()))
    assert len({row["label"] for row in rows()}) == 3


def test_an_incumbent_without_a_score_fixes_no_scale(tmp_path, monkeypatch):
    down = [True]

    def reply(request):
        if down[0]:
            raise TimedOut("down")
        return reply_to(request)

    answered_by(monkeypatch, FunctionTransport(reply))
    space = write_space(tmp_path, search=search(trials=2), calls={"max_failed_share": 1.0})
    assert run_job(space, tmp_path).error is not None
    down[0] = False
    report = run_job(space, tmp_path).report
    scale = next(o.scale for o in report.objectives if o.name == "cost")
    assert scale == pytest.approx((2 * report.incumbent.cost_usd, 0.0))


@pytest.mark.parametrize("limits", [{"usd": 1e10}, {"calls": 10**20}, {"seed": 10**22}, {"trials": 10**20}])
def test_numbers_that_no_storage_holds_are_refused_before_anything_is_written(tmp_path, transport, limits):
    space = write_space(tmp_path / "space")
    with pytest.raises(UsageError, match="at most"):
        run_job(space, tmp_path / "results", **limits)
    assert not (tmp_path / "results" / "offramp.db").exists()
