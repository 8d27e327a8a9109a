"""Two candidates brought together by example: the one way from results to a tally."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offramp.records import Result
from offramp.study.tally import Tally, tally


def scores_of(results: Mapping[str, Result]) -> dict[str, float]:
    """Score by example; one that failed has none and is left out."""
    return {example: result.score for example, result in results.items() if result.score is not None}


def paired(a: Mapping[str, float], b: Mapping[str, float], **options: Any) -> Tally:
    """A against B on the examples that both have a score for, whatever their order.

    Args:
        options: as `tally` takes them.
    """
    both = sorted(example for example in a if example in b)
    return tally([a[example] for example in both], [b[example] for example in both], **options)
