"""Examples divided into train, search and holdout, so that neither file order nor a duplicate row can move the result.

Rows are assigned in the order of sha256(seed, content). Rows with equal inputs are one group and stay together, inputs
that differ in case, spaces or punctuation at their ends among them, and so are rows of one `dataset.group`. A
`stratify` column keeps its proportions by controlled rounding: each count is the exact quota rounded down or up, and
the totals hold. With `column` the data says which split a row is in, and duplicates in two splits are an error.

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
from offramp.task.near_copies import normal_text
from offramp.task.readers.base import rows_text

Assignment = Mapping[str, Split]
"""Example id to split; an example without an entry is in no split."""

_SMALLEST = 2


def split_examples(
    examples: Sequence[Example], part: SplitsPart, where: str, *, inputs: Collection[str] = ()
) -> Splits:
    """Divide the examples. Raises DatasetError for splits that cannot be made, are too small, or leak.

    Shares below 1 are of the rows that whole counts leave. Totals are exact unless duplicates have to stay together.

    Args:
        examples: with distinct ids, in any order.
        part: the `splits` of a space file.
        where: dataset or space file, for messages.
        inputs: names of the task's inputs; rows with equal inputs stay together. Without them only full duplicates do.
    """
    keys = {example.id: example.content_hash for example in examples}
    if inputs:
        names = sorted(inputs)
        keys = {e.id: content_hash({name: e.values.get(name) for name in names}) for e in examples}
    together = _together(examples, keys, inputs)
    by_column = part.column is not None
    assigned = _by_column(examples, part, where) if by_column else _by_size(examples, part, together, where)
    _refuse_leaks(examples, assigned, keys, where)
    _refuse_split_groups(examples, assigned, where)
    strata = _strata(examples, part.stratify, where)
    splits = Splits(**{split.value: _ordered(examples, split, assigned, strata, part.seed) for split in Split})
    for split in (Split.SEARCH, Split.HOLDOUT):
        if len(splits.of(split)) < _SMALLEST:
            what = f"splits.{split}: number of rows (of {len(examples)})"
            do = "Give it a larger share, or add rows."
            raise DatasetError(problem(where, what, got=len(splits.of(split)), expected="2 or more", do=do))
    return splits


def _together(examples: Sequence[Example], keys: Mapping[str, str], inputs: Collection[str]) -> dict[str, str]:
    """Example id to the key of all that stay together: equal inputs, nearly equal ones, and those of one group.

    Where nothing has to be joined the keys stay as they are, and so do the splits of earlier studies.
    """
    parent = {key: key for key in keys.values()}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    first: dict[tuple[str, str], str] = {}
    for example in examples:
        values = (example.values.get(name) for name in sorted(inputs))
        texts = [normal_text(value) if isinstance(value, str) else value for value in values]
        same = [("inputs", canonical_json(texts))] if inputs else []
        same += [("group", example.group)] if example.group is not None else []
        for mark in same:
            a, b = root(keys[example.id]), root(first.setdefault(mark, keys[example.id]))
            parent[max(a, b)] = min(a, b)
    return {example_id: root(key) for example_id, key in keys.items()}


def _refuse_split_groups(examples: Sequence[Example], assigned: Assignment, where: str) -> None:
    """A group in two splits, which only a `column` can ask for."""
    first: dict[str, Example] = {}
    for example in examples:
        if example.group is None or example.id not in assigned:
            continue
        other = first.setdefault(example.group, example)
        if assigned[other.id] is not assigned[example.id]:
            rows = f"row {other.row} ({assigned[other.id]}) and row {example.row} ({assigned[example.id]})"
            do = "Give all rows of a group one split, or leave `splits.column` out."
            raise DatasetError(problem(where, f"dataset.group: {example.group!r} is in two splits: {rows}", do=do))


def _strata(examples: Sequence[Example], column: str | None, where: str) -> dict[str, str]:
    """Example id to stratum; one stratum for all if no column is named."""
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


# -------------------------------------------------------------------------------------- by share and count


def _by_size(examples: Sequence[Example], part: SplitsPart, keys: Mapping[str, str], where: str) -> dict[str, Split]:
    """For each stratum its groups of rows that stay together, assigned by quota; a group counts for its first row's."""
    targets = _targets(part, len(examples), where)
    strata = _strata(examples, part.stratify, where)
    groups = defaultdict(list)
    for example in sorted(examples, key=lambda e: (e.content_hash, e.id)):
        groups[keys[example.id]].append(example)
    by_stratum = defaultdict(list)
    for key in sorted(groups, key=lambda key: content_hash([part.seed, key])):
        by_stratum[strata[groups[key][0].id]].append(groups[key])
    names = sorted(by_stratum)
    sizes = [sum(map(len, by_stratum[name])) for name in names]
    assigned: dict[str, Split] = {}
    for name, wanted in zip(names, controlled_rounding(sizes, targets), strict=True):
        assigned |= _fill(by_stratum[name], wanted)
    return assigned


