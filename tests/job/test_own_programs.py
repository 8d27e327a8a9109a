"""A program that is optimised already is where a search starts: its instructions and demos are its own."""

import asyncio

import dspy
import pytest

from offramp.errors import SpaceError
from offramp.job.resolve import resolve_job
from offramp.program.module import build_module, predictors_of
from offramp.program.program import Program, labelled_demos
from offramp.records import DemoKind
from offramp.space.load import load_space
from offramp.testing.fakes import FunctionTransport

MODULE = """
import dspy
from pathlib import Path

class Sorts(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("ticket -> gist")
        self.sort = dspy.ChainOfThought("gist -> team")
        self.load(Path(__file__).with_name("state.json"))

    def forward(self, ticket):
        return self.sort(gist=self.gist(ticket=ticket).gist)
"""
SPACE = """
schema_version: 1
name: routing
task: {{module: "own.py:Sorts", inputs: [ticket], outputs: [team]}}
dataset: {{path: tickets.csv}}
metric: {{kind: exact, field: team}}
incumbent: {{model: openai/gpt-4.1-mini{incumbent}}}
models: [openai/gpt-4.1-mini]
{more}
"""


class Plain(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("ticket -> gist")
        self.sort = dspy.ChainOfThought("gist -> team")


@pytest.fixture
def job(tmp_path):
    """Resolves the space of a module that loads a saved state: instructions and demos of both predictors."""
    optimised = Plain()
    optimised.gist.signature = optimised.gist.signature.with_instructions("Say what the ticket wants.")
    optimised.gist.demos = [dspy.Example(ticket="no invoice", gist="asks for the invoice", augmented=True)]
    optimised.sort.predict.demos = [dspy.Example(gist="cannot log in", reasoning="login", team="technical")]
    optimised.save(tmp_path / "state.json")
    (tmp_path / "own.py").write_text(MODULE)
    rows = [f"ticket {i} about {i * 7},{('billing', 'technical')[i % 2]}" for i in range(24)]
    (tmp_path / "tickets.csv").write_text("ticket,team\n" + "\n".join(rows) + "\n")

    def job(more="", incumbent=""):
        path = tmp_path / "routing.yaml"
        path.write_text(SPACE.format(more=more, incumbent=incumbent))
        return resolve_job(load_space(path))

    return job


def values(job, name):
    return next((param.choices for param in job.search_params if param.name == name), ())


def sent(job, candidate):
    """The first request of a candidate."""
    demos = labelled_demos(
        candidate, fields=job.task.fields, factory=job.factory, train=job.task.splits.train, balance_by=None
    )

    async def go():
        wire = FunctionTransport(lambda _: "[[ ## gist ## ]]\nx\n\n[[ ## completed ## ]]")
        model = job.models[candidate.model]
        program = Program(
            candidate, fields=job.task.fields, model=model, send=wire.send, factory=job.factory, demos=demos
        )
        await program.run(job.task.splits.search[0])
        return wire.requests[0]

    return asyncio.run(go())


def test_without_instructions_a_program_keeps_its_own_and_the_incumbent_is_what_runs_today(job):
    found = job()
    assert values(found, "instruction.gist") == values(found, "instruction.sort.predict") == ("own",)
    assert found.incumbent.instructions["gist"] == "Say what the ticket wants."
    assert found.incumbent.demo_kind is DemoKind.OWN and found.incumbent.params["demos"] == "own"
    request = sent(found, found.incumbent)
    assert "Say what the ticket wants." in request.messages[0]["content"]
    assert [m["role"] for m in request.messages] == ["system", "user", "assistant", "user"]
    plain = found.factory()
    with dspy.context(lm=None):
        messages = dspy.ChatAdapter().format(plain.gist.signature, plain.gist.demos, {"ticket": request_ticket(found)})
    assert [dict(m) for m in request.messages] == messages, "what DSPy itself would send"


def request_ticket(job):
    return job.task.splits.search[0].values["ticket"]


def test_none_removes_the_demos_of_a_program_that_own_keeps(job):
    found = job("demos: {kind: [own, none, bootstrapped], count: 2}")
    assert values(found, "demos") == ("own", "none", "bootstrapped")
    base = {"model": "openai/gpt-4.1-mini", "form": "own", "format": "chat", "constrained": False}
    base |= {"instruction.gist": "own", "instruction.sort.predict": "own"}
    own, none = (found.candidate({**base, "demos": kind}) for kind in ("own", "none"))
    written = found.candidate({**base, "demos": "bootstrapped", "demos.count": 2})
    assert len({own.id, none.id, written.id}) == 3
    assert len(sent(found, own).messages) == 4 and len(sent(found, none).messages) == 2


@pytest.mark.parametrize("kind", ["random", "nearest", "[own, balanced]"])
def test_demos_of_the_data_that_no_predictor_can_show_are_refused(job, kind):
    with pytest.raises(SpaceError, match=r"demos.kind: no row of the data can be shown as .*gist needs gist; sort"):
        job(f"demos: {{kind: {kind}, count: 2, balance_by: team}}")


def test_own_is_one_of_the_instructions_to_search(job):
    found = job("instructions: {gist: {own: , brief: Be brief.}}")
    assert values(found, "instruction.gist") == ("own", "brief")
    assert found.texts["gist"]["own"] == "Say what the ticket wants."
    assert found.incumbent.params["instruction.gist"] == "own"


def test_the_incumbent_runs_on_its_own_instruction_although_others_are_searched(job):
    found = job("instructions: {gist: {brief: Be brief., long: Say all of it.}}")
    assert values(found, "instruction.gist") == ("brief", "long")
    assert found.incumbent.instructions == {"gist": "Say what the ticket wants."}
    assert job(
        "instructions: {gist: {brief: Be brief.}}", ", instruction: brief, demos: none"
    ).incumbent.instructions == {"gist": "Be brief."}


def test_no_demos_leave_the_programs_own_where_they_are_not_named(job):
    found = job()
    module = build_module(found.incumbent, found.task.fields, found.factory, {})
    assert len(predictors_of(module)["sort.predict"].demos) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("task: {signature: 'ticket -> team'}\ninstructions: {today: Sort.}\ndemos: {kind: own}", "demos.kind"),
        ("task: {signature: 'ticket -> team'}\ninstructions: {own: }", "instructions.own: has no text"),
        ("task: {signature: 'ticket -> team'}", "instructions: none are given"),
    ],
)
def test_a_signature_has_nothing_of_its_own(job, tmp_path, more, said):
    job()
    lines = SPACE.format(more=more, incumbent="").splitlines()
    path = tmp_path / "routing.yaml"
    path.write_text("\n".join(line for line in lines if not line.startswith("task: {module")))
    with pytest.raises(SpaceError) as caught:
        resolve_job(load_space(path))
    assert said in str(caught.value)


def test_a_text_that_is_missing_is_told_apart_from_ones_own(job):
    with pytest.raises(SpaceError, match=r"instructions\.gist\.brief: has no text"):
        job("instructions: {gist: {brief: }}")
