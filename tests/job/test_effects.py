"""Searched values that change nothing that a module sends are named before the search, or refused."""

import re

import dspy
import pytest

from offramp.errors import SpaceError
from offramp.job.resolve import resolve_job
from offramp.search.estimate import job_summary
from offramp.space.load import load_space

SPACE = """
schema_version: 1
name: routing
task: {{module: "own.py:Sorts", inputs: [ticket], outputs: [team]}}
dataset: {{path: tickets.csv}}
metric: {{kind: exact, field: team}}
models: {models}
objectives: {{cost: null, latency: null}}
{more}
"""
SEARCHED = "params: {temperature: {choices: [0.0, 1.0]}}"


def module(made, forward="return self.sort(ticket=ticket)", before=""):
    """The file of a module: what its constructor and its forward do."""
    return f"""
import dspy
{before}
class Sorts(dspy.Module):
    def __init__(self):
        super().__init__()
        {made}

    def forward(self, ticket):
        {forward}
"""


BEST = "self.sort = dspy.{kind}(dspy.Predict('ticket -> team'), N=3, reward_fn=lambda a, p: 1.0, threshold=1.0)"
PLAIN = "self.sort = dspy.Predict('ticket -> team')"
TWO = "self.gist = dspy.Predict('ticket -> gist'); self.sort = dspy.Predict('gist -> team'{more})"
CHAIN = "return self.sort(gist=self.gist(ticket=ticket).gist)"


@pytest.fixture
def job(tmp_path):
    def job(source, more, models="[openai/gpt-4.1-mini]"):
        (tmp_path / "own.py").write_text(source)
        rows = [f"ticket {i} about {i * 7},{('billing', 'technical')[i % 2]}" for i in range(24)]
        (tmp_path / "tickets.csv").write_text("ticket,team\n" + "\n".join(rows) + "\n")
        path = tmp_path / "routing.yaml"
        path.write_text(SPACE.format(more=more, models=models))
        return resolve_job(load_space(path))

    return job


def warnings(job):
    """Those about what has no effect; which hosted model retires soon depends on the day."""
    found = [text for name, text in job_summary(job) if name == "warning" and not text.startswith("the dataset")]
    return [text for text in found if ": models: " not in text]


