"""Says so, once, where a model takes several times as long for a call as was estimated."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import fmean, median

from offramp.records import Model
from offramp.search.estimate import GUESSED_LATENCY_S
from offramp.store.ledger import CallAttempt, CallStatus, TypicalCall

SLOW = 5.0
"""A warning is due from so many times the estimated seconds on."""
FEWEST = 10
"""Calls before anything is said."""

_log = logging.getLogger("offramp")


class SlowCalls:
    """Watches the calls of one run.

    Args:
        models: by name.
        typical: what the storage knows of each model's calls, those of this run included; asked for where a model seems
            slow.
    """

    def __init__(self, models: Mapping[str, Model], typical: Callable[[], Mapping[str, TypicalCall]]) -> None:
        self._models, self._typical = models, typical
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def add(self, attempt: CallAttempt) -> None:
        """One more attempt; the first few answered ones of each model are looked at."""
        model, found = self._models.get(attempt.model), self._seconds[attempt.model]
        if model is None or attempt.status is not CallStatus.OK or attempt.latency_s is None or len(found) >= FEWEST:
            return
        found.append(attempt.latency_s)
        if len(found) == FEWEST and median(found) >= SLOW * GUESSED_LATENCY_S[model.local]:
            expected = self._expected(model, found)
            if median(found) >= SLOW * expected:
                _log.warning("warning: %s", slow_words(model, median(found), expected))

    def _expected(self, model: Model, found: list[float]) -> float:
        """Seconds of a call of earlier runs; a guess where there were few."""
        past = self._typical().get(model.name)
        earlier = 0 if past is None else past.n - len(found)
        if past is None or earlier < FEWEST:
            return GUESSED_LATENCY_S[model.local]
        return (past.latency_s * past.n - fmean(found) * len(found)) / earlier


def slow_words(model: Model, seconds: float, expected: float) -> str:
    """How slow its calls are, and what may help."""
    what = (
        f"calls of {model.name} take {seconds:.1f} s, {seconds / expected:.0f} times the estimate of {expected:.1f} s"
    )
    if model.local:
        return f"{what}. Other work on this machine, too many threads or too large a model may be the cause."
    return f"{what}. A lower concurrency, less reasoning, or a smaller model may help."
