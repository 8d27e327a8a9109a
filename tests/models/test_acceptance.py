"""Values that a model rejects are found before anything is sent, alone and in combination, over the installed table."""

import pytest

from offramp.models.acceptance import accepted, rejection
from offramp.models.catalogue import resolve
from offramp.records import Model

SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "out", "schema": {"type": "object", "properties": {"kind": {"type": "string"}}}},
}


def model(name):
    return resolve(name, "space.yaml: models")


@pytest.mark.parametrize(
    ("name", "params", "rejected"),
    [
        ("anthropic/claude-sonnet-5-5", {"temperature": 0.0, "max_tokens": 50}, {"temperature"}),
        ("anthropic/claude-sonnet-5-5", {"temperature": 0.7}, {"temperature"}),
        ("anthropic/claude-sonnet-5-5", {"top_p": 0.5}, {"top_p"}),
        ("anthropic/claude-sonnet-4-5", {"temperature": 0.0, "seed": 7}, {"seed"}),
        (
            "anthropic/claude-sonnet-4-5",
            {"temperature": 0.0, "reasoning_effort": "low"},
            {"temperature", "reasoning_effort"},
        ),
        ("openai/gpt-5", {"temperature": 0.0}, {"temperature"}),
        ("openai/gpt-5", {"reasoning_effort": "none"}, {"reasoning_effort"}),
        ("openai/gpt-5", {"reasoning_effort": "xhigh"}, {"reasoning_effort"}),
        ("openai/gpt-5", {"presence_penalty": 0.5}, {"presence_penalty"}),
        ("openai/gpt-5.4", {"temperature": 0.0, "reasoning_effort": "high"}, {"temperature", "reasoning_effort"}),
        ("openai/gpt-6-luna", {"temperature": 0.0, "response_format": SCHEMA}, {"temperature"}),
        ("openai/o3-mini", {"temperature": 0.0}, {"temperature"}),
        ("gemini/gemini-2.5-flash", {"reasoning_effort": "xhigh"}, {"reasoning_effort"}),
        ("xai/grok-4.3", {"presence_penalty": 0.5, "stop": ["."]}, {"stop"}),
    ],
)
def test_the_fewest_values_that_a_model_rejects_are_named(name, params, rejected):
    found = rejection(model(name), params)
    assert found is not None
    assert set(found.params) == rejected
    assert found.params == {key: params[key] for key in rejected}
    assert found.why and "drop_params" not in found.why and "litellm." not in found.why


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("openai/gpt-4o-mini", {"temperature": 0.0, "max_tokens": 50, "response_format": SCHEMA, "seed": 1}),
        ("openai/gpt-5", {"temperature": 1.0, "seed": 1}),
        ("openai/gpt-5.4", {"temperature": 0.0, "reasoning_effort": "none"}),
        ("anthropic/claude-sonnet-5-5", {"temperature": 1, "max_tokens": 50}),
        ("anthropic/claude-sonnet-5-5", {"temperature": None, "max_tokens": 50}),
        ("anthropic/claude-sonnet-4-5", {"temperature": 0.0, "max_tokens": 50, "response_format": SCHEMA}),
        ("gemini/gemini-3.1-pro-preview", {"temperature": 0.0}),
        ("local/smollm2-135m", {"temperature": 0.0, "grammar": "root ::= [a]"}),
    ],
)
def test_what_a_model_accepts_is_not_rejected(name, params):
    assert rejection(model(name), params) is None
    assert accepted(model(name), params) == (params, ())


def test_a_model_that_nobody_knows_is_taken_to_accept_what_it_is_sent():
    mine = Model(name="mine", route="openai/mine", api_base="http://127.0.0.1:1")
    assert rejection(mine, {"temperature": 0.0, "top_k": 5}) is None


def test_of_values_that_are_rejected_together_the_sampling_parameter_is_left_out():
    kept, left_out = accepted(
        model("openai/gpt-5.4"), {"temperature": 0.0, "reasoning_effort": "high", "max_tokens": 50}
    )
    assert kept == {"reasoning_effort": "high", "max_tokens": 50}
    assert [item.what for item in left_out] == ["temperature=0.0 with reasoning_effort='high'"]


def test_everything_that_is_rejected_is_left_out_and_what_remains_is_accepted():
    params = {"temperature": 0.0, "top_p": 0.5, "presence_penalty": 1, "max_tokens": 50}
    kept, left_out = accepted(model("openai/gpt-5"), params)
    assert kept == {"max_tokens": 50}
    assert len(left_out) == 3
