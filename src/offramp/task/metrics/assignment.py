"""The best pairing of two lists by similarity: exact for lists of everyday length, greedy for runaway ones.

Source: Kuhn 1955, "The Hungarian method for the assignment problem", in the form of shortest augmenting paths with
potentials: O(short^2 * long). Where the longer list has more than `EXACT_UP_TO` items (a model that repeats itself),
the pairs are taken greedily, most similar first, which can only lower a score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

EXACT_UP_TO = 64

Matrix = Sequence[Sequence[float]]


def best_pairing(similarity: Matrix) -> float:
    """The largest sum of similarities over pairings that use each row and each column at most once.

    Args:
        similarity: rows of equal length, values in [0, 1].
    """
    if not similarity or not similarity[0]:
        return 0.0
    if len(similarity) > len(similarity[0]):
        similarity = list(zip(*similarity, strict=True))
    pairs = _exact(similarity) if len(similarity[0]) <= EXACT_UP_TO else _greedy(similarity)
    return math.fsum(similarity[i][j] for i, j in pairs)


def _greedy(similarity: Matrix) -> list[tuple[int, int]]:
    cells = ((-value, i, j) for i, row in enumerate(similarity) for j, value in enumerate(row) if value > 0)
    rows, columns, pairs = set(), set(), []
    for _, i, j in sorted(cells):
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            pairs.append((i, j))
    return pairs


def _exact(similarity: Matrix) -> list[tuple[int, int]]:
    """Rows join one at a time, each along the cheapest alternating path. There are no more rows than columns."""
    width = len(similarity[0])
    row_price, column_price = [0.0] * len(similarity), [0.0] * width
    row_of: list[int | None] = [None] * width
    for start in range(len(similarity)):
        _join(start, similarity, row_price, column_price, row_of)
    return [(row, j) for j, row in enumerate(row_of) if row is not None]


def _join(
    start: int, similarity: Matrix, row_price: list[float], column_price: list[float], row_of: list[int | None]
) -> None:
    width = len(column_price)
    distance, came_from = [math.inf] * width, [-1] * width
    done: list[int] = []
    row, column, reached = start, -1, 0.0
    while True:
        for j in range(width):
            step = reached - similarity[row][j] - row_price[row] - column_price[j]
            if j not in done and step < distance[j]:
                distance[j], came_from[j] = step, column
        column = min((j for j in range(width) if j not in done), key=lambda j: distance[j])
        reached = distance[column]
        done.append(column)
        owner = row_of[column]
        if owner is None:
            break
        row = owner
    _reprice(start, done, distance, reached, row_price, column_price, row_of)
    while column >= 0:
        before = came_from[column]
        row_of[column] = start if before < 0 else row_of[before]
        column = before


def _reprice(
    start: int,
    done: Sequence[int],
    distance: Sequence[float],
    reached: float,
    row_price: list[float],
    column_price: list[float],
    row_of: Sequence[int | None],
) -> None:
    """Shift the prices so that every pair in use stays tight and no reduced cost is below zero."""
    row_price[start] += reached
    for j in done:
        column_price[j] -= reached - distance[j]
        owner = row_of[j]
        if owner is not None:
            row_price[owner] += reached - distance[j]
