"""The live page: its addresses and what answers at each. Server-rendered; scripts only make it quicker to use.

Everything is read from the storage; only the promote form writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from offramp.errors import OfframpError, StorageError, UsageError, problem
from offramp.records import Split
from offramp.review.assets import render, script, status_words, style
from offramp.review.comparison_view import Filter, slice_choices
from offramp.review.guard import Access, Guard
from offramp.review.index_page import HEIGHT, WIDTH
from offramp.review.library import Library
from offramp.review.promote_request import Outcome, Places, PromoteRequest, promote_from_page, roll_back_from_page
from offramp.review.promotions import feature_view, promoted
from offramp.review.report_file import report_html
from offramp.review.rows import row_of
from offramp.review.study_page import MOST_PEEKS
from offramp.review.study_source import StudySource
from offramp.store.engine import Store
from offramp.study.policies import parse_weights

_BODY = 64 * 1024  # bytes of a form; ours are small


def make_app(store: Store, access: Access, places: Places | None = None, library: Library | None = None) -> Guard:
    """The live page over an open storage, behind its guard."""
    app = FastAPI(title="offramp", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(OfframpError, _error_page)
    app.add_exception_handler(404, _not_found)
    library = library or Library(store)
    places = places or Places()
    _studies(app, library, access, places)
    _pieces(app, library)
    _promote(app, library, access, places)
    return Guard(app, access)


def _page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(render(template, inline=False, live=True, **values), status)


async def _error_page(request: Request, error: Exception) -> Response:
    """A user's error as a page, or as JSON for a script."""
    status = 404 if isinstance(error, StorageError) else 400
    if request.url.path.endswith(("/state", "/decision", "/data.json")):
        return JSONResponse({"error": str(error)}, status)
    return _page("message.html.j2", status=status, title="That did not work", message=str(error))


async def _not_found(request: Request, error: Exception) -> Response:
    """An address that does not exist."""
    return _page("message.html.j2", status=404, title="There is no such page", message=request.url.path)


def _studies(app: FastAPI, library: Library, access: Access, places: Places) -> None:
    """Whole pages."""

    @app.get("/")
    def index() -> Response:
        return _page("index.html.j2", cards=library.cards(promoted(places.promotions)), size=(WIDTH, HEIGHT))

    @app.get("/studies/{name}")
    def study(name: str, weights: str | None = None) -> Response:
        seen = library.study(name, parse_weights(weights))
        labels, pace = promoted(places.promotions).get(name, ()), library.pace(name)
        return _page("study.html.j2", page=seen.page, stamp=seen.stamp, promoted=labels, pace=pace)

    @app.get("/studies/{name}/candidates/{candidate}")
    def candidate(name: str, candidate: str) -> Response:
        source = library.study(name).source
        row = row_of(source.report, candidate)
        detail = None if row is None else source.detail(row)
        if detail is None:
            raise StorageError(problem(source.name, "no such candidate with a full evaluation", got=candidate))
        return _page("candidate.html.j2", page=source, d=detail, csrf=access.csrf)

    @app.get("/studies/{name}/compare")
    def compare(name: str, a: str = "", b: str = "", show: str = "", slice: str = "", split: str = "") -> Response:
        return _compare(library.study(name).source, a, b, {"show": show, "slice": slice, "split": split})

    @app.get("/studies/{name}/report.html")
    def report(name: str) -> Response:
        library.stamp(name)
        text = report_html(library.store, name)
        file_name = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:100]
        return HTMLResponse(text, headers={"content-disposition": f'attachment; filename="{file_name}.html"'})


