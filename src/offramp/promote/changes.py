"""What differs between two promotions, for people: config first, then the numbers.

Invariant: two promotions with the same config have no config change, whatever their evidence says.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.promote.promotion import Promotion
from offramp.promote.serialization import values_of

_CONFIG = (
    "model", "fallbacks", "others", "predictor_models", "request_params", "predictor_params", "program",
    "instructions", "demos", "rendering",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs. None: not there on that side."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Two promotions side by side; `before` is None where nothing was promoted yet.

    `unreadable` has how many answers were unreadable on each split.
    """

    before: str | None
    after: str
    config: tuple[Change, ...]
    numbers: tuple[Change, ...]
    unreadable: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(values_of(self))


def changes(before: Promotion | None, after: Promotion) -> Changes:
    """What differs, in the order of the file."""
    return Changes(
        before=None if before is None else before.version,
        after=after.version,
        config=_differing(_config(before), _config(after)),
        numbers=_differing(_numbers(before), _numbers(after)),
        unreadable=_differing(_unreadable(before), _unreadable(after)),
    )


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = [*after, *(name for name in before if name not in after)]
    return tuple(
        Change(key=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _config(promotion: Promotion | None) -> dict[str, Any]:
    if promotion is None:
        return {}
    values = {name: value for name, value in values_of(promotion).items() if name in _CONFIG}
    rendering = values.pop("rendering", None) or {}
    values["model"] = {k: v for k, v in values["model"].items() if k not in ("price", "retirement_date")}
    values["sent_params"] = rendering.get("params")
    return _flat(values) | _of_rule(promotion)


def _of_rule(promotion: Promotion) -> dict[str, Any]:
    """The rule of a cascade, and the config of every member."""
    if promotion.cascade is None:
        return {}
    rule = values_of(promotion.cascade)
    named = {name: rule[name] for name in ("kind", "of", "threshold", "prior", "compared", "rows") if name in rule}
    found = _flat({"cascade": named})
    for place, part in enumerate(promotion.parts, start=1):
        found |= {f"cascade.member_{place}.{key}": value for key, value in _config(part).items()}
    return found


def _flat(values: Any, key: str = "") -> dict[str, Any]:
    """Dotted keys; lists of demos and the like as one value."""
    if not isinstance(values, Mapping):
        return {key: values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{key}.{name}" if key else str(name))
    return found


def _numbers(promotion: Promotion | None) -> dict[str, Any]:
    if promotion is None:
        return {}
    evidence = promotion.evidence
    found: dict[str, Any] = {"study": evidence.study, "candidate": evidence.candidate}
    for split, numbers in (("holdout", evidence.holdout), ("search", evidence.search)):
        for name in ("quality", "cost_usd", "latency_p50_s", "latency_p95_s", "n"):
            found[f"{split}.{name}"] = None if numbers is None else getattr(numbers, name)
    return found


def _unreadable(promotion: Promotion | None) -> dict[str, Any]:
    evidence = None if promotion is None else promotion.evidence
    splits = {} if evidence is None else {"holdout": evidence.holdout, "search": evidence.search}
    return {f"{split}.n_fault": None if found is None else found.n_fault for split, found in splits.items()}


def value_lines(change: Change) -> list[str]:
    """What is there after a change, where nothing was before."""
    first, *more = _shown(change.after).split("\n")
    return [f"{change.key}:", *(f"  {line}" for line in (first, *more))] if more else [f"{change.key}: {first}"]


def change_lines(change: Change) -> list[str]:
    """One change as lines: short values on one, texts as a diff."""
    before, after = _shown(change.before), _shown(change.after)
    if "\n" not in before + after and len(before) + len(after) < 90:
        return [f"{change.key}: {before} -> {after}"]
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    return [f"{change.key}:", *(f"  {line}" for line in lines if not line.startswith(("---", "+++", "@@")))]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "\n".join(json.dumps(item, ensure_ascii=False) for item in value) or "none"
    return json.dumps(value, ensure_ascii=False)
