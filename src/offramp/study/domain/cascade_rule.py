"""A rule of two or more candidates as a file that an app runs: what it needs to decide, and how it did.

Invariant: the file names candidates by id, so that a rule is never run with programs that it was not measured with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offramp.errors import UsageError, problem
from offramp.records import Scalar
from offramp.stats.pareto import Floats
from offramp.study.domain.cascades import BANDWIDTH, BEFORE_THE_CALL, ROUNDING, STAGES
from offramp.study.domain.similarity import AlikeRows

RUNNABLE = ("agreement", "cost", "confidence", "stages_cost", "stages_confidence", "predicted", "pair", "router")
"""Kinds that an app can run."""
MEASURES = ("cost_usd", "latency_s", "confidence")
"""What the run of a member is measured by."""
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeRule:
    """A rule to run.

    Attributes:
        source: the study.
        kind: of RUNNABLE.
        members: candidate ids; of `agreement` A, B and the third. params: of each.
        compared: outputs that have to be equal to agree; none for all but a chain of thought.
        prior: how many average rows an estimate is mixed with; None for `agreement`.
        inputs: the recorded rows' inputs by column, where similar rows are asked. utilities: of each member of a router
            on these rows; with `predicted` one line, what B gained on each.
        of: of MEASURES, what A's run is measured by; None where it is not. threshold: in its unit.
        second_of, second_threshold: the same of B's run, with three stages.
        work: log of it on the recorded rows, with `predicted`; none where it is the same on all, and is not asked.
        crossed, holdout: what it came to on rows that chose nothing; `holdout` is None where it was not recorded.
    """

    source: str
    kind: str
    members: tuple[str, ...]
    params: tuple[Mapping[str, Scalar], ...]
    compared: tuple[str, ...]
    prior: float | None
    inputs: Mapping[str, tuple[Any, ...]]
    utilities: tuple[tuple[float, ...], ...]
    crossed: Mapping[str, Any]
    holdout: Mapping[str, Any] | None
    threshold: float | None = None
    of: str | None = None
    work: tuple[float, ...] = ()
    second_of: str | None = None
    second_threshold: float | None = None

    @property
    def stages(self) -> tuple[int, ...]:
        """Positions of the members that are asked one after another, A first; of a router none."""
        return () if self.kind in BEFORE_THE_CALL else (0, 1, 2) if self.kind in STAGES else (0, 1)

    def measure(self, stage: int) -> str | None:
        """Of MEASURES: what the run of the member at this stage is measured by."""
        return self.second_of if stage else self.of

    def to_text(self) -> str:
        """As the file holds it."""
        return json.dumps({"schema_version": _VERSION, **asdict(self)}, indent=1, default=str) + "\n"


class Decisions:
    """A rule ready to decide, call by call."""

    def __init__(self, rule: CascadeRule) -> None:
        self.rule = rule
        self._alike = AlikeRows(rule.inputs)
        self._known, self._work = np.asarray(rule.utilities), np.asarray(rule.work)

    def order_for(self, inputs: Mapping[str, Any], apart: Floats | None = None) -> list[int]:
        """Positions of a router's members, the one that these inputs go to first.

        Args:
            apart: by recorded row, 0 where it may not speak for these inputs, for they are its own; None in an app.
        """
        return [int(i) for i in np.argsort(-self._expected(self._near(inputs), apart), kind="stable")]

    def escalates(
        self, inputs: Mapping[str, Any], measured: float | None, apart: Floats | None = None, *, stage: int = 0
    ) -> bool:
        """Whether the next member runs after this stage's has, whose run came to `measured` of what it is measured by;
        where that is not known, it does.

        Args:
            apart: as for `order_for`.
        """
        rule, spent = self.rule, measured
        if rule.kind == "predicted" and not rule.work:
            return bool(self._expected(self._near(inputs), apart)[0] > 0)
        threshold = (rule.second_threshold if stage else rule.threshold) or 0.0
        if rule.measure(stage) == "confidence":
            return measured is None or measured < threshold - ROUNDING
        if spent is None or spent <= 0:
            return True
        if rule.kind != "predicted":
            return spent > threshold * (1 + ROUNDING)
        spread = float(self._work.std()) or 1.0
        alike = np.exp(-0.5 * ((np.log(spent) - self._work) / spread / BANDWIDTH) ** 2)
        return bool(self._expected(alike * self._near(inputs), apart)[0] > 0)

    def agree(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two answers are equal in what the rule compares."""
        keys = [answer_key(outputs, compared_fields(self.rule.compared, tuple(outputs))) for outputs in (one, other)]
        return keys[0] == keys[1]

    def _near(self, inputs: Mapping[str, Any]) -> Floats:
        """Shape (rows,); every row alike where nothing is known of them."""
        near = self._alike.to(inputs)
        return np.ones(self._known.shape[1]) if near is None else near

    def _expected(self, weights: Floats, apart: Floats | None) -> Floats:
        prior, speaks = self.rule.prior or 0.0, np.ones(len(weights)) if apart is None else apart
        average = self._known @ speaks / max(1.0, float(speaks.sum()))
        return np.asarray((self._known @ (weights * speaks) + prior * average) / (weights @ speaks + prior))


