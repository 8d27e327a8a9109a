"""The exact request for one row in each message format, for people to read before a job runs.

Invariant: it is made by the program that a job runs, and nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from offramp.errors import UsageError, problem
from offramp.job.effects import first_of, with_value
from offramp.job.resolved import ResolvedJob
from offramp.records import CallRequest, Candidate, DemoKind, Example, Scalar, Split
from offramp.space.forms import spec_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    """A request as a candidate sends it for one row.

    Attributes:
        title: what sends it: `incumbent`, or the name of the format.
        params: the candidate's assignment.
        request: None where the program makes none.
        note: what is not as a job sends it; None where all is.
    """

    title: str
    params: Mapping[str, Scalar]
    request: CallRequest | None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        request = self.request
        return {
            "title": self.title,
            "params": dict(self.params),
            "model": None if request is None else request.model.route,
            "messages": None if request is None else [dict(message) for message in request.messages],
            "request_params": None if request is None else dict(request.params),
            "note": self.note,
        }


def example_at(job: ResolvedJob, row: int | None) -> tuple[Split, Example]:
    """The example of a row of the dataset, or the first of the search split. Raises UsageError for a row not in use."""
    if row is None:
        return Split.SEARCH, job.task.splits.search[0]
    rows = {example.row: (split, example) for split in Split for example in job.task.splits.of(split)}
    if row not in rows:
        name = job.space.dataset.path or str(job.space.dataset.hub)
        expected = f"a row in use, {min(rows)} to {max(rows)}"
        do = "`dataset.limit` and `splits` decide which rows are used." if row <= max(rows) else None
        raise UsageError(problem("--row", f"{name} has no such row in use", got=row, expected=expected, do=do))
    return rows[row]


def shown_requests(job: ResolvedJob, example: Example) -> list[ShownRequest]:
    """The incumbent's request for an example, then that of the first candidate in each format."""
    found = [] if job.incumbent is None else [("incumbent", job.incumbent)]
    formats = next(param for param in job.search_params if param.name == "format")
    for value in formats.choices:
        if (candidate := with_value(job, formats, value)) is not None:
            found.append((str(value), candidate))

    async def go() -> list[ShownRequest]:
        return [await shown_request(job, title, candidate, example) for title, candidate in found]

    return asyncio.run(go())


async def shown_request(job: ResolvedJob, title: str, candidate: Candidate, example: Example) -> ShownRequest:
    """The request of one candidate for an example."""
    note = None
    if candidate.demo_kind is DemoKind.BOOTSTRAPPED:
        note = "without its bootstrapped demos, which only a run finds"
        candidate = replace(candidate, demo_kind=DemoKind.NONE, demo_count=0)
    form = spec_of(candidate.module)
    if job.factory is not None or form.several:
        also = "the first request of the module; later ones depend on its answer"
        if form.several:
            also = f"the first of up to {form.requests} requests of one run ({form.module})"
        note = also if note is None else f"{note}; {also}"
    return ShownRequest(
        title=title, params=candidate.params, request=await first_of(job, candidate, example), note=note
    )
