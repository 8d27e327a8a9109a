"""Prices of a study's models, as of now: tokens are stored, and priced when they are read."""

from __future__ import annotations

from offramp.errors import ModelError
from offramp.models.catalogue import resolve
from offramp.records import Price
from offramp.space.model import SpaceFile
from offramp.store.studies import StudyRow


def current_prices(row: StudyRow) -> dict[str, Price | None]:
    """Today's price of each model of a study: the space file's, else the catalogue's, else the one it was run with."""
    found: dict[str, Price | None] = {}
    space = SpaceFile.model_validate_json(row.space_json)
    parts = {part if isinstance(part, str) else part.name: part for part in space.models}
    for name, stored in row.extra.get("prices", {}).items():
        try:
            found[name] = resolve(parts.get(name, name), "study").price
        except ModelError:
            found[name] = None
        if found[name] is None and stored is not None:
            found[name] = Price(**stored)
    return found