REFUSED = {
    "BestOfN": (BEST.format(kind="BestOfN"), SEARCHED, "sort.*dspy.BestOfN runs at temperature=1.0"),
    "a chain of thought in BestOfN": (
        BEST.format(kind="BestOfN").replace("Predict", "ChainOfThought"), SEARCHED, "BestOfN runs at temperature=1.0",
    ),
    "a predictor's own": (
        "self.sort = dspy.Predict('ticket -> team', temperature=0.9)", SEARCHED, "sort?.*sets temperature=0.9 itself",
    ),
    "max_tokens": (
        "self.sort = dspy.ChainOfThought('ticket -> team', max_tokens=77)",
        "params: {max_tokens: {low: 10, high: 100}}", "sets max_tokens=77 itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", REFUSED)
def test_a_parameter_that_no_request_can_have_is_refused(job, shape):
    made, more, said = REFUSED[shape]
    with pytest.raises(SpaceError, match=rf"params\.\w+: no value of it is ever sent: .*{said}.*Remove it from"):
        job(module(made), more)


WARNED = {
    "Refine asks for advice at the candidate's": (
        module(BEST.format(kind="Refine")), SEARCHED, "params.temperature: no effect on .*dspy.Refine runs at",
    ),
    "one of two predictors": (
        module(TWO.format(more=", temperature=0.9"), CHAIN), SEARCHED,
        "params.temperature: no effect on sort, which sets temperature=0.9 itself",
    ),
    "a constant": (
        module("self.sort = dspy.Predict('ticket -> team', temperature=0.9)"), "params: {temperature: 0}",
        "params.temperature: no effect on .*which sets temperature=0.9 itself",
    ),
    "at the call": (
        module(PLAIN, "return self.sort(ticket=ticket, config={'temperature': 0.7})"), SEARCHED,
        "params.temperature: the module's first request has temperature=0.7, whatever a candidate says",
    ),
    "several completions": (
        module(PLAIN, "return self.sort(ticket=ticket, config={'n': 3})"), "params: {temperature: 0}",
        "params.temperature: the module's first request has temperature=0.7",
    ),
    "several completions where one of the candidates is cold": (
        module(PLAIN, "return dspy.majority(self.sort(ticket=ticket, config={'n': 3}))"), SEARCHED,
        "params.temperature: the module's first request has temperature=0.7 where the candidate has 0.0$",
    ),
    "a temperature of its own in one case": (
        module("self.sort = dspy.Predict('ticket -> team', n=2)"), "params: {temperature: {low: 0.1, high: 0.9}}",
        "params.temperature: the module's first request has temperature=0.7 where the candidate has 0.1$",
    ),
    "an instruction set in forward": (
        module(PLAIN, "self.sort.signature = self.sort.signature.with_instructions('Sort.'); return self.sort(ticket=ticket)"),
        "instructions: {sort: {own: null, short: 'Sort it.'}}", "instructions.sort: the module's first request is the same with each",
    ),
    "an instruction at the call": (
        module(PLAIN, "return self.sort(ticket=ticket, signature=dspy.Signature('ticket -> team', 'Sort.'))"),
        "instructions: {sort: {own: null, short: 'Sort it.'}}", "instructions.sort: the module's first request is the same with each",
    ),
    "an adapter of its own": (
        module(PLAIN, "\n        ".join([
            "with dspy.context(adapter=dspy.XMLAdapter()):", "    return self.sort(ticket=ticket)",
        ])), "program: {format: [chat, json]}", "program.format: the module's first request is the same in each",
    ),
    "demos of its own": (
        module(PLAIN, "self.sort.demos = []; return self.sort(ticket=ticket)"),
        "demos: {kind: [none, bootstrapped], count: 2}", "demos.kind: the module's first request is the same with each",
    ),
    "demos that one predictor cannot show": (
        module("self.first = dspy.Predict('ticket -> gist'); " + PLAIN), "demos: {kind: [none, random], count: 2}",
        "demos.kind: random demos are not shown to first: no row has gist",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", WARNED)
def test_what_has_no_effect_is_said_before_the_search(job, shape):
    source, more, said = WARNED[shape]
    found = warnings(job(source, more))
    assert [text for text in found if re.search(said, text)], found


@pytest.mark.parametrize(
    "more",
    [
        SEARCHED,
        "params: {temperature: 0.4, max_tokens: 50}",
        "program: {format: [chat, json, plain]}",
        "demos: {kind: [none, random, nearest, bootstrapped], count: [1, 2]}",
        "params: {seed: {choices: [1, 2], when: {format: [json]}}}\nprogram: {format: [chat, json]}",
    ],
)
def test_what_reaches_every_request_is_not_mentioned(job, more):
    assert warnings(job(module(PLAIN), more)) == []


def test_a_value_that_the_module_sets_itself_as_the_space_does_is_not_mentioned(job):
    assert (
        warnings(job(module("self.sort = dspy.Predict('ticket -> team', temperature=0)"), "params: {temperature: 0.0}"))
        == []
    )


@pytest.mark.parametrize(("adapter", "format_"), [("JSONAdapter", "json"), ("XMLAdapter", None)])
def test_an_adapter_that_the_file_configures_for_all_of_dspy_is_named(job, adapter, format_):
    source = module(PLAIN, before=f"dspy.configure(adapter=dspy.{adapter}())\n")
    try:
        (said,) = warnings(job(source, ""))
        assert said.startswith(f"dspy.configure sets {adapter} in this process")
        assert (f"`program.format: {format_}`" in said) == (format_ is not None)
        if format_:
            assert warnings(job(source, f"program: {{format: [chat, {format_}]}}")) == []
    finally:
        dspy.configure(adapter=None)


def test_nothing_of_the_module_runs_after_its_first_request(job, tmp_path):
    steps = [f"open({str(tmp_path / name)!r}, 'a').write('x')" for name in ("before", "after")]
    forward = [steps[0], "try:", "    return self.sort(ticket=ticket)", "except Exception:", f"    {steps[1]}"]
    assert warnings(job(module(PLAIN, "\n        ".join(forward)), SEARCHED)) == []
    assert (tmp_path / "before").read_text() == "xx", "once for each value"
    assert not (tmp_path / "after").exists()


def test_a_module_that_asks_nothing_is_named_and_its_params_are_not_judged(job):
    (said,) = warnings(job(module(PLAIN, "return dspy.Prediction(team='x')"), SEARCHED))
    assert said.startswith("task.module: it asks no model on any of the ")


def test_rows_that_a_rule_answers_are_not_what_params_are_judged_by(job):
    asks = "self.sort(ticket=ticket, config={'temperature': 0.8})"
    ruled = job(
        module(PLAIN, f"return {asks} if int(ticket.split()[1]) % 4 == 0 else dspy.Prediction(team='x')"), SEARCHED
    )
    assert int(ruled.task.splits.search[0].values["ticket"].split()[1]) % 4 != 0, (
        "the first row is answered by the rule"
    )
    (said,) = warnings(ruled)
    assert "first request has temperature=0.8" in said and warnings(job(module(PLAIN, f"return {asks}"), SEARCHED)) == [
        said
    ]


def test_a_module_that_raises_before_it_asks_a_model_is_named_with_its_line(job):
    (said,) = warnings(job(module(PLAIN, "return 1 / 0"), SEARCHED))
    assert said.startswith("task.module: on row ") and said.endswith("ZeroDivisionError: division by zero (own.py:10)")


REJECTED = {
    "several completions": (PLAIN, "return dspy.majority(self.sort(ticket=ticket, config={'n': 3}))", "temperature=0.7"),
    "at the call": (PLAIN, "return self.sort(ticket=ticket, config={'temperature': 0.8})", "temperature=0.8"),
    "in a predictor": (PLAIN.replace("team'", "team', temperature=0.9"), None, "temperature=0.9"),
    "another parameter": (PLAIN.replace("team'", "team', top_p=0.2, temperature=1"), None, "top_p=0.2"),
    "a comparison of several chains": (
        "self.sort = dspy.MultiChainComparison('ticket -> team', M=1)",
        "return self.sort([dspy.Prediction(reasoning='r', team='billing')], ticket=ticket)", "temperature=0.7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", REJECTED)
def test_a_parameter_of_the_module_that_a_searched_model_rejects_is_refused(job, shape):
    made, forward, said = REJECTED[shape]
    source = module(made, *([forward] if forward else []))
    with pytest.raises(SpaceError, match=rf"task.module: its first request has {said}.*'openai/gpt-5'.*Take it out of"):
        job(source, "incumbent: {model: openai/gpt-4.1-mini}", "[openai/gpt-4.1-mini, openai/gpt-5]")
    assert job(source, "", "[openai/gpt-4.1-mini]")
    assert job(module(PLAIN), "", "[openai/gpt-5]"), "a module that leaves it to the candidate"


def test_a_module_is_made_thrice_whatever_is_read_of_it(job, tmp_path):
    """Making one may take long: an index is read, documents are embedded."""
    made = f"log = Path(__file__).with_name('made.txt'); log.write_text(log.read_text() + 'x'); {PLAIN}"
    (tmp_path / "made.txt").write_text("")
    more = SEARCHED + "\ninstructions: {sort: {own: , short: Sort it.}}\ndemos: {kind: [none, random], count: 2}"
    job_summary(job(module(made, before="from pathlib import Path"), more))
    assert (tmp_path / "made.txt").read_text() == "xxx"