def _targets(part: SplitsPart, n: int, where: str) -> list[int]:
    """Rows of train, search and holdout, and of no split."""
    asked = [float(size) for size in (part.train, part.search, part.holdout) if not isinstance(size, list)]
    counts = [int(size) if size >= 1 else 0 for size in asked]
    if sum(counts) > n:
        expected, do = f"at most {n}, the number of rows", "Lower them, or give shares below 1."
        raise DatasetError(problem(where, "splits: the sum of the counts", got=sum(counts), expected=expected, do=do))
    shares = [0.0 if size >= 1 else size for size in asked]
    rest = n - sum(counts)
    by_share = largest_remainder([*shares, max(0.0, 1.0 - sum(shares))], rest)
    totals = [count + more for count, more in zip(counts, by_share[:3], strict=True)]
    return [*totals, n - sum(totals)]


def _fill(groups: Sequence[list[Example]], wanted: Sequence[int]) -> dict[str, Split]:
    """Largest groups first, each to where most is still wanted; single rows then fill every split exactly."""
    open_, assigned = list(wanted), dict[str, Split]()
    for group in sorted(groups, key=len, reverse=True):
        place = max(range(len(open_)), key=lambda i: open_[i])
        open_[place] -= len(group)
        if place < len(Split):
            assigned |= dict.fromkeys((example.id for example in group), list(Split)[place])
    return assigned


# ---------------------------------------------------------------------------------------------- by column


def _by_column(examples: Sequence[Example], part: SplitsPart, where: str) -> dict[str, Split]:
    column, split_of = str(part.column), dict[str, Split]()
    for split in Split:
        for value in getattr(part, split.value):
            if value in split_of:
                what = f"splits: {value!r} is listed under {split_of[value]} and {split}"
                raise DatasetError(problem(where, what, do="List each value once."))
            split_of[value] = split
    found: dict[str, list[int]] = defaultdict(list)
    values: dict[str, str] = {}
    for example in examples:
        value = _value(example, column, "column", where)
        values[example.id] = value if isinstance(value, str) else canonical_json(value)
        found[values[example.id]].append(example.row)
    unlisted = [value for value in found if value not in split_of]
    if unlisted:
        listed = "; ".join(f"{value!r} ({rows_text(found[value])})" for value in unlisted[:5])
        do = nearest(unlisted[0], split_of) or "List each value under train, search or holdout."
        raise DatasetError(problem(where, f"splits: values that no split lists: {listed}", do=do))
    for value in split_of:
        if value not in found:
            do = nearest(value, found) or f"The data has {', '.join(map(repr, sorted(found)[:20]))}."
            raise DatasetError(problem(where, f"splits: no row has this value in {column!r}", got=value, do=do))
    return {example.id: split_of[value] for example in examples for value in [values[example.id]]}


# ------------------------------------------------------------------------------------------------- leaks


