"""Exports that are one JSON object: an OpenAI-style request, a Langfuse prompt, and the whole promotion."""

from __future__ import annotations

import json
from typing import Any

from offramp.promote.exports.exporting import File, Source, rendering_of, server_note, tags, template_messages
from offramp.promote.serialization import values_of


def openai_payload(source: Source) -> File:
    """The body of a chat completion: `model`, `messages` with `{{input}}` where inputs belong, and parameters."""
    model = source.promotion.model
    name = model.route.split("/", 1)[1] if model.route.startswith(("openai/", "local/")) else model.route
    body = {"model": name, "messages": template_messages(source), **rendering_of(source).params}
    return _as_file(body, server_note(source))


def langfuse_prompt(source: Source) -> File:
    """The body of Langfuse's create-prompt request (`POST /api/public/v2/prompts`): a chat prompt with its config."""
    promotion = source.promotion
    body = {
        "type": "chat",
        "name": promotion.feature,
        "prompt": [{"type": "chatmessage", **message} for message in template_messages(source)],
        "labels": [source.label],
        "tags": ["offramp"],
        "config": {"model": promotion.model.route, **rendering_of(source).params, "offramp": tags(source)},
        "commitMessage": f"offramp {promotion.version}: {promotion.evidence.study} {promotion.evidence.candidate}",
    }
    return _as_file(body)


def plain_json(source: Source) -> File:
    """The whole promotion with its evidence, and the rows of its pool of demos."""
    values = values_of(source.promotion)
    pool = source.promotion.demos.pool
    if pool is not None:
        values["pool"] = list(source.folder.rows(pool))
    return _as_file(values)


def _as_file(values: dict[str, Any], notes: tuple[str, ...] = ()) -> File:
    return File(text=json.dumps(values, indent=2, ensure_ascii=False) + "\n", notes=notes)
