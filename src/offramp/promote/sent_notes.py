"""Whether a promoted program sends what it sent when it was promoted: an update of code or library may change that.

Invariant: a promotion that does not say what was sent is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from offramp.ids import canonical_json
from offramp.program.sent import Sent
from offramp.promote.promotion import Promotion
from offramp.study.domain.sent_values import values_by_predictor


def sent_notes(promotion: Promotion, sent: Sent) -> list[str]:
    """A line for each param that is sent other than it was, and one for the predictors whose prompts have changed."""
    evidence = promotion.evidence
    if evidence.prompts is None:
        return []
    then, now = evidence.sent or {}, sent.other_than_stated()
    notes = [
        f"{name} is not sent as it was: {_told(now, name)} now, {_told(then, name)} when it was promoted"
        for name in sorted({*then, *now})
        if canonical_json(then.get(name)) != canonical_json(now.get(name))
    ]
    prompts = sent.prompts()
    changed = [name for name, hash in evidence.prompts.items() if prompts.get(name, hash) != hash]
    if changed:
        made = promotion.made.dspy
        release = f"DSPy {made} then, {version('dspy')} now" if made != version("dspy") else f"DSPy {made} both times"
        what = f"system message or parameters of {', '.join(changed)} are not those of the promotion ({release})"
        notes.append(f"{what}: what was measured then is not what is sent now; optimize and promote it again")
    return notes


def _told(sent: Mapping[str, Any], name: str) -> str:
    return values_by_predictor(sent[name]) if name in sent else "as stated"
