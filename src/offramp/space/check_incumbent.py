"""Checks of the incumbent: what it names has to be in the file, its values need not be among those that are searched.

Its model may be one that is not searched, as in a migration away from it; whether anyone knows that model is asked when
models are resolved.

Invariant: an incumbent without a problem here has a text for every predictor that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from offramp.errors import nearest
from offramp.space.check_demos import check_train
from offramp.space.check_params import check_fixed_params, check_known_params
from offramp.space.load import MAIN, LoadedSpace, variant_names
from offramp.space.messages import Problem, listing, shown


def check_incumbent(loaded: LoadedSpace) -> Iterator[Problem]:
    """Names of variants and predictors, form, demos and parameters."""
    part = loaded.space.incumbent
    if part is None:
        return
    yield from _variants(loaded, part.instruction)
    yield from _form(loaded, part.form)
    yield from check_fixed_params(loaded, "incumbent.params", part.params)
    yield from check_known_params(loaded, "incumbent.params", part.params)
    if part.demos not in (None, "none"):
        if part.demo_count == 0:
            note = f"demos of kind {part.demos} without a count"
            yield loaded.problem("incumbent.demos", note, do="Add `demo_count:`, or set none.")
        yield from check_train(loaded, ("incumbent.demos", "incumbent.demo_count"), [part.demos], part.demo_count)
    elif part.demo_count:
        do = "Add `demos:`, such as random."
        yield loaded.problem("incumbent.demo_count", "a count without a kind of demos", got=part.demo_count, do=do)


def _variants(loaded: LoadedSpace, given: str | dict[str, str] | None) -> Iterator[Problem]:
    known = variant_names(loaded)
    if isinstance(given, str):
        for predictor, names in known.items():
            if given not in names:
                of = "" if predictor == MAIN else f" of {predictor}"
                yield _no_variant(loaded, "incumbent.instruction", given, names, of)
    for predictor, variant in (given if isinstance(given, dict) else {}).items():
        key = f"incumbent.instruction.{predictor}"
        if predictor not in known:
            do = nearest(predictor, known) or f"Known here: {listing(list(known), 'and')}."
            yield loaded.problem(key, "no such predictor under `instructions`", do=do)
        elif variant not in known[predictor]:
            yield _no_variant(loaded, key, variant, known[predictor], "")


def _no_variant(loaded: LoadedSpace, key: str, given: str, names: Sequence[str], of: str) -> Problem:
    expected = f"a variant under `instructions`{of} ({', '.join(names)})"
    return loaded.problem(key, got=shown(given), expected=expected, do=nearest(given, names))


def _form(loaded: LoadedSpace, form: str | None) -> Iterator[Problem]:
    own = loaded.space.task.module is not None
    if form is not None and (form == "own") != own:
        expected = "own with `task.module`" if own else "predict or chain_of_thought with `task.signature`"
        yield loaded.problem("incumbent.form", got=form, expected=expected)
