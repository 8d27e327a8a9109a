"""Synthetic tables of outcomes in many shapes, so that racing is not tuned to one; used by replay.py and stopping.py.

Scores come from an item-response model: a candidate's ability (params that matter more or less, and a part of its own),
an example's difficulty and discrimination, and how well it suits candidates with the same first param. Cost and latency
follow the params, with light, heavy or no tails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from offramp.search.replay.table import RecordedTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of table.

    Attributes:
        levels: how many values each param has; empty for candidates that share nothing.
        numbers: how many of the params, from the last, are numbers.
        structure: share of the ability's variance that params explain.
        taste: how much better examples suit some values of the first param.
        graded: whether scores lie between 0 and 1 as well.
        tail: sigma of the latencies' lognormal distribution.
        flat_cost: whether all cells of a candidate cost the same.
        spread: standard deviation of abilities.
        twins: share of candidates that repeat another's ability and params.
        hard: standard deviation of the examples' difficulties.
        price: how much more expensive and slower better candidates are.
        linked: whether latency follows from cost alone.
        steps: number of different costs and latencies; 0 for any number.
        timed: whether there are latencies.
        missing: share of cells without a value.
    """

    candidates: int
    examples: int
    levels: tuple[int, ...] = ()
    numbers: int = 0
    structure: float = 0.0
    taste: float = 0.5
    graded: bool = False
    tail: float = 0.5
    flat_cost: bool = False
    spread: float = 1.0
    twins: float = 0.0
    hard: float = 1.5
    price: float = 0.4
    linked: bool = False
    steps: int = 0
    timed: bool = True
    missing: float = 0.0


SHAPES: Mapping[str, Shape] = {
    "tiny": Shape(candidates=17, examples=100),
    "small_structured": Shape(candidates=48, examples=100, levels=(4, 4, 3), numbers=1, structure=0.8),
    "few_long": Shape(candidates=60, examples=1700, levels=(5, 4, 3), structure=0.6, graded=True),
    "prompts_alone": Shape(candidates=300, examples=200, flat_cost=True, tail=0.0),
    "structured": Shape(candidates=240, examples=150, levels=(6, 8, 5), numbers=1, structure=0.9, taste=0.8, tail=1.0),
    "misleading_params": Shape(candidates=200, examples=120, levels=(5, 10, 4), numbers=1, structure=0.0),
    "near_ties": Shape(candidates=150, examples=100, levels=(5, 6, 5), structure=0.5, spread=0.2),
    "twins": Shape(candidates=160, examples=100, levels=(4, 8, 5), structure=0.6, twins=0.4),
    "heavy_tails": Shape(candidates=120, examples=200, levels=(6, 5, 4), structure=0.6, tail=1.6, graded=True),
    "few_and_many": Shape(candidates=17, examples=1700),
    "length_priced": Shape(candidates=300, examples=190, flat_cost=True, tail=0.0, linked=True, price=0.1, spread=0.5),
    "few_prices": Shape(
        candidates=150, examples=100, levels=(5, 6, 5), structure=0.6, steps=4, flat_cost=True, tail=0.0
    ),
    "two_objectives": Shape(candidates=120, examples=150, levels=(6, 5, 4), structure=0.5, timed=False),
    "expensive_is_good": Shape(candidates=200, examples=120, levels=(5, 10, 4), structure=0.6, price=2.0, linked=True),
    "same_quality": Shape(candidates=150, examples=100, levels=(5, 6, 5), structure=0.5, spread=0.0, taste=0.2),
    "easy_or_hard": Shape(candidates=150, examples=200, levels=(5, 6, 5), structure=0.5, hard=5.0),
    "gaps": Shape(candidates=120, examples=150, levels=(6, 5, 4), structure=0.5, missing=0.2),
    "tall": Shape(candidates=900, examples=100, levels=(9, 10, 10), numbers=1, structure=0.7),
    "tall_alone": Shape(candidates=900, examples=100),
}


