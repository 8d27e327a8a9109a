"""Whether strings occur in the answer: the share of all, any at all, or none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from offramp.errors import DatasetError, problem
from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, as_text, normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Contains:
    """Strings are looked for as text, not as words: 'art' is in 'start'. With nothing to look for the score is 1."""

    name: str
    fingerprint: str
    field: str
    values: tuple[str, ...] | None
    values_from: str | None
    mode: Literal["all", "any", "none"]
    case_sensitive: bool
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """`all`: share that occurs; `any` and `none`: 1.0 or 0.0."""
        wanted = self.values if self.values is not None else strings(example.values.get(str(self.values_from)))
        if wanted is None:
            what = f"row {example.row}: {self.values_from!r} does not hold strings to look for"
            raise DatasetError(problem(self.name, what, expected="a string or a list of strings, none of them blank"))
        text = normal(as_text(outputs.get(self.field)), case_sensitive=self.case_sensitive)
        found = [value for value in wanted if normal(value, case_sensitive=self.case_sensitive) in text]
        missing = [value for value in wanted if value not in found]
        if not wanted:
            return Score(value=1.0)
        match self.mode:
            case "all":
                return Score(value=len(found) / len(wanted), feedback=self._feedback("does not contain", missing))
            case "any":
                feedback = None if found else self._feedback("contains none of", missing)
                return Score(value=float(bool(found)), feedback=feedback)
            case "none":
                return Score(value=float(not found), feedback=self._feedback("must not contain", found))

    def _feedback(self, verb: str, values: list[str]) -> str | None:
        return f"{self.field} {verb} {', '.join(map(repr, values))}" if values else None


def strings(value: Any) -> tuple[str, ...] | None:
    """A string, a list of strings or null as strings to look for; None for anything else, or if one is blank."""
    items = [] if value is None else value if isinstance(value, list | tuple) else [value]
    good = all(isinstance(item, str) and item.strip() for item in items)
    return tuple(items) if good else None
