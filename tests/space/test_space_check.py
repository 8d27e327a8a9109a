"""Parts of a space file that are each right and do not go together."""

import importlib.util

import pytest
from space_files import GOOD, broken

from offramp.space.check import check_space, find_problems
from offramp.space.check_params import misspelt_params
from offramp.space.load import load_space
from offramp.space.messages import SpaceErrors

MODULE = GOOD[GOOD.index("  signature:") : GOOD.index("dataset:")]
OF_MODULE = "  module: my.program:Triage\n  inputs: [message]\n  outputs: [category, urgency]\n"


@pytest.fixture
def problems(tmp_path):
    """The problems of the good file with changes, as `key: message` without file and line."""

    def found(*changes):
        path = tmp_path / "job.yaml"
        path.write_text(broken(*changes))
        return [item.message for item in find_problems(load_space(path))]

    return found


def test_a_good_file_has_no_problem(problems):
    assert problems() == []


def test_check_space_raises_what_find_problems_finds(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(broken(("train: 10", "train: 0"), ("sampler: tpe", "sampler: grid")))
    loaded = load_space(path)
    with pytest.raises(SpaceErrors) as caught:
        check_space(loaded)
    assert caught.value.problems == find_problems(loaded)
    assert [item.line for item in caught.value.problems] == [34, 37]
    assert caught.value.exit_code == 2


# ------------------------------------------------------------------------------------ program and module


def test_a_module_needs_no_form(problems):
    assert problems((MODULE, OF_MODULE)) == []


def test_a_module_takes_form_own(problems):
    assert problems((MODULE, OF_MODULE), ("format: [plain, json]", "form: own")) == []


@pytest.mark.parametrize("form", ["predict", "[own, chain_of_thought]"])
def test_a_module_takes_no_other_form(problems, form):
    (message,) = problems((MODULE, OF_MODULE), ("format: [plain, json]", f"form: {form}"))
    assert "expected own with `task.module`" in message


def test_the_incumbent_of_a_module_is_own_too(problems):
    (message,) = problems((MODULE, OF_MODULE), ("instruction: short", "instruction: short\n  form: predict"))
    assert message.startswith("incumbent.form: got 'predict', expected own")


def test_a_module_may_have_predictors_with_names(problems):
    texts = ("  short: Sort the message.\n", "  first:\n    short: Sort.\n")
    other = ("  long: Sort the message and say how urgent it is.\n", "  second: {short: Sort., long: Do sort.}\n")
    assert problems((MODULE, OF_MODULE), texts, other) == []
    (message,) = problems((MODULE, OF_MODULE), texts, other, ("instruction: short", "instruction: long"))
    assert message == "incumbent.instruction: got 'long', expected a variant under `instructions` of first (short)."
    (message,) = problems((MODULE, OF_MODULE), texts, other, ("instruction: short", "instruction: {frist: short}"))
    assert message == "incumbent.instruction.frist: no such predictor under `instructions`. Did you mean 'first'?"


def test_constrained_lists_are_fine_where_json_is_among_the_formats(problems):
    changes = [("type: int", "type: 'list[str]'"), ("{kind: number, field: urgency}", "{kind: exact, field: urgency}")]
    assert problems(*changes, ("format: [plain, json]", "format: [plain, json]\n  constrained: true")) == []
    (message,) = problems(*changes, ("format: [plain, json]", "format: plain\n  constrained: [false, true]"))
    assert "cannot be constrained for lists and objects (`urgency`)" in message


def test_the_chat_format_alone_cannot_be_constrained(problems):
    (message,) = problems(("format: [plain, json]", "format: chat\n  constrained: true"))
    assert message.startswith("program.constrained: the chat format cannot be constrained to a schema.")


def test_a_constrained_incumbent_is_held_to_its_own_format(problems):
    (message,) = problems(("instruction: short", "instruction: short\n  constrained: true\n  format: chat"))
    assert message.startswith("incumbent.constrained: ")


@pytest.mark.parametrize("key", ["form", "format", "constrained"])
def test_a_list_of_nothing_to_search_is_refused(problems, key):
    (message,) = problems(("format: [plain, json]", f"{key}: []"))
    assert message == f"program.{key}: got an empty list, expected at least one value."


def test_a_value_is_searched_once(problems):
    (message,) = problems(("[plain, json]", "[plain, plain]"))
    assert message == "program.format: duplicate value: got 'plain'. Remove one of them."


# -------------------------------------------------------------------------------------------- demos


def test_balanced_demos_need_something_to_balance(problems):
    labels = GOOD[GOOD.index("      category:\n") : GOOD.index("      urgency:")]
    kind = ("kind: [none, random]", "kind: balanced")
    assert problems(kind) == []
    (message,) = problems(kind, (labels, "      category: {}\n"))
    assert message.startswith("demos.kind: balanced demos need a column to balance by, and no output is an enum.")
    assert problems(kind, (labels, "      category: {}\n"), ("count: [2, 4]", "count: 2\n  balance_by: team")) == []


def test_a_count_without_a_kind_is_refused(problems):
    (message,) = problems(("  kind: [none, random]\n", ""))
    assert message == "demos.count: a count without a kind of demos: got a list. Add `kind:`, such as random."


def test_counts_may_hold_none_beside_others(problems):
    assert problems(("count: [2, 4]", "count: [0, 4]")) == []


def test_a_share_for_train_is_enough_for_demos(problems):
    assert problems(("train: 10, search: 5, holdout: 5", "train: 0.2, search: 0.4, holdout: 0.4")) == []


def test_the_incumbents_demos_need_a_count_and_a_kind(problems):
    (message,) = problems(("instruction: short", "instruction: short\n  demos: random"))
    assert message.startswith("incumbent.demos: random demos without a count.")
    (message,) = problems(("instruction: short", "instruction: short\n  demo_count: 3"))
    assert message.startswith("incumbent.demo_count: a count without a kind of demos: got 3.")
    (message,) = problems(("instruction: short", "instruction: short\n  demos: random\n  demo_count: 30"))
    assert message == "incumbent.demo_count: got 30, expected at most 10, the size of `splits.train`."


def test_counts_of_splits_fit_the_limit(problems):
    (message,) = problems(("path: tickets.jsonl", "path: tickets.jsonl\n  limit: 12"))
    assert message.startswith("dataset.limit: got 12, expected 20 or more, the sum of the splits.")


# -------------------------------------------------------------------------------------------- params


@pytest.mark.parametrize(
    ("name", "bad", "expected"),
    [
        ("temperature", "2.01", "a number in [0, 2]. Lower it."),
        ("temperature", "-0.1", "a number in [0, 2]. Raise it."),
        ("temperature", "warm", "a number in [0, 2]."),
        ("temperature", "true", "a number in [0, 2]."),
        ("top_p", "0", "a number in (0, 1]. Raise it."),
        ("top_p", "1.1", "a number in (0, 1]. Lower it."),
        ("max_tokens", "0", "a whole number in [1, 10,000,000]. Raise it."),
        ("max_tokens", "10.5", "a whole number in [1, 10,000,000]."),
        ("presence_penalty", "-3", "a number in [-2, 2]. Raise it."),
    ],
)
@pytest.mark.parametrize("form", ["{}", "{{choices: [{}, null]}}", "{{value: {}}}"])
def test_values_that_no_provider_takes_are_refused_in_every_form(problems, name, bad, expected, form):
    start, end = GOOD.index("params:\n  temperature"), GOOD.index("objectives:")
    (message,) = problems((GOOD[start:end], f"params:\n  {name}: {form.format(bad)}\n"))
    assert message.startswith(f"params.{name}")
    assert message.endswith(f"expected {expected}")


@pytest.mark.parametrize("good", ["0", "2", "{low: 0, high: 2}", "{choices: [0, 1.5, null]}", "{value: null}"])
def test_values_on_the_bounds_are_taken(problems, good):
    assert problems(("temperature: {low: 0, high: 1.5}", f"temperature: {good}")) == []


def test_a_range_of_tokens_is_whole(problems):
    (message,) = problems(("{choices: [32, 64]}", "{low: 32, high: 64.5}"))
    assert message == "params.max_tokens.high: got 64.5, expected a whole number in [1, 10,000,000]."
    (message,) = problems(("{choices: [32, 64]}", "{low: 32, high: 64, type: float}"))
    assert message == "params.max_tokens.type: got 'float', expected int for max_tokens."


def test_a_step_fits_into_its_range(problems):
    (message,) = problems(("{low: 0, high: 1.5}", "{low: 0, high: 1.5, step: 2}"))
    assert message == "params.temperature.step: got 2, expected at most 1.5, the distance from `low` to `high`."


@pytest.mark.parametrize("name", ["model", "form", "format", "constrained", "instruction.x", "demos", "demos.count"])
def test_names_of_the_program_are_not_for_params(problems, name):
    (message,) = problems(("max_tokens: {choices", f"{name}: {{choices"))
    assert message.startswith(f"params.{name}: the name is reserved for a param of the program.")


@pytest.mark.parametrize(
    "when",
    ["{constrained: [false]}", "{demos.count: [2]}", "{instruction: [lo*]}", "{temperature: [0.5]}", "{form: [p*]}"],
)
def test_conditions_may_name_any_param(problems, when):
    assert problems(("{model: [openai/*]}", when)) == []


def test_a_condition_may_write_a_number_in_another_way(problems):
    assert problems(("{model: [openai/*]}", "{demos.count: [2.0]}")) == []


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("{constrained: [true]}", "got true, expected a value of that param (false)"),
        ("{demos.count: [2.5]}", "got 2.5, expected a value of that param (2, 4)"),
        ("{temperature: [1.6]}", "got 1.6, expected a number in [0, 1.5], the range of that param"),
        ("{max_tokens: []}", "got an empty list, expected a list of at least one value"),
        ("{instruction: [shrt]}", "Did you mean 'short'?"),
        ("{model: [[a]]}", "got a list, expected a value of that param"),
    ],
)
def test_conditions_that_never_hold_are_refused(problems, when, said):
    (message,) = problems(("{model: [openai/*]}", when))
    assert said in message


