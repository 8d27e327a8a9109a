"""A promptfoo config: the prompt, the provider, and the holdout as tests, with the metric as assertions.

The prompt is a list of messages. Those that are the same for every input are in it as they are; the others (the last
one, and demos that are chosen by the input) come from each test, rendered as they were measured. They travel inside an
object: promptfoo fills templates into variables that are texts, and removes their last line end. They travel in pieces:
it also looks for templates and files in texts inside of objects. Parameters of other kinds than promptfoo's own are
passed through, so that it neither renders nor reads them.

Invariant: promptfoo sends the messages that offramp measured, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from offramp.promote.exports.exporting import File, Source, rendering_of, server_note, tags, texts_of
from offramp.promote.exports.nunjucks import inert, pieces, plain_label
from offramp.promote.exports.promptfoo_assertions import Assertion, assertions
from offramp.promote.promotion import PromotedModel, Rendering
from offramp.promote.recheck import resolve_promoted_job
from offramp.promote.render import Renderer
from offramp.promote.serialization import yaml_text
from offramp.records import Example

_PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic:messages:{}", "openai": "openai:chat:{}", "gemini": "google:{}", "vertex_ai": "vertex:{}",
    "bedrock": "bedrock:{}", "mistral": "mistral:{}", "groq": "groq:{}", "xai": "xai:{}", "deepseek": "deepseek:{}",
    "openrouter": "openrouter:{}",
}  # fmt: skip
_OWN = frozenset({"temperature", "max_tokens", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty"})
_ENVIRONMENT = re.compile(r"\{\{(?:[^}]|\}(?!\}))*\benv(?:\.|\[)")


def promptfoo_config(source: Source) -> File:
    """The config as YAML. Raises UsageError where the space file or its data is not what the evidence is of."""
    promotion = source.promotion
    rendering = rendering_of(source)
    _check_params(source, rendering.params)
    job = resolve_promoted_job(promotion, source.folder, source.space)
    pool = promotion.demos.pool
    renderer = Renderer(promotion, source.folder.rows(pool) if pool is not None else ())
    asserts, left_out = assertions(job.space.metric, promotion)
    examples = job.task.splits.holdout
    inputs = [{name: example.values[name] for name in promotion.program.inputs} for example in examples]
    rendered = [renderer.request(values).messages for values in inputs]
    config = {
        "description": plain_label(
            f"{promotion.feature} {promotion.version}: the holdout of {promotion.evidence.study}"
        ),
        "prompts": [{"label": promotion.feature, "raw": _prompt(source, rendered)}],
        "providers": [_provider(promotion.model, dict(rendering.params))],
        "tests": [_test(*pair, rendering, asserts) for pair in zip(examples, rendered, strict=True)],
        "metadata": tags(source),
    }
    notes = [f"{part} has no counterpart in promptfoo and is not asserted." for part in left_out]
    return File(text=yaml_text(config), notes=(*notes, *server_note(source)))


def _prompt(source: Source, rendered: Sequence[list[dict[str, str]]]) -> str:
    """The messages as a JSON list, with `{{ sent.mN }}` where a test brings its own."""
    rendering = rendering_of(source)
    roles = {tuple(message["role"] for message in messages) for messages in rendered}
    if len(roles) != 1:
        raise source.refused("its examples have different numbers of demos, which one promptfoo prompt cannot express")
    fixed = _fixed(rendering, len(rendered[0]))
    listed = [
        {"role": role, "content": inert(fixed[i]) if i in fixed else f"{{{{ sent.m{i} | join }}}}"}
        for i, role in enumerate(next(iter(roles)))
    ]
    return json.dumps(listed, ensure_ascii=False, indent=1)


def _fixed(rendering: Rendering, count: int) -> dict[int, str]:
    """Index to text of the messages that contain no input and come before any demo that is chosen by it."""
    last = count if rendering.demos_at is None else rendering.demos_at
    texts = (("".join(part.text or "" for part in m.content), m.content) for m in rendering.messages)
    return {i: text for i, (text, parts) in enumerate(texts) if i < last and all(p.input is None for p in parts)}


def _check_params(source: Source, params: Mapping[str, Any]) -> None:
    """Raises UsageError for parameters that promptfoo would change and that nothing protects."""
    if any(_ENVIRONMENT.search(text) for text in texts_of(params)):
        raise source.refused("one of its parameters contains `{{ env`, which promptfoo fills in")
    if any(text.startswith("file://") for text in texts_of(params)):
        raise source.refused("one of its parameters begins with `file://`, which promptfoo reads")
    if "$ref" in set(texts_of(params, keys=True)):
        do = "Use another export."
        raise source.refused("its schema contains `$ref`, which promptfoo resolves before it sends the schema", do)


def _test(
    example: Example, messages: Sequence[Mapping[str, str]], rendering: Rendering, asserts: Sequence[Assertion]
) -> dict[str, Any]:
    fixed = _fixed(rendering, len(messages))
    sent = {f"m{i}": pieces(message["content"]) for i, message in enumerate(messages) if i not in fixed}
    made = (one(example) for one in asserts)
    return {
        "description": plain_label(example.id),
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
    config |= {"omitDefaults": True, "showThinking": False}
    if own:
        config |= {"apiBaseUrl": "{{env.OFFRAMP_API_BASE}}", "apiKeyEnvar": "OFFRAMP_API_KEY"}
        return {"id": f"openai:chat:{rest or first}", "config": config}
    return {"id": _PROVIDERS.get(first, "openai:chat:{}").format(rest or first), "config": config}
