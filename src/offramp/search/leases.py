"""Holding a study's lease for as long as something works on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from offramp.errors import JobError
from offramp.store.engine import Store
from offramp.store.owners import current_owner
from offramp.store.studies import Lease, StudyStore

RENEW_S = 20


@asynccontextmanager
async def held_lease(store: Store, study: str, lost: Callable[[], None]) -> AsyncIterator[None]:
    """The lease, renewed until the block ends, and released then.

    Args:
        lost: called when it could not be renewed: somebody else may hold it now.

    Raises:
        JobError: another process works on the study.
    """
    studies = StudyStore(store)
    lease = studies.acquire_lease(study, current_owner())
    renewal = asyncio.create_task(_renew(studies, lease, lost))
    try:
        yield
    finally:
        renewal.cancel()
        with suppress(JobError):  # a storage that fails keeps the lease until this process is gone
            studies.release(lease)


async def _renew(studies: StudyStore, lease: Lease, lost: Callable[[], None]) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                studies.renew(lease)
            except JobError:
                lost()
                return
