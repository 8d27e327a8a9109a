"""Serves the live page of `offramp review` until it is stopped."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from offramp.errors import OfframpError, UsageError, problem
from offramp.garbage import collected_rarely
from offramp.review.library import Library
from offramp.store.studies import StudyStore
from offramp.study.lookup import full_name, open_looking

PORT = 8600


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to serve.

    Attributes:
        study: the beginning of a study's name to show first; None for the list.
        port: 0 for any that is free. token: None for a new one.
    """

    study: str | None = None
    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = None
    open: bool = False
    storage: str | None = None
    results: Path = Path("results")
    promotions: Path | None = None


def serve(options: Options, *, announce: Callable[[str], None]) -> None:
    """Serves until it is interrupted.

    Args:
        announce: called once with the address to open, the token in it.

    Raises:
        StorageError: no such study.
        UsageError: the extra `web` is not installed, the address cannot be used, or the token is too short.
    """
    _needs_web()
    import uvicorn

    from offramp.review.app import make_app
    from offramp.review.guard import Access, is_loopback
    from offramp.review.promote_request import Places

    token = secrets.token_urlsafe(24) if options.token is None else options.token
    if len(token) < 16:
        raise UsageError(problem("--token", "is too short", expected="16 characters or more", do="Leave it out."))
    with (
        _ready(),
        open_looking(options.storage, options.results) as store,
        _listening(options.host, options.port) as listener,
    ):
        name = None if options.study is None else StudyStore(store).get(full_name(store, options.study)).name
        places = Places(storage=options.storage, results=options.results, promotions=options.promotions)
        library = Library(store)
        app = make_app(store, Access(loopback=is_loopback(options.host), token=token), places, library)
        threading.Thread(target=_warm, args=(library, name), daemon=True).start()
        address = _address(options, listener.getsockname()[1], name, token)
        announce(address)
        if options.open:
            webbrowser.open(address)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, lifespan="off"))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextlib.contextmanager
def _ready() -> Iterator[None]:
    """Loads what every page needs, so that the first one does not wait for it.

    Garbage is collected rarely meanwhile: a study of ten thousand candidates is many objects and no garbage.
    """
    import scipy.special  # noqa: F401  (for intervals)

    from offramp.review.assets import load_templates

    load_templates()
    with collected_rarely():
        yield


def _warm(library: Library, study: str | None) -> None:
    """Reads the study that is likely to be asked for first. An error here is shown to whoever asks for it."""
    with contextlib.suppress(OfframpError):
        names = [row.name for row in library.studies()[:1]] if study is None else [study]
        for name in names:
            library.study(name)


def _needs_web() -> None:
    try:
        import fastapi
        import uvicorn  # noqa: F401
    except ImportError:
        do = "Run: pip install 'offramp[web]'"
        raise UsageError(problem("offramp review", "the live page needs fastapi and uvicorn", do=do)) from None
    del fastapi


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)  # whoever is told the address may come before the server's loop runs
    except OSError as error:
        do = "Choose another with --port; 0 takes any that is free."
        raise UsageError(problem(f"{host}:{port}", f"cannot be listened on: {error.strerror}", do=do)) from None
    return listener


def _address(options: Options, port: int, study: str | None, token: str) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    host = {"0.0.0.0": socket.gethostname(), "[::]": socket.gethostname()}.get(host, host)
    path = "/" if study is None else f"/studies/{quote(study)}"
    return f"http://{host}:{port}{path}" + f"?token={quote(token)}"
