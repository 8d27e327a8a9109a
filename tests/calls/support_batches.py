"""A scripted provider with batch interfaces, and requests to it."""

from __future__ import annotations

import json

from support_calls import make_model

from offramp.records import CallRequest
from offramp.testing.server import ServerReply

KEY = "sk-test-1234567890abcdef"
ROUTES = {"openai": "openai/scripted-1", "anthropic": "anthropic/claude-scripted", "azure": "azure/scripted"}


def answer(body):
    """The reply to a body of either dialect: an echo of the last words."""
    said = body["messages"][-1]["content"]
    text = said if isinstance(said, str) else said[0]["text"]
    if text == "bad":
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such field"}}
        return ServerReply(status=400, body=json.dumps(error).encode())
    if text == "nonsense":
        return ServerReply(body=b'{"what": 1}')
    if "system" in body or isinstance(said, list):
        message = {
            "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": f"echo {text}"}],
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }  # fmt: skip
        return ServerReply(body=json.dumps(message).encode())
    return ServerReply(text=f"echo {text}")


def model_of(server, dialect="openai", **changes):
    base = server.url if dialect == "openai" else server.root
    more = {"route": ROUTES[dialect], "api_base": base, "api_key_env": "SCRIPTED_API_KEY", **changes}
    return make_model(**more)


def ask_for(model, *texts, **changes):
    made = [{"role": "user", "content": text} for text in texts]
    return [CallRequest(model=model, messages=(one,), params={"max_tokens": 20}, **changes) for one in made]
