"""A study where people already look: MLflow, Weights & Biases or Langfuse, as `tracking` of the space file says.

Every candidate with a complete evaluation is a run (a trace in Langfuse) with its params, metrics and tags. Written
again (by a run that continues, or a verification), it is the same run with the numbers of today.

Invariant: a tool that fails is a warning; the study itself is in the storage. No text of a prompt or an answer is sent.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from offramp.scrubbing import scrubbed_value
from offramp.space.model import TrackingName
from offramp.study.shown import rows_of
from offramp.study.study_report import StudyReport

_log = logging.getLogger("offramp")
_TAGS = ("on_front", "recommended", "incumbent", "feasible")
_KEYS = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedCandidate:
    """A candidate as the tools keep it.

    Attributes:
        metrics: those that are known, by name.
        tags: what it is in its study: `on_front`, `recommended`, `incumbent`, `feasible`.
    """

    candidate: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedStudy:
    """A study as the tools keep it.

    Attributes:
        tags: status, headline, where the study is (without a password) and the command that shows it.
    """

    study: str
    space: str
    tags: Mapping[str, str]
    candidates: tuple[TrackedCandidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a tool needs and this machine lacks, and what to do."""

    what: str
    do: str


def missing_tool(name: TrackingName) -> Missing | None:
    """What the tool needs and this machine lacks; None where it can be used."""
    if name == "none":
        return None
    if find_spec(name) is None:
        return Missing(
            what=f"tracking: the package of {name} is not installed", do=f"Run: pip install 'offramp[{name}]'"
        )
    lacking = [key for key in _KEYS if name == "langfuse" and not os.environ.get(key)]
    return Missing(what=f"tracking: {' and '.join(lacking)} not set", do="Set it.") if lacking else None


def track(name: TrackingName, report: StudyReport, url: str) -> None:
    """Writes a study to the tool. What goes wrong there is a warning.

    Args:
        url: of its storage.
    """
    if name == "none" or not report.members:
        return
    try:
        write: Callable[[TrackedStudy], None] = import_module(f"offramp.tracking.to_{name}").write
        write(tracked(report, url))
    except Exception as error:  # noqa: BLE001 (another tool's: whatever it raises, the study is in the storage)
        what = f"{type(error).__name__}: {error}"
        _log.warning("warning: tracking: %s did not take the study %s: %s", name, report.study, what)


def tracked(report: StudyReport, url: str) -> TrackedStudy:
    """A study as the tools keep it."""
    front = {member.candidate for member in report.front}
    return TrackedStudy(
        study=report.study,
        space=report.space,
        tags=scrubbed_value(
            {
                "offramp.study": report.study,
                "offramp.status": report.status,
                "offramp.headline": report.headline() or "",
                "offramp.storage": (where := re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)),
                "offramp.show": f"offramp report {report.study} --storage {where}",
            }
        ),
        candidates=tuple(
            _candidate({**row, "on_front": row["candidate"] in front}) for row in rows_of(report, everything=True)
        ),
    )


def _candidate(row: Mapping[str, Any]) -> TrackedCandidate:
    numbers = {name: value for name, value in row.items() if not name.startswith("param.") and name not in _TAGS}
    params = {name[6:]: value for name, value in row.items() if name.startswith("param.") and value is not None}
    return TrackedCandidate(
        candidate=row["candidate"],
        params=scrubbed_value({name: str(value) for name, value in params.items()}),
        metrics={name: float(v) for name, v in numbers.items() if isinstance(v, int | float) and v == v},
        tags={name: bool(row[name]) for name in _TAGS},
    )