def read_rule(path: Path) -> CascadeRule:
    """The rule of a file. Raises UsageError where it is not one."""
    do = "Write one with `offramp cascades STUDY --save FILE`."
    try:
        found = json.loads(path.read_text())
        if found.pop("schema_version") != _VERSION:
            raise ValueError("another version of the format")
        parts = {
            **found,
            **{name: tuple(found[name]) for name in ("members", "params", "compared")},
            "inputs": {name: tuple(rows) for name, rows in found["inputs"].items()},
            "utilities": tuple(map(tuple, found["utilities"])),
            "work": tuple(found.get("work", ())),
        }
        rule = CascadeRule(**parts)
        _check(rule)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(problem(str(path), f"is not a rule ({error})", do=do)) from None
    return rule


def _check(rule: CascadeRule) -> None:
    """Raises ValueError where the parts of a rule do not fit together."""
    rows = {len(values) for values in (*rule.inputs.values(), *rule.utilities, *([rule.work] if rule.work else []))}
    fits = {
        "agreement": len(rule.members) == 3,
        "cost": len(rule.members) == 2 and _measures(rule, "cost_usd", "latency_s"),
        "confidence": len(rule.members) == 2 and _measures(rule, "confidence"),
        "stages_cost": len(rule.members) == 3 and _measures(rule, "cost_usd", "latency_s"),
        "stages_confidence": len(rule.members) == 3 and _measures(rule, "confidence"),
        "predicted": len(rule.members) == 2 and len(rule.utilities) == 1 and (not rule.work or rule.of is not None),
        "pair": len(rule.members) == len(rule.utilities) == 2 and bool(rule.inputs),
        "router": len(rule.members) == len(rule.utilities) > 1 and bool(rule.inputs),
    }
    numbers = np.asarray([*(v for line in rule.utilities for v in line), *rule.work], dtype=np.float64)
    if not fits.get(rule.kind, False) or len(rows) > 1 or 0 in rows or not np.isfinite(numbers).all():
        raise ValueError("its parts do not fit together")


def _measures(rule: CascadeRule, *allowed: str) -> bool:
    """Whether the run of each member but the last is measured by one of these."""
    found = [(rule.of, rule.threshold), (rule.second_of, rule.second_threshold)][: len(rule.stages) - 1]
    return all(of in allowed and isinstance(threshold, float | int) for of, threshold in found)


def compared_fields(gold: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """The outputs that two answers are compared by: those that have a gold, else all but a chain of thought."""
    return [name for name in gold if name in outputs] or [name for name in outputs if name != "reasoning"]


def answer_key(outputs: Mapping[str, Any], names: Sequence[str]) -> str:
    """A text that is equal where answers are; case and white space of texts do not count."""
    return json.dumps({name: _plain(outputs[name]) for name in names}, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    value = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    return " ".join(value.lower().split()) if isinstance(value, str) else value
