"""A real browser for the tests of pages: Debian's Chromium, headless, that may talk to this machine alone."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from offramp.store.engine import open_store
from offramp.study import lookup

ARGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

TOKEN = "the-token-of-live-pages-in-tests"
"""Of the live pages that tests serve; the browser shows it, unless a test says otherwise."""
PATIENCE_MS = 300_000
"""How long a page may take for one step. It ends tests that hang; a slow machine may take its time."""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where it is not installed."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (on Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=list(ARGS))
        yield browser
        browser.close()


class Watched:
    """A page that notes what should not happen: messages of the console, errors, requests that leave this machine."""

    def __init__(self, browser: Any, **context: Any) -> None:
        known = {"authorization": f"Bearer {TOKEN}"}
        shape = {"viewport": {"width": 1280, "height": 900}, "extra_http_headers": known}
        self._context = browser.new_context(**{**shape, **context})
        self.page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.trouble: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("request", self._request)

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("file", "data") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.trouble.append(f"left the machine: {request.url}")

    def close(self) -> None:
        """Ends it; whatever was noted fails the test."""
        self._context.close()
        assert self.trouble == []


@contextmanager
def watched(browser: Any, **context: Any) -> Iterator[Any]:
    """A page that has to stay out of trouble."""
    found = Watched(browser, **context)
    yield found.page
    found.close()


class served:
    """The live pages of a study (results folder, name) in a thread, with its folder of promotions."""

    def __init__(self, study: tuple[Path, str], promotions: Path) -> None:
        import socket

        import uvicorn

        from offramp.review.app import make_app
        from offramp.review.guard import Access
        from offramp.review.promote_request import Places

        folder, name = study
        self._store = open_store(lookup.default_storage(folder), write_probe=False)
        places = Places(results=folder, promotions=promotions)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}/studies/{quote(name)}"
        config = uvicorn.Config(make_app(self._store, Access(token=TOKEN), places), log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.02)
        return self.address

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._store.close()
