"""The body of Langfuse's create-prompt request (`POST /api/public/v2/prompts`): a chat prompt with its config."""

from __future__ import annotations

import json

from offramp.promote.exports._base import File, Source, rendering_of, tags, template_messages


def langfuse_prompt(source: Source) -> File:
    """Name, messages, labels, tags and config."""
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
    return File(text=json.dumps(body, indent=2, ensure_ascii=False) + "\n")
