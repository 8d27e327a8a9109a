"""The body of an OpenAI-style chat completion, with `{{input}}` where inputs belong."""

from __future__ import annotations

import json

from offramp.promote.exports._base import File, Source, rendering_of, server_note, template_messages


def openai_payload(source: Source) -> File:
    """`model`, `messages` and parameters."""
    model = source.promotion.model
    name = model.route.split("/", 1)[1] if model.route.startswith(("openai/", "local/")) else model.route
    body = {"model": name, "messages": template_messages(source), **rendering_of(source).params}
    return File(text=json.dumps(body, indent=2, ensure_ascii=False) + "\n", notes=server_note(source))
