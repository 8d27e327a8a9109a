"""Examples dealt into train, search and holdout so that neither file order nor a copy of a row can move the result.

Rows are dealt in the order of sha256(seed, content). Rows with equal inputs are one group and stay together; a
`stratify` column keeps its proportions by controlled rounding: each count is the exact quota rounded down or up, and
the totals hold. With `column`, the data says which split a row is in, and copies across splits are an error.

Invariant: the splits are disjoint, and no input is in two of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

from offramp.errors import DatasetError, nearest, problem
from offramp.ids import canonical_json, content_hash
from offramp.records import Example, Split, Splits
from offramp.space.model import SplitsPart
from offramp.task.readers.base import rows_text
from offramp.task.rounding import controlled_rounding, largest_remainder

Assignment = Mapping[str, Split]
"""Example id to split; an id that is not in it is in no split."""

_SMALLEST = 2


def split_examples(
    examples: Sequence[Example], part: SplitsPart, where: str, *, inputs: Collection[str] = ()
) -> Splits:
    """Deal the examples. Raises DatasetError for splits that cannot be made, are too small, or leak.

    Shares below 1 are of the rows that whole counts leave. Totals are exact unless copies have to stay together.

    Args:
        examples: with distinct ids, in any order.
        part: the `splits` of a space file.
        where: dataset or space file, for messages.
        inputs: names of the task's inputs; rows with equal inputs stay together. Without them only whole copies do.
    """
    keys = {example.id: _group_key(example, inputs) for example in examples}
    assigned = _by_column(examples, part, where) if part.column is not None else _dealt(examples, part, keys, where)
    _refuse_leaks(examples, assigned, keys, where)
    strata = _strata(examples, part.stratify, where)
    splits = Splits(**{split.value: _ordered(examples, split, assigned, strata, part.seed) for split in Split})
    for split in (Split.SEARCH, Split.HOLDOUT):
        if len(splits.of(split)) < _SMALLEST:
            what = f"splits.{split}: rows that fall into it, of {len(examples)}"
            do = "Give it more, or add rows."
            raise DatasetError(problem(where, what, got=len(splits.of(split)), expected="two or more", do=do))
    return splits


def _group_key(example: Example, inputs: Collection[str]) -> str:
    if not inputs:
        return example.content_hash
    return content_hash({name: example.values.get(name) for name in sorted(inputs)})


def _strata(examples: Sequence[Example], column: str | None, where: str) -> dict[str, str]:
    """Example id to stratum; one stratum for all where no column is named."""
    if column is None:
        return dict.fromkeys((example.id for example in examples), "")
    return {example.id: canonical_json(_value(example, column, "stratify", where)) for example in examples}


def _value(example: Example, column: str, option: str, where: str) -> Any:
    if column not in example.values:
        do = nearest(column, example.values) or f"The row has {', '.join(map(repr, example.values))}."
        raise DatasetError(problem(where, f"splits.{option}: row {example.row} has no column", got=column, do=do))
    return example.values[column]


def _ordered(
    examples: Sequence[Example], split: Split, assigned: Assignment, strata: Mapping[str, str], seed: int
) -> tuple[Example, ...]:
    """The split's examples so that every prefix has about the strata's proportions, else in seeded order."""
    members = defaultdict(list)
    for example in sorted(examples, key=lambda e: (content_hash([seed, e.content_hash]), e.id)):
        if assigned.get(example.id) is split:
            members[strata[example.id]].append(example)
    spread = [
        (Fraction(2 * i + 1, 2 * len(group)), content_hash([seed, stratum]), i, example)
        for stratum, group in members.items()
        for i, example in enumerate(group)
    ]
    return tuple(item[-1] for item in sorted(spread, key=lambda item: item[:3]))


# ---------------------------------------------------------------------------------------------- by number


def _dealt(examples: Sequence[Example], part: SplitsPart, keys: Mapping[str, str], where: str) -> dict[str, Split]:
    targets = _targets(part, len(examples), where)
    strata = _strata(examples, part.stratify, where)
    assigned: dict[str, Split] = {}
    for groups, wanted in _plan(_groups(examples, keys, part.seed), targets, strata):
        assigned |= _fill(groups, wanted)
    return assigned


def _targets(part: SplitsPart, n: int, where: str) -> list[int]:
    """Rows of train, search and holdout, and of no split."""
    asked = [float(size) for size in (part.train, part.search, part.holdout) if not isinstance(size, list)]
    counts = [int(size) if size >= 1 else 0 for size in asked]
    if sum(counts) > n:
        expected, do = f"at most {n}, the rows there are", "Ask for less, or give shares below 1."
        raise DatasetError(problem(where, "splits: the sum of the counts", got=sum(counts), expected=expected, do=do))
    shares = [0.0 if size >= 1 else size for size in asked]
    rest = n - sum(counts)
    dealt = largest_remainder([*shares, max(0.0, 1.0 - sum(shares))], rest)
    totals = [count + more for count, more in zip(counts, dealt[:3], strict=True)]
    return [*totals, n - sum(totals)]


def _groups(examples: Sequence[Example], keys: Mapping[str, str], seed: int) -> list[list[Example]]:
    """Groups of rows that stay together, in seeded order."""
    groups = defaultdict(list)
    for example in sorted(examples, key=lambda e: (e.content_hash, e.id)):
        groups[keys[example.id]].append(example)
    return [groups[key] for key in sorted(groups, key=lambda key: content_hash([seed, key]))]


def _plan(
    groups: Sequence[list[Example]], targets: Sequence[int], strata: Mapping[str, str]
) -> list[tuple[list[list[Example]], list[int]]]:
    """For each stratum its groups and how many rows go where. A group counts for the stratum of its first row."""
    by_stratum = defaultdict(list)
    for group in groups:
        by_stratum[strata[group[0].id]].append(group)
    names = sorted(by_stratum)
    sizes = [sum(map(len, by_stratum[name])) for name in names]
    return list(zip((by_stratum[name] for name in names), controlled_rounding(sizes, targets), strict=True))


def _fill(groups: Sequence[list[Example]], wanted: Sequence[int]) -> dict[str, Split]:
    """Largest groups first, each to where most is still wanted; single rows then fill every place exactly."""
    left, assigned = list(wanted), dict[str, Split]()
    for group in sorted(groups, key=len, reverse=True):
        place = max(range(len(left)), key=lambda i: left[i])
        left[place] -= len(group)
        if place < len(Split):
            assigned |= dict.fromkeys((example.id for example in group), list(Split)[place])
    return assigned


# ---------------------------------------------------------------------------------------------- by column


def _by_column(examples: Sequence[Example], part: SplitsPart, where: str) -> dict[str, Split]:
    column = str(part.column)
    split_of = _listed(part, where)
    found: dict[str, list[int]] = defaultdict(list)
    values = {example.id: _text(_value(example, column, "column", where)) for example in examples}
    for example in examples:
        found[values[example.id]].append(example.row)
    _refuse_unlisted(found, split_of, where)
    for value in split_of:
        if value not in found:
            do = nearest(value, found) or f"The data has {', '.join(map(repr, sorted(found)[:20]))}."
            raise DatasetError(problem(where, f"splits: no row has this value in {column!r}", got=value, do=do))
    return {example.id: split_of[values[example.id]] for example in examples}


def _listed(part: SplitsPart, where: str) -> dict[str, Split]:
    split_of: dict[str, Split] = {}
    for split in Split:
        for value in getattr(part, split.value):
            if value in split_of:
                what = f"splits: {value!r} is listed under {split_of[value]} and {split}"
                raise DatasetError(problem(where, what, do="List each value once."))
            split_of[value] = split
    return split_of


def _refuse_unlisted(found: Mapping[str, Sequence[int]], split_of: Assignment, where: str) -> None:
    unlisted = [value for value in found if value not in split_of]
    if unlisted:
        shown = "; ".join(f"{value!r} ({rows_text(found[value])})" for value in unlisted[:5])
        do = nearest(unlisted[0], split_of) or "List each value under train, search or holdout."
        raise DatasetError(problem(where, f"splits: values that no split lists: {shown}", do=do))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


# ------------------------------------------------------------------------------------------------- leaks


def _refuse_leaks(examples: Sequence[Example], assigned: Assignment, keys: Mapping[str, str], where: str) -> None:
    groups = defaultdict(list)
    for example in examples:
        if example.id in assigned:
            groups[keys[example.id]].append(example)
    pairs = [pair for group in groups.values() if (pair := _leak(group, assigned))]
    if pairs:
        shown = "; ".join(_pair_text(a, b, assigned) for a, b in pairs[:5])
        more = f"; and {len(pairs) - 5} more" if len(pairs) > 5 else ""
        do = "Drop the copies, or put them into one split."
        raise DatasetError(problem(where, f"the same content is in two splits: {shown}{more}", do=do))


def _leak(group: Sequence[Example], assigned: Assignment) -> tuple[Example, Example] | None:
    first = group[0]
    return next(((first, other) for other in group if assigned[other.id] is not assigned[first.id]), None)


def _pair_text(a: Example, b: Example, assigned: Assignment) -> str:
    kind = "" if a.content_hash == b.content_hash else ", equal inputs with different gold"
    return f"row {a.row} ({assigned[a.id]}) and row {b.row} ({assigned[b.id]}{kind})"


def splits_hash(splits: Splits) -> str:
    """Content hash over which example is in which split, in no particular order."""
    return content_hash({split.value: sorted([e.id, e.content_hash] for e in splits.of(split)) for split in Split})
