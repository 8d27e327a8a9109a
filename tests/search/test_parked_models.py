"""A model that its provider no longer has: its candidates are parked, the others go on, and the study says so."""

import json

import optuna
import pytest
from test_search_over_http import Provider

from offramp.calls.failures import ModelNotFound
from offramp.job.judges import JudgeNotFound
from offramp.records import Purpose
from offramp.search import api
from offramp.search.outcome import NoModelLeft
from offramp.space.load import load_space
from offramp.space.params import SearchParam
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import answered_by, finished_job, main, reply_to, run_job, wire, write_space

GONE = "Model {} has been retired. model_gone"
ALONE = {"sampler": "random", "trials": 6, "concurrency": 1}


class Missing(FunctionTransport):
    """The landscape without some models, each from its so-many-th request on.

    Attributes:
        since: by model, how many requests it still answers.
        refused: requests to a model that is missing, by model.
    """

    def __init__(self, text=GONE, **since):
        self.since, self.text, self.refused = since, text, []
        super().__init__(self._reply)

    def _reply(self, request):
        name = request.model.name
        if name in self.since:
            if not self.since[name]:
                self.refused.append(name)
                raise ModelNotFound(self.text.format(name))
            self.since[name] -= 1
        return reply_to(request)


def run(tmp_path, monkeypatch, transport, **changes):
    space = write_space(tmp_path, **{"search": ALONE, **changes})
    answered_by(monkeypatch, transport)
    return space, run_job(space, tmp_path)


def models(result):
    return {member.params["model"] for member in result.report.members}


def states(tmp_path, study):
    kept = optuna.load_study(study_name=study, storage=f"sqlite:///{tmp_path}/offramp.db")
    return [(trial.state.name, trial.user_attrs.get("failed_because", "")) for trial in kept.get_trials()]


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "grid"])
def test_the_candidates_of_a_retired_model_are_parked_and_the_others_go_on(tmp_path, monkeypatch, sampler):
    transport = Missing(large=0)
    _, result = run(tmp_path, monkeypatch, transport, search={**ALONE, "sampler": sampler})
    report = result.report
    assert (result.error, report.status, report.stop_reason) == (None, "finished", "trials" if report.trials == 6 else "space_exhausted")  # fmt: skip
    assert (models(result), report.trials, transport.refused) == ({"small"}, 6, ["large"])
    assert report.recommended.params["model"] == "small" and report.recommended.holdout.n == 6
    (parked,) = report.parked_models
    assert (parked.model, parked.retired, parked.incumbent) == ("large", True, False)
    assert "has been retired" in parked.said
    failed = [why for state, why in states(tmp_path, report.study) if state == "FAIL"]
    assert len(failed) == 1 and "large" in failed[0] and "retired" in failed[0]


def test_a_model_that_nobody_knows_is_parked_and_not_called_retired(tmp_path, monkeypatch):
    _, result = run(tmp_path, monkeypatch, Missing("The model `{}` does not exist.", large=0))
    (parked,) = result.report.parked_models
    assert (parked.retired, parked.said) == (False, "The model `large` does not exist.")


def test_requests_in_flight_beside_the_first_are_the_only_further_ones(tmp_path, monkeypatch):
    transport = Missing(large=0)
    run(tmp_path, monkeypatch, transport, search={**ALONE, "concurrency": 3})
    assert 1 <= len(transport.refused) <= 3


def test_the_same_command_again_asks_a_parked_model_once_and_goes_on(tmp_path, monkeypatch):
    space, first = run(tmp_path, monkeypatch, Missing(large=0), search={**ALONE, "concurrency": 3})
    again = Missing(large=0)
    answered_by(monkeypatch, again)
    assert run_job(space, tmp_path).report.parked_models == first.report.parked_models
    assert not again.requests, "all trials are done"
    more = run_job(space, tmp_path, trials=30)
    assert again.refused == ["large"], "to find out, one request at a time"
    assert (more.error, more.report.stop_reason, models(more)) == (None, "space_exhausted", {"small"})


def test_a_parked_model_that_answers_again_joins_again(tmp_path, monkeypatch):
    space, _ = run(tmp_path, monkeypatch, Missing(large=0))
    answered_by(monkeypatch, FunctionTransport(reply_to))
    more = run_job(space, tmp_path, trials=12)
    assert (more.report.parked_models, models(more), more.report.trials) == ((), {"small", "large"}, 12)
    assert more.report.recommended.params["model"] == "large"


