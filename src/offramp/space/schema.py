"""Generated from the models of the space file: its JSON schema for editors, and the tables of docs/space-file.md.

The page marks a table with `<!-- keys: ModelName -->` and `<!-- end -->`; only the text between them is written.

Invariant: schemas/space.schema.json and the tables are exactly this text; tests compare them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from offramp.space import model as models
from offramp.space.annotations import describe, kinds_of_field
from offramp.space.model import SpaceFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MARKED = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def space_schema() -> dict[str, Any]:
    """The schema as JSON values, without an `$id`: it belongs to the release that it came with."""
    schema = SpaceFile.model_json_schema()
    title = {"$schema": DIALECT, "title": "offramp space file"}
    return {**title, **{name: value for name, value in schema.items() if name != "title"}}


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(space_schema(), indent=2, ensure_ascii=False) + "\n"


# ------------------------------------------------------------------------------------------ tables of the page


def filled(page: str) -> str:
    """The page with every marked table rewritten. Raises KeyError for a model that does not exist."""
    return _MARKED.sub(lambda match: f"{match[1]}{table(part(match[2]))}{match[3]}", page)


def part(name: str) -> type[BaseModel]:
    """A model of the space file by the name of its class."""
    found = vars(models).get(name)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise KeyError(name)
    return found


def parts() -> list[type[BaseModel]]:
    """Every model that a space file can hold."""
    own = [value for value in vars(models).values() if isinstance(value, type) and value.__module__ == models.__name__]
    return [value for value in own if issubclass(value, BaseModel) and not value.__name__.startswith("_")]


def table(cls: type[BaseModel]) -> str:
    """The keys of one part as a Markdown table."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in cls.model_fields.items():
        cells = (f"`{name}`", describe(kinds_of_field(field)), _default(field), field.description or "")
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        stated = value.model_dump(mode="json", include=value.model_fields_set)
        return f"`{_flow(stated)}`" if stated else "its defaults"
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)
