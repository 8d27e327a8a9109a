"""A report that stays small enough to send: what of a study's page a file leaves out, and that it says so.

Invariant: nothing that is counted is left out: numbers of candidates that are shown are those of the study.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from offramp.review.assets import render
from offramp.review.candidate_detail import Detail
from offramp.review.escaping import texts_up_to
from offramp.review.study_page import StudyPage

MOST_BYTES = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How much a file holds.

    Attributes:
        details: candidates in full. others: rows of the table beside the front and the incumbent.
        text: characters of one text. cells: whether the answers of the heatmap are with it.
    """

    details: int
    others: int
    text: int
    cells: bool = True


LEVELS = (
    Level(details=60, others=400, text=20_000), Level(details=60, others=400, text=2_000),
    Level(details=30, others=200, text=1_000), Level(details=12, others=100, text=500),
    Level(details=4, others=50, text=200, cells=False), Level(details=1, others=0, text=100, cells=False),
)  # fmt: skip


def small_report(page: StudyPage) -> str:
    """The page as one file of less than 2 MB: as much of it as fits."""
    html = ""
    for level in LEVELS:
        if level is LEVELS[-1] or _texts(page.details[: level.details], level.text) < MOST_BYTES:
            html = _rendered(page, level)
            if len(html.encode()) < MOST_BYTES:
                break
    return html


def _rendered(page: StudyPage, level: Level) -> str:
    shown = _shrunk(page, level)
    with texts_up_to(level.text):
        first = level is LEVELS[0]
        left_out = None if first else f"Texts are cut after {level.text:,} characters."
        return render("study.html.j2", inline=True, page=shown, live=False, promoted=(), pace=None, left_out=left_out)


def _shrunk(page: StudyPage, level: Level) -> StudyPage:
    """The page with what the level holds."""
    details = tuple(_with_short_request(one, level.text) for one in page.details[: level.details])
    others = [row.id for row in page.rows if not (row.front or row.member.incumbent)]
    dropped = {*others[level.others :]}
    ids = {one.row.id for one in details}
    decisions = {name: one for name, one in page.data["decisions"].items() if name in ids}
    members = [one for one in page.data["members"] if one["id"] not in dropped]
    pictures = page.pictures
    if pictures is not None and pictures.heatmap is not None and not level.cells:
        examples = [{**one, "input": "", "gold": "", "answers": []} for one in pictures.heatmap["examples"]]
        pictures = replace(pictures, heatmap={**pictures.heatmap, "examples": examples, "untold": len(examples)})
    left = sum(one.row.front for one in page.details[level.details :])
    return replace(
        page, details=details, undetailed=page.undetailed + left, pictures=pictures,
        rows=tuple(row for row in page.rows if row.id not in dropped), unlisted=page.unlisted + len(dropped),
        peeks=page.peeks[: 2 * level.details], data={**page.data, "members": members, "decisions": decisions},
    )  # fmt: skip


def _with_short_request(detail: Detail, text: int) -> Detail:
    """Without the request where that is long: cut, it would not be what is sent."""
    if detail.request is None or len(json.dumps(detail.request.to_json(), default=str)) <= 3 * text:
        return detail
    return replace(detail, request=None)


def _texts(details: tuple[Detail, ...], most: int) -> int:
    """Characters of the details' texts, each counted up to so many."""
    return sum(min(most, length) for one in details for length in _lengths(one))


def _lengths(detail: Detail) -> Iterator[int]:
    for part in detail.instructions:
        yield sum(piece.length for piece in part.pieces) + len(part.before or "")
    for demo in (*detail.demos, *detail.turns):
        yield from (len(value) for _, value in demo)
    for example in () if detail.versus is None else detail.versus.examples:
        yield from (len(value) for _, value in example.inputs)
        yield from (len(address) for _, address in example.pictures)
        for field in example.fields:
            yield len(field.gold or "") + len(field.a) + len(field.b)
