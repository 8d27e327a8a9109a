"""1 when a pattern is found in the answer (or when it is not), with a time limit for the matching.

A pattern that backtracks without end scores 0 with a reason: untrusted text must not stop a job. The matching runs in a
thread with the interpreter lock released, so that requests in flight are timed correctly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import regex

from offramp.errors import SpaceError, problem
from offramp.records import Example, Score
from offramp.task.metrics._base import Ask, as_text, shown

TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """A compiled pattern, searched anywhere in the answer."""

    name: str
    fingerprint: str
    field: str
    pattern: regex.Pattern[str]
    found: bool = True
    timeout_s: float = TIMEOUT_S
    judge_models: tuple[str, ...] = ()

    async def score(self, example: Example, outputs: Mapping[str, Any], ask: Ask | None) -> Score:
        """1.0 or 0.0; 0.0 with a reason if the matching was cut off."""
        answer = outputs.get(self.field)
        text = as_text(answer)
        try:
            found = await asyncio.to_thread(self.pattern.search, text, timeout=self.timeout_s, concurrent=True)
        except TimeoutError:
            reason = f"{self.field}: the pattern {self.pattern.pattern!r} was cut off after {self.timeout_s:g} s"
            return Score(value=0.0, feedback=reason)
        if (found is not None) is self.found:
            return Score(value=1.0)
        verb = "does not match" if self.found else "must not match"
        return Score(value=0.0, feedback=f"{self.field} {verb} {self.pattern.pattern!r}: got {shown(answer)}")


def compiled(pattern: str, where: str) -> regex.Pattern[str]:
    """The pattern; SpaceError with the position of what is wrong in it."""
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise SpaceError(problem(where, f"not a regular expression ({error})", got=pattern)) from None
