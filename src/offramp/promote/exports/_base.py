"""What every export is made from and gives, and messages with places for inputs.

Invariant: an export either sends what was measured, or is refused with the reason; nothing is left out without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.errors import UsageError, problem
from offramp.promote.folder import FeatureFolder
from offramp.promote.promotion import Promotion, Rendering

TEMPLATE_MARK = re.compile(r"\{\{|\}\}")
KEYS: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY", "xai": "XAI_API_KEY", "deepseek": "DEEPSEEK_API_KEY", "cohere": "COHERE_API_KEY",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A promotion to export.

    Attributes:
        label: as it was asked for.
        space: the space file, for exports with tests; where the promotion says where None.
    """

    promotion: Promotion
    folder: FeatureFolder
    label: str
    space: Path | None = None

    def refused(self, what: str, do: str | None = None) -> UsageError:
        """An error about this promotion."""
        return UsageError(problem(f"{self.promotion.feature} {self.promotion.version}", what, do=do))


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What an export gives: a text, and what its reader should know."""

    text: str
    notes: tuple[str, ...] = ()


Exporter = Callable[[Source], File]


def rendering_of(source: Source) -> Rendering:
    """The templates of a promotion. Raises UsageError where it has none."""
    rendering = source.promotion.rendering
    if rendering is None:
        raise source.refused(
            f"its messages depend on code: {source.promotion.rendering_refused}", "Use `offramp.load`."
        )
    return rendering


def template_messages(source: Source, mark: str = "{{%s}}") -> list[dict[str, str]]:
    """Messages with `{{input}}` in place of inputs.

    Raises:
        UsageError: demos are chosen by the input, or a text holds braces that the other tool would take for a place.
    """
    rendering = rendering_of(source)
    if rendering.demos_at is not None:
        raise source.refused(
            "its demos are chosen by the input, which a fixed template cannot do",
            "Use `offramp.load_messages`, or promote a candidate with other demos.",
        )
    return [
        {"role": message.role, "content": "".join(_piece(source, part, mark) for part in message.content)}
        for message in rendering.messages
    ]


def _piece(source: Source, part: Any, mark: str) -> str:
    if part.input is not None:
        return str(mark % part.input)
    if TEMPLATE_MARK.search(part.text):
        raise source.refused("a text of it holds double braces, which templates take for the place of an input")
    return str(part.text)


def tags(source: Source) -> dict[str, str]:
    """Where it came from, as short texts."""
    evidence = source.promotion.evidence
    found = {
        "offramp_version": source.promotion.version,
        "offramp_study": evidence.study,
        "offramp_candidate": evidence.candidate,
    }
    if evidence.holdout is not None and evidence.holdout.quality is not None:
        found["holdout_quality"] = f"{evidence.holdout.quality:.4f}"
        found["holdout_n"] = str(evidence.holdout.n)
    return found


def server_note(source: Source) -> tuple[str, ...]:
    """What has to be known of a model that no vendor serves."""
    model = source.promotion.model
    if model.local:
        return (f"{model.name} is served by llama.cpp on your machine: point the address at your server of it.",)
    if model.own_address:
        return (f"{model.name} runs on a server of your own: no promotion holds its address.",)
    return ()
