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
from offramp.study.domain.similarity import similarity

RUNNABLE = ("agreement", "pair", "router")
"""Kinds that need nothing of a run but its answer."""
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
        inputs: of a router, the recorded rows' inputs by column; utilities: of each member on these rows.
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

    def member_for(self, inputs: Mapping[str, Any]) -> int:
        """Position of the member that a router sends these inputs to."""
        known = np.asarray(self.utilities)
        near = similarity({name: (*rows, inputs.get(name)) for name, rows in self.inputs.items()}, last=True)
        weights = np.zeros(known.shape[1]) if near is None else near[0, :-1]
        prior = self.prior or 0.0
        expected = (known @ weights + prior * known.mean(1)) / max(weights.sum() + prior, 1e-12)
        return int(expected.argmax())

    def to_text(self) -> str:
        """As the file holds it."""
        return json.dumps({"schema_version": _VERSION, **asdict(self)}, indent=1, default=str) + "\n"


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
        }
        rule = CascadeRule(**parts)
        rows = {len(values) for values in (*rule.inputs.values(), *rule.utilities)}
        needed = 3 if rule.kind == "agreement" else 2
        routed = rule.kind != "agreement"
        if rule.kind not in RUNNABLE or len(rule.members) < needed or (routed and (len(rows) != 1 or not rule.inputs)):
            raise ValueError("its parts do not fit together")
        if routed and (len(rule.utilities) != len(rule.members) or not np.isfinite(rule.utilities).all()):
            raise ValueError("its parts do not fit together")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(problem(str(path), f"is not a rule ({error})", do=do)) from None
    return rule


def compared_fields(gold: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """The outputs that two answers are compared by: those that have a gold, else all but a chain of thought."""
    return [name for name in gold if name in outputs] or [name for name in outputs if name != "reasoning"]


def answer_key(outputs: Mapping[str, Any], names: Sequence[str]) -> str:
    """A text that is equal where answers are; case and white space of texts do not count."""
    return json.dumps({name: _plain(outputs[name]) for name in names}, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    value = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    return " ".join(value.lower().split()) if isinstance(value, str) else value