# ------------------------------------------------------------------------------- incumbent, metric, rest


def test_the_incumbents_model_need_not_be_searched(problems):
    assert problems(("model: openai/gpt-4o\n  instruction", "model: openai/gpt-4-turbo\n  instruction")) == []


def test_the_incumbent_may_have_parameters_that_are_not_searched(problems):
    assert problems(("{temperature: 0.7}", "{top_p: 0.9, seed: 1}")) == []
    assert (
        problems(("{temperature: 0.7}", "{mirostat: 2}"), ("name: house", "name: house\n    supports: [mirostat]"))
        == []
    )
    (message,) = problems(("{temperature: 0.7}", "{mirostat: 2}"))
    assert message.startswith("incumbent.params.mirostat: unknown parameter.")


def test_a_string_signature_tells_its_outputs(problems):
    text = "  signature: \"message -> category: Literal['a, b', 'c'], urgency: float\"\n"
    assert problems((MODULE, text)) == []
    (message,) = problems((MODULE, text), ("kind: number, field: urgency", "kind: number, field: urgent"))
    assert message == (
        "metric.parts.1.field: got 'urgent', expected an output of the task (category, urgency). "
        "Did you mean 'urgency'?"
    )  # fmt: skip


def test_a_signature_that_cannot_be_read_is_left_to_the_task(problems):
    assert problems((MODULE, '  signature: "what is this"\n')) == []


