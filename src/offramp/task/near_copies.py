"""Rows that nearly copy each other: a question asked twice with another greeting, a template with one name changed.

Texts are compared by the Jaccard index of their character 5-grams, after case, space and punctuation at the ends are
evened out. Pairs that may be alike are found by MinHash in bands, so that a hundred thousand rows take seconds, and
then compared exactly.

Source: Broder, "On the resemblance and containment of documents", 1997.

Invariant: every pair that is returned reaches the threshold exactly; of the pairs that do, few are missed (at 0.8 with
16 bands of 4, less than one in 4,000).
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRAM = 5
ALIKE = 0.8
_BANDS, _ROWS = 16, 4
_MOST_IN_A_BUCKET = 200
_PRIME = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCopy:
    """Two texts by their positions, and how alike they are: the Jaccard index of their 5-grams, up to 1."""

    a: int
    b: int
    alike: float


def normal_text(text: str) -> str:
    """NFKC, without case and invisible characters, one space for white space, no punctuation at the ends."""
    visible = (char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    flat = " ".join("".join(visible).split()).casefold()
    edges = {char for char in flat if unicodedata.category(char)[0] == "P"} | {" "}
    return flat.strip("".join(edges)) or flat


def near_copies(texts: Sequence[str], groups: Sequence[object], *, least: float = ALIKE) -> list[NearCopy]:
    """Pairs of texts of different groups that are alike, the most alike first.

    Args:
        groups: one for each text, such as its split; pairs within a group are not looked for.
        least: the Jaccard index from which two texts are near copies, in (0, 1].
    """
    grams = [_grams(normal_text(text)) for text in texts]
    found: dict[tuple[int, int], float] = {}
    for a, b in _candidates(grams):
        if (a, b) not in found and groups[a] != groups[b]:
            found[a, b] = _jaccard(grams[a], grams[b])
    pairs = [NearCopy(a=a, b=b, alike=alike) for (a, b), alike in found.items() if alike >= least]
    return sorted(pairs, key=lambda pair: (-pair.alike, pair.a, pair.b))


def _grams(text: str) -> Hashes:
    """The distinct 5-grams of a text as numbers, in order; of a shorter text, the text."""
    codes = np.frombuffer(text.ljust(GRAM).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, GRAM)
    hashes = np.zeros(len(windows), dtype=np.uint64)
    for place in range(GRAM):
        hashes = (hashes ^ windows[:, place]) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)


def _candidates(grams: Sequence[Hashes]) -> Iterator[tuple[int, int]]:
    """Pairs that agree in at least one band of their signatures."""
    if not grams:
        return
    signatures = _signatures(grams)
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for i, part in enumerate(np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS])):
            buckets[part.tobytes()].append(i)
        for members in buckets.values():
            few = members[:_MOST_IN_A_BUCKET]
            yield from ((a, b) for i, a in enumerate(few) for b in few[i + 1 :])


def _signatures(grams: Sequence[Hashes]) -> Hashes:
    """MinHash signatures, shape (texts, bands * rows)."""
    every = np.concatenate(list(grams))
    starts = np.cumsum([0, *(len(part) for part in grams[:-1])])
    random = np.random.default_rng(0)
    found = np.empty((len(grams), _BANDS * _ROWS), dtype=np.uint64)
    for column in range(_BANDS * _ROWS):
        odd, shift = random.integers(0, 2**63, size=2, dtype=np.uint64)
        mixed = (every ^ shift) * (odd | np.uint64(1))
        mixed ^= mixed >> np.uint64(32)
        found[:, column] = np.minimum.reduceat(mixed * _PRIME, starts)
    return found


def _jaccard(a: Hashes, b: Hashes) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
