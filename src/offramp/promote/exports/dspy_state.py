"""DSPy's own JSON state, which `module.load(path)` reads into a module with the same signature."""

from __future__ import annotations

import json

from offramp.promote.exports.exporting import File, Source
from offramp.promote.running import candidate_of, fields_of
from offramp.space.forms import spec_of


def dspy_state(source: Source) -> File:
    """The state of the program's module."""
    from offramp.program.module import module_state

    promotion = source.promotion
    if promotion.program.form == "own":
        do = "In your app: `offramp.load(..., module=...).save(path)`."
        raise source.refused("it is your own module, whose code is not in the promotion", do)
    if spec_of(promotion.program.form).several:
        what = f"its form {promotion.program.form!r} takes several requests, and DSPy has no module for it"
        raise source.refused(what, "Use `offramp.load`.")
    if promotion.demos.pool is not None:
        what = "its demos are chosen by the input, which DSPy's state cannot express"
        raise source.refused(what, "Use `offramp.load`.")
    demos = {name: [dict(row) for row in rows] for name, rows in promotion.demos.values.items()}
    state, signature = module_state(candidate_of(promotion), fields_of(promotion), demos)
    kind = "dspy.ChainOfThought" if promotion.program.form == "chain_of_thought" else "dspy.Predict"
    notes = (
        f"Load it into {kind}({signature!r}), with the model and parameters of the promotion.",
        f"Its adapter is {promotion.program.format!r}; DSPy's default is `chat`.",
    )
    return File(text=json.dumps(state, indent=2, ensure_ascii=False) + "\n", notes=notes)