def test_every_field_of_json_fields_and_judge_is_an_output(problems):
    metric = GOOD[GOOD.index("metric:") : GOOD.index("incumbent:")]
    fields = "metric: {kind: json_fields, fields: [category, urgncy], weights: {urgency: 2}}\n"
    assert [message.split(":")[0] for message in problems((metric, fields))] == [
        "metric.fields.1",
        "metric.weights.urgency",
    ]
    judge = "metric: {kind: judge, model: x, rubric: 'Is it a good answer?', fields: [cat], params: {temperature: 3}}\n"
    assert [message.split(":")[0] for message in problems((metric, judge))] == [
        "metric.params.temperature",
        "metric.fields.0",
    ]


def test_gp_says_how_to_install_what_it_needs(problems, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    (message,) = problems(("sampler: tpe", "sampler: gp"))
    assert message == (
        "search.sampler: the sampler gp needs `torch`, which is not installed. Run: pip install 'offramp[gp]'"
    )  # fmt: skip


def test_gp_is_fine_where_torch_is(problems, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert problems(("sampler: tpe", "sampler: gp")) == []


def test_a_grid_of_steps_and_choices_is_fine(problems):
    changes = [("sampler: tpe", "sampler: grid"), ("{low: 0, high: 1.5}", "{low: 0, high: 1.5, step: 0.5}")]
    assert problems(*changes) == []


def test_one_run_may_not_cost_more_than_the_job(problems):
    (message,) = problems(("budget: {usd: 5}", "budget: {usd: 5}\nconstraints: {cost_usd_max: 6}"))
    assert message.startswith("constraints.cost_usd_max: got 6, expected at most 5")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("scale: [0, 1]", "scale: [1, 0]", "objectives.quality.scale"),
        ("scale: [0, 1]", "scale: [1, 1]", "objectives.quality.scale"),
        ("scale: [0, 1]", "scale: incumbent", "objectives.quality.scale"),
        ("scale: [0.01, 0]", "statistic: p95", "objectives.cost.statistic"),
    ],
)
def test_scales_say_worst_then_best(problems, old, new, key):
    (message,) = problems((old, new))
    assert message.startswith(f"{key}: ")


