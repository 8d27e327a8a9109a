"""DSPy's language model as offramp gives it: every request goes through the caller, and nothing else does.

DSPy asks an engine for one response to one canonical request. Ours turns it into a `CallRequest`, sends it on the
event loop of the caller (from whatever loop or thread the program runs on), and notes the reply, or the error, on the
run that asked. DSPy's own cache, retries, usage tracker and history are off.

Invariant: every physical request that a program causes is on the record of the run that caused it, also when the
program swallows the error; and no run sends anything once it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

import dspy
from dspy.lm15 import Request, Response, response_from_openai_chat, response_to_events

from offramp.calls.failures import ProgramError
from offramp.calls.limiter import begun
from offramp.errors import JobError
from offramp.media import referenced
from offramp.program.run_log import RunLog
from offramp.program.wire import chat_request
from offramp.records import CallReply, CallRequest, Message, Model, Purpose

Send = Callable[[CallRequest], Awaitable[CallReply]]

TOOLS = "tools"
"""The request parameter of native tools."""
REPEAT = 1000
"""The k-th repeat of an equal request within one run asks for replicate `run's own + k * REPEAT`.

A program that asks the same thing three times (a vote, a retry) gets three answers in production, and here as well.
"""

MOST_SEEDS = 2**31
"""Seeds of requests are below this."""

ROUTES, MAKING = "offramp_routes", "making"
"""The setting of DSPy that says where models lead, and its value while a module is imported or made."""
_RUN, _NO_RUN = "offramp_run", "outside"
_extra: ContextVar[Mapping[str, Any] | None] = ContextVar("offramp_extra_params", default=None)


@contextmanager
def recording(log: RunLog | None) -> Iterator[None]:
    """Makes `log` the record of every request of the current task, its threads, and DSPy's own worker threads.

    None: what runs in here belongs to no run, such as the work of a transport, which may use DSPy itself.
    """
    with dspy.context(**{_RUN: _NO_RUN if log is None else log}):
        yield


def run_here() -> RunLog | None:
    """The record of the run that is under way here; None outside of any."""
    log = dspy.settings.get(_RUN)
    return log if isinstance(log, RunLog) else None


def belongs_to_none() -> bool:
    """Whether what runs here is known to belong to no run; False as well where nothing is known."""
    return bool(dspy.settings.get(_RUN) == _NO_RUN)


def being_made() -> bool:
    """Whether the user's module is imported or made here."""
    return bool(dspy.settings.get(ROUTES) == MAKING)


def current_run() -> RunLog:
    """The record of the run that is under way here. Raises JobError outside of any."""
    if (log := run_here()) is None:
        raise JobError("a predictor was called outside of the run that it belongs to")
    return log


@contextmanager
def extra_params(params: Mapping[str, Any]) -> Iterator[None]:
    """Request parameters that DSPy's canonical request has no place for, such as a grammar."""
    token = _extra.set(params)
    try:
        yield
    finally:
        _extra.reset(token)


