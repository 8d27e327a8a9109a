"""Tokens by class, for each way that providers count; the real LiteLLM normalises where it does so in production."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.calls.failures import BrokenReply
from offramp.calls.transports.replies import read_reply, token_usage
from offramp.records import Usage


def classes(usage):
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


@pytest.fixture(scope="module")
def litellm():
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    return pytest.importorskip("litellm")


def test_openai_counts_cached_in_prompt_and_reasoning_in_completion(litellm):
    usage = litellm.Usage(
        prompt_tokens=100, completion_tokens=50, total_tokens=150,
        prompt_tokens_details={"cached_tokens": 40}, completion_tokens_details={"reasoning_tokens": 30},
    )  # fmt: skip
    assert classes(token_usage(usage)) == (60, 40, 0, 20, 30)


def test_anthropic_as_litellm_normalises_it_counts_reads_and_writes_in_prompt(litellm):
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    raw = {
        "input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 30,
    }  # fmt: skip
    usage = AnthropicConfig().calculate_usage(raw, reasoning_content=None)
    assert classes(token_usage(usage)) == (11, 200, 30, 7, 0)


def test_deepseek_names_its_cache_hits_itself(litellm):
    usage = litellm.Usage(prompt_tokens=100, completion_tokens=5, total_tokens=105, prompt_cache_hit_tokens=64)
    assert classes(token_usage(usage)) == (36, 64, 0, 5, 0)


def test_gemini_as_litellm_normalises_it_counts_thoughts_in_completion(litellm):
    from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import VertexGeminiConfig

    raw = {"usageMetadata": {"promptTokenCount": 50, "candidatesTokenCount": 10, "thoughtsTokenCount": 25,
                             "totalTokenCount": 85, "cachedContentTokenCount": 20}}  # fmt: skip
    usage = VertexGeminiConfig._calculate_usage(raw)
    assert classes(token_usage(usage)) == (30, 20, 0, 10, 25)


def test_a_server_that_counts_the_cache_on_top_of_the_prompt():
    on_top = {"prompt_tokens": 11, "completion_tokens": 7, "cache_read_input_tokens": 200, "total_tokens": 218}
    assert classes(token_usage(on_top)) == (11, 200, 0, 7, 0)


def test_a_server_whose_total_shows_that_a_small_cache_was_on_top():
    on_top = {"prompt_tokens": 100, "completion_tokens": 7, "cache_read_input_tokens": 20, "total_tokens": 127}
    assert classes(token_usage(on_top)) == (100, 20, 0, 7, 0)


def test_a_server_that_counts_reasoning_on_top_of_completion():
    on_top = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}
    usage = token_usage({**on_top, "completion_tokens_details": {"reasoning_tokens": 30}})
    assert classes(usage) == (10, 0, 0, 5, 30)


@pytest.mark.parametrize("counts", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": -4}, {"prompt_tokens": "x"}])
def test_what_is_missing_or_makes_no_sense_counts_nothing(counts):
    assert token_usage(counts) == Usage()


count = st.integers(0, 10**6)


@given(fresh=count, read=count, written=count, out=count, hidden=count)
def test_classes_are_disjoint_and_add_up_when_parts_are_included(fresh, read, written, out, hidden):
    prompt, completion = fresh + read + written, out + hidden
    usage = token_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": hidden},
        }
    )
    assert classes(usage) == (fresh, read, written, out, hidden)


@given(parts=st.tuples(count, count, count, count))
def test_no_class_is_ever_negative(parts):
    prompt, completion, cached, reasoning = parts
    usage = token_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert min(classes(usage)) >= 0


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": [{"finish_reason": "stop"}]}])
def test_a_reply_without_an_answer_is_billed_as_its_usage_says(body):
    used = token_usage({"prompt_tokens": 10, "completion_tokens": 5})
    with pytest.raises(BrokenReply) as caught:
        read_reply(body, used, 0.1)
    assert caught.value.usage == used
    with pytest.raises(BrokenReply) as caught:
        read_reply(body, token_usage(None), 0.1)
    assert caught.value.usage is None
