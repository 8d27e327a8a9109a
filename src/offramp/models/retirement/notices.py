"""A team's own notices of retirement: `lifecycle.yaml`, a file that it keeps next to its promotions.

A notice that came by mail, a date agreed for the team's own server, the policy of a vendor that offramp does not know:
this file overrides every other source. Names may be globs, and the first notice that matches counts.

Invariant: `read_notices` returns notices or raises UsageError with file, line and key of everything that is wrong.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from offramp.errors import UsageError, problem
from offramp.models.retirement.policies import Policy
from offramp.models.table import valid_date
from offramp.space.model import Whole
from offramp.space.schema import DIALECT
from offramp.space.validation import validated
from offramp.space.yaml_tree import MOST_BYTES, decode, read_tree

DEFAULT_FILE = Path("lifecycle.yaml")

SCHEMA_VERSION = 1

_Text = Annotated[str, Field(min_length=1)]
_Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Notice(_Part):
    """One model, or all that match a glob, and the day on which they retire."""

    model: _Text = Field(description="Model name as in a space file, or a glob such as `openai/gpt-4o*`.")
    retires: _Date = Field(description="First day on which the model no longer answers, such as 2027-01-31.")
    announced: _Date | None = Field(None, description="Day of the notice.")
    source: str | None = Field(None, description="Where the notice can be read: a web address.")
    successors: list[_Text] = Field(default_factory=list, description="Models to use instead, best first.")
    note: str | None = Field(None, description="Anything that people should know; it is shown with the date.")

    @field_validator("retires", "announced")
    @classmethod
    def _is_date(cls, value: str | None) -> str | None:
        if value is not None and valid_date(value) is None:
            raise ValueError("a date that exists")
        return value

    @field_validator("source")
    @classmethod
    def _is_link(cls, value: str | None) -> str | None:
        if value is not None and not is_link(value):
            raise ValueError("a web address that starts with https:// or http://")
        return value

    @property
    def date(self) -> datetime.date:
        """`retires` as a date."""
        return datetime.date.fromisoformat(self.retires)


class OwnPolicy(_Part):
    """How long, at least, a vendor serves its models, from the release date in a model's name."""

    models: _Text = Field(description="Glob over model names with their provider, such as `mistral/*`.")
    days_after_release: Whole = Field(ge=1, le=36_500, description="Days from release to the earliest retirement.")
    source: str = Field(description="Where the vendor says so: a web address.")

    @field_validator("source")
    @classmethod
    def _is_link(cls, value: str) -> str:
        if not is_link(value):
            raise ValueError("a web address that starts with https:// or http://")
        return value

    def policy(self) -> Policy:
        """The record that estimates are made with."""
        return Policy(models=self.models, days_after_release=self.days_after_release, source=self.source)


class LifecycleFile(_Part):
    """A team's own notices and policies."""

    schema_version: Literal[1] = Field(description="Version of the format; 1.")
    retirements: list[Notice] = Field(default_factory=list, description="Notices; the first that matches counts.")
    policies: list[OwnPolicy] = Field(default_factory=list, description="Policies; they come before the built-in ones.")
    feeds: list[_Text] = Field(
        default_factory=list, description="Feeds of retirements: files, relative to this one. Notices come before them."
    )


def is_link(text: str) -> bool:
    """Whether a text is a web address without spaces or control characters."""
    return text.startswith(("https://", "http://")) and text.isprintable() and " " not in text


def read_notices(path: Path | None) -> LifecycleFile:
    """The notices in a file; by default those of `lifecycle.yaml`, if it exists.

    Raises:
        UsageError: the named file is missing, or the file is wrong.
    """
    place = path or DEFAULT_FILE
    if path is None and not place.exists():
        return LifecycleFile(schema_version=1)
    where = str(place)
    try:
        with place.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        do = "Check the path given with --lifecycle."
        raise UsageError(problem(where, f"cannot be read ({error.strerror})", do=do)) from None
    text = decode(content, where)
    return validated(LifecycleFile, read_tree(text, where, version=SCHEMA_VERSION, first_key="retirements"), where)


def lifecycle_schema() -> Mapping[str, Any]:
    """The JSON schema of lifecycle files, for editors."""
    schema = LifecycleFile.model_json_schema()
    title = {"$schema": DIALECT, "title": "offramp lifecycle file"}
    return {**title, **{name: value for name, value in schema.items() if name != "title"}}


def schema_text() -> str:
    """The schema as the text of schemas/lifecycle.schema.json."""
    return json.dumps(lifecycle_schema(), indent=2, ensure_ascii=False) + "\n"
