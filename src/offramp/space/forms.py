"""Program forms: what a candidate makes of the task's signature, how that is spelled, and which requests it takes.

A form is spelled in one text, which is what candidates, conditions (`when`) and pages have: `predict`, `best_of 3`,
`self_consistency 5 over chain_of_thought at temperature 0.7`, `best_of 3 checked by rules.py:is_fine`.

Invariant: `spec_of(form.name) == form`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

VERIFY = "verify"
"""The predictor of a form that checks an answer."""
MAIN = "main"
"""The predictor that answers; the only one of most programs that are given by a signature."""
VERIFY_TEXT = (
    "Check the answer to the task below. Accept it if it is right. If not, object: say in one sentence what is wrong."
)
SAMPLING = ("best_of", "self_consistency")
KINDS = (*SAMPLING, "verify_then_retry")
"""Forms of several requests."""
CHECKED = ("best_of", "verify_then_retry")
"""Forms whose answers are always checked: by a verifying call, unless they state a function."""
_SPELLED = re.compile(
    rf"({'|'.join(KINDS)}) (\d+)(?: over (chain_of_thought))?(?: checked by (\S+))?(?: at temperature (\S+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSpec:
    """What a candidate makes of a signature.

    Attributes:
        kind: `predict`, `chain_of_thought`, `own`, or one of several requests.
        n: answers that are sampled, or most retries; 1 for a form of one request.
        over: what gives each of the answers; the kind itself for a form of one request.
        check: import path of a function that checks answers in place of a verifying call; None where it states none.
        temperature: of all its requests, in place of the candidate's; None where it states none.
    """

    kind: str
    n: int = 1
    over: str
    check: str | None = None
    temperature: float | None = None

    @property
    def name(self) -> str:
        """How it is spelled."""
        if self.kind == self.over:
            return self.kind
        over = "" if self.over == "predict" else f" over {self.over}"
        check = "" if self.check is None else f" checked by {self.check}"
        at = "" if self.temperature is None else f" at temperature {self.temperature:g}"
        return f"{self.kind} {self.n}{over}{check}{at}"

    @property
    def module(self) -> str:
        """How a candidate spells it, which has the temperature among its request parameters."""
        return replace(self, temperature=None).name

    @property
    def several(self) -> bool:
        """Whether one run takes several requests."""
        return self.kind != self.over

    @property
    def verifies(self) -> bool:
        """Whether a request checks an answer."""
        return self.kind in CHECKED and self.check is None

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """The most that one run takes: steps one after another, each so many requests of a predictor side by side."""
        checks = ((VERIFY, self.n if self.kind == "best_of" else 1),) if self.verifies else ()
        if self.kind == "verify_then_retry":
            return ((MAIN, 1), *(*checks, (MAIN, 1)) * self.n)
        return ((MAIN, self.n), *checks)

    @property
    def requests(self) -> int:
        """The most requests of one run."""
        return sum(count for _, count in self.steps)


def verify_text(instruction: str, task: str) -> str:
    """The instruction of a verifying call, with the text of the task below it."""
    return f"{instruction.strip()}\n\nThe task:\n{task.strip()}"


def spec_of(name: str) -> ModuleSpec:
    """The form of that spelling."""
    if (found := _SPELLED.fullmatch(name)) is None:
        return ModuleSpec(kind=name, over=name)
    kind, n, over, check, temperature = found.groups()
    at = None if temperature is None else float(temperature)
    return ModuleSpec(kind=kind, n=int(n), over=over or "predict", check=check, temperature=at)
