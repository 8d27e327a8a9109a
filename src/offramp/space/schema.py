"""The JSON schema of space files, for editors: completion, help on hover, and a red line under a wrong key.

Invariant: schemas/space.schema.json is this text; a test compares them.
"""

from __future__ import annotations

import json
from typing import Any

from offramp.space.model import SpaceFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def space_schema() -> dict[str, Any]:
    """The schema as JSON values. It has no `$id`: it belongs to the release it came with."""
    schema = SpaceFile.model_json_schema()
    title = {"$schema": DIALECT, "title": "offramp space file"}
    return {**title, **{name: value for name, value in schema.items() if name != "title"}}


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(space_schema(), indent=2, ensure_ascii=False) + "\n"
