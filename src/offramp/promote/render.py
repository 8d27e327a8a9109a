"""A request written from a promotion: plain messages and parameters, without dspy.

The pieces were written by the program that was measured, when it was promoted; here inputs are put into their places,
and for `nearest` the demos that belong to them.

Invariant: what `Renderer` writes is, byte for byte, what the measured program sends for the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offramp.errors import UsageError, nearest, problem
from offramp.promote.promotion import MessageTemplate, Promotion, Rendering

if TYPE_CHECKING:
    from offramp.program.demos import NearestDemos


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request as an OpenAI-style client takes it.

    Attributes:
        model: route: a LiteLLM name, or `local/...`.
        messages: role and content each.
        params: temperature and the like, and what the format adds (`grammar`, `response_format`).
        fallbacks: routes to ask, in order, when `model` gives no answer.
        version: of the promotion.
    """

    model: str
    messages: list[dict[str, str]]
    params: dict[str, Any]
    fallbacks: tuple[str, ...] = ()
    version: str

    def payload(self) -> dict[str, Any]:
        """All of it as one mapping, for `client.chat.completions.create(**payload)` or `litellm.completion`."""
        return {"model": self.model, "messages": self.messages, **self.params}


class Renderer:
    """Writes the requests of one promotion. `rows` are those of its pool of demos."""

    def __init__(self, promotion: Promotion, rows: tuple[Mapping[str, Any], ...] = ()) -> None:
        self.promotion = promotion
        self._rendering = self._checked(promotion)
        self._fields = tuple(promotion.program.inputs)
        self._pool = {row["content_hash"]: row for row in rows}
        self._nearest = _index(rows, self._fields) if rows else None

    def _checked(self, promotion: Promotion) -> Rendering:
        if promotion.rendering is None:
            where = f"{promotion.feature} {promotion.version}"
            what = f"its requests cannot be written without dspy: {promotion.rendering_refused}"
            raise UsageError(problem(where, what, do="Use `offramp.load`."))
        return promotion.rendering

    def request(self, inputs: Mapping[str, Any]) -> ChatRequest:
        """The request for these inputs.

        Raises:
            UsageError: an input is missing, unknown, not a JSON value, or contains what the adapter would misread.
        """
        texts = self._texts(inputs)
        rendering = self._rendering
        messages = [_message(template, texts) for template in rendering.messages]
        if rendering.demos_at is not None:
            messages[rendering.demos_at : rendering.demos_at] = self._demos(inputs)
        return ChatRequest(
            model=self.promotion.model.route,
            messages=messages,
            params=json.loads(json.dumps(rendering.params)),
            fallbacks=tuple(model.route for model in self.promotion.fallbacks),
            version=self.promotion.version,
        )

    def _texts(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        where = self.promotion.feature
        for name in inputs:
            if name not in self._fields:
                do = nearest(name, self._fields) or f"Its inputs are {list(self._fields)}."
                raise UsageError(problem(where, "no such input", got=name, do=do))
        missing = [name for name in self._fields if name not in inputs]
        if missing:
            raise UsageError(problem(where, f"inputs are missing: {missing}"))
        texts = {name: plain_text(inputs[name], f"{where}: {name}") for name in self._fields}
        for name, text in texts.items():
            if found := next((mark for mark in self._rendering.forbidden if mark in text), None):
                raise UsageError(problem(where, f"the input {name!r} contains {found}", do="Remove it."))
        return texts

    def _demos(self, inputs: Mapping[str, Any]) -> list[dict[str, str]]:
        """Demos for these inputs; those that the format puts first come first."""
        if self._nearest is None:
            return []
        chosen = self._nearest.nearest(_example(inputs, ""), self.promotion.demos.count)
        rows = [self._pool[example.content_hash] for example in chosen]
        ordered = [row for row in rows if row.get("first")] + [row for row in rows if not row.get("first")]
        return [{"role": role, "content": content} for row in ordered for role, content in row["messages"]]


def plain_text(value: Any, where: str = "") -> str:
    """Text as it is, another JSON value as JSON, as the measured program puts it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        expected = "text or a JSON value"
        raise UsageError(problem(where, "an input", got=type(value).__name__, expected=expected)) from None


def _message(template: MessageTemplate, texts: Mapping[str, str]) -> dict[str, str]:
    pieces = (texts[part.input] if part.input is not None else part.text or "" for part in template.content)
    return {"role": template.role, "content": "".join(pieces)}


def _index(rows: tuple[Mapping[str, Any], ...], fields: tuple[str, ...]) -> NearestDemos:
    from offramp.program.demos import NearestDemos

    return NearestDemos([_example(row["values"], row["content_hash"]) for row in rows], fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """As much of an `Example` as choosing demos looks at."""

    content_hash: str
    values: Mapping[str, Any]


def _example(values: Mapping[str, Any], content_hash: str) -> Any:
    return _Row(content_hash=content_hash, values=values)
