"""Every error that offramp raises on purpose, and the exit code each one ends a command with.

    OfframpError                     exit code 1
    ├── UsageError                   2  what the user wrote cannot be run: nothing was written, nothing was spent
    │   ├── SpaceError                  a space file
    │   ├── DatasetError                a dataset or its splits
    │   ├── MetricError                 a metric that does not import, or returns what is not a score
    │   ├── ModelError                  a model that is unknown, has no price, no key, or no file
    │   ├── StorageError                a storage URL that cannot be opened or written
    │   └── PromotionError              a promotion, label or history that is missing, was changed, or cannot be made
    ├── JobError                     1  a job that cannot go on; what it paid for is kept. A UsageError is one from the
    │   │                               first request of a run on (`in_a_run`)
    │   ├── CapReached                  a cap on calls, money or minutes: no failure where it ends a search
    │   └── StorageFullError            the disk or database refused a write while a job ran
    ├── GateRefused                  3  a gate that did not pass
    └── CallError                       one request that gave no answer (see `calls/failures.py` for its kinds)

A message says where, what is wrong, what was found, what was expected, and what to do:

    search_spaces/support.yaml:14: params.temperature.high: got 2.5, expected a number in [0, 2]. Lower it.

Invariant: no message ever holds the value of a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from offramp.scrubbing import scrubbed


class OfframpError(Exception):
    """Root of the tree. Shown to people as one message without a traceback.

    Attributes:
        result: what was kept, where a run ended by this error: a `JobResult` of `offramp.optimize`; None elsewhere.
    """

    exit_code = 1
    result: Any = None

    def __init__(self, *args: object) -> None:
        super().__init__(*(scrubbed(arg) if isinstance(arg, str) else arg for arg in args))


class UsageError(OfframpError):
    """What the user asked for cannot be done as written; nothing was written or spent."""

    exit_code = 2


class SpaceError(UsageError):
    """A space file that cannot be read or does not fit together."""


class DatasetError(UsageError):
    """A dataset or its splits that cannot be used."""


class MetricError(UsageError):
    """A metric that does not import, or that returns what is not a score in [0, 1]."""


class ModelError(UsageError):
    """A model that cannot be called: unknown, without price, key or file."""


class StorageError(UsageError):
    """A storage that cannot be opened or written before the job has begun."""


class PromotionError(UsageError):
    """A promotion, label or history that is missing, was changed by hand, or cannot be made as asked."""


class JobError(OfframpError):
    """A running job that cannot go on. What was paid for has been kept."""


class CapReached(JobError):
    """A cap of the job on calls, money or minutes. The job ends with what it has, which is not a failure."""


def gravest(errors: Sequence[BaseException]) -> BaseException:
    """Of errors of runs side by side the one to raise: the first that is not a cap, since a cap would hide it."""
    return next((error for error in errors if not isinstance(error, CapReached)), errors[0])


class StorageFullError(JobError):
    """The storage refused a write while a job was running."""


@contextmanager
def in_a_run(has_asked: Callable[[], object]) -> Iterator[None]:
    """What a run does: a UsageError in here is a JobError of the same text once the run has asked a model.

    Args:
        has_asked: whether something was spent by now, so that it can no longer be said that nothing was.
    """
    try:
        yield
    except UsageError as error:
        if has_asked():
            raise JobError(str(error)) from error
        raise


class GateRefused(OfframpError):
    """A gate that did not pass."""

    exit_code = 3


def problem(where: str, what: str, *, got: object = None, expected: str | None = None, do: str | None = None) -> str:
    """One message in the form `where: what: got X, expected Y. Do Z.`

    Args:
        where: file (with line when known), command or option.
        what: the field or thing that is wrong.
        got: shown with repr; left out when None.
        expected: what would have been right.
        do: one imperative sentence.
    """
    text = f"{where}: {what}" if where else what
    middle = [part for part in (None if got is None else f"got {got!r}", expected and f"expected {expected}") if part]
    if middle:
        text += ": " + ", ".join(middle)
    if not text.endswith((".", "?", "!")):
        text += "."
    return f"{text} {do}" if do else text


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """`Did you mean 'a' or 'b'? ` for a misspelt name, or an empty string when nothing is close."""
    hits = difflib.get_close_matches(name, sorted(set(known)), n=count, cutoff=0.6)
    if not hits:
        return ""
    return f"Did you mean {' or '.join(repr(hit) for hit in hits)}?"
