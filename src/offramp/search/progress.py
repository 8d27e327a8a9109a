"""What a running job tells whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from offramp.calls.attempts import CallStats
from offramp.records import Scalar
from offramp.study.domain.members import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot.

    Attributes:
        phase: `search`, `proposals` or `holdout`.
        trials, trials_wanted: different candidates done, and the cap.
        front: so far, on the search split.
        candidate: params of the one in work; None before the first.
        done, of: examples of it.
        runs: examples run by this job so far, those from the ledger included.
        stats: calls and money; None before the first.
        elapsed_s: of this run; minutes: its cap, None for none.
    """

    study: str
    trials_wanted: int
    minutes: float | None
    phase: str = "search"
    trials: int = 0
    front: tuple[Member, ...] = ()
    candidate: Mapping[str, Scalar] | None = None
    done: int = 0
    of: int = 0
    runs: int = 0
    stats: CallStats | None = None
    elapsed_s: float = 0.0
