"""What a check found, compared with the evidence, as a record, as text and as JUnit XML.

Quality holds when no example got worse, or when the mean is, with 95% confidence, not lower by more than the margin.
With few examples the second cannot be shown; one example that got worse then deserves a look.

Invariants: `holds` is true only if each condition was checked and holds. The XML reports a failure exactly if the check
does not hold; texts of models are escaped in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from offramp.errors import StorageError, problem
from offramp.promote.gate import MOST_MISSING
from offramp.promote.promotion import Promotion
from offramp.promote.serialization import values_of
from offramp.records import SAME_SCORE, Aggregate, Evaluation, Example
from offramp.store.aggregates import aggregate_of
from offramp.study.domain.paired_comparison import PairedComparison, compare_scores
from offramp.study.wording import answer_counts, answer_notes, plain

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What has to hold. None: no such limit."""

    margin: float
    cost_usd: float | None
    latency_p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that was checked, in words."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An example that scores lower than when the feature was promoted."""

    example: str
    inputs: Mapping[str, Any]
    before: float
    after: float
    outputs: Mapping[str, Any] | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """A check.

    Attributes:
        n: examples with a score both times.
        quality_before, quality_after: mean scores on them.
        difference: mean change of score, with its 95% interval.
        broken: examples that got worse, the worst first.
        ids: every example that was run.
        notes: what the provider says about the answers, such as how many were cut; empty where all is well.
        answers: the counts behind it by name.
        spent_usd: physical money of the check. calls, cached_calls: requests sent, and answers that were reused.
    """

    feature: str
    version: str
    label: str
    n: int
    quality_before: float | None
    quality_after: float | None
    difference: float | None
    low: float
    high: float
    wins: int
    losses: int
    cost_usd: float | None
    latency_p95_s: float | None
    conditions: tuple[Condition, ...]
    broken: tuple[Broken, ...]
    ids: tuple[str, ...]
    spent_usd: float
    calls: int
    cached_calls: int
    notes: tuple[str, ...] = ()
    answers: Mapping[str, Any] | None = None

    @property
    def holds(self) -> bool:
        """Whether every condition holds."""
        return all(condition.holds for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"holds": self.holds, **values_of(self)}


def judge(
    promotion: Promotion, *, label: str, evaluation: Evaluation, before: Mapping[str, float], limits: Limits,
    examples: Mapping[str, Example], spent_usd: float, calls: int, cached_calls: int,
) -> CheckReport:  # fmt: skip
    """Compares a new evaluation of the holdout with the scores in the evidence."""
    groups = {name: example.group for name, example in examples.items() if example.group is not None}
    whole = compare_scores(evaluation.scores, before, margin=limits.margin, groups=groups)
    seen = aggregate_of(evaluation.results)
    return CheckReport(
        feature=promotion.feature,
        version=promotion.version,
        label=label,
        n=whole.n,
        quality_before=whole.quality_b,
        quality_after=whole.quality_a,
        difference=whole.difference,
        low=whole.interval.low,
        high=whole.interval.high,
        wins=whole.wins,
        losses=whole.losses,
        cost_usd=seen.cost_usd,
        latency_p95_s=seen.latency_p95_s,
        conditions=(
            _quality(whole, limits.margin),
            _failures(seen),
            *_ceiling("cost_usd", seen.cost_usd, limits.cost_usd),
            *_ceiling("latency_p95_s", seen.latency_p95_s, limits.latency_p95_s),
        ),
        broken=_got_worse(evaluation, before, examples),
        ids=tuple(result.example for result in evaluation.results),
        spent_usd=spent_usd,
        calls=calls,
        cached_calls=cached_calls,
        notes=tuple(answer_notes(seen, {"model": promotion.model.name, **promotion.request_params})),
        answers=answer_counts(seen),
    )


def _got_worse(
    evaluation: Evaluation, before: Mapping[str, float], examples: Mapping[str, Example]
) -> tuple[Broken, ...]:
    """The worst first."""
    found = []
    for result in evaluation.counted:
        was, score = before.get(result.example), result.score or 0.0
        if was is not None and score < was - SAME_SCORE:
            inputs = {name: value for name, value in examples[result.example].values.items() if name != "id"}
            found.append(
                Broken(
                    example=result.example, inputs=inputs, before=was, after=score, outputs=result.outputs,
                    reason=result.reason,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.after - one.before, one.example)))


