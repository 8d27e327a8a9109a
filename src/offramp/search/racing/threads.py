"""One thread for linear algebra while a race thinks.

The matrices are small: on a busy machine, threads that wait for each other cost ten times what they save. It also keeps
results the same whatever the number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Holds the BLAS libraries of numpy and scipy to one thread, and puts back what was set."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401 - both are loaded before the controller looks for libraries

    return ThreadpoolController()
