"""The promote form: what a person asks for, and what came of it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from offramp.errors import GateRefused


class Places(Protocol):
    """Where studies are read from, and where promotions are written to."""

    @property
    def storage(self) -> str | None:
        """URL of the storage; that of `results` for None."""
        ...

    @property
    def results(self) -> Path:
        """Folder that runs wrote to."""
        ...

    @property
    def promotions(self) -> Path | None:
        """Folder of promotions; the default one for None."""
        ...


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
class Done:
    """What came of it, with an HTTP status."""

    status: int
    title: str
    text: str


class Promoter:
    """Promotes for the live page, by the same function as the command line."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def promote(self, study: str, request: PromoteRequest) -> Done:
        """Promotes a candidate. A gate that refuses is shown with its reasons; other errors are raised."""
        from offramp.promote import api  # loads the program's libraries: seconds, and only now

        try:
            done = api.promote(
                study, pick=request.candidate, label=request.label, why=request.why, force=request.force,
                promotions=self._places.promotions, storage=self._places.storage, results=self._places.results,
            )  # fmt: skip
        except GateRefused as refused:
            return Done(status=409, title="Not promoted: the gate does not hold", text=str(refused))
        text = f"{done.promotion.feature} {request.label} points at version {done.promotion.version}.\n{done.path}"
        if done.refused:
            text += "\n\nPromoted all the same; these reasons are recorded:\n" + "\n".join(
                f"- {r}" for r in done.refused
            )
        return Done(status=200, title="Promoted", text=text)
