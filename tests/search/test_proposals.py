"""Proposals in whole jobs, with a scripted proposer: rounds, what joins and what is dropped, and going on."""

import json
import multiprocessing
import signal
from dataclasses import replace

import pytest
from proposing import Landscape, kind_of, space, usd

from offramp.calls.failures import Refused, Unreachable
from offramp.errors import UsageError
from offramp.job.clock import Timing
from offramp.records import CallReply, Purpose, Usage
from offramp.search import api
from offramp.search.estimate import job_summary
from offramp.store.candidates import CandidateStore, VariantStore
from offramp.store.engine import open_store
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, at_once, essence, made_once, main, run_job, trials_of, unlooked
from user_code import TWO_STEPS


def good(kind, request):
    """A text that is better than any of the file, another for each request."""
    return f"Best. Written by {kind}, number {request.replicate}."


@pytest.fixture
def play(monkeypatch):
    """Jobs on a landscape whose proposer answers with `texts`."""

    def start(texts=good):
        landscape = Landscape(texts)
        transport = FunctionTransport(landscape)
        answered_by(monkeypatch, transport)
        landscape.transport = transport
        return landscape

    return start


def proposed(folder):
    """The finished study of `space` with good texts, beside its file; run once for the tests of this process."""

    def make(original):
        wire = {"transport": FunctionTransport(Landscape(good)), "timing": Timing(sleep=at_once)}
        return run_job(space(original), original, **wire)

    return made_once("proposals", folder, make)


PLAIN = CallReply(text="", finish_reason="stop", usage=Usage(input_tokens=500, output_tokens=80), latency_s=1.0)


def storage_of(folder):
    return f"sqlite:///{folder / 'offramp.db'}"


def kept(folder, study):
    with open_store(storage_of(folder)) as store:
        return VariantStore(store).all(study), CandidateStore(store).all(study)


def test_a_proposed_instruction_of_higher_skill_is_found_and_recommended(tmp_path):
    study = proposed(tmp_path)
    best = study.report.recommended
    assert best.params["instruction"].startswith("proposed-")
    others = [m for m in study.report.members if not m.params["instruction"].startswith("proposed-")]
    assert best.quality > max(m.quality for m in others if m.params["model"] == best.params["model"])
    rows, candidates = kept(tmp_path, study.report.study)
    assert [(row.kind, row.name, row.round) for row in rows] == [
        ("reflection", "proposed-1", 1),
        ("data", "proposed-2", 1),
    ]
    assert all(row.text.startswith("Best. Written by") and row.model == "writer" for row in rows)
    tried = {row.id: row for row in candidates}
    assert {parent for row in rows for parent in row.parents} <= set(tried)
    origin = tried[best.candidate].origin
    assert origin["kind"] == "proposal" and origin["variants"] == [best.params["instruction"]] and origin["parents"]


def test_new_texts_are_tried_first_with_the_other_params_of_their_parent(tmp_path):
    study = proposed(tmp_path)
    rows, candidates = kept(tmp_path, study.report.study)
    first = {name: min((row for row in candidates if row.params["instruction"] == name), key=lambda row: row.number)
             for name in ("proposed-1", "proposed-2")}  # fmt: skip
    after = [first["proposed-1"], first["proposed-2"]]
    parents = {row.id: row for row in candidates}
    for row, variant in zip(after, rows, strict=True):
        parent = parents[variant.parents[0]]
        assert (row.params["model"], row.params["temperature"] or 0.0) == (
            parent.params["model"], parent.params.get("temperature") or 0.0,
        )  # fmt: skip


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_no_trial_is_wasted_on_a_name_without_a_text(tmp_path, play, sampler):
    play()
    search = {"sampler": sampler, "trials": 40, "concurrency": 2}
    part, params = {"rounds": 2, "count": 3, "every": 2, "kinds": ["data"]}, {"max_tokens": 16}
    study = run_job(space(tmp_path, propose=part, params=params, search=search), tmp_path)
    names = {row.params["instruction"] for row in kept(tmp_path, study.report.study)[1]}
    assert names == {"vague", "clear", *(f"proposed-{i}" for i in range(1, 7))}
    assert study.report.trials == 16 and study.report.stop_reason == "space_exhausted"


