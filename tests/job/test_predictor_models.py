"""`program.models`: the model of a single predictor as a value of the search."""

import pytest

from offramp.errors import SpaceError, UsageError
from offramp.job.reserving import one_calls
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.engine import open_store

MODULE = """
import dspy

class Own(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("ticket -> gist")
        self.sort = dspy.ChainOfThought("gist -> team")

    def forward(self, ticket):
        return self.sort(gist=self.gist(ticket=ticket).gist)
"""
SPACE = """
schema_version: 1
name: routing
task: {task}
dataset: {{path: tickets.csv}}
metric: {{kind: exact, field: team}}
incumbent: {{model: openai/gpt-4.1-mini{incumbent}}}
models: [openai/gpt-4.1-mini, {{name: openai/gpt-4.1, searched: false}}]
{more}
"""
OWN = '{module: "own.py:Own", inputs: [ticket], outputs: [team]}'


@pytest.fixture
def job(tmp_path):
    def job(more="", incumbent="", task=OWN):
        rows = [f"ticket {i} about {i * 7},{('billing', 'technical')[i % 2]}" for i in range(24)]
        (tmp_path / "tickets.csv").write_text("ticket,team\n" + "\n".join(rows) + "\n")
        (tmp_path / "own.py").write_text(MODULE)
        path = tmp_path / "routing.yaml"
        path.write_text(SPACE.format(task=task, more=more, incumbent=incumbent))
        return resolve_job(load_space(path))

    return job


BOTH = 'program: {models: {"sort.predict": [own, openai/gpt-4.1]}}'


def test_a_predictors_model_is_a_param_and_the_incumbents_is_what_the_module_has(job):
    found = job(BOTH)
    param = next(param for param in found.search_params if param.name == "model.sort.predict")
    assert param.choices == ("own", "openai/gpt-4.1") and found.searched_models == ("openai/gpt-4.1-mini",)
    assert found.incumbent.params["model.sort.predict"] == "own" and found.incumbent.models == {}
    other = found.candidate({**found.incumbent.params, "model.sort.predict": "openai/gpt-4.1"})
    assert other.models == {"sort.predict": "openai/gpt-4.1"} and other.id != found.incumbent.id
    assert found.candidate(found.incumbent.params).id == found.incumbent.id
    assert found.candidate({n: v for n, v in found.incumbent.params.items() if "model." not in n}).models == {}


def test_without_it_candidates_and_studies_are_what_they_were(job):
    without = job()
    assert without.incumbent.id == job(BOTH).incumbent.id and without.hash(0) != job(BOTH).hash(0)
    dumped = without.space.model_dump(mode="json")
    assert dumped["program"]["models"] == {} and dumped["incumbent"]["models"] == {}
    assert without.hash(0) == job("program: {models: {}}").hash(0)


def test_the_incumbents_predictor_may_run_on_another_model_than_is_searched(job):
    found = job(BOTH, incumbent=', models: {"sort.predict": openai/gpt-4o}')
    assert found.incumbent.models == {"sort.predict": "openai/gpt-4o"} and found.incumbent_outside
    assert "openai/gpt-4o" in found.models and "openai/gpt-4o" not in found.searched_models


def test_a_model_that_nothing_else_names_is_resolved_and_reserved_for(job):
    found = job("program: {models: {gist: openai/gpt-4o}}")
    assert {call.model for call in one_calls(found)} == {"openai/gpt-4.1-mini", "openai/gpt-4o"}


def test_a_candidate_is_stored_with_its_models(job, tmp_path):
    found = job(BOTH)
    candidate = found.candidate({**found.incumbent.params, "model.sort.predict": "openai/gpt-4.1"})
    with open_store(f"sqlite:///{tmp_path}/s.db", create=True) as store:
        for number, one in enumerate((candidate, found.incumbent)):
            CandidateStore(store).put("s", CandidateRow(candidate=one, number=number, state=CandidateState.COMPLETE))
        read = [row.candidate for row in CandidateStore(store).all("s")]
    assert read == [candidate, found.incumbent] and [one.id for one in read] == [candidate.id, found.incumbent.id]


def test_a_condition_may_name_it(job):
    found = job(BOTH + "\nparams: {temperature: {choices: [0.0, 1.0], when: {model.sort.predict: [own]}}}")
    own, big = ({**found.incumbent.params, "model.sort.predict": name} for name in ("own", "openai/gpt-4.1"))
    param = next(param for param in found.search_params if param.name == "temperature")
    assert param.applies(own) and not param.applies(big)


@pytest.mark.parametrize(
    ("more", "incumbent", "words"),
    [
        ("program: {models: {sor: openai/gpt-4.1}}", "", "program.models"),
        ("", ", models: {sor: openai/gpt-4.1}", "program.models"),
        ("program: {models: {gist: openai/gpt-4.111}}", "", "program.models.gist"),
        ("program: {models: {gist: [openai/gpt-4.1, openai/gpt-4.1]}}", "", "program.models.gist"),
        ("program: {models: {gist: 3}}", "", "program.models.gist"),
        ("program: {models: {gist: {name: 3}}}", "", "program.models.gist"),
        ("program: {models: {gist: openai/o3}}\nparams: {temperature: 0.0}", "", "temperature"),
        ("params: {model.gist: a}", "", "reserved"),
    ],
)
def test_what_it_cannot_be_is_refused_with_its_place(job, more, incumbent, words):
    with pytest.raises(UsageError, match=words):
        job(more, incumbent)


def test_a_task_by_signature_has_no_predictors_of_its_own(job):
    task = "{signature: 'ticket -> team'}"
    with pytest.raises(SpaceError, match=r"program\.models: only a `task.module`"):
        job("instructions: {a: Route it.}\nprogram: {models: {main: openai/gpt-4.1}}", task=task)


def test_the_incumbents_instruction_may_name_a_predictor_within_a_module(job):
    found = job("instructions: {sort.predict: {own: , short: Route it.}}", ", instruction: {sort.predict: short}")
    assert found.incumbent.instructions["sort.predict"] == "Route it."
