"""A promptfoo config: the prompt, the provider, and the holdout as tests, with the metric as assertions.

The prompt is a list of messages. Those that are the same for every input are in it as they are; the others (the last
one, and demos that are chosen by the input) come from each test, rendered as they were measured. They travel inside an
object: promptfoo fills templates into variables that are texts, and removes their last line end. Assertions are small
JavaScript that reads a field out of the answer, as the adapter writes it.

Invariants: promptfoo sends the messages that offramp measured, byte for byte. A metric that cannot be expressed exactly
is left out, and the caller gets its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from offramp.promote.exports.exporting import File, Source, rendering_of, server_note, tags
from offramp.promote.promotion import PromotedModel, Promotion, Rendering
from offramp.promote.recheck import resolve_promoted_job
from offramp.promote.render import Renderer
from offramp.promote.serialization import yaml_text
from offramp.records import Example
from offramp.space.model import ContainsMetric, ExactMetric, JudgeMetric, MixMetric, NumberMetric, RegexMetric

_PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic:messages:{}", "openai": "openai:chat:{}", "gemini": "google:{}", "vertex_ai": "vertex:{}",
    "bedrock": "bedrock:{}", "mistral": "mistral:{}", "groq": "groq:{}", "xai": "xai:{}", "deepseek": "deepseek:{}",
    "openrouter": "openrouter:{}",
}  # fmt: skip
_OWN = frozenset(
    {"temperature", "max_tokens", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty", "response_format"}
)
Assertion = Callable[[Example], dict[str, Any] | None]


def promptfoo_config(source: Source) -> File:
    """The config as YAML. Raises UsageError where the space file or its data is not what the evidence is of."""
    promotion = source.promotion
    rendering = rendering_of(source)
    job = resolve_promoted_job(promotion, source.folder, source.space)
    pool = promotion.demos.pool
    renderer = Renderer(promotion, source.folder.rows(pool) if pool is not None else ())
    asserts, left_out = assertions(job.space.metric, promotion)
    examples = job.task.splits.holdout
    inputs = [{name: example.values[name] for name in promotion.program.inputs} for example in examples]
    rendered = [renderer.request(values).messages for values in inputs]
    config = {
        "description": f"{promotion.feature} {promotion.version}: the holdout of {promotion.evidence.study}",
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
    if any(re.search(r"\{%-?\s*endraw", text) for text in fixed.values()):
        raise source.refused("one of its texts contains `{% endraw %}`, which ends raw text in promptfoo's templates")
    listed = [
        {"role": role, "content": _literal(fixed[i]) if i in fixed else f"{{{{ sent.m{i} | safe }}}}"}
        for i, role in enumerate(next(iter(roles)))
    ]
    return json.dumps(listed, ensure_ascii=False, indent=1)


def _fixed(rendering: Rendering, count: int) -> dict[int, str]:
    """Index to text of the messages that contain no input and come before any demo that is chosen by it."""
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


def assertions(metric: Any, promotion: Promotion) -> tuple[list[Assertion], list[str]]:
    """An assertion for each part of the metric, and the names of parts that have none."""
    found: list[Assertion] = []
    left_out: list[str] = []
    for part in _parts(metric):
        made = _assertion(part, promotion)
        if made is None:
            left_out.append(part.name or part.kind)
        else:
            found.append(made)
    return found, left_out


def _parts(metric: Any) -> Iterator[Any]:
    if isinstance(metric, MixMetric):
        for part in metric.parts:
            yield from _parts(part)
    else:
        yield metric


def _assertion(part: Any, promotion: Promotion) -> Assertion | None:
    if isinstance(part, ExactMetric):
        return lambda example: _exact(part, example, promotion)
    if isinstance(part, NumberMetric):
        return lambda example: _number(part, example, promotion)
    if isinstance(part, ContainsMetric):
        return lambda example: _contains(part, example)
    if isinstance(part, RegexMetric):
        return lambda _: _regex(part, promotion)
    if isinstance(part, JudgeMetric):
        return lambda _: {"type": "llm-rubric", "value": part.rubric, "weight": part.weight}
    return None


def _exact(part: ExactMetric, example: Example, promotion: Promotion) -> dict[str, Any]:
    gold = example.values.get(part.gold or part.field)
    wanted = "" if gold is None else gold if isinstance(gold, str) else json.dumps(gold, ensure_ascii=False)
    fold = "" if part.case_sensitive else ".toLowerCase()"
    value = f"String({_field(part.field, promotion)} ?? '').trim(){fold} === {_js(wanted.strip())}{fold}"
    return {"type": "javascript", "value": value, "weight": part.weight, "metric": part.name or part.field}


def _number(part: NumberMetric, example: Example, promotion: Promotion) -> dict[str, Any]:
    gold = float(example.values[part.gold or part.field])
    room = max(part.absolute, part.relative * abs(gold))
    last = f"Number((String({_field(part.field, promotion)}).replace(/,/g, '').match(/-?\\d+(\\.\\d+)?/g) || []).pop())"
    value = f"Math.abs({last} - {gold!r}) <= {room!r}"
    return {"type": "javascript", "value": value, "weight": part.weight, "metric": part.name or part.field}


def _contains(part: ContainsMetric, example: Example) -> dict[str, Any] | None:
    given = part.values if part.values is not None else example.values.get(part.values_from or "")
    values = [given] if isinstance(given, str) else [str(value) for value in given or []]
    if not values:
        return None
    start = "" if part.case_sensitive else "i"
    kind = {"all": "contains-all", "any": "contains-any", "none": "contains-any"}[part.mode]
    negated = "not-" if part.mode == "none" else ""
    return {"type": f"{negated}{start}{kind}", "value": values, "weight": part.weight}


def _regex(part: RegexMetric, promotion: Promotion) -> dict[str, Any]:
    found = f"new RegExp({_js(part.pattern)}).test(String({_field(part.field, promotion)} ?? ''))"
    value = found if part.found else f"!{found}"
    return {"type": "javascript", "value": value, "weight": part.weight, "metric": part.name or part.field}


def _field(name: str, promotion: Promotion) -> str:
    """JavaScript that reads one field out of `output`."""
    program = promotion.program
    if program.format == "json":
        return f"(typeof output === 'object' ? output : JSON.parse(output))[{_js(name)}]"
    if program.format == "chat":
        return f"(output.split({_js(f'[[ ## {name} ## ]]')})[1] || '').split('[[ ## ')[0].trim()"
    if len(program.outputs) == 1 and program.form != "chain_of_thought":
        return "output"
    return f"(output.match(/^[\\s*#>-]*{name}[\\s*]*:\\s*(.*)$/im) || [])[1]"


def _js(text: str) -> str:
    """A JavaScript string, in which promptfoo's templates find nothing to fill in."""
    return json.dumps(text).replace("{", "\\u007b").replace("</", "<\\/")
