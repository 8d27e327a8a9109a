"""The live page: addresses, and what answers at each. Server-rendered; scripts only make it quicker to use.

Everything is read from the storage; the one thing that writes is the promote form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from offramp.errors import OfframpError, StorageError, UsageError, problem
from offramp.records import Split
from offramp.review.assets import render, script, status_words, style
from offramp.review.comparison import Filter, slice_choices
from offramp.review.guard import Access, Guard
from offramp.review.library import Library, Seen
from offramp.review.page import StudySource, verdict_data
from offramp.review.promoting import Promoter, PromoteRequest
from offramp.review.report import report_html
from offramp.review.rows import row_of
from offramp.store.engine import Store
from offramp.study.policies import parse_weights

_BODY = 64 * 1024  # bytes of a form; ours are small


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are, for what the promote form writes."""

    storage: str | None = None
    results: Path = Path("results")
    promotions: Path | None = None


def make_app(store: Store, access: Access, places: Places | None = None, library: Library | None = None) -> Guard:
    """The live page over an open storage, behind its guard."""
    app = FastAPI(title="offramp", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(OfframpError, _told)
    app.add_exception_handler(404, _nowhere)
    library = library or Library(store)
    _studies(app, library, access)
    _pieces(app, library)
    _promote(app, library, access, Promoter(places or Places()))
    return Guard(app, access)


def _page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(render(template, inline=False, live=True, **values), status)


async def _told(request: Request, error: Exception) -> Response:
    """A user's error as a page, or as JSON for a script."""
    status = 404 if isinstance(error, StorageError) else 400
    if request.url.path.endswith(("/state", "/verdict", "/data.json")):
        return JSONResponse({"error": str(error)}, status)
    return _page("message.html.j2", status=status, title="That does not work", message=str(error))


async def _nowhere(request: Request, error: Exception) -> Response:
    """An address that is none of ours."""
    return _page("message.html.j2", status=404, title="There is no such page", message=request.url.path)


def _studies(app: FastAPI, library: Library, access: Access) -> None:
    """Whole pages."""

    @app.get("/")
    def index() -> Response:
        return _page("index.html.j2", rows=library.studies())

    @app.get("/studies/{name}")
    def study(name: str, weights: str | None = None) -> Response:
        seen = library.study(name, parse_weights(weights))
        return _page("study.html.j2", page=seen.page, stamp=seen.stamp)

    @app.get("/studies/{name}/candidates/{candidate}")
    def candidate(name: str, candidate: str) -> Response:
        return _candidate(library.study(name), candidate, access.csrf)

    @app.get("/studies/{name}/compare")
    def compare(name: str, a: str = "", b: str = "", show: str = "", slice: str = "", split: str = "") -> Response:
        return _compare(library.study(name).source, a, b, {"show": show, "slice": slice, "split": split})

    @app.get("/studies/{name}/report.html")
    def report(name: str) -> Response:
        library.stamp(name)
        text = report_html(library.store, name)
        disposition = {"content-disposition": f'attachment; filename="{_file_name(name)}.html"'}
        return HTMLResponse(text, headers=disposition)


def _pieces(app: FastAPI, library: Library) -> None:
    """What the page's script asks for."""

    @app.get("/studies/{name}/state")
    def state(name: str) -> Response:
        stamp, row = library.stamp(name), library.row(name)
        words = status_words(row, library.tried(name))
        return JSONResponse({"stamp": stamp, "status": str(row.status), "words": words})

    @app.get("/studies/{name}/verdict")
    def verdict(name: str, candidate: str = "") -> Response:
        return JSONResponse(verdict_data(library.study(name).source.verdict(candidate)))

    @app.get("/studies/{name}/course")
    def course(name: str) -> Response:
        return _page("_course.html.j2", page={"lines": library.study(name).source.lines()})

    @app.get("/studies/{name}/demos")
    def demos(name: str, candidate: str = "") -> Response:
        return _page("_demos.html.j2", demos=library.study(name).source.own_demos(candidate))

    @app.get("/studies/{name}/data.json")
    def data(name: str, weights: str | None = None) -> Response:
        return JSONResponse(library.study(name, parse_weights(weights)).source.report.to_json())

    @app.get("/assets/page.css")
    def css() -> Response:
        return PlainTextResponse(style(), media_type="text/css")

    @app.get("/assets/page.js")
    def javascript() -> Response:
        return PlainTextResponse(script(), media_type="text/javascript")


def _promote(app: FastAPI, library: Library, access: Access, promoter: Promoter) -> None:
    @app.post("/studies/{name}/promote")
    async def promote(name: str, request: Request) -> Response:
        form = await _form(request)
        if not access.ours(form.get("csrf", "")):
            return PlainTextResponse("This form is not one of this page's. Go back, reload, and try again.\n", 403)
        await run_in_threadpool(library.stamp, name)
        done = await run_in_threadpool(promoter.promote, name, PromoteRequest.of(form))
        return _page("message.html.j2", status=done.status, title=done.title, message=done.text, back=_back(name, form))


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form, the first of each name. Raises UsageError for one that is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise UsageError(problem("", "the form is too large", expected=f"at most {_BODY} bytes"))
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _back(name: str, form: Mapping[str, str]) -> tuple[str, str]:
    return name, form.get("candidate", "")


def _candidate(seen: Seen, candidate: str, csrf: str) -> Response:
    row = row_of(seen.source.report, candidate)
    detail = None if row is None else seen.source.detail(row)
    if detail is None:
        raise StorageError(problem(seen.source.name, "no such candidate with a full evaluation", got=candidate))
    return _page("candidate.html.j2", page=seen.source, d=detail, csrf=csrf)


def _compare(source: StudySource, a: str, b: str, asked: Mapping[str, str]) -> Response:
    report = source.report
    best, today = report.recommended, report.incumbent
    a = a or (best.candidate if best else "")
    b = b or (today.candidate if today else "")
    slices = slice_choices(source.dataset)
    only = _filter(asked, slices)
    found = source.comparison(a, b, only, _split(asked["split"])) if a != b else None
    return _page(
        "compare.html.j2", page=source, c=found, a=a, b=b, asked=asked, choices=source.choices(a, b), slices=slices,
        unknown=[one for one in (a, b) if one and source.candidate(one) is None],
        filtered=only.outcome is not None or only.slice is not None,
    )  # fmt: skip


def _filter(asked: Mapping[str, str], slices: Sequence[tuple[str, str]]) -> Filter:
    """What is asked for; a column or a value may hold an equals sign, so that known slices are looked up first."""
    column, equals, value = asked["slice"].partition("=")
    known = next((one for one in slices if "=".join(one) == asked["slice"]), (column, value) if equals else None)
    outcome = asked["show"] if asked["show"] in ("win", "loss", "tie") else None
    return Filter(outcome=outcome, slice=known)


def _split(text: str) -> Split | None:
    return Split(text) if text in (Split.HOLDOUT, Split.SEARCH) else None


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:100]
