"""What a database said, in words that help, sorted by who has to act.

Before a job has begun every fault is a `StorageError` (exit code 2). While a job runs, a full disk is a
`StorageFullError` and a lost or locked database a `JobError`. Programming errors keep their traceback.

Invariant: no text holds a password. Messages of drivers are not passed on where they could quote the URL.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import exc

from offramp.errors import JobError, OfframpError, StorageError, StorageFullError, problem

_FULL = ("database or disk is full", "no space left", "disk i/o error", "could not extend file", "disk quota exceeded")
_HINTS = (
    ("file is not a database", "is not a database", "Name another file, or move this one away."),
    ("malformed", "is damaged", "Restore it from a backup."),
    ("readonly", "cannot be written", "Change its permissions, or name another place."),
    ("read-only", "cannot be written", "Change its permissions, or name another place."),
    ("unable to open database file", "cannot be opened", "Check that the folder exists and may be written."),
    ("database is locked", "stayed locked for 30 s", "Another program holds it: close that, or use another file."),
    ("password authentication failed", "refused the user name or password", "Check the storage URL."),
    ("no password supplied", "wants a password", "Put it into the storage URL or into PGPASSWORD."),
    ("does not exist", "has no such database or role", "Create it, or correct the storage URL."),
    ("timeout", "did not answer within 5 s", "Check the host, the port and the network."),
    ("connection refused", "refused the connection", "Check that the server runs, and its host and port."),
    ("could not translate host", "has a host that cannot be found", "Check the host in the storage URL."),
    ("failed to resolve host", "has a host that cannot be found", "Check the host in the storage URL."),
    ("permission denied", "does not let this user in", "Ask for the rights to create and write tables."),
    ("too many clients", "has no free connection", "Close other programs, or raise max_connections."),
)


def is_full(error: BaseException) -> bool:
    """Whether the disk or database refused a write for want of room."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    cause = getattr(error, "orig", None) or error
    text = str(cause).lower()
    return getattr(cause, "sqlstate", None) == "53100" or any(part in text for part in _FULL)


def _described(error: BaseException) -> tuple[str, str]:
    """What is wrong and what to do, by the driver's words; the words themselves may quote the URL and stay out."""
    text = str(getattr(error, "orig", None) or error).lower()
    for part, what, do in _HINTS:
        if part in text:
            return what, do
    kind = type(getattr(error, "orig", None) or error).__name__
    return f"failed ({kind})", "Check the storage URL and the server's log."


def open_error(error: BaseException, where: str) -> StorageError:
    """The error for a storage that cannot be opened."""
    if is_full(error):
        return StorageError(problem(where, "storage is full", do="Make room, or name another place."))
    what, do = _described(error)
    return StorageError(problem(where, f"storage {what}", do=do))


def running_error(error: BaseException, where: str) -> OfframpError:
    """The error for a storage that fails under a running job."""
    if is_full(error):
        return StorageFullError(
            problem(where, "storage is full", do="Make room and run the same command again: what was paid for is kept.")
        )
    what, _ = _described(error)
    return JobError(
        problem(where, f"storage {what} while in use", do="Fix it and run the same command again: it resumes.")
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn a database's failures into ours; integrity and programming errors are bugs and pass."""
    try:
        yield
    except (exc.IntegrityError, exc.ProgrammingError, exc.DataError) as error:
        if is_full(error) or error.connection_invalidated:
            raise running_error(error, where) from None
        raise
    except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
        raise running_error(error, where) from None


def shown(url: sa.URL) -> str:
    """The URL as people may see it: no password, not even among the query parameters."""
    safe = {key: "***" if "pass" in key.lower() else value for key, value in url.query.items()}
    return url.set(query=safe).render_as_string(hide_password=True)
