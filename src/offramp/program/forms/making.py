"""From a candidate's form to its module."""

from __future__ import annotations

from collections.abc import Mapping

import dspy

from offramp.errors import SpaceError, problem
from offramp.program.forms.best_of import BestOf
from offramp.program.forms.own_check import OwnCheck
from offramp.program.forms.self_consistency import SelfConsistency
from offramp.program.forms.verify_then_retry import VerifyThenRetry
from offramp.program.forms.verifying import verifier_of
from offramp.program.plain import REASONING
from offramp.program.signature import signature_of
from offramp.space.forms import MAIN, VERIFY, spec_of
from offramp.task.fields import TaskFields


def standard_module(name: str, instructions: Mapping[str, str], fields: TaskFields, where: str = "") -> dspy.Module:
    """The module of a form over the task's signature.

    Args:
        name: of the form, as candidates spell it.
        instructions: by predictor.
        where: the space file, for messages.

    Raises:
        SpaceError: DSPy cannot have a field of that name, or the form adds one of the same name.
    """
    form = spec_of(name)
    signature = signature_of(fields, instructions[MAIN], where)
    main = dspy.Predict(signature)
    if form.over == "chain_of_thought":
        taken = signature.fields.get(REASONING)
        if taken is not None and not (REASONING in signature.output_fields and taken.annotation is str):
            what = f"program.form: {form.over} adds a text output {REASONING!r}, and the task has another such field"
            raise SpaceError(problem(where, what, do="Rename the field, or use form: predict."))
        main = dspy.ChainOfThought(signature)
    if not form.several:
        return main
    outputs = tuple(fields.outputs)
    checker: dspy.Predict | OwnCheck | None = None
    if form.check is not None:
        checker = OwnCheck(form.check, fields.checks[form.check])
    elif form.verifies:
        checker = verifier_of(signature, instructions.get(VERIFY, ""), where)
    if form.kind == "self_consistency":
        return SelfConsistency(main, checker, count=form.n, outputs=outputs)
    if form.kind == "best_of":
        return BestOf(main, checker, count=form.n, outputs=outputs)
    return VerifyThenRetry(main, checker, retries=form.n, outputs=outputs)
