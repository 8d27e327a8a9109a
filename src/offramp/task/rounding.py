"""Whole numbers close to given quotas: one row of them, or a table with fixed row and column totals.

Source: the table is controlled rounding (Cox 1987): with every entry rounded down or up, a table that keeps all totals
always exists, because the network of rows and columns with capacity one has an integral flow.
"""

from __future__ import annotations

from collections.abc import Sequence


def largest_remainder(weights: Sequence[float], total: int) -> list[int]:
    """`total` dealt by weight: each gets its quota rounded down, the rest go to the largest remainders.

    Remainders that differ by less than 1e-9 are equal, and the earlier one goes first. Weights sum to more than 0.
    """
    quotas = [weight / sum(weights) * total for weight in weights]
    floors = [int(quota + 1e-9) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: (-round(quotas[i] - floors[i], 9), i))
    extra = set(by_remainder[: total - sum(floors)])
    return [floor + (i in extra) for i, floor in enumerate(floors)]


def controlled_rounding(rows: Sequence[int], columns: Sequence[int]) -> list[list[int]]:
    """A table of whole numbers with these row and column totals, each within one of rows[i] * columns[j] / n.

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
            _place(i, order, free, given, room)
    return [[cell + up for cell, up in zip(*lines, strict=True)] for lines in zip(table, given, strict=True)]


def _place(
    row: int, order: Sequence[int], free: Sequence[Sequence[bool]], given: list[list[bool]], room: list[int]
) -> None:
    """One more unit for `row`, by the shortest chain of moves to a column with room."""
    paths: list[list[tuple[int, int]]] = [[(row, j)] for j in order if free[row][j] and not given[row][j]]
    seen = {path[0][1] for path in paths}
    while paths:
        path = next((path for path in paths if room[path[-1][1]] > 0), None)
        if path is not None:
            return _apply(path, given, room)
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


def _apply(path: Sequence[tuple[int, int]], given: list[list[bool]], room: list[int]) -> None:
    for (row, j), (_, before) in zip(path[1:], path, strict=False):
        given[row][before], given[row][j] = False, True
    given[path[0][0]][path[0][1]] = True
    room[path[-1][1]] -= 1