def _pieces(app: FastAPI, library: Library) -> None:
    """What the page's script asks for."""

    @app.get("/studies/{name}/state")
    def state(name: str) -> Response:
        stamp, row = library.stamp(name), library.row(name)
        words = status_words(row, library.tried(name))
        pace = library.pace(name)
        how_far = {"share": None if pace is None else pace.share, "pace": "" if pace is None else pace.words}
        return JSONResponse({"stamp": stamp, "status": str(row.status), "words": words, **how_far})

    @app.get("/studies/{name}/decision")
    def decision(name: str, candidate: str = "") -> Response:
        return JSONResponse(library.study(name).source.decision(candidate).to_json())

    @app.get("/studies/{name}/course")
    def course(name: str) -> Response:
        return _page("_course.html.j2", page={"lines": library.study(name).source.lines})

    @app.get("/studies/{name}/pictures")
    def pictures(name: str) -> Response:
        return _page("_pictures.html.j2", name=name, found=library.study(name).source.pictures)

    @app.get("/studies/{name}/peeks")
    def peeks(name: str) -> Response:
        return _page("_peeks.html.j2", peeks=library.study(name).source.peeks(MOST_PEEKS))

    @app.get("/studies/{name}/request")
    def request(name: str, candidate: str = "") -> Response:
        return _page("_request.html.j2", request=library.study(name).source.request(candidate))

    @app.get("/studies/{name}/demos")
    def demos(name: str, candidate: str = "") -> Response:
        return _page("_demos.html.j2", demos=library.study(name).source.bootstrapped(candidate))

    @app.get("/studies/{name}/turns")
    def turns(name: str, candidate: str = "") -> Response:
        return _page("_demos.html.j2", demos=library.study(name).source.turns(candidate))

    @app.get("/studies/{name}/data.json")
    def data(name: str, weights: str | None = None) -> Response:
        return JSONResponse(library.study(name, parse_weights(weights)).source.report.to_json())

    @app.get("/assets/page.css")
    def css() -> Response:
        return PlainTextResponse(style(), media_type="text/css")

    @app.get("/assets/page.js")
    def javascript() -> Response:
        return PlainTextResponse(script(), media_type="text/javascript")


def _promote(app: FastAPI, library: Library, access: Access, places: Places) -> None:
    @app.post("/studies/{name}/promote")
    async def promote(name: str, request: Request) -> Response:
        form = await _form(request)
        if not access.ours(form.get("csrf", "")):
            return PlainTextResponse("This form did not come from this page. Go back, reload, and try again.\n", 403)
        await run_in_threadpool(library.stamp, name)
        done = await run_in_threadpool(promote_from_page, name, PromoteRequest.of(form), places)
        if done.feature is not None:
            return _feature_page(done.feature, done, access, places)
        back = (name, form.get("candidate", ""))
        return _page("message.html.j2", status=done.status, title=done.title, message=done.text, back=back)

    @app.get("/promotions/{feature}")
    def feature(feature: str) -> Response:
        return _feature_page(feature, None, access, places)

    @app.post("/promotions/{feature}/rollback")
    async def rollback(feature: str, request: Request) -> Response:
        form = await _form(request)
        if not access.ours(form.get("csrf", "")):
            return PlainTextResponse("This form did not come from this page. Go back, reload, and try again.\n", 403)
        done = await run_in_threadpool(roll_back_from_page, feature, form.get("label", ""), places)
        return _feature_page(feature, done, access, places)


def _feature_page(feature: str, done: Outcome | None, access: Access, places: Places) -> Response:
    view = feature_view(places.promotions, feature)
    return _page("promotion.html.j2", view=view, done=done, csrf=access.csrf)


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form, the first of each name. Raises UsageError for one that is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise UsageError(problem("", "the form is too large", expected=f"at most {_BODY} bytes"))
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _compare(source: StudySource, a: str, b: str, asked: Mapping[str, str]) -> Response:
    report = source.report
    best, today = report.recommended, report.incumbent
    a = a or (best.candidate if best else "")
    b = b or (today.candidate if today else "")
    slices = slice_choices(source.dataset)
    only = _filter(asked, slices)
    split = Split(asked["split"]) if asked["split"] in (Split.HOLDOUT, Split.SEARCH) else None
    found = source.comparison(a, b, only, split) if a != b else None
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
