"""What a check found, compared with the evidence, as a record, as text and as JUnit XML.

Quality holds when no example got worse, or when the mean is, with 95% confidence, not lower by more than the margin.
With few examples the second cannot be shown; one example that got worse then deserves a look. Where a judge grades, the
same answer keeps its score, and quality also holds when the mean fell by no more than the judge's own noise explains.

Invariants: `holds` is true only if each condition was checked and holds. The XML reports a failure exactly if the check
does not hold; texts of models are escaped in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from offramp.errors import JobError, StorageError, problem
from offramp.promote.evidence import answer_hash
from offramp.promote.judge_noise import Noise
from offramp.promote.promotion import Evidence, Promotion
from offramp.promote.serialization import values_of
from offramp.records import SAME_SCORE, Aggregate, Evaluation, Example, Result, picked
from offramp.store.aggregates import aggregate_of
from offramp.study.domain.paired_comparison import PairedComparison, compare_scores
from offramp.study.proof import MOST_MISSING
from offramp.study.shown import Brief
from offramp.study.wording import answer_counts, answer_notes, number, plain, signed, unreadable_words

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What has to hold. None: no such limit. `unreadable`: largest share of answers that an app could not read."""

    margin: float
    cost_usd: float | None
    latency_p95_s: float | None
    unreadable: float | None = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The evidence: scores by example, and hashes of the answers where a judge graded them (none in older ones)."""

    scores: Mapping[str, float]
    answers: Mapping[str, str] = field(default_factory=dict)

    def same_answer(self, result: Result) -> bool:
        """Whether the answer is the recorded one, so that another score for it is not a change of the feature."""
        known = self.answers.get(result.example)
        return known is not None and result.score is not None and known == answer_hash(result)

    def got_worse(self, result: Result) -> bool:
        """Whether the score is lower than the recorded one."""
        was = self.scores.get(result.example)
        return was is not None and result.score is not None and result.score < was - SAME_SCORE

    def kept(self, result: Result) -> Result:
        """The result, with the recorded score where the answer is the recorded one."""
        return replace(result, score=self.scores[result.example]) if self._kept(result) else result

    def _kept(self, result: Result) -> bool:
        return result.example in self.scores and self.same_answer(result)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeNoise:
    """What the judge's own noise means for this check.

    Attributes:
        asked: times that it was asked again, about `answers` different answers; 0 where nothing called for it.
        disagrees: share of these with another score than the first; None where it was not asked.
        allowed: loss of mean score that its noise alone explains.
        same_answers: answers that are the recorded ones; `graded_differently` of them got another score now, which is
            not counted.
    """

    asked: int
    answers: int
    disagrees: float | None
    allowed: float
    same_answers: int
    graded_differently: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Regraded:
    """The judge was replaced: the recorded answers were graded again, so that one judge graded both sides.

    Attributes:
        before, now: models of the judges. where: `file:line` of the new one.
        answers: recorded answers with a grade of the new judge; `failed` got none and are not compared.
    """

    before: tuple[str, ...]
    now: tuple[str, ...]
    where: str
    answers: int
    failed: int

    @property
    def note(self) -> str:
        """In words."""
        none = f"; {self.failed} more got no grade and are not compared" if self.failed else ""
        return (
            f"the judge was {', '.join(self.before)} and is {', '.join(self.now)} now ({self.where}): it graded the "
            f"{self.answers} recorded answers again, so that one judge graded both sides{none}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that was checked, in words."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An example that scores lower than when the feature was promoted.

    Attributes:
        asked_again: the score that the judge gave when it was asked again about the same answer; None where it was not.
        within_noise: whether that is not lower than before; None where it was not asked.
    """

    example: str
    inputs: Mapping[str, Any]
    before: float
    after: float
    outputs: Mapping[str, Any] | None
    reason: str | None
    asked_again: float | None = None
    within_noise: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CheckReport(Brief):
    """A check.

    Attributes:
        n: examples with a score both times.
        quality_before, quality_after: mean scores on them.
        difference: mean change of score, with its 95% interval.
        broken: examples that got worse, the worst first.
        ids: every example that was run.
        notes: what the provider says about the answers, such as how many were cut; empty where all is well.
        answers: the counts behind it by name.
        judge_noise: None where no judge grades. regraded: None where the judge is that of the evidence.
        n_fault: answers that an app could not read, each a score of 0.
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
    judge_noise: JudgeNoise | None = None
    regraded: Regraded | None = None
    n_fault: int = 0

    @property
    def holds(self) -> bool:
        """Whether every condition holds."""
        return all(condition.holds for condition in self.conditions)

    @property
    def in_short(self) -> str:
        """Whether it holds, and what broke."""
        broken = "; ".join(f"{each.name}: {each.text}" for each in self.conditions if not each.holds)
        holds = "holds" if self.holds else f"does not hold: {broken}"
        return f"{self.feature} {self.label} {self.version}: {holds}; {self.n} examples, {len(self.broken)} got worse"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"holds": self.holds, **values_of(self)}


def judge(
    promotion: Promotion, *, label: str, evaluation: Evaluation, before: Before, limits: Limits,
    examples: Mapping[str, Example], spent_usd: float, calls: int, cached_calls: int, noise: Noise | None = None,
    regraded: Regraded | None = None,
) -> CheckReport:  # fmt: skip
    """Compares a new evaluation of the holdout with the scores in the evidence.

    Args:
        noise: of the judge, where it was measured. regraded: where the scores of before are of another judge than then.
    """
    groups = {name: example.group for name, example in examples.items() if example.group is not None}
    kept = [before.kept(result) for result in evaluation.results]
    scores = {result.example: result.score for result in kept if result.score is not None}
    whole = compare_scores(scores, before.scores, margin=limits.margin, groups=groups)
    seen = aggregate_of(evaluation.results)
    judged = _judge_noise(before, evaluation, whole.n, noise)
    return CheckReport(
        feature=promotion.feature,
        version=promotion.version,
        label=label,
        **picked(whole, "n", "difference", "wins", "losses"),
        quality_before=whole.quality_b,
        quality_after=whole.quality_a,
        low=whole.interval.low,
        high=whole.interval.high,
        **picked(seen, "cost_usd", "latency_p95_s", "n_fault"),
        conditions=(
            _quality(whole, limits.margin, 0.0 if judged is None else judged.allowed, len(examples)),
            _failures(seen),
            *_unreadable(seen, promotion.evidence, limits.unreadable),
            *_ceiling("cost_usd", seen.cost_usd, limits.cost_usd),
            *_ceiling("latency_p95_s", seen.latency_p95_s, limits.latency_p95_s),
        ),
        broken=_got_worse(kept, before, examples, {} if noise is None else noise.again),
        ids=tuple(result.example for result in evaluation.results),
        spent_usd=spent_usd,
        calls=calls,
        cached_calls=cached_calls,
        notes=(
            *([] if regraded is None else [regraded.note]),
            *answer_notes(seen, {"model": promotion.model.name, **promotion.request_params}),
            *([] if judged is None else _noise_notes(judged)),
        ),
        answers=answer_counts(seen),
        judge_noise=judged,
        regraded=regraded,
    )


def _judge_noise(before: Before, evaluation: Evaluation, n: int, noise: Noise | None) -> JudgeNoise | None:
    """None where no judge grades, so far as anything here tells."""
    if noise is None and not before.answers:
        return None
    same = [result for result in evaluation.results if result.example in before.scores and before.same_answer(result)]
    return JudgeNoise(
        asked=0 if noise is None else noise.asked,
        answers=0 if noise is None else noise.answers,
        disagrees=None if noise is None else noise.disagrees,
        allowed=0.0 if noise is None else noise.allowed(regraded=max(0, n - len(same)), n=n),
        same_answers=len(same),
        graded_differently=sum(abs((r.score or 0.0) - before.scores[r.example]) > SAME_SCORE for r in same),
    )


def _noise_notes(found: JudgeNoise) -> list[str]:
    notes = []
    if found.graded_differently:
        notes.append(
            f"{found.same_answers} answers are as recorded, and the judge grades {found.graded_differently} of them "
            "differently now: not counted as a change"
        )
    if found.disagrees is not None:
        about = f"asked again {found.asked} times about {found.answers} answers"
        notes.append(
            f"the judge disagrees with itself on {found.disagrees:.0%} of answers ({about}); a mean that is lower by "
            f"up to {number(found.allowed)} is within that and not counted as a change"
        )
    elif found.asked or found.answers:
        notes.append("the judge gave no grade when it was asked again: its own noise is not known")
    return notes


def _got_worse(
    results: Iterable[Result], before: Before, examples: Mapping[str, Example], again: Mapping[str, float]
) -> tuple[Broken, ...]:
    """The worst first."""
    found = []
    for result in results:
        if before.got_worse(result):
            was, second = before.scores[result.example], again.get(result.example)
            inputs = {name: value for name, value in examples[result.example].values.items() if name != "id"}
            found.append(
                Broken(
                    example=result.example, inputs=inputs, before=was, after=result.score or 0.0,
                    outputs=result.outputs, reason=result.reason, asked_again=second,
                    within_noise=None if second is None else second >= was - SAME_SCORE,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.after - one.before, one.example)))


def _quality(whole: PairedComparison, margin: float, noise: float, size: int) -> Condition:
    if not whole.n:
        return Condition(name="quality", holds=False, text="no example has a score both times")
    if size - whole.n > MOST_MISSING * size:
        text = f"only {whole.n} of {size} examples of the holdout have a score both times, so nothing is proven"
        return Condition(name="quality", holds=False, text=f"{text}; at most {MOST_MISSING:.0%} may lack one")
    numbers = f"{number(whole.quality_b)} -> {number(whole.quality_a)} on {whole.n} examples"
    if not whole.losses:
        return Condition(name="quality", holds=True, text=f"{numbers}, none worse")
    lower = whole.not_inferior.lower
    text = f"{numbers}, {whole.losses} worse and {whole.wins} better; at least {signed(lower)} with 95% confidence"
    text = f"{text}, {signed(-margin)} is allowed"
    if whole.not_inferior.holds or not noise:
        return Condition(name="quality", holds=whole.not_inferior.holds, text=text)
    holds = (whole.difference or 0.0) >= -noise - SAME_SCORE
    which = "within" if holds else "beyond"
    return Condition(name="quality", holds=holds, text=f"{text}; {which} the judge's own noise ({signed(-noise)})")


def _failures(seen: Aggregate) -> Condition:
    total = seen.n + seen.n_failed
    share = seen.n_failed / total if total else 1.0
    text = f"{seen.n_failed} of {total} runs have no score; at most {MOST_MISSING:.0%} is allowed"
    return Condition(name="failures", holds=share <= MOST_MISSING, text=text)


def _unreadable(seen: Aggregate, evidence: Evidence, limit: float | None) -> list[Condition]:
    """Holds too where there are no more than in evidence that was promoted by force."""
    if limit is None:
        return []
    before, forced = evidence.holdout, evidence.gate.forced_because is not None
    was = 0.0 if before is None or not before.n else before.n_fault / before.n
    share = seen.n_fault / seen.n if seen.n else 0.0
    text = unreadable_words(seen.n_fault, seen.n)
    if before is not None and before.n_fault:
        text = f"{text}, {before.n_fault} of {before.n} when it was promoted{' (by force)' if forced else ''}"
    text = f"{text}; at most {limit:.3g} of them may be (constraints.unreadable_max)"
    return [Condition(name="unreadable", holds=share <= max(limit, was if forced else 0.0), text=text)]


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
        lines.append(f"  {broken.example}: {change}{_second(broken)}, got {_answer(broken)} for {shown}")
    if len(report.broken) > most:
        lines.append(f"  and {len(report.broken) - most} more; see --json")
    return [plain(line) for line in lines]


def _second(broken: Broken) -> str:
    if broken.asked_again is None:
        return ""
    found = f"asked again about this answer, the judge gives {broken.asked_again:.3g}"
    return f" ({found}: within its noise)" if broken.within_noise else f" ({found})"


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
            message = f"score {one.before:.3g} -> {one.after:.3g}{_second(one)}: {_answer(one)}"
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
        raise StorageError(_cannot(path, error)) from error


def _cannot(path: Path, error: OSError) -> str:
    return problem(str(path), f"cannot be written: {error.strerror}", do="Name another file with --junit.")


def write_junit(path: Path, report: CheckReport) -> None:
    """Writes the file. Raises JobError where that cannot be: the check is over and paid for."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(junit_text(report), encoding="utf-8")
    except OSError as error:
        raise JobError(_cannot(path, error)) from error


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
