"""The whole promotion as one JSON object, evidence included."""

from __future__ import annotations

import json

from offramp.promote.exports._base import File, Source
from offramp.promote.reading import values_of


def plain_json(source: Source) -> File:
    """What the file holds, and the rows of its pool of demos."""
    values = values_of(source.promotion)
    pool = source.promotion.demos.pool
    if pool is not None:
        values["pool"] = list(source.folder.rows(pool))
    return File(text=json.dumps(values, indent=2, ensure_ascii=False) + "\n")
