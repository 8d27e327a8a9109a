"""`offramp export`: a promotion in the form of another tool, and what all forms share.

Invariant: an export either sends what was measured, or is refused with the reason; nothing is left out silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from offramp.errors import StorageError, UsageError, nearest, problem
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder
from offramp.promote.promotion import Promotion, Rendering

FORMS: Mapping[str, str] = {
    "litellm": "litellm_proxy:litellm_entry",
    "openai": "json_bodies:openai_payload",
    "promptfoo": "promptfoo:promptfoo_config",
    "dspy": "dspy_state:dspy_state",
    "mlflow": "mlflow_prompt:mlflow_prompt",
    "langfuse": "json_bodies:langfuse_prompt",
    "json": "json_bodies:plain_json",
}
"""Name to module and function; imported when asked for, since some are heavy."""
TEMPLATE_MARK = r"\{\{|\}\}"
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


def source_of(
    feature: str, *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None, space: Path | None = None
) -> Source:
    """The promotion that a label points at. Raises PromotionError."""
    folder = FeatureFolder(promotions, feature)
    return Source(promotion=folder.load(folder.resolve(label)), folder=folder, label=label, space=space)


def export(source: Source, to: str) -> File:
    """The promotion in one of `FORMS`.

    Raises:
        UsageError: an unknown form, or one that cannot say what was measured.
    """
    if to not in FORMS:
        expected = ", ".join(FORMS)
        raise UsageError(problem("--to", "unknown form", got=to, expected=expected, do=nearest(to, FORMS) or None))
    if source.promotion.cascade is not None:
        members = ", ".join(member.candidate for member in source.promotion.cascade.members)
        do = f"Use `offramp.load`, or promote and export its members by themselves ({members})."
        raise source.refused("it is a cascade of programs, which other tools cannot run", do)
    module, _, name = FORMS[to].partition(":")
    exporter: Exporter = getattr(import_module(f"offramp.promote.exports.{module}"), name)
    return exporter(source)


def write(path: Path, file: File) -> None:
    """Writes an export. Raises StorageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
    except OSError as error:
        raise StorageError(problem(str(path), f"cannot be written: {error.strerror}")) from error


def rendering_of(source: Source) -> Rendering:
    """The templates of a promotion. Raises UsageError where it has none."""
    rendering = source.promotion.rendering
    if rendering is None:
        raise source.refused(
            f"no fixed messages say what it sends: {source.promotion.rendering_refused}", "Use `offramp.load`."
        )
    return rendering


def template_messages(source: Source, *, marks: str = TEMPLATE_MARK) -> list[dict[str, str]]:
    """Messages with `{{name}}` in place of inputs.

    Args:
        marks: a pattern of what the other tool's templates give a meaning.

    Raises:
        UsageError: demos are chosen by the input, or a text contains braces that the other tool takes for an input.
    """
    rendering = rendering_of(source)
    if rendering.demos_at is not None:
        raise source.refused(
            "its demos are chosen by the input, which a fixed template cannot express",
            "Use `offramp.load_messages`, or promote a candidate with other demos.",
        )
    for message in rendering.messages:
        text = "".join(part.text if part.text is not None else "\0" for part in message.content)
        if found := re.search(marks, text):
            raise source.refused(f"one of its texts contains double braces or a tag (`{found[0]}`), which it fills in")
        if "{\0" in text:
            raise source.refused("a brace stands directly before an input, which templates cannot tell apart")
    return [
        {
            "role": m.role,
            "content": "".join(p.text or "" if p.input is None else f"{{{{{p.input}}}}}" for p in m.content),
        }
        for m in rendering.messages
    ]


def texts_of(value: Any, *, keys: bool = False) -> Iterator[str]:
    """Every text in a JSON value, or every key."""
    if isinstance(value, str):
        if not keys:
            yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if keys:
                yield name
            yield from texts_of(item, keys=keys)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_of(item, keys=keys)


def origin_tags(source: Source) -> dict[str, str]:
    """Which promotion it belongs to: true of fallbacks, too, of which nothing was measured."""
    return {"offramp_version": source.promotion.version, "offramp_study": source.promotion.evidence.study}


def tags(source: Source) -> dict[str, str]:
    """Where it came from and what was measured of it, as short texts."""
    evidence = source.promotion.evidence
    found = {**origin_tags(source), "offramp_candidate": evidence.candidate}
    if evidence.holdout is not None and evidence.holdout.quality is not None:
        found["holdout_quality"] = f"{evidence.holdout.quality:.4f}"
        found["holdout_n"] = str(evidence.holdout.n)
    return found


def server_note(source: Source) -> tuple[str, ...]:
    """What the reader has to know about a model that no vendor serves."""
    model = source.promotion.model
    if model.local:
        return (f"{model.name} is served by llama.cpp on your machine: set the address to that of your server.",)
    if model.own_address:
        return (f"{model.name} runs on your own server; promotions do not contain addresses.",)
    return ()
