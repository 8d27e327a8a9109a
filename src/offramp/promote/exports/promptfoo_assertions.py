"""The metric of a promotion as assertions of promptfoo: JavaScript that reads a field of the answer and compares it.

Texts of the dataset and of the space file stand in JavaScript strings in which promptfoo's templates find nothing. The
field is read by the rules of docs/answers.md as far as a line of JavaScript can: marks around a label, an explanation
below it, separators and currency in numbers.

Invariant: a metric that cannot be expressed is left out, and the caller gets its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from offramp.promote.exports.nunjucks import inert
from offramp.promote.promotion import Promotion
from offramp.records import Example
from offramp.space.model import ContainsMetric, ExactMetric, JudgeMetric, MixMetric, NumberMetric, RegexMetric
from offramp.task.metrics.number import BOOKED, NUMBER_LIKE, PLAIN, SIGNS, last_number

Assertion = Callable[[Example], dict[str, Any] | None]

_NORMAL = "const n = t => String(t ?? '').normalize('NFC').split(/\\s+/).filter(Boolean).join(' ')%s; "
_FOLD = ".toUpperCase().toLowerCase()"
_SAME = (
    "const same = (a, b) => a == null || b == null ? a == b : "
    "Array.isArray(a) && Array.isArray(b) ? a.length === b.length && a.every((x, i) => same(x, b[i])) : "
    "typeof a === 'object' && typeof b === 'object' && !Array.isArray(a) && !Array.isArray(b) ? "
    "[...Object.keys(a), ...Object.keys(b)].every(k => same(a[k], b[k])) : "
    "typeof a === 'object' || typeof b === 'object' ? false : "
    "typeof a === 'number' || typeof b === 'number' ? Number(a) === Number(b) : n(a) === n(b); "
)
_BARE = (
    "const bare = t => n(String(t ?? '').normalize('NFKC').replace(/\\p{Cf}/gu, ''))"
    ".replace(/^[\\p{P}\\p{S}\\s]+|[\\p{P}\\p{S}\\s]+$/gu, ''); "
)
_LAST = (
    "const last = v => { const t = Array.isArray(v) ? v.flat(Infinity).join('\\n') : String(v ?? ''); "
    f"const found = [...t.matchAll(/{NUMBER_LIKE}/g)].pop(); "
    f"if (!found || found[3] || !'{SIGNS}'.includes(found[1] ?? '') || /{BOOKED}/.test(t)) return NaN; "
    f"if (!/{PLAIN}/.test(found[2])) return NaN; "
    "const size = Number(found[2].replaceAll(',', '')); "
    "return !Number.isFinite(size) ? NaN : ['', '+'].includes(found[1] ?? '') ? size : -size; }; "
)
"""`last_number` in JavaScript; NaN in place of None."""
_FENCE = "/^\\s*(?:```|~~~)\\w*\\s*|\\s*(?:```|~~~)\\s*$/g"
_NOT_JAVASCRIPT = re.compile(r"\(\?(?![:=!]|<[=!A-Za-z_]|P<)|\\[AZzGKXRhHNmMQL]|(?<!\\)[*+?}]\+|\[\[:")


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
        return lambda example: _javascript(part, _exact(part, example, promotion))
    if isinstance(part, NumberMetric):
        return lambda example: _javascript(part, _number(part, example, promotion))
    if isinstance(part, ContainsMetric):
        return lambda example: _contains(part, example, promotion)
    if isinstance(part, RegexMetric):
        value = _regex(part, promotion)
        return None if value is None else lambda _: _javascript(part, value)
    if isinstance(part, JudgeMetric):
        return lambda _: {"type": "llm-rubric", "value": inert(part.rubric), "weight": part.weight}
    return None


def _javascript(part: Any, value: str) -> dict[str, Any]:
    return {"type": "javascript", "value": value, "weight": part.weight, "metric": inert(part.name or part.field)}


def _returned(statements: str, value: str) -> str:
    """One expression: promptfoo returns a line of JavaScript as it is."""
    return f"(() => {{ {statements}return {value}; }})()"


def _exact(part: ExactMetric, example: Example, promotion: Promotion) -> str:
    gold, answer = example.values.get(part.gold or part.field), _field(part.field, promotion)
    normal = _NORMAL % ("" if part.case_sensitive else _FOLD)
    kind = promotion.program.outputs[part.field].get("type", "str")
    if gold is None:
        return f"['', 'null', 'none', 'n/a', 'nil'].includes(String({answer} ?? '').trim().toLowerCase())"
    if isinstance(gold, dict | list):
        parsed = f"const v = {answer}; const a = typeof v === 'object' ? v : JSON.parse(v.replace({_FENCE}, '')); "
        return _returned(f"{normal}{_SAME}{parsed}", f"same(a, {_js(gold)})")
    if kind in ("enum", "bool"):
        if promotion.program.strict:
            exact = gold if kind == "enum" else str(gold).lower()
            return f"String({answer} ?? '').trim(){'' if kind == 'enum' else '.toLowerCase()'} === String({_js(exact)})"
        words = {"true": ["true", "yes", "1"], "false": ["false", "no", "0"]} if kind == "bool" else {}
        wanted = words.get(str(gold).lower(), [gold])
        text = f"const t = String({answer} ?? '').trim().replace({_FENCE}, ''); "
        tried = "[t, t.split('\\n')[0]].some(x => "
        each = f"{_js(wanted)}.some(g => n(x) === n(g) || bare(x) !== '' && bare(x) === bare(g)))"
        return _returned(f"{normal}{_BARE}{text}", f"{tried}{each}")
    if kind in ("int", "float"):
        return _returned(_LAST, f"last({answer}) === {_js(last_number(gold))}")
    return _returned(normal, f"n({answer}) === n({_js(gold)})")


def _number(part: NumberMetric, example: Example, promotion: Promotion) -> str:
    answer, gold = _field(part.field, promotion), last_number(example.values.get(part.gold or part.field))
    if gold is None:
        return f"String({answer} ?? '').trim() === ''"
    tolerance = max(part.absolute, part.relative * abs(gold))
    return _returned(_LAST, f"Math.abs(last({answer}) - {gold!r}) <= {tolerance!r}")


def _contains(part: ContainsMetric, example: Example, promotion: Promotion) -> dict[str, Any] | None:
    given = part.values if part.values is not None else example.values.get(part.values_from or "")
    values = [given] if isinstance(given, str) else [str(value) for value in given or []]
    if not values:
        return None
    normal = _NORMAL % ("" if part.case_sensitive else _FOLD)
    count = len(values)
    text = f"{normal}const t = n({_field(part.field, promotion)}); "
    found = f"{text}const found = {_js(values)}.filter(v => t.includes(n(v))).length; "
    last = {
        "all": f"({{ pass: found === {count}, score: found / {count}, reason: `${{found}} of {count}` }})",
        "any": "found > 0",
        "none": "found === 0",
    }
    return _javascript(part, _returned(found, last[part.mode]))


def _regex(part: RegexMetric, promotion: Promotion) -> str | None:
    """None for a pattern that JavaScript reads differently."""
    flags = re.match(r"\(\?([ims]+)\)", part.pattern)
    pattern = part.pattern[flags.end() :] if flags else part.pattern
    if _NOT_JAVASCRIPT.search(pattern):
        return None
    pattern = pattern.replace("(?P<", "(?<")
    given = (flags[1] if flags else "") + ("u" if "\\p{" in pattern else "")
    more = f", {_js(given)}" if given else ""
    found = f"new RegExp({_js(pattern)}{more}).test(String({_field(part.field, promotion)} ?? ''))"
    return found if part.found else f"!{found}"


def _field(name: str, promotion: Promotion) -> str:
    """JavaScript that reads one field out of `output`."""
    program = promotion.program
    if program.format == "json":
        return f"(typeof output === 'object' ? output : JSON.parse(output.replace({_FENCE}, '')))[{_js(name)}]"
    if program.format == "chat":
        return f"(output.split({_js(f'[[ ## {name} ## ]]')})[1] ?? '').split('[[ ## ')[0].trim()"
    if len(program.outputs) == 1 and program.form != "chain_of_thought":
        return "output"
    start = "(?:^|\\n)[ \\t*#>-]*"
    names = "|".join([*program.outputs, "reasoning"])
    value = f"[\\s*]*:[\\s*]*([\\s\\S]*?)(?={start}(?:{names})[\\s*]*:|(?![\\s\\S]))"
    return f"(output.match(/{start}{name}{value}/i) || [])[1]"


def _js(value: Any) -> str:
    """A JSON value in JavaScript, in which promptfoo's templates find nothing to fill in."""
    text = json.dumps(value)
    escapes = {"{": "\\u007b", "}": "\\u007d", "/": "\\/"}
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda string: "".join(escapes.get(c, c) for c in string[0]), text)
