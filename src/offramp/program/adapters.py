"""The adapters: our plain one, and DSPy's chat and json, all under two rules.

Rule 1: an answer is read once. Whatever a parser raises about it is an `AdapterParseError`, noted on the run as the
program's own error, and no second request is made in another format.
Rule 2: what a model of the program's own can be asked for is what the run's route to it can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.adapters.utils import apply_output_field_defaults
from dspy.utils.exceptions import AdapterParseError

from offramp.program.engine import current_run, extra_params
from offramp.program.plain import PlainMessages, plain_grammar
from offramp.program.reading import chat_fields, json_fields, read_found
from offramp.program.routing import routed
from offramp.program.values import cut
from offramp.records import Candidate


def configured_adapter() -> tuple[str, str | None] | None:
    """Class of the adapter that `dspy.configure` has set, and the `format` that is the same; None without one."""
    adapter = dspy.settings.adapter
    if adapter is None:
        return None
    same = {dspy.ChatAdapter: "chat", dspy.JSONAdapter: "json"}
    return type(adapter).__name__, same.get(type(adapter))


class _Ruled:
    """Both rules, to stand before a DSPy adapter.

    Attributes:
        strict: whether an answer is read only if it is exactly in its form and of its type.
    """

    strict: bool = False

    def __call__(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any) -> Any:
        """DSPy's pipeline under the rules."""
        with _rules(), extra_params(self.extra_params(signature)):
            return super().__call__(routed(lm), lm_kwargs, signature, demos, inputs)  # type: ignore[misc]

    async def acall(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any) -> Any:
        """DSPy's pipeline under the rules."""
        with _rules(), extra_params(self.extra_params(signature)):
            return await super().acall(routed(lm), lm_kwargs, signature, demos, inputs)  # type: ignore[misc]

    def extra_params(self, signature: type[dspy.Signature]) -> dict[str, str]:
        """Request parameters of this format beside the candidate's."""
        return {}

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The output fields. Raises AdapterParseError for every answer that cannot be read."""
        try:
            return dict(super().parse(signature, completion))  # type: ignore[misc]
        except AdapterParseError:
            raise
        except Exception as error:  # a parser's work depends on the answer alone: nested too deep, no such type, ...
            name = type(self).__name__
            what = f"{type(error).__name__} while it was read"
            raise AdapterParseError(name, signature, completion, message=what) from error


@contextmanager
def _rules() -> Iterator[None]:
    log = current_run()
    try:
        yield
    except AdapterParseError as error:
        log.note_unreadable(f"unparsable answer: {cut(error.lm_response)}")
        raise


class PlainAdapter(_Ruled, PlainMessages):
    """The plain format. `constrained` sends a grammar with each request."""

    def __init__(self, *, constrained: bool = False) -> None:
        super().__init__()
        self._constrained = constrained

    def extra_params(self, signature: type[dspy.Signature]) -> dict[str, str]:
        """The grammar, where the answer can be held to one."""
        grammar = plain_grammar(signature) if self._constrained else None
        return {} if grammar is None else {"grammar": grammar}


class _ReadAsEverywhere:
    """Answers of DSPy's formats, read by the reader of all formats (`reading.py`)."""

    strict: bool

    @staticmethod
    def fields_in(names: Sequence[str], completion: str, *, strict: bool) -> Mapping[str, Any]:
        """What the answer has for each field, by the marks of the format."""
        raise NotImplementedError

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The output fields. Raises AdapterParseError where one is missing or cannot be read."""
        name, outputs = type(self).__name__, signature.output_fields
        values: dict[str, Any] = {}
        for field, found in self.fields_in(list(outputs), completion, strict=self.strict).items():
            try:
                values[field] = read_found(found, outputs[field].annotation, name=field, strict=self.strict)
            except (ValueError, TypeError) as error:
                raise AdapterParseError(name, signature, completion, message=f"{field!r}: {error}") from error
        values = apply_output_field_defaults(signature, values)
        if values.keys() != outputs.keys():
            raise AdapterParseError(name, signature, completion, parsed_result=values)
        return values


class ChatAdapter(_Ruled, _ReadAsEverywhere, dspy.ChatAdapter):  # type: ignore[misc]
    """DSPy's default format, without a second request in JSON."""

    fields_in = staticmethod(chat_fields)


class JsonAdapter(_Ruled, _ReadAsEverywhere, dspy.JSONAdapter):  # type: ignore[misc]
    """DSPy's JSON format; it asks for a schema where the engine says that the candidate is constrained."""

    fields_in = staticmethod(json_fields)


def adapter_of(candidate: Candidate, *, strict: bool = False) -> dspy.Adapter:
    """The candidate's adapter. `strict`: see `_Ruled`."""
    adapter: PlainAdapter | JsonAdapter | ChatAdapter
    native = candidate.tools == "native"
    if candidate.adapter == "plain":
        adapter = PlainAdapter(constrained=candidate.constrained)
    elif candidate.adapter == "json":
        adapter = JsonAdapter(use_native_function_calling=native)
    else:
        adapter = ChatAdapter(use_json_adapter_fallback=False, use_native_function_calling=native)
    adapter.strict = strict
    return adapter
