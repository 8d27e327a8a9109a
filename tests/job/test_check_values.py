"""What a model rejects is found while a job is resolved: alone, together, for incumbent, proposer and judge."""

import pytest

from offramp.errors import SpaceError
from offramp.job.check_values import proposer_params
from offramp.job.job_warnings import job_warnings
from offramp.job.resolve import resolve_job
from offramp.search.estimate import job_summary
from offramp.space.load import load_space
from offramp.task.metrics.judge import judge_params

ROWS = [f"ticket {i} about {i * 7},{('billing', 'technical')[i % 2]}" for i in range(24)]
SPACE = """
schema_version: 1
name: routing
task: {{signature: "ticket -> team: Literal['billing', 'technical']"}}
dataset: {{path: tickets.csv}}
metric: {metric}
incumbent: {incumbent}
models: {models}
instructions: {{today: Route it.}}
params: {params}
"""
MINI, SONNET, GPT5 = "openai/gpt-4.1-mini", "anthropic/claude-sonnet-5-5", "openai/gpt-5"


@pytest.fixture
def resolved(tmp_path):
    (tmp_path / "tickets.csv").write_text("ticket,team\n" + "\n".join(ROWS) + "\n")

    def resolved(
        models,
        params="{}",
        *,
        incumbent=f"{{model: {MINI}, instruction: today}}",
        metric="{kind: exact, field: team}",
        more="",
    ):
        path = tmp_path / "routing.yaml"
        path.write_text(
            SPACE.format(models=f"[{', '.join(models)}]", params=params, incumbent=incumbent, metric=metric) + more
        )
        return resolve_job(load_space(path))

    return resolved


@pytest.mark.parametrize(
    ("models", "params", "said"),
    [
        ([MINI, SONNET], "{temperature: {choices: [0.0, 0.7]}, max_tokens: 50}", ["params.temperature", "temperature=0.0", SONNET, f"when: {{model: ['{MINI}']}}", "routing.yaml:10"]),
        ([GPT5], "{temperature: 0.0}", ["params.temperature", "temperature=0.0", GPT5]),
        ([GPT5], "{temperature: {low: 0.0, high: 1.0}}", ["params.temperature", "temperature=0.0"]),
        ([GPT5], "{reasoning_effort: {choices: [low, none]}}", ["params.reasoning_effort", "reasoning_effort='none'", "'low'"]),
        ([GPT5], "{reasoning_effort: {choices: [low, xhigh]}}", ["params.reasoning_effort", "reasoning_effort='xhigh'", "'low'"]),
        ([GPT5], "{top_p: {choices: [0.5, null]}}", ["params.top_p", GPT5]),
        ([GPT5, MINI], "{presence_penalty: {choices: [0.5, null]}}", ["params.presence_penalty", GPT5]),
        (["openai/gpt-5.4"], "{temperature: {choices: [0.0, 1.0]}, reasoning_effort: {choices: [none, high]}}", ["temperature=0.0 with reasoning_effort='high'", "Use a value that it accepts (1.0)"]),
        (["openai/gpt-5.4"], "{temperature: 0.0, reasoning_effort: {choices: [none, high]}}", ["temperature=0.0 with reasoning_effort='high'"]),
        (["anthropic/claude-sonnet-4-5"], "{seed: 1}", ["params.seed"]),
        (["anthropic/claude-sonnet-4-5"], "{temperature: 0.0, reasoning_effort: {choices: [low, null]}}", ["temperature=0.0", "reasoning_effort='low'"]),
        (["openai/o3-mini"], "{temperature: 0.0}", ["params.temperature"]),
        (["gemini/gemini-2.5-flash"], "{reasoning_effort: {choices: [xhigh], when: {model: ['gemini/*']}}}", ["reasoning_effort='xhigh'"]),
    ],
)  # fmt: skip
def test_a_value_that_a_searched_model_rejects_is_refused_with_its_line(resolved, models, params, said):
    with pytest.raises(SpaceError) as refused:
        resolved(models, params)
    assert all(part in str(refused.value) for part in said), str(refused.value)


@pytest.mark.parametrize(
    ("models", "params"),
    [
        ([MINI, SONNET], f"{{temperature: {{choices: [0.0, 0.7], when: {{model: [{MINI}]}}}}, max_tokens: 50}}"),
        ([MINI, SONNET], "{temperature: 1.0}"),
        (["openai/gpt-5.4"], "{temperature: {choices: [0.0, 1.0], when: {reasoning_effort: [none]}}, reasoning_effort: {choices: [none, high]}}"),
        ([GPT5], "{reasoning_effort: {choices: [low, high, null]}, seed: 1, max_tokens: 100}"),
        ([MINI], "{temperature: {low: 0.0, high: 1.0}, top_p: {choices: [0.5, null]}, presence_penalty: 0.5}"),
    ],
)  # fmt: skip
def test_a_space_that_sends_nothing_a_model_rejects_is_accepted(resolved, models, params):
    assert resolved(models, params).searched_models == tuple(models)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"incumbent": f"{{model: {GPT5}, instruction: today, params: {{temperature: 0.0}}}}"}, "incumbent.params"),
        ({"metric": f"{{kind: judge, model: {GPT5}, rubric: The team is right, params: {{temperature: 0.2}}}}"}, "metric.params"),
        ({"more": f"propose: {{model: {GPT5}, params: {{temperature: 0.7}}}}"}, "propose.params"),
    ],
)  # fmt: skip
def test_what_incumbent_judge_and_proposer_are_sent_is_asked_too(resolved, more, key):
    with pytest.raises(SpaceError, match="does not accept temperature") as refused:
        resolved([MINI], **more)
    assert key in str(refused.value)


