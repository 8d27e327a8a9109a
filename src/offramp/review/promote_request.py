"""Promoting from the live page: what a person asks for, and the outcome in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offramp.errors import GateRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where studies are read from and promotions are written to; None: the default."""

    storage: str | None = None
    results: Path = Path("results")
    promotions: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequest:
    """What the person asked for on the page."""

    candidate: str
    label: str
    why: str | None
    force: bool

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> PromoteRequest:
        """From the fields of the page's form."""
        return cls(
            candidate=fields.get("candidate", ""),
            label=fields.get("label", "").strip() or "production",
            why=fields.get("why", "").strip() or None,
            force=fields.get("force") == "yes",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it, with an HTTP status; `feature` is what was promoted or rolled back."""

    status: int
    title: str
    text: str
    feature: str | None = None


def promote_from_page(study: str, request: PromoteRequest, places: Places) -> Outcome:
    """Promotes a candidate by the same function as the command line.

    A gate that refuses is an outcome with its reasons; other errors are raised.
    """
    from offramp.promote import promoting  # loads the program's libraries: seconds, and only now

    try:
        done = promoting.promote(
            study, pick=request.candidate, label=request.label, why=request.why, force=request.force,
            promotions=places.promotions, storage=places.storage, results=places.results,
        )  # fmt: skip
    except GateRefused as refused:
        return Outcome(status=409, title="Not promoted: the gate refused", text=str(refused))
    text = f"{done.promotion.feature} {request.label} points to version {done.promotion.version}.\n{done.path}"
    if done.refused:
        reasons = "\n".join(f"- {reason}" for reason in done.refused)
        text += f"\n\nPromoted although the gate refused; its reasons are recorded:\n{reasons}"
    return Outcome(status=200, title="Promoted", text=text, feature=done.promotion.feature)


def roll_back_from_page(feature: str, label: str, places: Places) -> Outcome:
    """Points a label back at the version before, by the same function as the command line."""
    from offramp.promote import promoting

    done = promoting.rollback(feature, label=label, promotions=places.promotions, why="undone on the review page")
    text = f"{feature} {label} points to version {done.promotion.version} again.\n{done.path}"
    return Outcome(status=200, title="Rolled back", text="\n".join((text, *done.notes)), feature=feature)
