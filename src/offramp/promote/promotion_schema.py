"""The JSON schema of promotion files, for editors and for readers in other languages.

Invariant: schemas/promotion.schema.json is this text; a test compares them.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from offramp.promote.promotion import FORMAT_VERSION, Promotion
from offramp.space.schema import DIALECT


def promotion_schema() -> dict[str, Any]:
    """The schema as JSON values; keys that the records do not have are refused."""
    schema = TypeAdapter(Promotion).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        part["additionalProperties"] = False
    schema["properties"]["schema_version"] = {"const": FORMAT_VERSION, "title": "Schema Version"}
    title = {"$schema": DIALECT, "title": "offramp promotion"}
    return {**title, **{name: value for name, value in schema.items() if name != "title"}}


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(promotion_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
