"""Runs side by side: where one raises, the others come to their end first, since they are paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from offramp.errors import gravest

T = TypeVar("T")


async def all_of(runs: Iterable[Awaitable[T]]) -> list[T]:
    """What they return, in order. Raises the gravest error once all have ended."""
    found: list[T] = []
    errors: list[BaseException] = []
    for ended in await asyncio.gather(*runs, return_exceptions=True):  # which waits for all of them if it is cancelled
        if isinstance(ended, BaseException):
            errors.append(ended)
        else:
            found.append(ended)
    if errors:
        raise gravest(errors)
    return found