def test_a_job_ends_the_same_whether_a_model_retired_before_or_while_it_was_interrupted(tmp_path, monkeypatch):
    whole = run(tmp_path / "a", monkeypatch, Missing(large=0), search={**ALONE, "sampler": "tpe"})[1]
    space = write_space(tmp_path / "b", search={**ALONE, "sampler": "tpe"})
    for trials in (3, 6):
        answered_by(monkeypatch, Missing(large=0))
        parts = run_job(space, tmp_path / "b", trials=trials)
    assert (models(parts), parts.report.trials) == (models(whole), whole.report.trials) == ({"small"}, 6)
    assert parts.report.parked_models == whole.report.parked_models


def test_without_the_incumbents_model_the_others_are_compared_among_themselves(tmp_path, monkeypatch, capsys):
    transport = Missing(small=0)
    space, result = run(tmp_path, monkeypatch, transport)
    report = result.report
    assert (result.error, report.incumbent, models(result), transport.refused) == (None, None, {"large"}, ["small"])
    assert report.parked_models[0].incumbent and report.recommended.holdout.n == 6
    assert all(objective.scale for objective in report.objectives)
    assert 0 < report.recommended.utility < 1
    answered_by(monkeypatch, FunctionTransport(reply_to))
    back = run_job(space, tmp_path)
    assert (back.report.incumbent.params["model"], back.report.parked_models) == ("small", ())


@pytest.mark.parametrize("left", [4, 14])
def test_a_model_that_retires_while_its_incumbent_is_evaluated_ends_nothing(tmp_path, monkeypatch, left):
    _, result = run(tmp_path, monkeypatch, Missing(small=left))
    assert (result.error, result.report.recommended.params["model"]) == (None, "large")
    assert result.report.parked_models[0].model == "small"


def test_a_recommended_model_that_retires_before_the_holdout_is_replaced_by_the_next(tmp_path, monkeypatch):
    calls = {"holdout": False}

    def reply(request):
        number = int(request.messages[-1]["content"].split()[1])
        if request.model.name == "large" and number in calls["numbers"]:
            raise ModelNotFound(GONE.format("large"))
        return reply_to(request)

    from offramp.job.resolve import resolve_job

    space = write_space(tmp_path, search={**ALONE, "trials": 12})
    calls["numbers"] = {int(e.id[1:]) for e in resolve_job(load_space(space)).task.splits.holdout}
    answered_by(monkeypatch, FunctionTransport(reply))
    result = run_job(space, tmp_path)
    report = result.report
    assert (result.error, models(result)) == (None, {"small", "large"})
    assert report.recommended.params["model"] == "small" and report.recommended.holdout.n == 6
    assert {m.params["model"] for m in report.front} == {"small"}
    assert [one.model for one in report.parked_models] == ["large"]


def test_a_model_that_retires_while_members_of_the_front_are_evaluated_side_by_side_is_parked_once(
    tmp_path, monkeypatch
):
    """It was parked for one member, and the others of the same model ended the job."""
    from offramp.job.resolve import resolve_job

    space = write_space(tmp_path, search={**ALONE, "trials": 12, "concurrency": 4})
    holdout, answered = {int(e.id[1:]) for e in resolve_job(load_space(space)).task.splits.holdout}, 0

    def reply(request):
        nonlocal answered
        if request.model.name == "large" and int(request.messages[-1]["content"].split()[1]) in holdout:
            answered += 1
            if answered > len(holdout):
                raise ModelNotFound(GONE.format("large"))
        return reply_to(request)

    answered_by(monkeypatch, FunctionTransport(reply))
    report = (result := run_job(space, tmp_path)).report
    assert result.error is None and answered > len(holdout) + 1
    assert [one.model for one in report.parked_models] == ["large"]
    assert {m.params["model"] for m in report.front} == {"small"}


def test_where_no_model_is_left_the_job_ends_and_says_which_and_what_to_use(tmp_path, monkeypatch, capsys):
    space = write_space(tmp_path, search=ALONE)
    transport = Missing(small=0, large=0)
    answered_by(monkeypatch, transport)
    assert main(["optimize", str(space), "--results", str(tmp_path)]) == 1
    out = capsys.readouterr()
    assert "none of the searched models answers any more" in out.err and "Traceback" not in out.err
    assert "small" in out.err and "large" in out.err and sorted(transport.refused) == ["large", "small"]
    with pytest.raises(NoModelLeft):
        raise run_job(space, tmp_path).error
    assert sorted(transport.refused) == ["large", "large", "small", "small"], "each was asked once more"


