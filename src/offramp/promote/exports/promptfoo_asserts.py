"""Metrics as promptfoo's assertions: small JavaScript that reads a field out of the answer, as the format writes it.

Invariant: a metric that cannot be expressed exactly is left out, and the caller gets its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from offramp.promote.promotion import Promotion
from offramp.records import Example
from offramp.space.model import (
    ContainsMetric,
    ExactMetric,
    JudgeMetric,
    MixMetric,
    NumberMetric,
    RegexMetric,
)

Assertion = Callable[[Example], dict[str, Any] | None]


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