def test_a_round_comes_early_where_the_space_has_nothing_left(tmp_path, play):
    play()
    small = {"instructions": {"vague": "Vague."}, "params": {"max_tokens": 16}}
    study = run_job(space(tmp_path, propose={"every": 7}, **small), tmp_path)
    assert {row.params["instruction"] for row in kept(tmp_path, study.report.study)[1]} == {
        "vague", "proposed-1", "proposed-2"
    }  # fmt: skip


def test_earlier_trials_stay_as_they_were(tmp_path, play):
    play()
    path = space(tmp_path)
    before = trials_of(storage_of(tmp_path), run_job(path, tmp_path, trials=3).report.study)
    after = trials_of(storage_of(tmp_path), run_job(path, tmp_path, trials=8).report.study)
    assert after[: len(before)] == before and len({trial[0] for trial in after}) == 8


def test_reflection_shows_what_was_asked_answered_and_expected_and_only_of_train(tmp_path, play):
    landscape = play()
    path = space(tmp_path, propose={"count": 1, "kinds": ["reflection"], "every": 1})
    run_job(path, tmp_path, trials=3)
    job = api.dry_run(path, results=tmp_path)[0]
    (request,) = landscape.of("reflection")
    prompt = request.messages[0]["content"]
    assert "```\nVague.\n```" in prompt and "below 300 characters" in prompt
    shown = {e.id: e for e in job.task.splits.train if e.values["message"] in prompt}
    assert shown
    hidden = (*job.task.splits.search, *job.task.splits.holdout)
    assert not [e.id for e in hidden if e.values["message"] in prompt]
    for example in shown.values():
        assert int(example.values["message"].split()[1]) % 10 >= 3, "only what the parent got wrong"
        assert f"### label\n{example.values['label']}" in prompt
    assert "## Feedback\nScore 0.00 of 1." in prompt


def test_the_data_proposer_sees_a_summary_train_examples_and_what_was_tried(tmp_path, play):
    landscape = play()
    path = space(tmp_path, propose={"count": 1, "kinds": ["data"]})
    run_job(path, tmp_path, trials=4)
    (request,) = landscape.of("data")
    told = request.messages[-1]["content"]
    assert "dataset_description: Messages of customers about orders." in told
    assert "basic_instruction: " in told and "| Score: 0." in told
    job = api.dry_run(path, results=tmp_path)[0]
    assert any(e.values["message"] in told for e in job.task.splits.train)
    hidden = (*job.task.splits.search, *job.task.splits.holdout)
    assert not [e.id for r in landscape.asked for e in hidden if e.values["message"] in str(r.messages)]


def test_the_same_seed_gives_the_same_study_and_every_request_of_it_is_in_the_budget_under_its_purpose(tmp_path, play):
    landscape = play()
    study = run_job(space(tmp_path), tmp_path)
    assert essence(study) == essence(proposed(tmp_path / "again")), "the same seed, texts and study"
    requests = landscape.transport.requests
    replies = [(r, landscape(r)) for r in requests]
    assert study.spent_usd == pytest.approx(sum(usd(*pair) for pair in replies))
    proposing = [pair for pair in replies if pair[0].purpose is Purpose.PROPOSER]
    assert {kind_of(r) for r, _ in proposing} == {"reflection", "summary", "data", None}
    assert study.spent_by_purpose_usd["proposer"] == pytest.approx(sum(usd(*pair) for pair in proposing))


