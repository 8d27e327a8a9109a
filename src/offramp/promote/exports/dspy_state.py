"""DSPy's own JSON state, which `module.load(path)` reads into a module with the same signature."""

from __future__ import annotations

import json

from offramp.promote.exports._base import File, Source
from offramp.promote.running import candidate_of, fields_of


def dspy_state(source: Source) -> File:
    """The state of the program's module."""
    from offramp.program.module import module_state

    promotion = source.promotion
    if promotion.program.form == "own":
        raise source.refused(
            "it is a module of your own, which is not here", "In your app: `offramp.load(..., module=...).save(path)`."
        )
    if promotion.demos.pool is not None:
        raise source.refused("its demos are chosen by the input, which DSPy's state cannot say", "Use `offramp.load`.")
    demos = {name: [dict(row) for row in rows] for name, rows in promotion.demos.values.items()}
    state, signature = module_state(candidate_of(promotion), fields_of(promotion), demos)
    kind = "dspy.ChainOfThought" if promotion.program.form == "chain_of_thought" else "dspy.Predict"
    notes = (
        f"Load it into {kind}({signature!r}), with the model and parameters of the promotion.",
        f"Its message format here is {promotion.program.format!r}; DSPy's own default is `chat`.",
    )
    return File(text=json.dumps(state, indent=2, ensure_ascii=False) + "\n", notes=notes)
