"""The candidate's language model as DSPy calls it.

DSPy writes each request three times (for itself, as a canonical request, for the provider), reads the reply as often,
and waits for a thread twice. Of a request in plain text all of that changes nothing but its parameters, which are the
same each time: those are written once by DSPy itself, and the messages go to the engine as they are.

Invariant: what is asked and what is given back are what `dspy.LM` alone asks and gives back
(tests/program/test_language_model.py compares the two). Whatever is not plain text is left to it: media, calls of
tools, answers in a schema, several at a time, streams, callbacks, histories and counts of usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.clients._deprecation import warn_openai_messages
from dspy.clients.call_result import CallResult
from dspy.clients.errors import error_boundary
from dspy.clients.execution import _canonical, _hint_responses_api, prepare
from dspy.clients.lm15_boundary import request_kwargs

from offramp.program.engine import CallerEngine, Send, SyncCallerEngine, response_of
from offramp.records import Model

_SCALARS = (str, int, float, bool, type(None))
_NOT_PLAIN = ("n", "num_generations", "rollout_id", "logprobs", "prompt_cache", "cache")
_MOST_KNOWN = 1_000
_Params = dict[str, Any]


class CandidateLM(dspy.LM):  # type: ignore[misc]
    """A `dspy.LM` over the caller."""

    def __init__(self, engine: CallerEngine, temperature: float | None) -> None:
        super().__init__(
            "offramp/candidate", temperature=temperature, engine=SyncCallerEngine(engine), async_engine=engine,
            cache=False, num_retries=0,
        )  # fmt: skip
        self._known: dict[tuple[object, ...], _Params | None] = {}

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """The answers, as `dspy.LM` gives them."""
        engine = self._async_engine_spec
        params = self._written(kwargs) if prompt is None and self._is_plain(engine, messages) else None
        if params is None:
            return await super().acall(prompt, messages=messages, **kwargs)
        warn_openai_messages(self, messages)
        try:
            with error_boundary(self.model, unexpected=True):
                reply = await engine.asked(lambda: {"messages": messages, **params})
                if reply.text and not reply.tool_calls and _is_unicode(reply.text):
                    return [reply.text]
                return CallResult.native(response_of(self.model, reply)).outputs
        except BaseException as error:
            _hint_responses_api(self, error)
            raise

    def _is_plain(self, engine: Any, messages: Any) -> bool:
        """Whether nothing but an answer is wanted, of the engine that this was made with, to messages in plain text."""
        settings = dspy.settings
        return (
            isinstance(engine, CallerEngine)
            and engine.on_its_loop()
            and not (settings.get("callbacks") or self.callbacks or settings.usage_tracker)
            and settings.disable_history
            and settings.send_stream is None
            and self.model_type == "chat"
            and not (self.cache or self.num_retries or {"forward", "aforward"} & vars(self).keys())
            and _are_texts(messages)
        )

    def _written(self, kwargs: Mapping[str, Any]) -> _Params | None:
        """The parameters as DSPy writes them; None where it has to do more than that."""
        merged = {**self.kwargs, **kwargs}
        if not all(type(value) in _SCALARS for value in merged.values()):
            return None
        key = (self.model, *((name, type(value), value) for name, value in merged.items()))
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._write(merged, kwargs)
        return self._known[key]

    def _write(self, merged: Mapping[str, Any], kwargs: Mapping[str, Any]) -> _Params | None:
        if any(merged.get(name) is not None for name in _NOT_PLAIN):
            return None
        try:
            call = prepare(self, None, [{"role": "user", "content": "-"}], dict(kwargs), asynchronous=True)
            written: _Params = request_kwargs(_canonical(call), "chat")
        except Exception:  # noqa: BLE001 (DSPy says below what is wrong with it)
            return None
        return {name: value for name, value in written.items() if name != "messages"}


def language_model(
    model: Model, request_params: Mapping[str, Any], send: Send, *, constrained: bool,
    abilities: Mapping[str, Any] | None = None,
) -> dspy.LM:  # fmt: skip
    """A `dspy.LM` over the caller. To be called on the event loop that the caller runs on.

    Args:
        abilities: what adapters find that it can do, in place of what is known of the model.
    """
    engine = CallerEngine(model, request_params, send, constrained=constrained)
    engine.set_abilities(abilities)
    temperature = request_params.get("temperature")  # DSPy looks at it where a program asks for several completions
    return CandidateLM(engine, temperature if isinstance(temperature, int | float) else None)


def _are_texts(messages: Any) -> bool:
    """Whether they are texts of user and assistant, perhaps after one of the system, as every provider takes them."""
    if not isinstance(messages, list) or not messages:
        return False
    turns: Sequence[Any] = messages[1:] if _is_text(messages[0], ("system",)) else messages
    return bool(turns) and all(_is_text(turn, ("user", "assistant")) for turn in turns)


def _is_text(message: Any, roles: tuple[str, ...]) -> bool:
    if type(message) is not dict or len(message) != 2 or message.get("role") not in roles:
        return False
    content = message.get("content")
    return type(content) is str and content != "" and _is_unicode(content)


def _is_unicode(text: str) -> bool:
    """Whether it has bytes, which half of a pair of surrogates has not."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
