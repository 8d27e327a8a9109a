"""DSPy's language model as offramp gives it: every request goes through the calls ring, nothing else does.

DSPy asks an engine for one response to one canonical request. Ours turns it into a `CallRequest`, sends it, notes the
reply (or the failure) on the run that asked, and answers. DSPy's own cache, retries, usage tracker and history are off.

Invariant: every physical request that a program causes is on the record of the run that caused it, also when the
program swallows the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.clients.lm15_boundary import request_kwargs
from dspy.lm15 import Request, Response, response_from_openai_chat

from offramp.errors import JobError
from offramp.records import CallReply, CallRequest, Model, Purpose

Send = Callable[[CallRequest], Awaitable[CallReply]]


@dataclass(slots=True, kw_only=True)
class RunLog:
    """What one run of a program asked and got; filled while it runs."""

    purpose: Purpose
    replicate: int
    replies: list[CallReply] = field(default_factory=list)
    failure: BaseException | None = None


_current: ContextVar[RunLog] = ContextVar("offramp_run")
_extra: ContextVar[Mapping[str, Any] | None] = ContextVar("offramp_extra_params", default=None)


@contextmanager
def recording(log: RunLog) -> Iterator[None]:
    """Makes `log` the record of every request of the current task and of the threads it starts."""
    token = _current.set(log)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def extra_params(params: Mapping[str, Any]) -> Iterator[None]:
    """Request parameters that DSPy's canonical request has no place for, such as a grammar."""
    token = _extra.set(params)
    try:
        yield
    finally:
        _extra.reset(token)


class RingEngine:
    """Async engine for one candidate. `request_params` are sent with every request unless the program states others."""

    def __init__(self, model: Model, request_params: Mapping[str, Any], send: Send, *, constrained: bool) -> None:
        self._model, self._params, self._send = model, dict(request_params), send
        self.supports_response_schema = constrained
        self.supported_params = frozenset({"response_format"} if constrained else ())
        self.supports_function_calling = False
        self.supports_reasoning = False

    async def complete(self, request: Request) -> Response:
        """One canonical response. Failures of the ring are noted on the run and re-raised."""
        log = _current.get()
        wire = request_kwargs(request, "chat")
        messages = tuple({"role": m["role"], "content": _text(m["content"])} for m in wire.pop("messages"))
        wire.pop("model", None)
        call = CallRequest(
            model=self._model, messages=messages, params={**self._params, **wire, **(_extra.get() or {})},
            purpose=log.purpose, replicate=log.replicate,
        )  # fmt: skip
        try:
            reply = await self._send(call)
        except BaseException as error:
            log.failure = log.failure or error
            raise
        log.replies.append(reply)
        return _response(request, reply)


class SyncRingEngine:
    """The same for programs that only have `forward`: they run in a thread, and the ring stays on its event loop."""

    def __init__(self, engine: RingEngine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        for name in ("supports_response_schema", "supported_params", "supports_function_calling", "supports_reasoning"):
            setattr(self, name, getattr(engine, name))

    def complete(self, request: Request) -> Response:
        """One canonical response, waited for in the calling thread."""
        if _running_loop() is self._loop:
            error = JobError(
                "the program calls a predictor without await inside its aforward. Use `await predictor.acall(...)`."
            )
            _current.get().failure = error
            raise error
        return asyncio.run_coroutine_threadsafe(self._engine.complete(request), self._loop).result()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def language_model(model: Model, request_params: Mapping[str, Any], send: Send, *, constrained: bool) -> dspy.LM:
    """A `dspy.LM` over the ring. To be called on the event loop that the ring runs on."""
    engine = RingEngine(model, request_params, send, constrained=constrained)
    return dspy.LM("offramp/candidate", engine=SyncRingEngine(engine), async_engine=engine, cache=False, num_retries=0)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)


def _response(request: Request, reply: CallReply) -> Response:
    usage = reply.usage
    body = {
        "model": request.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "finish_reason": "stop",  # DSPy warns of a cut answer at every call; parsing tells whether it matters
            }
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens,
            "completion_tokens": usage.output_tokens + usage.reasoning_tokens,
        },
    }
    return response_from_openai_chat(body, model=request.model)
