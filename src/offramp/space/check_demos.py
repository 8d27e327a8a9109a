"""Checks of demos and splits: demos come from the train split, so there has to be one.

Invariant: sizes are judged by what the file states; what a share comes to is known when the data is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from offramp.space.check_params import distinct, many
from offramp.space.load import LoadedSpace
from offramp.space.messages import Problem, shown
from offramp.space.outputs import output_types


def check_demos(loaded: LoadedSpace) -> Iterator[Problem]:
    """Kinds and counts of demos."""
    demos = loaded.space.demos
    kinds, counts = many(demos.kind), many(demos.count)
    yield from distinct(loaded, "demos.kind", demos.kind)
    yield from distinct(loaded, "demos.count", demos.count)
    for index, count in enumerate(counts):
        if count < 0:
            key = f"demos.count.{index}" if isinstance(demos.count, list) else "demos.count"
            yield loaded.problem(key, got=count, expected="a whole number of 0 or more")
    real = [kind for kind in kinds if kind != "none"]
    if real and counts and max(counts) == 0:
        do = f"Give a count, or set `kind: none` instead of {real[0]}."
        yield loaded.problem("demos.count", got=0, expected="1 or more with demos of any kind", do=do)
    if "count" in demos.model_fields_set and "kind" not in demos.model_fields_set and any(counts):
        do = "Add `kind:`, such as random."
        yield loaded.problem("demos.count", "a count without a kind of demos", got=shown(demos.count), do=do)
    yield from check_train(loaded, ("demos.kind", "demos.count"), real, max(counts, default=0))
    yield from _balance(loaded, real)


def check_train(loaded: LoadedSpace, keys: tuple[str, str], kinds: Sequence[Any], count: int) -> Iterator[Problem]:
    """Demos come from the train split. `keys` are those of kind and count."""
    train = loaded.space.splits.train
    if not kinds:
        return
    if not train:
        note = f"demos of kind {kinds[0]} need a train split, and `splits.train` is empty"
        yield loaded.problem(keys[0], note, do="Give it a share or a count, or set the kind to none.")
    elif not isinstance(train, list) and 1 <= train < count:
        expected = f"at most {int(train)}, the size of `splits.train`"
        yield loaded.problem(keys[1], got=count, expected=expected)


def _balance(loaded: LoadedSpace, kinds: Sequence[Any]) -> Iterator[Problem]:
    if "balanced" not in kinds or loaded.space.demos.balance_by is not None:
        return
    types = output_types(loaded.space.task)
    if types and "enum" not in types.values():
        do = "Name a column in `demos.balance_by`."
        yield loaded.problem("demos.kind", "balanced demos need a column to balance, and no output is an enum", do=do)


def check_splits(loaded: LoadedSpace) -> Iterator[Problem]:
    """Counts that cannot be dealt."""
    splits, limit = loaded.space.splits, loaded.space.dataset.limit
    sizes = [part for part in (splits.train, splits.search, splits.holdout) if not isinstance(part, list)]
    counts = sum(size for size in sizes if size >= 1)
    if limit is not None and counts > limit:
        do = "Raise it, or lower the counts."
        yield loaded.problem("dataset.limit", got=limit, expected=f"{counts:g} or more, the sum of the splits", do=do)
