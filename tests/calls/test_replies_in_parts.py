"""Replies whose content is a list of parts are read on every route; of one that cannot be read, the message names the field."""

import asyncio
import subprocess
import sys

import pytest
from support_calls import make_model, make_request

from offramp.calls.failures import BrokenReply, Refused
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.calls.transports.replies import read_reply
from offramp.records import Usage
from offramp.testing.server import ScriptedServer, ServerReply

PARTS = [{"type": "text", "text": "bill"}, {"type": "text", "text": "ing"}]
USED = Usage(input_tokens=10, output_tokens=5)


def said(content):
    return {"role": "assistant", "content": content}


def send(reply, route="openai/b", times=1):
    """What comes of requests through a fresh transport: the last reply, or the error."""

    async def go(url):
        transport = LiteLLMTransport(10.0)
        model = make_model(route=route, api_base=url)
        try:
            for _ in range(times):
                found = await transport.send(make_request(model=model))
        except BrokenReply as error:
            return error
        finally:
            await transport.aclose()
        return found

    with ScriptedServer([reply]) as server:
        found = asyncio.run(go(server.url))
        assert len(server.requests) == times, "nothing is asked again"
        return found


@pytest.mark.parametrize(
    "route", ["openai/b", "azure/b", "hosted_vllm/b", "openrouter/b", "deepseek/b", "groq/b", "lm_studio/b"]
)
def test_text_in_parts_is_an_answer_on_every_route(route):
    reply = send(ServerReply(message=said(PARTS)), route)
    assert (reply.text, reply.finish_reason, reply.usage) == ("billing", "stop", USED)


def test_the_second_reply_in_parts_is_read_as_the_first_and_the_end_of_the_model_is_noticed():
    reply = send(ServerReply(message=said(PARTS), headers={"Sunset": "2031-02-03"}), times=2)
    assert reply.text == "billing" and reply.notice.sunset == "2031-02-03"


def test_thinking_among_the_parts_is_no_part_of_the_answer():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert send(ServerReply(message=said([thought, *PARTS]))).text == "billing"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (ServerReply(usage={"prompt_tokens": 1, "completion_tokens": "five", "total_tokens": 6}),
         "usage.completion_tokens: got 'five', expected a whole number"),
        (ServerReply(usage={"prompt_tokens": float("nan"), "completion_tokens": 1, "total_tokens": 6}),
         "usage.prompt_tokens: got nan, expected a whole number"),
        (ServerReply(usage={"prompt_tokens": 1, "completion_tokens": 1e30, "total_tokens": 6}),
         "usage.completion_tokens: got 1e+30, expected a whole number"),
        (ServerReply(message=said({"a": "b"})), "message.content: got an object, expected text or a list of parts"),
        (ServerReply(message=said([{"type": "text", "text": {"value": "x"}}])),
         "message.content[0].text: got an object, expected text"),
        (ServerReply(message=said([*PARTS, {"type": "image_url", "image_url": {"url": "x"}}])),
         "message.content[2].type: got 'image_url', expected 'text'"),
        (ServerReply(message="hello"), "choices[0].message: got 'hello', expected an object"),
        (ServerReply(message={**said("x"), "tool_calls": "no"}), "message.tool_calls: got 'no', expected a list"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("route", ["openai/b", "hosted_vllm/b"])
def test_a_reply_that_cannot_be_read_says_which_field_and_what_was_expected(reply, says, route):
    error = send(reply, route)
    assert isinstance(error, BrokenReply) and "the reply cannot be read" in str(error) and says in str(error)


def test_a_long_answer_of_the_wrong_kind_is_not_quoted():
    assert "secret plan" not in str(send(ServerReply(message=said({"text": "secret plan " * 9}))))


def body(content, **more):
    return {"choices": [{"message": {**said(content), **more}, "finish_reason": "stop"}]}


def test_a_local_server_that_sends_parts_is_read_alike_and_other_content_is_no_empty_answer():
    assert read_reply(body(PARTS), USED, 0.1).text == "billing"
    assert read_reply(body(["bill", "ing"]), USED, 0.1).text == "billing"
    with pytest.raises(Refused):
        read_reply(body(None, refusal="no"), USED, 0.1)
    for content, says in ((5, "content: got 5, expected text"), ([{"type": "audio"}], "content[0].type: got 'audio'")):
        with pytest.raises(BrokenReply) as found:
            read_reply(body(content), USED, 0.1)
        assert says in str(found.value) and found.value.usage == USED


SCRIPT = """
import asyncio, logging, sys, warnings
sys.path.insert(0, {folder!r})
from support_calls import make_model, make_request
from offramp.calls.transports.routes import RouteTransport
from offramp.testing.server import ScriptedServer, ServerReply

KEY = "Qz8rT5vXw2Lk9mNp4Yb7"
parts = [{{"type": "text", "text": "billing " + KEY + " of 1 Echo Street"}}]

def script(body):
    asked = body["messages"][-1]["content"]
    if asked == "usage":
        return ServerReply(usage={{"prompt_tokens": 1, "completion_tokens": KEY + "0", "total_tokens": 6}})
    return ServerReply(message={{"role": "assistant", "content": parts}}, extra={{"service_tier": KEY}})

async def broken():
    raise ValueError("bearer " + KEY)

async def main(url):
    transport = RouteTransport(None, timeout_s=10.0)
    for route in ("openai/b", "hosted_vllm/b", "azure/b"):
        model = make_model(route=route, api_base=url, api_key_env="WEIRD")
        for asked in ("parts", "usage"):
            try:
                await transport.send(make_request(asked, model=model))
            except Exception as error:
                print(error)
    await transport.aclose()
    asyncio.get_running_loop().create_task(broken())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

with ScriptedServer(script) as server:
    asyncio.run(main(server.url))
warnings.warn("mine, with " + KEY)
warnings.warn("mine, without")
"""


def test_no_warning_and_no_log_of_a_library_shows_the_key_or_the_answer_and_the_users_own_warnings_stay(tmp_path):
    """As a process of its own: pytest keeps warnings for itself."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(folder=str(__file__).rpartition("/")[0]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, timeout=120,
        env={"WEIRD": "Qz8rT5vXw2Lk9mNp4Yb7", "PATH": ""},
    )  # fmt: skip
    shown = done.stdout + done.stderr
    assert "the reply cannot be read: usage.completion_tokens" in done.stdout
    assert "Pydantic" not in shown and "Echo Street" not in shown
    assert not [part for part in ("Qz8rT5vXw2", "Lk9mNp4Yb7", "9mNp4Yb7") if part in shown], shown
    assert "Task exception was never retrieved" in done.stderr and "bearer ***" in done.stderr
    assert "UserWarning: mine, with ***" in done.stderr and "UserWarning: mine, without" in done.stderr