class CallerEngine:
    """Async engine for one candidate. `request_params` are sent with every request unless the program sets others.

    To be made on the event loop of the caller; requests from other loops are carried over to it.
    """

    def __init__(
        self, model: Model, request_params: Mapping[str, Any], send: Send, *, constrained: bool, grammars: bool = True
    ) -> None:
        self._model, self._params, self._send, self._grammars = model, dict(request_params), send, grammars
        self._loop = asyncio.get_running_loop()
        self.supports_response_schema = constrained
        self.supported_params = frozenset({"response_format"} if constrained else ())
        self.supports_function_calling = TOOLS in (model.supported_params or ())
        self.supports_reasoning = False

    def set_abilities(self, abilities: Mapping[str, Any] | None) -> None:
        """Has adapters find this of the model in place of what is known of it; None changes nothing."""
        for name, value in (abilities or {}).items():
            setattr(self, name, value)

    async def complete(self, request: Request) -> Response:
        """One canonical response. Errors of the caller are noted on the run and re-raised."""
        if asyncio.get_running_loop() is not self._loop:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.complete(request), self._loop))
        return response_of(request.model, await self.asked(partial(chat_request, request)))

    def on_its_loop(self) -> bool:
        """Whether this is the event loop of the caller."""
        return asyncio.get_running_loop() is self._loop

    async def asked(self, written: Callable[[], dict[str, Any]]) -> CallReply:
        """The reply to a request that is written as DSPy writes it for chat completions; for the caller's loop.

        Errors are noted on the run and re-raised, those of writing it too.
        """
        log = current_run()
        with log.in_flight():
            call, began = None, time.perf_counter()
            token = begun.set(bool(log.exchanges) or log.purpose is not Purpose.PROGRAM)
            try:
                call = self._call(written(), log)
                with recording(None):
                    reply = await (log.send or self._send)(call)
            except BaseException as error:
                if isinstance(error, ProgramError) and call is not None:
                    log.note_program_error(error, call, began)
                else:
                    log.note_infrastructure_error(error)
                raise
            finally:
                begun.reset(token)
            log.note_reply(call, reply, began)
        return reply

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """The whole answer as a stream, for a program that listens to one."""
        for event in response_to_events(await self.complete(request)):
            yield event

    def _call(self, wire: dict[str, Any], log: RunLog) -> CallRequest:
        """Parameters of the candidate, then those of the program itself, then those of the format; later ones win.

        The format's are grammars, which go to the candidate's model and to those that llama.cpp serves.
        """
        messages = tuple(_message(message) for message in wire.pop("messages"))
        wire.pop("model", None)
        if TOOLS in wire and not self.supports_function_calling:
            what = f"the program hands tools to {self._model.name} by its own interface, which it does not have"
            raise JobError(f"{what}. Call them from the prompt, as dspy.ReAct does, or list `tools` under `supports`.")
        if "max_completion_tokens" in wire and "max_completion_tokens" not in self._params:
            wire["max_tokens"] = wire.pop("max_completion_tokens")  # DSPy's wire has one name for both
        params = {**self._params, **wire, **((_extra.get() or {}) if self._grammars else {})}
        if log.replicate and log.purpose is Purpose.PROGRAM and isinstance(seed := params.get("seed"), int):
            params["seed"] = (seed + log.replicate) % MOST_SEEDS  # with the same one it would be the same answer
        call = CallRequest(
            model=self._model, messages=messages, params=params, purpose=log.purpose, replicate=log.replicate
        )
        repeat = log.repeats(call.hash)
        return replace(call, replicate=log.replicate + REPEAT * repeat) if repeat else call


class SyncCallerEngine:
    """The same for programs that only have `forward`: they run in a thread, and the caller stays on its event loop."""

    def __init__(self, engine: CallerEngine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        for name in ("supports_response_schema", "supported_params", "supports_function_calling", "supports_reasoning"):
            setattr(self, name, getattr(engine, name))

    def complete(self, request: Request) -> Response:
        """One canonical response, waited for in the calling thread."""
        log = current_run()
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            what = "the program calls a predictor without await inside its aforward"
            raise log.noted(JobError(f"{what}. Use `await predictor.acall(...)`."))
        log.refuse_when_over()
        return asyncio.run_coroutine_threadsafe(self._engine.complete(request), self._loop).result()

    def stream(self, request: Request) -> Iterator[Any]:
        """The whole answer as a stream, for a program that listens to one."""
        yield from response_to_events(self.complete(request))


def _message(message: Mapping[str, Any]) -> Message:
    """A message as requests have it: text, or parts without their bytes; with the calls of tools and their results."""
    calls = {name: message[name] for name in ("tool_calls", "tool_call_id", "name") if message.get(name) is not None}
    if unknown := set(message) - {"role", "content", "tool_calls", "tool_call_id", "name"}:
        raise JobError(f"the program sends messages with {', '.join(sorted(unknown))}, which cannot be sent")
    if message.get("content") is None:
        return {"role": str(message["role"]), "content": None, **calls}
    content = message["content"]
    if not isinstance(content, str):
        try:
            parts = [referenced(part) for part in content]
        except ValueError as error:
            raise JobError(
                f"the program sends {error} to the model; text, images, audio and files can be sent"
            ) from None
        content = "\n".join(part["text"] for part in parts) if {p["type"] for p in parts} <= {"text"} else parts
    return {"role": str(message["role"]), "content": content, **calls}


def _calls(reply: CallReply) -> dict[str, Any]:
    """The calls of tools in the dialect of chat completions; empty where there are none."""
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in reply.tool_calls
    ]
    return {"tool_calls": calls} if calls else {}


def response_of(model: str, reply: CallReply) -> Response:
    """A reply as DSPy has it."""
    usage = reply.usage
    body = {
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text, **_calls(reply)},
                "finish_reason": "tool_calls"
                if reply.tool_calls
                else "stop",  # DSPy warns of a cut answer at every call; parsing tells whether it matters
            }
        ],
        "usage": {
            "prompt_tokens": usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens,
            "completion_tokens": usage.output_tokens + usage.reasoning_tokens,
        },
    }
    return response_from_openai_chat(body, model=model)