def _quality(whole: PairedComparison, margin: float) -> Condition:
    if not whole.n:
        return Condition(name="quality", holds=False, text="no example has a score both times")
    numbers = f"{whole.quality_b:.3f} -> {whole.quality_a:.3f} on {whole.n} examples"
    if not whole.losses:
        return Condition(name="quality", holds=True, text=f"{numbers}, none worse")
    lower = whole.not_inferior.lower
    text = f"{numbers}, {whole.losses} worse and {whole.wins} better; at least {lower:+.3f} with 95% confidence"
    return Condition(name="quality", holds=whole.not_inferior.holds, text=f"{text}, {-margin:+.3f} is allowed")


def _failures(seen: Aggregate) -> Condition:
    total = seen.n + seen.n_failed
    share = seen.n_failed / total if total else 1.0
    text = f"{seen.n_failed} of {total} runs have no score; at most {MOST_MISSING:.0%} is allowed"
    return Condition(name="failures", holds=share <= MOST_MISSING, text=text)


def _ceiling(name: str, value: float | None, limit: float | None) -> list[Condition]:
    if limit is None:
        return []
    known = "not known" if value is None else f"{value:.4g}"
    holds = value is not None and value <= limit
    return [Condition(name=name, holds=holds, text=f"{known}; the limit is {limit:g}")]


def report_lines(report: CheckReport, *, most: int = 20) -> list[str]:
    """The report as lines: conditions, then the examples that got worse, the worst first."""
    lines = [f"{report.feature} {report.label} {report.version}: {'holds' if report.holds else 'does not hold'}"]
    lines += [f"  {'ok    ' if each.holds else 'BROKEN'} {each.name}: {each.text}" for each in report.conditions]
    lines += [f"  note   {note}" for note in report.notes]
    for broken in report.broken[:most]:
        inputs = json.dumps(broken.inputs, ensure_ascii=False, default=str)
        shown = inputs if len(inputs) <= 160 else inputs[:160] + "..."
        change = f"{broken.before:.3g} -> {broken.after:.3g}"
        lines.append(f"  {broken.example}: {change}, got {_answer(broken)} for {shown}")
    if len(report.broken) > most:
        lines.append(f"  and {len(report.broken) - most} more; see --json")
    return [plain(line) for line in lines]


def _answer(broken: Broken) -> str | None:
    return broken.reason if broken.outputs is None else json.dumps(broken.outputs, ensure_ascii=False, default=str)


def junit_text(report: CheckReport) -> str:
    """The report. Examples that got worse fail where quality does not hold, and are only listed where it does."""
    quality = next(condition for condition in report.conditions if condition.name == "quality")
    broken = {} if quality.holds else {each.example: each for each in report.broken}
    failures = sum(not condition.holds for condition in report.conditions) + len(broken)
    tests = len(report.conditions) + len(report.ids)
    name = f"offramp check {report.feature}"
    suite = Xml.Element("testsuite", name=name, tests=str(tests), failures=str(failures), errors="0", skipped="0")
    for condition in report.conditions:
        case = Xml.SubElement(suite, "testcase", classname=name, name=condition.name)
        if not condition.holds:
            Xml.SubElement(case, "failure", message=_clean(condition.text))
    for example in report.ids:
        case = Xml.SubElement(suite, "testcase", classname=f"{name}: example", name=_clean(example))
        if example in broken:
            one = broken[example]
            message = f"score {one.before:.3g} -> {one.after:.3g}: {_answer(one)}"
            failure = Xml.SubElement(case, "failure", message=_clean(message))
            failure.text = _clean(json.dumps(one.inputs, ensure_ascii=False, indent=1, default=str))
    root = Xml.Element("testsuites", tests=str(tests), failures=str(failures), errors="0")
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def refuse_unwritable(path: Path) -> None:
    """Finds out before a check is paid for whether its file can be written. Raises StorageError."""
    there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        if not there:
            path.unlink()
    except OSError as error:
        raise _cannot(path, error) from error


def _cannot(path: Path, error: OSError) -> StorageError:
    return StorageError(
        problem(str(path), f"cannot be written: {error.strerror}", do="Name another file with --junit.")
    )


def write_junit(path: Path, report: CheckReport) -> None:
    """Writes the file. Raises StorageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(junit_text(report), encoding="utf-8")
    except OSError as error:
        raise _cannot(path, error) from error


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
