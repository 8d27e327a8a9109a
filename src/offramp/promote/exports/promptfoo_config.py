"""A promptfoo config: the prompt, the provider, and the holdout as tests.

The prompt is a list of messages. Those that are the same for every input stand in it as they are; the others (the last
one, and demos that are chosen by the input) come from each test, rendered as they were measured. They travel inside an
object: promptfoo fills templates into variables that are texts, and takes their last line end away.

Invariant: promptfoo sends the messages that offramp measured, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from offramp.promote.check import prepared_task
from offramp.promote.exports._base import File, Source, rendering_of, server_note, tags
from offramp.promote.exports.promptfoo_asserts import Assertion, assertions
from offramp.promote.promotion import PromotedModel, Rendering
from offramp.promote.render import Renderer
from offramp.promote.yaml_text import yaml_text
from offramp.records import Example

_PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic:messages:{}", "openai": "openai:chat:{}", "gemini": "google:{}", "vertex_ai": "vertex:{}",
    "bedrock": "bedrock:{}", "mistral": "mistral:{}", "groq": "groq:{}", "xai": "xai:{}", "deepseek": "deepseek:{}",
    "openrouter": "openrouter:{}",
}  # fmt: skip
_OWN = frozenset(
    {"temperature", "max_tokens", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty", "response_format"}
)


def promptfoo_config(source: Source) -> File:
    """The config as YAML. Raises UsageError where the space file or its data is not what the evidence is of."""
    promotion = source.promotion
    rendering = rendering_of(source)
    prepared = prepared_task(promotion, source.folder, source.space)
    pool = promotion.demos.pool
    renderer = Renderer(promotion, source.folder.rows(pool) if pool is not None else ())
    asserts, left_out = assertions(prepared.space.metric, promotion)
    examples = prepared.task.splits.holdout
    rendered = [_messages(example, renderer) for example in examples]
    config = {
        "description": f"{promotion.feature} {promotion.version}: the holdout of {promotion.evidence.study}",
        "prompts": [{"label": promotion.feature, "raw": _prompt(source, rendered)}],
        "providers": [_provider(promotion.model, dict(rendering.params))],
        "tests": [_test(*pair, rendering, asserts) for pair in zip(examples, rendered, strict=True)],
        "metadata": tags(source),
    }
    notes = [f"{part} has no counterpart in promptfoo and is not asserted." for part in left_out]
    return File(text=yaml_text(config), notes=(*notes, *server_note(source)))


def _messages(example: Example, renderer: Renderer) -> list[dict[str, str]]:
    inputs = {name: example.values[name] for name in renderer.promotion.program.inputs}
    return renderer.request(inputs).messages


def _prompt(source: Source, rendered: Sequence[list[dict[str, str]]]) -> str:
    """The messages as a JSON list, with `{{ sent.mN }}` where a test brings its own."""
    rendering = rendering_of(source)
    roles = {tuple(message["role"] for message in messages) for messages in rendered}
    if len(roles) != 1:
        raise source.refused("its examples have different numbers of demos, which one prompt of promptfoo cannot say")
    fixed = _fixed(rendering, len(rendered[0]))
    if any(re.search(r"\{%-?\s*endraw", text) for text in fixed.values()):
        raise source.refused("a text of it holds `{% endraw %}`, which ends raw text in promptfoo's templates")
    listed = [
        {"role": role, "content": _literal(fixed[i]) if i in fixed else f"{{{{ sent.m{i} | safe }}}}"}
        for i, role in enumerate(next(iter(roles)))
    ]
    return json.dumps(listed, ensure_ascii=False, indent=1)


def _fixed(rendering: Rendering, count: int) -> dict[int, str]:
    """Place to text of the messages that hold no input and stand before any demo that is chosen by it."""
    last = count if rendering.demos_at is None else rendering.demos_at
    texts = (("".join(part.text or "" for part in m.content), m.content) for m in rendering.messages)
    return {i: text for i, (text, parts) in enumerate(texts) if i < last and all(p.input is None for p in parts)}


def _literal(text: str) -> str:
    """A text in which promptfoo finds no template."""
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return text
    return f"{{% raw %}}{text}{{% endraw %}}"


def _test(
    example: Example, messages: Sequence[Mapping[str, str]], rendering: Rendering, asserts: Sequence[Assertion]
) -> dict[str, Any]:
    fixed = _fixed(rendering, len(messages))
    sent = {f"m{i}": message["content"] for i, message in enumerate(messages) if i not in fixed}
    made = (one(example) for one in asserts)
    return {
        "description": example.id,
        "vars": {"sent": sent},
        "assert": [found for found in made if found is not None],
    }


def _provider(model: PromotedModel, params: dict[str, Any]) -> dict[str, Any]:
    first, _, rest = model.route.partition("/")
    own = model.local or model.own_address
    config: dict[str, Any] = {name: value for name, value in params.items() if name in _OWN}
    more = {name: value for name, value in params.items() if name not in _OWN}
    if more:
        config["passthrough"] = more
    config["omitDefaults"] = True
    if own:
        config |= {"apiBaseUrl": "{{env.OFFRAMP_API_BASE}}", "apiKeyEnvar": "OFFRAMP_API_KEY"}
        return {"id": f"openai:chat:{rest or first}", "config": config}
    return {"id": _PROVIDERS.get(first, "openai:chat:{}").format(rest or first), "config": config}
