"""Metrics: one prediction on one example to a score in [0, 1]. One file per kind; `build.py` makes them."""

from __future__ import annotations

from offramp.task.metrics._base import Ask, Metric
from offramp.task.metrics.build import (
    build_metric,
    comparisons,
    gold_columns,
    gold_pairs,
    refuse_bad_gold,
    show_columns,
)
from offramp.task.metrics.mix import judges_of

__all__ = [
    "Ask",
    "Metric",
    "build_metric",
    "comparisons",
    "gold_columns",
    "gold_pairs",
    "judges_of",
    "refuse_bad_gold",
    "show_columns",
]
