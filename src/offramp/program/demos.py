"""Which demos a program shows: always from the train split, always the same for the same seed.

Invariant: an example is never among its own demos, and no demo comes from the search or holdout split.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from offramp.ids import derived_seed

if TYPE_CHECKING:  # apps that only write messages choose demos too, and load nothing that they do not need
    from offramp.records import DemoKind, Example

_BALANCED = "balanced"


def choose_demos(
    kind: DemoKind, count: int, seed: int, train: Sequence[Example], balance_by: str | None
) -> tuple[Example, ...]:
    """Static demos for `random` and `balanced`: the first `count` of a seeded order, then shuffled.

    The choice for a larger count holds the one for a smaller count. `balanced` takes the values of the column
    `balance_by` in turn. Copies count once. Fewer come back when the train split has fewer.
    """
    order = sorted(distinct(train), key=lambda example: derived_seed(seed, "demos", example.content_hash))
    if kind == _BALANCED and balance_by is not None:
        order = _in_turn(order, balance_by)
    chosen = order[:count]
    random.Random(derived_seed(seed, "demo-order", count)).shuffle(chosen)
    return tuple(chosen)


def distinct(train: Sequence[Example]) -> list[Example]:
    """The first of each content: a copy would take another demo's place."""
    return list({example.content_hash: example for example in reversed(train)}.values())[::-1]


def _in_turn(order: Sequence[Example], column: str) -> list[Example]:
    by_value: dict[str, list[Example]] = defaultdict(list)
    for example in order:
        by_value[repr(example.values.get(column))].append(example)
    rounds = max(map(len, by_value.values()), default=0)
    return [rows[i] for i in range(rounds) for rows in by_value.values() if i < len(rows)]


class NearestDemos:
    """The train examples whose input text is most similar, by cosine over TF-IDF of character 3- to 5-grams of words.

    A word is taken with a space on both sides. Weights are (1 + log count) * log(1 + N / examples with the gram).
    Source: Manning, Raghavan, Schuetze, Introduction to Information Retrieval, ch. 6 (log tf, idf and cosine on both
    sides, "ltc.ltc").
    """

    def __init__(self, train: Sequence[Example], fields: Sequence[str]) -> None:
        self._train, self._fields = tuple(distinct(train)), tuple(fields)
        grams = [self._grams(example) for example in self._train]
        seen_in = Counter(gram for each in grams for gram in each)
        self._idf = {gram: math.log(1 + len(grams) / n) for gram, n in seen_in.items()}
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for index, each in enumerate(grams):
            for gram, weight in self._unit(each).items():
                self._postings[gram].append((index, weight))

    def nearest(self, example: Example, count: int) -> tuple[Example, ...]:
        """Up to `count` examples, the most similar last; never one with the same content."""
        similarity: dict[int, float] = defaultdict(float)
        for gram, weight in self._unit(self._grams(example)).items():
            for index, other in self._postings.get(gram, ()):
                similarity[index] += weight * other
        others = [i for i, e in enumerate(self._train) if e.content_hash != example.content_hash]
        others.sort(key=lambda i: (-similarity.get(i, 0.0), self._train[i].content_hash))
        return tuple(self._train[i] for i in reversed(others[:count]))

    def _grams(self, example: Example) -> dict[str, int]:
        text = " ".join(str(example.values.get(name, "")) for name in self._fields).casefold()
        grams: dict[str, int] = {}
        for word in re.findall(r"\w+", text):
            for gram in _grams_of(word):
                grams[gram] = grams.get(gram, 0) + 1
        return grams

    def _unit(self, grams: Mapping[str, int]) -> dict[str, float]:
        weights = {g: (1 + math.log(n)) * self._idf[g] for g, n in grams.items() if g in self._idf}
        norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        return {gram: weight / norm for gram, weight in weights.items()}


@functools.lru_cache(maxsize=20_000)
def _grams_of(word: str) -> tuple[str, ...]:
    padded = f" {word} "
    return tuple(padded[i : i + size] for size in (3, 4, 5) for i in range(len(padded) - size + 1))


def demo_row(example: Example, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any] | None:
    """The example as a demo of a predictor with these fields, or None where it has not all that are needed."""
    if any(name not in example.values for name in needed):
        return None
    return {name: example.values[name] for name in (*optional, *needed) if name in example.values}
