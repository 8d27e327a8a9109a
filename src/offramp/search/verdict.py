"""The verdict: after the search, the incumbent and the recommended candidate are scored on the holdout.

Invariant: nothing here changes what is on the front or what is recommended; the holdout is read for the record alone.
"""

from __future__ import annotations

from offramp.evaluate.evaluator import Evaluator
from offramp.records import Split
from offramp.search.known import Known
from offramp.search.prepare import Prepared


async def score_on_holdout(prepared: Prepared, known: Known, evaluator: Evaluator) -> None:
    """Scores who stands at the end of the search."""
    report = known.report()
    chosen = [member for member in (report.incumbent, report.recommended) if member is not None]
    examples = prepared.task.splits.holdout
    for member in {member.candidate: member for member in chosen}.values():
        candidate = known.candidate(member.candidate, member.params)
        known.begin(candidate, examples, phase="holdout")
        known.reuse(candidate, Split.HOLDOUT)
        try:
            await evaluator.evaluate(candidate, examples, split=Split.HOLDOUT)
        finally:
            known.refresh(Split.HOLDOUT, candidate.id)
