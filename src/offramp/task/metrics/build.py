"""A metric from its part of a space file, and the columns of the data that it compares with.

Names are checked against the task, code is imported and patterns are compiled. Whatever can be wrong without looking at
a prediction is refused here, so that row 900 does not stop a job at its 900th call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from offramp.errors import DatasetError, MetricError, ModelError, SpaceError, nearest, problem
from offramp.ids import content_hash
from offramp.records import Example, Model
from offramp.space.model import (
    ContainsMetric,
    ExactMetric,
    JsonFieldsMetric,
    JudgeMetric,
    LengthMetric,
    MixMetric,
    NumberMetric,
    PythonMetric,
    RegexMetric,
    TokenF1Metric,
)
from offramp.space.model import Metric as MetricPart
from offramp.task.fields import TaskFields
from offramp.task.metrics._base import VERSION, Comparison, Metric, earlier_fingerprint, part_fingerprint
from offramp.task.metrics.contains import Contains, strings
from offramp.task.metrics.exact import Exact
from offramp.task.metrics.imports import load_metric
from offramp.task.metrics.json_fields import JsonFields
from offramp.task.metrics.judge import PROMPT_VERSION, Judge, judge_params, steady_params
from offramp.task.metrics.length import Length, word_limit
from offramp.task.metrics.mix import Mix
from offramp.task.metrics.number import READING, Number
from offramp.task.metrics.python import MOST_AT_ONCE, Python
from offramp.task.metrics.regex import Regex, compiled
from offramp.task.metrics.token_f1 import TokenF1

Where = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    fields: TaskFields
    base: Path
    models: Mapping[str, Model]
    where: Where | None

    def at(self, key: str) -> str:
        return key if self.where is None else f"{self.where(key)}: {key}"


def build_metric(
    part: MetricPart, *, fields: TaskFields, base: Path, models: Mapping[str, Model], where: Where | None = None
) -> Metric:
    """The metric that a space file describes.

    Args:
        part: the `metric` of a space file.
        fields: the task's fields.
        base: folder that a relative path of a Python metric starts from.
        models: models by name, including judges.
        where: from a key of the space file to its place, for messages.

    Raises:
        SpaceError: a field is not an output, or the parts do not fit together.
        MetricError: a function does not import.
        ModelError: a judge is not among the models.
    """
    return _build(part, _Context(fields=fields, base=base, models=models, where=where), "metric")


def _build(part: MetricPart, context: _Context, key: str) -> Metric:
    where = context.at(key)
    match part:
        case MixMetric():
            return _mix(part, context, key)
        case JudgeMetric():
            return _judge(part, context, where)
        case PythonMetric():
            return _python(part, context, key)
        case JsonFieldsMetric():
            return _json_fields(part, context, where)
        case _:
            _refuse_unknown(part.field, context.fields.outputs, where, "field")
            return _of_field(part, where)


def _python(part: PythonMetric, context: _Context, key: str) -> Metric:
    try:
        loaded = load_metric(part.path, context.base)
    except MetricError as error:
        raise MetricError(f"{context.at(f'{key}.path')}: {error}") from error
    model = None if part.model is None else _model(part.model, context, context.at(key))
    more = () if model is None else (_identity(model),)
    without = ("model", "params") if model is None else ()  # as before a metric could have a model
    return Python(
        name=part.name or f"python:{part.path.rpartition(':')[2]}",
        fingerprint=part_fingerprint(part, loaded.code_hash, *more, without=without),
        earlier_fingerprint=part_fingerprint(part, loaded.file_hash, *more, without=without),
        path=part.path,
        function=loaded.function,
        more=loaded.more,
        by_predictor=loaded.by_predictor,
        inputs=tuple(context.fields.inputs),
        model=model,
        params=MappingProxyType({} if model is None else steady_params(model, part.params)),
        executor=ThreadPoolExecutor(
            max_workers=1 if model is None else MOST_AT_ONCE, thread_name_prefix="offramp-metric"
        ),
    )


def _of_field(
    part: ExactMetric | TokenF1Metric | NumberMetric | ContainsMetric | RegexMetric | LengthMetric, where: str
) -> Metric:
    """A metric of one output field, with what cannot fit together refused."""
    name, mark, field = part.name or f"{part.kind}:{part.field}", part_fingerprint(part), part.field
    match part:
        case ExactMetric():
            gold, case = part.gold or field, part.case_sensitive
            return Exact(name=name, fingerprint=mark, field=field, gold=gold, case_sensitive=case)
        case TokenF1Metric():
            return TokenF1(name=name, fingerprint=mark, field=field, gold=part.gold or field)
        case NumberMetric():
            return Number(
                name=name,
                fingerprint=part_fingerprint(part, READING),
                earlier_fingerprint=mark,
                field=field,
                gold=part.gold or field,
                absolute=part.absolute,
                relative=part.relative,
            )
        case ContainsMetric():
            values = None if part.values is None else tuple(part.values)
            if values is not None and (not values or not all(value.strip() for value in values)):
                expected = "one or more texts, none of them blank"
                raise SpaceError(problem(where, "values", got=part.values, expected=expected))
            return Contains(
                name=name,
                fingerprint=mark,
                field=field,
                values=values,
                values_from=part.values_from,
                mode=part.mode,
                case_sensitive=part.case_sensitive,
            )
        case RegexMetric():
            pattern = compiled(part.pattern, f"{where}.pattern")
            return Regex(name=name, fingerprint=mark, field=field, pattern=pattern, found=part.found)
        case LengthMetric():
            if part.max_words is not None and part.max_words_from is not None:
                raise SpaceError(problem(where, "both `max_words` and `max_words_from`", do="Remove one of them."))
            if part.max_words is not None and part.min_words > part.max_words:
                raise SpaceError(problem(where, "min_words", got=part.min_words, expected=f"at most {part.max_words}"))
            return Length(
                name=name,
                fingerprint=mark,
                field=field,
                max_words=part.max_words,
                max_words_from=part.max_words_from,
                min_words=part.min_words,
            )


def _json_fields(part: JsonFieldsMetric, context: _Context, where: str) -> Metric:
    for field in part.fields:
        _refuse_unknown(field, context.fields.outputs, where, "fields")
    for field in part.weights:
        _refuse_unknown(field, part.fields, where, "weights", "a field of this metric")
    if len(set(part.fields)) != len(part.fields):
        raise SpaceError(problem(where, "fields", got=part.fields, expected="each field once"))
    weights = {field: part.weights.get(field, 1.0) for field in part.fields}
    name = part.name or "json_fields"
    return JsonFields(name=name, fingerprint=part_fingerprint(part), weights=MappingProxyType(weights))


def _model(name: str, context: _Context, where: str) -> Model:
    model = context.models.get(name)
    if model is None:
        do = nearest(name, context.models) or "List it under `models`, or name one that is listed."
        raise ModelError(problem(f"{where}.model", "no such model", got=name, do=do))
    return model


def _identity(model: Model) -> str:
    return content_hash([model.route, model.revision, None if model.local else model.api_base])


def _judge(part: JudgeMetric, context: _Context, where: str) -> Metric:
    model = _model(part.model, context, where)
    fields = tuple(part.fields or context.fields.outputs)
    for field in fields:
        _refuse_unknown(field, context.fields.outputs, where, "fields")
    return Judge(
        name=part.name or "judge",
        fingerprint=part_fingerprint(part, PROMPT_VERSION, _identity(model), *context.fields.inputs, *fields),
        model=model,
        rubric=part.rubric,
        inputs=context.fields.inputs,
        show=tuple(column for column in dict.fromkeys(part.show) if column not in context.fields.inputs),
        fields=fields,
        points=part.points,
        params=MappingProxyType(judge_params(model, part.params, part.points)),
    )


def _mix(part: MixMetric, context: _Context, key: str) -> Metric:
    where = context.at(key)
    built = [_build(inner, context, f"{key}.parts.{i}") for i, inner in enumerate(part.parts)]
    names = [metric.name for metric in built]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        what = f"several parts are called {', '.join(map(repr, duplicates))}"
        raise SpaceError(problem(where, what, do="Give each a `name` of its own."))
    weights = [inner.weight for inner in part.parts]
    if not math.isfinite(math.fsum(weights)):
        raise SpaceError(problem(where, "weights", got=weights, expected="a finite sum"))
    marks = [[metric.name, metric.fingerprint, weight] for metric, weight in zip(built, weights, strict=True)]
    earlier = [
        [metric.name, earlier_fingerprint(metric), weight] for metric, weight in zip(built, weights, strict=True)
    ]
    return Mix(
        name=part.name or "mix",
        fingerprint=content_hash([VERSION, "mix", marks]),
        earlier_fingerprint=content_hash([VERSION, "mix", earlier]),
        parts=tuple(zip(built, weights, strict=True)),
    )


def _refuse_unknown(
    name: str, known: Collection[str], where: str, option: str, kind: str = "an output field of the task"
) -> None:
    if name not in known:
        expected = f"{kind}: {', '.join(map(repr, known))}"
        raise SpaceError(problem(where, option, got=name, expected=expected, do=nearest(name, known) or None))


# ------------------------------------------------------------------------------------------------ columns


def _leaves(part: MetricPart) -> Iterator[MetricPart]:
    """The metric, or the parts of a mix, however deep."""
    if isinstance(part, MixMetric):
        for inner in part.parts:
            yield from _leaves(inner)
    else:
        yield part


def gold_columns(part: MetricPart) -> set[str]:
    """Every column that the metric reads by name. What a Python metric reads is not known."""
    limits = {leaf.max_words_from for leaf in _leaves(part) if isinstance(leaf, LengthMetric) and leaf.max_words_from}
    return {column for column, _ in gold_pairs(part)} | show_columns(part) | limits


def gold_pairs(part: MetricPart) -> set[tuple[str, str]]:
    """(column, output field) for every gold column that is compared with an output."""
    return {(one.column, one.field) for one in comparisons(part)}


def comparisons(part: MetricPart) -> set[Comparison]:
    """Every gold column that is compared with an output, and how. What a Python metric compares is not known."""
    found: set[Comparison] = set()
    for leaf in _leaves(part):
        if isinstance(leaf, ExactMetric | TokenF1Metric | NumberMetric):
            found.add(Comparison(column=leaf.gold or leaf.field, field=leaf.field, how=leaf.kind))
        elif isinstance(leaf, JsonFieldsMetric):
            found |= {Comparison(column=field, field=field, how=leaf.kind) for field in leaf.fields}
    return found


def show_columns(part: MetricPart) -> set[str]:
    """Columns that only a judge sees, and strings to look for: null is a valid value there."""
    shown = {column for leaf in _leaves(part) if isinstance(leaf, JudgeMetric) for column in leaf.show}
    return shown | {leaf.values_from for leaf in _leaves(part) if isinstance(leaf, ContainsMetric) and leaf.values_from}


def refuse_bad_gold(part: MetricPart, examples: Iterable[Example], at: Callable[[int], str]) -> None:
    """Raises DatasetError with the row for gold that no output is compared with and that the metric cannot use.

    What an output is compared with is for `gold.read_columns`.
    """
    checks = [check for leaf in _leaves(part) if (check := _check(leaf)) is not None]
    for example in examples:
        for column, is_good, expected in checks:
            value = example.values.get(column)
            if not is_good(value):
                raise DatasetError(problem(at(example.row), column, got=value, expected=expected))


def _check(leaf: MetricPart) -> tuple[str, Callable[[object], bool], str] | None:
    if isinstance(leaf, LengthMetric) and leaf.max_words_from:
        return leaf.max_words_from, lambda value: word_limit(value) is not None, "a whole number from 1"
    if isinstance(leaf, ContainsMetric) and leaf.values_from:
        return leaf.values_from, lambda value: strings(value) is not None, "text or a list of texts, none blank"
    return None