def _refuse_leaks(examples: Sequence[Example], assigned: Assignment, keys: Mapping[str, str], where: str) -> None:
    groups = defaultdict(list)
    for example in examples:
        if example.id in assigned:
            groups[keys[example.id]].append(example)
    leaks = []
    for group in groups.values():
        a = group[0]
        b = next((other for other in group if assigned[other.id] is not assigned[a.id]), None)
        if b is not None:
            kind = "" if a.content_hash == b.content_hash else ", equal inputs with different gold"
            leaks.append(f"row {a.row} ({assigned[a.id]}) and row {b.row} ({assigned[b.id]}{kind})")
    if leaks:
        more = f"; and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        do = "Drop the duplicates, or put them into one split."
        raise DatasetError(problem(where, f"the same content is in two splits: {'; '.join(leaks[:5])}{more}", do=do))


def splits_hash(splits: Splits) -> str:
    """Content hash over which example is in which split, in no particular order."""
    return content_hash({split.value: sorted([e.id, e.content_hash] for e in splits.of(split)) for split in Split})


# ----------------------------------------------------------------------------------------------- rounding


def largest_remainder(weights: Sequence[float], total: int) -> list[int]:
    """`total` divided by weight: each gets its quota rounded down, and the rest goes to the largest remainders.

    Remainders that differ by less than 1e-9 are equal, and the earlier one goes first. Weights sum to more than 0.
    """
    quotas = [weight / sum(weights) * total for weight in weights]
    floors = [int(quota + 1e-9) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: (-round(quotas[i] - floors[i], 9), i))
    extra = set(by_remainder[: total - sum(floors)])
    return [floor + (i in extra) for i, floor in enumerate(floors)]


def controlled_rounding(rows: Sequence[int], columns: Sequence[int]) -> list[list[int]]:
    """A table of whole numbers with these row and column totals, each within one of rows[i] * columns[j] / n.

    Source: Cox 1987. With every entry rounded down or up, a table that keeps all totals always exists, because the
    network of rows and columns with capacity one has an integral flow.

    Args:
        rows, columns: totals; both sum to the same n.
    """
    n = sum(rows)
    if n != sum(columns):
        raise ValueError(f"rows sum to {n}, columns to {sum(columns)}")
    if n == 0:
        return [[0] * len(columns) for _ in rows]
    table = [[row * column // n for column in columns] for row in rows]
    free = [[bool(row * column % n) for column in columns] for row in rows]
    room = [column - sum(line[j] for line in table) for j, column in enumerate(columns)]
    given = [[False] * len(columns) for _ in rows]
    for i, row in enumerate(rows):
        order = sorted(range(len(columns)), key=lambda j: (-(row * columns[j] % n), j))
        for _ in range(row - sum(table[i])):
            _add_unit(i, order, free, given, room)
    return [[cell + up for cell, up in zip(*lines, strict=True)] for lines in zip(table, given, strict=True)]


def _add_unit(
    row: int, order: Sequence[int], free: Sequence[Sequence[bool]], given: list[list[bool]], room: list[int]
) -> None:
    """One more unit for `row`, by the shortest chain of moves to a column with room."""
    paths: list[list[tuple[int, int]]] = [[(row, j)] for j in order if free[row][j] and not given[row][j]]
    seen = {path[0][1] for path in paths}
    while paths:
        path = next((path for path in paths if room[path[-1][1]] > 0), None)
        if path is not None:
            for (other, j), (_, before) in zip(path[1:], path, strict=False):
                given[other][before], given[other][j] = False, True
            given[path[0][0]][path[0][1]] = True
            room[path[-1][1]] -= 1
            return
        paths = [longer for path in paths for longer in _longer(path, free, given, seen)]
    raise AssertionError("a table of quotas with whole totals can always be rounded")


def _longer(
    path: list[tuple[int, int]], free: Sequence[Sequence[bool]], given: list[list[bool]], seen: set[int]
) -> list[list[tuple[int, int]]]:
    """Paths one step on: some other row gives up its unit in the last column for one in a column not yet seen."""
    full, longer = path[-1][1], []
    for other, line in enumerate(given):
        if not line[full]:
            continue
        for j in range(len(line)):
            if free[other][j] and not line[j] and j not in seen:
                seen.add(j)
                longer.append([*path, (other, j)])
    return longer