# ---------------------------------------------------------------------------------------------- prices and caps


def test_a_price_by_token_beside_one_by_the_hour_is_refused(problems):
    """The prices of tokens were ignored without a word."""
    price = "price: {compute_usd_per_hour: 3, input_usd: 1, output_usd: 2}"
    own = f"  - {{name: own, route: openai/own, api_base: 'http://127.0.0.1:1/v1', {price}}}"
    (message,) = problems(("  - openai/gpt-4o\n", f"{own}\n  - openai/gpt-4o\n"))
    assert (
        "models.0.price: a price of tokens (`input_usd` and `output_usd`) beside one of the machine by the hour"
        in message
    )


def test_minutes_beyond_a_year_are_refused_in_a_few_digits(problems):
    """1e300 minutes were taken, and shown with 300 digits."""
    old = GOOD[GOOD.index("budget:") :].split("\n")[0]
    (message,) = problems((old, "budget: {minutes: 1.0e+300}"))
    assert "budget.minutes: got 1e+300, expected at most 525,600 minutes, which is a year" in message


@pytest.mark.parametrize(
    ("name", "near"), [("temprature", "temperature"), ("maxtokens", "max_tokens"), ("Top_P", "top_p"), ("mirostat", None),
                       ("repetition_penalty", None), ("top_k", None)],
)  # fmt: skip
def test_a_param_that_is_nearly_a_well_known_one_is_a_warning(tmp_path, name, near):
    """`temprature` went to a server of one's own and was searched without a word."""
    path = tmp_path / "job.yaml"
    path.write_text(broken(("  temperature: {low: 0, high: 1.5}", f"  {name}: {{low: 0, high: 1.5}}")))
    told = misspelt_params(load_space(path))
    assert len(told) == (near is not None) and all(f"params.{name}" in one and f"{near!r}" in one for one in told)
