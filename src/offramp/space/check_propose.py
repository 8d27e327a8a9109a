"""Checks of proposals: what they are written from and with, and that a round can come at all.

Invariant: an instruction of the file never has the name of one that is to be proposed.
"""

from __future__ import annotations

from collections.abc import Iterator

from offramp.space.check_params import check_fixed_params, distinct
from offramp.space.dimensions import proposal_names
from offramp.space.load import LoadedSpace, variant_names
from offramp.space.messages import Problem


def check_propose(loaded: LoadedSpace) -> Iterator[Problem]:
    """Kinds, parameters, names and the size of the search."""
    part = loaded.space.propose
    if part is None:
        return
    yield from distinct(loaded, "propose.kinds", part.kinds)
    yield from check_fixed_params(loaded, "propose.params", part.params)
    if not loaded.space.splits.train:
        do = "Give it a share or a count, or leave `propose` out."
        yield loaded.problem("splits.train", "propose writes from train examples, and there are none", do=do)
    if part.every >= loaded.space.search.trials:
        expected = f"less than search.trials ({loaded.space.search.trials}): the first round comes after so many"
        yield loaded.problem("propose.every", got=part.every, expected=expected)
    taken = set(proposal_names(loaded.space))
    for predictor, names in variant_names(loaded).items():
        for name in sorted(taken & set(names)):
            key = (
                f"instructions.{name}" if f"instructions.{name}" in loaded.lines else f"instructions.{predictor}.{name}"
            )
            yield loaded.problem(key, "the name is kept for a proposed instruction", do="Rename it.")
