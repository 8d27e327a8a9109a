"""Style, script and templates; all are in the package.

In a file they are inline, and a content security policy with their hashes lets nothing else run or load. The live page
serves the same texts at separate addresses.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from offramp.review.escaping import as_text, embedded, shown
from offramp.review.rows import words_of
from offramp.store.studies import StudyRow, StudyStatus
from offramp.study.wording import (
    LIKELY,
    counted,
    fraction,
    interval_words,
    likely_words,
    money,
    number,
    points,
    shared_params,
    short_params,
)

if TYPE_CHECKING:
    from offramp.job.shown_requests import ShownRequest

SCRIPTS = (
    "base.js",
    "weights.js",
    "decision.js",
    "table.js",
    "front.js",
    "card.js",
    "copy.js",
    "space.js",
    "under.js",
    "live.js",
    "index.js",
    "heatmap.js",
    "parallel.js",
    "start.js",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """How a page gets its style and script.

    Attributes:
        inline: whether they are in the page; then `csp` lets nothing else run.
        version: changes with the texts, so that a browser loads new ones.
    """

    inline: bool
    style: Markup
    script: Markup
    version: str
    csp: str | None


@cache
def style() -> str:
    """The style sheet."""
    return _read("page.css") + _read("pictures.css")


@cache
def script() -> str:
    """All scripts, in the order in which they need each other."""
    return "\n".join(_read(name) for name in SCRIPTS)


def _read(name: str) -> str:
    return files("offramp.review").joinpath("static", name).read_text(encoding="utf-8")


@cache
def assets(*, inline: bool) -> Assets:
    """Style and script for a file (`inline`) or for the live page."""
    version = hashlib.sha256((style() + script()).encode()).hexdigest()[:12]
    csp = None
    if inline:
        hashes = (f"style-src {_hash(style())}", f"script-src {_hash(script())}")
        csp = f"default-src 'none'; {'; '.join(hashes)}; img-src data:; base-uri 'none'; form-action 'none'"
    return Assets(inline=inline, style=Markup(style()), script=Markup(script()), version=version, csp=csp)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def environment() -> Environment:
    """The templates: everything is escaped unless one of our filters has done so."""
    made = Environment(
        loader=PackageLoader("offramp.review"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(
        shown=shown, embedded=embedded, money=money, points=points, interval_words=interval_words, words=words_of,
        as_text=as_text, request_json=_request_json,
        utility=number, fraction=fraction,
        plain_number=_plain_number, status_words=status_words, likely_words=likely_words,
        counted=counted, shared_params=shared_params, short_params=short_params,
    )  # fmt: skip
    made.globals["likely_title"] = LIKELY
    return made


def load_templates() -> None:
    """Reads and compiles every template, so that no page waits for it."""
    for name in environment().list_templates():
        environment().get_template(name)


def render(template: str, *, inline: bool, **values: Any) -> str:
    """A page as HTML; characters that UTF-8 cannot encode are replaced."""
    text = environment().get_template(template).render(assets=assets(inline=inline), **values)
    return text.encode("utf-8", "replace").decode("utf-8")


def _request_json(found: ShownRequest) -> str:
    """A request as the body that providers of OpenAI's dialect take."""
    sent = found.to_json()
    body = {"model": sent["model"], **(sent["request_params"] or {}), "messages": sent["messages"]}
    return json.dumps(body, indent=2, ensure_ascii=False, default=str)


def _plain_number(value: float | None) -> str:
    """A number for a script to sort by; empty where it is not known."""
    return "" if value is None else repr(float(value))


def status_words(row: StudyRow, trials: int) -> str:
    """The status of a study in a few words."""
    return f"running, {counted(trials, 'candidate')}" if row.status is StudyStatus.RUNNING else str(row.status)