def test_the_table_names_the_model_what_its_provider_said_and_its_successors(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lifecycle.yaml").write_text(
        "schema_version: 1\nretirements:\n- {model: large, retires: 2026-01-01, successors: [openai/larger]}\n"
    )
    space = write_space(tmp_path, search=ALONE)
    answered_by(monkeypatch, Missing(large=0))
    assert main(["optimize", str(space), "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert "Model large has retired" in out and "model_gone" in out and "Successors: openai/larger" in out
    assert main(["pareto", "latest", "--results", str(tmp_path), "--json"]) == 0
    (parked,) = json.loads(capsys.readouterr().out)["parked_models"]
    assert (parked["model"], parked["successors"]) == ("large", ["openai/larger"])


def test_what_the_provider_said_is_not_kept_where_texts_are_not(tmp_path, monkeypatch):
    _, result = run(tmp_path, monkeypatch, Missing(large=0), store_text=False)
    assert (result.error, result.report.parked_models[0].said) == (None, "")


def test_a_judge_whose_model_retired_ends_the_job_and_is_named(tmp_path, monkeypatch):
    judge = {"name": "grader", "route": "openai/grader", "api_base": "http://127.0.0.1:9/v1", "searched": False,
             "price": {"input_usd": 1.0, "output_usd": 1.0}}  # fmt: skip
    metric = {"kind": "judge", "model": "grader", "rubric": "Is the label right for this message?"}
    space = write_space(tmp_path, search=ALONE, metric=metric)
    import yaml

    read = yaml.safe_load(space.read_text())
    space.write_text(yaml.safe_dump({**read, "models": [*read["models"], judge]}))

    def reply(request):
        if request.purpose is Purpose.JUDGE:
            raise ModelNotFound(GONE.format("grader"))
        return reply_to(request)

    answered_by(monkeypatch, FunctionTransport(reply))
    error = run_job(space, tmp_path).error
    assert isinstance(error, JudgeNotFound) and "metric.model" in str(error) and "grader" in str(error), error
    assert "retired" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        ServerReply(status=410, text="Model kimi-k2.5 has been retired.", code="model_gone"),
        ServerReply(status=400, text="The model `large` has been deprecated", code="model_not_found"),
        ServerReply(status=404, text="The model `large` does not exist", code="model_not_found"),
    ],
)
def test_over_http_a_retired_model_is_asked_once_and_the_others_go_on(tmp_path, reply):
    provider = Provider()
    provider.trouble = lambda body, seen: reply if body["model"] == "large" else None
    with ScriptedServer(provider) as server:
        result = run_job(write_space(tmp_path, base=server.url, search=ALONE), tmp_path)
    assert (result.error, models(result)) == (None, {"small"})
    assert [model for model, _ in provider.sent].count("large") == 1
    (parked,) = result.report.parked_models
    assert reply.text in parked.said and "litellm" not in parked.said


def test_verify_goes_on_without_a_retired_model_and_ends_where_there_is_no_other(tmp_path, monkeypatch):
    result = finished_job(tmp_path, trials=12, verify={"front": False})
    answered_by(monkeypatch, Missing(large=0))
    ways = {"results": tmp_path, "probe": 2, **wire()}
    done = api.verify(result.report.study, **ways)
    assert [one.model for one in done.report.parked_models] == ["large"]
    assert done.report.recommended.params["model"] == "small" and done.report.recommended.probe is not None
    answered_by(monkeypatch, Missing(small=0, large=0))
    with pytest.raises(ModelNotFound, match="small: the model has retired"):
        api.verify(result.report.study, **{**ways, **wire()})


def test_choices_that_are_withdrawn_stay_in_the_distribution_that_trials_are_stored_with():
    param = SearchParam(name="model", choices=("a", "b", "c"))
    left = param.without({"b"}).without({"a"})
    assert (left.choices, left.listed, left.searched, left.size) == (("c",), ("a", "b", "c"), True, 1)
    assert param.without({"x"}) is param