def test_a_judge_is_not_sent_a_temperature_that_it_rejects(resolved):
    models = resolved([MINI, GPT5, SONNET]).models
    assert judge_params(models[MINI], {}, 5)["temperature"] == 0
    assert "temperature" not in judge_params(models[GPT5], {}, 5)
    assert "temperature" not in judge_params(models[SONNET], {"max_tokens": 50}, 5)
    assert judge_params(models[SONNET], {"temperature": 1}, 5)["temperature"] == 1


JUDGE = "{{kind: judge, model: {model}, rubric: The team is right{params}}}"


@pytest.mark.parametrize(
    ("metric", "named"),
    [
        (JUDGE.format(model=GPT5, params=""), [GPT5]),
        (JUDGE.format(model=SONNET, params=", params: {max_tokens: 50}"), [SONNET]),
        (JUDGE.format(model="openai/gpt-5.4", params=", params: {reasoning_effort: high}"), ["openai/gpt-5.4"]),
        (f"{{kind: mix, parts: [{JUDGE.format(model=GPT5, params='')}, {{kind: exact, field: team}}]}}", [GPT5]),
        (JUDGE.format(model=MINI, params=""), []),
        (JUDGE.format(model=GPT5, params=", params: {temperature: 1}"), []),
        ("{kind: exact, field: team}", []),
    ],
)
def test_a_temperature_that_a_judge_is_not_sent_is_said_before_the_job(resolved, metric, named):
    job = resolved([MINI, GPT5, SONNET, "openai/gpt-5.4"], metric=metric)
    told = [text for text in job_warnings(job) if "temperature 0 is left out" in text]
    assert len(told) == len(named) and all(name in text for name, text in zip(named, told, strict=True)), told
    assert [text for name, text in job_summary(job) if name == "warning" and text in told] == told


@pytest.mark.parametrize(
    ("model", "stated", "sent"),
    [
        ("gemini/gemini-3.5-flash-lite", "", {"max_tokens": 600}),
        (MINI, "", {"temperature": 1.0, "max_tokens": 600}),
        (GPT5, "", {"temperature": 1.0, "max_tokens": 600}),
        (MINI, ", params: {temperature: 0.5}", {"temperature": 0.5}),
    ],
)
def test_a_proposer_is_sent_what_it_accepts_of_what_the_file_does_not_state(resolved, model, stated, sent):
    job = resolved([MINI], more=f"propose: {{model: {model}{stated}}}\n")
    assert proposer_params(job) == sent
    told = [text for text in job_warnings(job) if text.startswith("propose")]
    assert bool(told) is ("temperature" not in sent) and all("is not sent temperature" in text for text in told)


def test_what_a_file_states_for_a_proposer_and_its_model_rejects_is_refused(resolved):
    with pytest.raises(SpaceError, match=r"propose\.params.*temperature"):
        resolved([MINI], more="propose: {model: gemini/gemini-3.5-flash-lite, params: {temperature: 1.0}}\n")


@pytest.mark.parametrize(
    ("models", "params", "program", "said"),
    [
        ([GPT5], "{}", "form: {best_of: 3, temperature: 0.7}", ["program.form: 'openai/gpt-5' does not", "temperature=0.7"]),
        ([MINI, GPT5], "{max_tokens: 50}", "form: [predict, {self_consistency: 3, temperature: 0.5}]", ["program.form: 'openai/gpt-5' does not", "temperature=0.5", "Leave it out, or leave the model out."]),
        ([GPT5], "{}", "form: {verify_then_retry: 1}, verifier: {params: {temperature: 0.0}}", ["program.verifier.params: 'openai/gpt-5' does not", "temperature=0.0"]),
        ([GPT5], "{reasoning_effort: low}", "form: {verify_then_retry: 1}, verifier: {params: {reasoning_effort: none}}", ["program.verifier.params", "reasoning_effort='none'"]),
    ],
)  # fmt: skip
def test_what_a_form_sends_by_itself_is_asked_too(resolved, models, params, program, said):
    with pytest.raises(SpaceError) as refused:
        resolved(models, params, incumbent=f"{{model: {models[-1]}}}", more=f"program: {{{program}}}\n")
    assert all(text in str(refused.value) for text in said), refused.value


def test_a_form_that_samples_at_a_models_own_temperature_is_named(resolved):
    job = resolved([GPT5], "{}", more="program: {form: [predict, {best_of: 3}]}\n")
    [said] = [text for text in job_warnings(job) if "program.form" in text]
    assert said.startswith("program.form: best_of 3: no temperature is stated, so each model samples at its own.")
    job = resolved([MINI], "{temperature: 0.5}", more="program: {form: [predict, {best_of: 3}]}\n")
    assert not [text for text in job_warnings(job) if "program.form" in text]


@pytest.mark.parametrize("name", ["accepted", "objection"])
@pytest.mark.parametrize("form", ["{best_of: 3}", "{verify_then_retry: 1}"])
def test_a_task_with_a_field_that_a_verifying_call_gives_is_refused(tmp_path, name, form):
    (tmp_path / "rows.csv").write_text(f"ticket,{name}\n" + "\n".join(f"t{i},yes" for i in range(20)) + "\n")
    path = tmp_path / "routing.yaml"
    path.write_text(
        f"schema_version: 1\nname: routing\ntask: {{signature: 'ticket -> {name}: str'}}\ndataset: {{path: rows.csv}}\n"
        f"metric: {{kind: exact, field: {name}}}\nmodels: [{MINI}]\ninstructions: {{today: Route it.}}\n"
        f"incumbent: {{model: {MINI}}}\nparams: {{temperature: 0.5}}\nprogram: {{form: {form}}}\n"
    )
    with pytest.raises(SpaceError, match=f"a verifying call gives '{name}', and the task has a field of that name"):
        resolve_job(load_space(path))