def test_pareto_and_studies_show_what_was_proposed(tmp_path, play, capsys, monkeypatch):
    monkeypatch.setenv("OFFRAMP_RESULTS", str(tmp_path))
    play(lambda kind, request: good(kind, request) if kind == "data" else "Word " * 80)
    study = run_job(space(tmp_path), tmp_path)
    assert main(["pareto"]) == 0
    shown = capsys.readouterr().out
    assert "proposed-1 (data): Best. Written by data" in shown and "1 joined, 1 dropped" in shown
    assert main(["studies", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["study"] == study.report.study
    assert [(p["name"], p["reason"] is None) for p in row["proposals"]] == [(None, False), ("proposed-1", True)]


def test_each_step_of_a_program_gets_texts_of_its_own(tmp_path, play, monkeypatch):
    landscape = play()

    def steps(request):
        """The first step gives the message on as it is; the second is the landscape's."""
        if request.messages[0]["content"].startswith(("Gist", "Best. Gist")) and kind_of(request) is None:
            number = request.messages[-1]["content"].split()[1]
            usage = Usage(input_tokens=9, output_tokens=2)
            return CallReply(text=f"gist {number}", finish_reason="stop", usage=usage, latency_s=0.1)
        return landscape(request)

    landscape = play(lambda kind, request: f"Best. {'Gist' if 'Gist.' in str(request.messages) else 'Label'} {kind}.")
    answered_by(monkeypatch, FunctionTransport(steps))
    (tmp_path / "two.py").write_text(TWO_STEPS)
    path = space(
        tmp_path,
        task={"module": "two.py:TwoSteps", "inputs": ["message"], "outputs": ["label"]},
        instructions={"gist": {"plain": "Gist."}, "sort": {"vague": "Vague.", "clear": "Clear."}},
        incumbent={"model": "small", "instruction": {"gist": "plain", "sort": "vague"}},
        program={"format": "plain"},
    )
    study = run_job(path, tmp_path)
    rows, _ = kept(tmp_path, study.report.study)
    assert [(row.predictor, row.kind, row.name) for row in rows] == [
        ("gist", "reflection", "proposed-1"), ("sort", "reflection", "proposed-1"),
        ("gist", "data", "proposed-2"), ("sort", "data", "proposed-2"),
    ]  # fmt: skip
    assert study.report.recommended.params["instruction.sort"].startswith("proposed-")
    prompts = [request.messages[0]["content"] for request in landscape.of("reflection")]
    first, second = sorted(prompts, key=lambda prompt: "```\nGist.\n```" not in prompt)
    assert "```\nGist.\n```" in first and "### message\ncase" in first and "### gist\ngist" in first
    assert "### gist\ngist" in second and "### label" in second and "The whole program's answer is judged." in second


# ------------------------------------------------------------------------------------------------- dropped


UNUSABLE = (
    ("", "stop", "gave no instruction|it is empty"),
    ("```\n```", "stop", "it is empty|gave no"),
    ("Word " * 80, "stop", "characters, more than 300"),
    ("  vague!! ", "stop", "another instruction says"),
    ("Best. Sort each message by what the", "length", "was cut at max_tokens 40: raise it in `propose.params`"),
    ("```\nBest. Sort each message by", "max_tokens", "was cut at max_tokens 40"),
    ("Best. Sort", "content_filter", "was filtered by the provider"),
    ("Best. Sort this: {{message}}", "stop", "nobody fills in: {{message}}"),
    ("Best. Message: {message}", "stop", "nobody fills in: {message}"),
)
"""Text, how it ended, and why it is dropped."""


@pytest.mark.parametrize("kind", ["data", "reflection"])
def test_texts_that_are_useless_cut_or_templates_are_dropped_and_pareto_says_why(
    tmp_path, play, kind, capsys, monkeypatch
):
    monkeypatch.setenv("OFFRAMP_RESULTS", str(tmp_path))
    left = iter(UNUSABLE)

    def write(kind, request):
        text, finish_reason, _ = next(left)
        return replace(PLAIN, text=text, finish_reason=finish_reason)

    play(write)
    part = {"params": {"max_tokens": 40}, "count": len(UNUSABLE), "kinds": [kind]}
    study = run_job(space(tmp_path, propose=part), tmp_path)
    rows, candidates = kept(tmp_path, study.report.study)
    assert len(rows) == len(UNUSABLE) and not any(row.joined for row in rows)
    said = [row.reason for row in rows]
    for _, _, reason in UNUSABLE:
        found = next(text for text in said if any(part in text for part in reason.split("|")))
        said.remove(found)
    assert {row.params["instruction"] for row in candidates} <= {"vague", "clear"} and study.report.trials == 8
    assert main(["pareto"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(" ".join(row.reason.split()) in shown for row in rows)


def test_an_instruction_inside_of_json_or_an_announcement_joins_bare(tmp_path, play):
    announced = 'Here is the improved instruction:\n```json\n{"instruction": "Best. Sort it."}\n```'
    play(lambda kind, request: announced if kind == "reflection" else '{"instruction": "Best. Sort it twice."}')
    study = run_job(space(tmp_path), tmp_path)
    rows, _ = kept(tmp_path, study.report.study)
    assert [row.text for row in rows if row.joined] == ["Best. Sort it.", "Best. Sort it twice."]


def test_a_small_model_that_repeats_its_own_prompt_or_a_score_proposes_nothing(tmp_path, play):
    """What a model of half a billion parameters did on support_triage."""
    echo = "New Instructions:\n1. Read the inputs carefully and identify the input format and infer the task."
    play(lambda kind, request: echo if kind == "reflection" else "Clear. | Score: 0.50")
    study = run_job(space(tmp_path), tmp_path)
    rows, _ = kept(tmp_path, study.report.study)
    assert [row.name for row in rows] == [None, None]
    assert "repeated what it was asked" in rows[0].reason and "another instruction" in rows[1].reason


def test_a_text_that_gives_away_an_example_of_the_search_is_dropped(tmp_path, play):
    path = space(tmp_path)
    splits = api.dry_run(path, results=tmp_path)[0].task.splits
    for number, example in enumerate((splits.search[0], splits.holdout[0])):
        text = f"Sort it. {example.values['message']} is {example.values['label']}."
        play(lambda kind, request, text=text: text)
        study = run_job(path, tmp_path / str(number))
        rows, _ = kept(tmp_path / str(number), study.report.study)
        assert [row.joined for row in rows] == [False, False]
        assert "search or holdout split" in rows[0].reason
        assert example.values["message"] not in rows[0].reason


def test_the_same_text_twice_joins_once(tmp_path, play):
    play(lambda kind, request: "Best. The one and only.")
    study = run_job(space(tmp_path), tmp_path)
    first, second = kept(tmp_path, study.report.study)[0]
    assert first.joined and not second.joined and "another instruction" in second.reason


def test_a_proposer_that_refuses_leaves_the_search_as_it_is(tmp_path, play):
    def refuse(kind, request):
        raise Refused("I cannot help with that")

    play(refuse)
    study = run_job(space(tmp_path), tmp_path)
    rows, _ = kept(tmp_path, study.report.study)
    assert study.error is None and study.report.trials == 8
    assert all("I cannot help with that" in row.reason for row in rows)


def test_a_candidate_without_a_failure_leaves_nothing_to_reflect_on(tmp_path, play):
    landscape = play()
    only = {"instructions": {"strict": "Strict."}, "incumbent": {"model": "large"}}
    path = space(tmp_path, propose={"kinds": ["reflection"], "every": 1}, **only)
    study = run_job(path, tmp_path, trials=3)
    rows, _ = kept(tmp_path, study.report.study)
    assert "nothing to reflect on" in rows[0].reason
    assert len(landscape.of("reflection")) <= 1


def test_texts_that_are_not_to_be_kept_are_kept_only_where_the_search_uses_them(tmp_path, play):
    play(lambda kind, request: good(kind, request) if kind == "data" else "Word " * 80)
    study = run_job(space(tmp_path, store_text=False), tmp_path)
    dropped, joined = kept(tmp_path, study.report.study)[0]
    assert dropped.text is None and "more than 300" in dropped.reason
    assert joined.text.startswith("Best.")


# ------------------------------------------------------------------------------------------- limits, going on


def test_a_cap_on_money_ends_proposals_honestly_and_more_money_goes_on(tmp_path, play):
    play()
    whole = proposed(tmp_path / "whole")
    path = space(tmp_path)
    landscape = play()
    for cents in range(1, 40, 3):
        study = run_job(path, tmp_path, usd=cents / 100)
        assert study.error is None
        assert study.report.money.spent_usd <= cents / 100
        if study.report.stop_reason == "trials":
            break
        assert study.report.stop_reason == "budget_usd"
    assert study.report.recommended.quality == whole.report.recommended.quality
    assert study.report.recommended.params["instruction"].startswith("proposed-")
    assert len({r.hash for r in landscape.transport.requests}) == len(landscape.transport.requests)


def test_a_proposer_that_cannot_be_reached_stops_the_job_and_the_next_run_goes_on(tmp_path, play):
    def unreachable(kind, request):
        raise Unreachable("no route", sent=False)

    play()
    whole = proposed(tmp_path / "whole")
    path = space(tmp_path)
    play(unreachable)
    stopped = run_job(path, tmp_path)
    assert stopped.report.stop_reason == "failures" and "no route" in str(stopped.error)
    play()
    assert essence(run_job(path, tmp_path)) == essence(whole)


def job_that_dies(path, folder, log, commits, out):
    """A job whose process is killed at the `commits`-th commit; it logs the hash of each request that it sends."""
    import os

    import sqlalchemy as sa

    left = [commits]

    def count(_):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def logged(request):
        with log.open("a") as file:
            file.write(request.hash + "\n")
        return Landscape(good)(request)

    sa.event.listen(sa.Engine, "commit", count)
    result = run_job(path, folder, transport=FunctionTransport(logged), timing=Timing(sleep=at_once))
    out.write_text(json.dumps({**api.result_json(result), "commits": commits - left[0]}))


def in_process(path, folder, commits):
    out = folder / "result.json"
    out.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=job_that_dies, args=(path, folder, folder / "sent.log", commits, out)
    )
    process.start()
    process.join()
    return json.loads(out.read_text()) if out.exists() else None


@pytest.mark.slow
def test_killed_at_many_instants_a_job_proposes_the_same_and_pays_nothing_twice(tmp_path, play):
    play()
    path = space(tmp_path)
    whole = proposed(tmp_path / "whole")
    texts = [(r.name, r.text) for r in kept(tmp_path / "whole", whole.report.study)[0]]
    folder = tmp_path / "killed"
    folder.mkdir()
    done, step = None, 0
    while done is None:
        step += 1
        done = in_process(path, folder, 60 if step < 30 else 10**9)
    assert step > 3
    assert essence(done) == essence(whole)
    assert [(r.name, r.text) for r in kept(folder, done["study"])[0]] == texts
    sent = (folder / "sent.log").read_text().split()
    assert len(sent) - len(set(sent)) <= 2 * step, "only what was in flight at a kill may be sent again"


def test_more_trials_continue_the_study_that_they_would_have_made_at_once(tmp_path, play):
    play()
    at_once_ = proposed(tmp_path / "a")
    run_job(space(tmp_path), tmp_path / "b", trials=4)
    later = run_job(space(tmp_path), tmp_path / "b", trials=8)
    assert unlooked(essence(later)) == unlooked(essence(at_once_))
    looked_twice = later.report.recommended.against_incumbent
    assert looked_twice.p_corrected >= at_once_.report.recommended.against_incumbent.p_corrected


def test_a_study_that_starts_from_one_with_proposals_takes_their_texts_along(tmp_path, play):
    old = proposed(tmp_path)
    landscape = play()
    plain = space(tmp_path / "plain", name="plain")
    text = plain.read_text()
    plain.write_text(text[: text.index("propose:")])
    new = run_job(plain, tmp_path, from_study=old.report.study, trials=len(old.report.front) + 1)
    assert landscape.transport.requests == []
    assert new.report.recommended.candidate == old.report.recommended.candidate
    assert {v.kind for v in new.report.proposals} == {"study"}


# ----------------------------------------------------------------------------------------- before it begins


def test_a_dry_run_knows_what_proposals_take(tmp_path, play):
    play()
    _, with_them = api.dry_run(space(tmp_path), results=tmp_path)
    _, without = api.dry_run(space(tmp_path), results=tmp_path, trials=2)
    assert with_them.proposer_calls == 2 + 3 + 6 and without.proposer_calls == 0
    job, estimate = api.dry_run(space(tmp_path), results=tmp_path, trials=100)
    assert estimate.candidates == 2 * 2 * (2 + 2) + 1, "and the incumbent, which states no temperature"
    assert dict(job_summary(job))["candidates"] == "16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propose": {"every": 8}}, r"propose.every: got 8, expected less than search.trials \(8\)"),
        ({"splits": {"train": 0, "search": 10, "holdout": 6}}, "`propose` writes from train examples"),
        ({"instructions": {"vague": "Vague.", "proposed-1": "Mine."}}, "reserved for a proposed instruction"),
        ({"propose": {"kinds": ["data", "data"]}}, "duplicate value"),
        ({"propose": {"params": {"temperature": 9}}}, "propose.params.temperature"),
        ({"propose": {"model": "nobody/knows-it"}}, "no model has this name"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_spent(tmp_path, play, changes, message):
    landscape = play()
    with pytest.raises(UsageError, match=message):
        run_job(space(tmp_path, **changes), tmp_path)
    assert landscape.transport.requests == []