def make_table(shape: Shape, seed: int) -> RecordedTable:
    """One table; the same for the same shape and seed."""
    generator = np.random.default_rng(seed)
    codes = _codes(shape, generator)
    ability = shape.spread * _effects(shape, codes, shape.structure, generator)
    scores = _scores(shape, ability, codes, generator)
    expensive = _effects(shape, codes, 0.9, generator)
    slow = expensive if shape.linked else _effects(shape, codes, 0.8, generator)
    cost = _cells(shape, 1.2 * expensive + shape.price * ability, 0.0 if shape.flat_cost else 0.3, generator)
    seconds = _cells(shape, 0.8 * slow + 0.75 * shape.price * ability, shape.tail, generator)
    columns = [scores, 1e-3 * cost, seconds][: 3 if shape.timed else 2]
    values = np.stack(columns, axis=-1)
    values[generator.random(scores.shape) < shape.missing] = np.nan
    return RecordedTable(
        pool=tuple(_params(shape, codes, i) for i in range(shape.candidates)),
        examples=tuple(f"e{j}" for j in range(shape.examples)),
        outcomes=("score", "cost_usd", "latency_s")[: len(columns)],
        values=values,
    )


def _cells(shape: Shape, level: np.ndarray, tail: float, generator: np.random.Generator) -> np.ndarray:
    """Lognormal cells around each candidate's level, with the levels reduced to `steps` different ones."""
    if shape.steps:
        level = np.quantile(level, (np.argsort(np.argsort(level)) * shape.steps // len(level) + 0.5) / shape.steps)
    return np.exp(level)[:, None] * generator.lognormal(0.0, tail, (shape.candidates, shape.examples))


def _codes(shape: Shape, generator: np.random.Generator) -> np.ndarray:
    if not shape.levels:
        return np.arange(shape.candidates)[:, None]
    whole = np.stack(np.meshgrid(*[np.arange(k) for k in shape.levels], indexing="ij"), -1).reshape(
        -1, len(shape.levels)
    )
    codes = whole[np.resize(generator.permutation(len(whole)), shape.candidates)]
    again = generator.random(shape.candidates) < shape.twins
    return np.where(again[:, None], codes[generator.integers(0, shape.candidates, shape.candidates)], codes)


def _effects(shape: Shape, codes: np.ndarray, structure: float, generator: np.random.Generator) -> np.ndarray:
    """Standardised effects: main effects and one interaction of the params, and each candidate's own part."""
    own = generator.standard_normal(shape.candidates)
    if not shape.levels:
        return own
    shared = np.zeros(shape.candidates)
    for k, levels in enumerate(shape.levels):
        smooth = k >= len(shape.levels) - shape.numbers
        effect = np.cumsum(generator.standard_normal(levels)) / 3 if smooth else generator.standard_normal(levels)
        shared += effect[codes[:, k]]
    pair = generator.standard_normal((shape.levels[0], shape.levels[-2 if len(shape.levels) > 1 else -1]))
    shared += 0.7 * pair[codes[:, 0], codes[:, -2 if len(shape.levels) > 1 else -1]]
    shared = (shared - shared.mean()) / (shared.std() or 1.0)
    return np.sqrt(structure) * shared + np.sqrt(1.0 - structure) * own


def _scores(shape: Shape, ability: np.ndarray, codes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = (shape.candidates, shape.examples)
    sharp = generator.lognormal(0.0, 0.4, shape.examples)
    taste = generator.standard_normal((int(codes[:, 0].max()) + 1, shape.examples))[codes[:, 0]]
    hard = generator.normal(-0.5, shape.hard, shape.examples)
    chance = 1.0 / (1.0 + np.exp(-(sharp * (ability[:, None] - hard[None, :]) + shape.taste * taste)))
    if shape.graded:
        return np.clip(np.round(chance + generator.normal(0.0, 0.15, size), 2), 0.0, 1.0)
    return (generator.random(size) < chance).astype(float)


def _params(shape: Shape, codes: np.ndarray, index: int) -> dict[str, object]:
    if not shape.levels:
        return {"prompt": f"p{index}"}
    first = len(shape.levels) - shape.numbers
    return {f"x{k}": (f"v{c}" if k < first else float(c) / 10) for k, c in enumerate(codes[index].tolist())}
