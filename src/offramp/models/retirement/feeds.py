"""Feeds of retirement dates: files in the model-eol format, and answers of a LiteLLM proxy's `/model/deprecations`.

A feed speaks of a model at one provider: the date at OpenAI says nothing about the same model on Azure. Its own entries
for other providers (`distributions`) are announcements of their own.

Invariant: `read_feed` returns announcements or raises UsageError with file, key, what is there and what was expected.
Keys that are not known are passed over, as the format asks of its readers.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from offramp.errors import UsageError, problem
from offramp.models.retirement.notices import is_link

MOST_BYTES = 16 * 1024 * 1024
_FORMATS = "a model-eol feed, or what `/model/deprecations` of a LiteLLM proxy returns"
_PROVIDERS = {
    "google": ("gemini",),
    "openai": ("openai", "text-completion-openai"),
    "cohere": ("cohere", "cohere_chat"),
    "amazon": ("bedrock", "amazon_nova"),
    "azure-ai-foundry": ("azure", "azure_ai"),
    "aws-bedrock": ("bedrock",),
    "vertex-ai": ("vertex_ai",),
}
"""Publishers and channels of feeds, as LiteLLM names the provider; others have the same name there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """One retirement that a feed, or a reply of the provider, announces.

    Attributes:
        ids: names of the model at these providers, without the provider, or whole.
        providers: as LiteLLM names them; every one where empty.
        groups: names that a proxy gives to the model.
        names: that the user gave to the model.
        tentative: a day before which it will not retire, without a notice.
        replied: ISO date of the reply that said so; None for a feed.
    """

    ids: frozenset[str]
    providers: frozenset[str]
    date: datetime.date
    groups: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    announced: str | None = None
    source: str | None = None
    successors: tuple[str, ...] = ()
    note: str | None = None
    tentative: bool = False
    replied: str | None = None

    def about(self, spellings: Iterable[str], provider: str | None) -> bool:
        """Whether one of the spellings is this model.

        Args:
            provider: that the table knows the model from; None where it does not know it.
        """
        return any(self._is(spelling, provider) for spelling in spellings)

    def _is(self, spelling: str, provider: str | None) -> bool:
        if spelling in self.names:
            return True
        first, slash, rest = spelling.partition("/")
        if slash and (spelling in self.ids or (first in self.providers and _bare(rest) in self.ids)):
            return True
        if not slash and _bare(spelling) in self.ids and (provider is None or provider in self.providers):
            return True
        if first == "litellm_proxy":
            return rest in self.groups
        return provider is None and (spelling in self.groups or (first == "openai" and rest in self.groups))


def _bare(name: str) -> str:
    """As a publisher names the model: without region, vendor and version that Bedrock adds, `@` as a dash."""
    last = re.sub(r"-v\d+:\d+$", "", name.rsplit("/", 1)[-1])
    return re.sub(r"^(?:[a-z]+(?:-[a-z]+)*\.)+(?=[a-z])", "", last).replace("@", "-")


# ----------------------------------------------------------------------------------------------- the files


_Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Clock(_Part):
    announced: datetime.date | None = None
    shutdown: datetime.date | None = None
    date_precision: str | None = None
    source: str | None = None


class _Distribution(_Clock):
    via: _Text
    status: str | None = None


class _Entry(_Clock):
    id: _Text
    aliases: list[_Text] = []
    replacement: str | None = None
    replacement_options: list[str] = []
    replacement_note: str | None = None
    notes: str | None = None
    distributions: list[_Distribution] = []


class _ModelEol(_Part):
    spec: _Text
    publisher: _Text
    generated: datetime.datetime
    source: str | None = None
    models: list[_Entry]


class _Deployment(_Part):
    model_name: _Text
    team_public_model_name: str | None = None
    litellm_model: str | None = None
    deprecation_date: datetime.date
    litellm_provider: str | None = None
    successor_model: str | None = None
    deprecation_source: str | None = None


class _Proxy(_Part):
    deprecated: list[_Deployment] = []
    imminent: list[_Deployment] = []
    upcoming: list[_Deployment] = []


_Kind = TypeVar("_Kind", _ModelEol, _Proxy)


def read_feeds(paths: Sequence[Path]) -> tuple[Announced, ...]:
    """The announcements of several feeds, in their order. Raises UsageError."""
    return tuple(item for path in paths for item in read_feed(path))


def read_feed(path: Path) -> tuple[Announced, ...]:
    """The announcements of one feed.

    Raises:
        UsageError: the file cannot be read, or is not a feed.
    """
    where, raw = str(path), _json(path)
    if isinstance(raw, dict) and ("spec" in raw or "models" in raw):
        feed = _valid(_ModelEol, raw, where)
        if not feed.spec.startswith("model-eol/0."):
            raise UsageError(problem(f"{where}: spec", "another format", got=feed.spec, expected="model-eol/0.1"))
        return tuple(item for entry in feed.models for item in _announced(entry, feed))
    if isinstance(raw, dict) and raw.keys() & _Proxy.model_fields.keys():
        proxy = _valid(_Proxy, raw, where)
        return tuple(map(_of_deployment, (*proxy.deprecated, *proxy.imminent, *proxy.upcoming)))
    got = f"an object with {sorted(map(str, raw))[:6]}" if isinstance(raw, dict) else _said(raw)
    do = "Name the feed itself with --feed, not a page about it or the error message of a server."
    raise UsageError(problem(where, f"is not a feed of retirements (got {got})", expected=_FORMATS, do=do))


def _json(path: Path) -> Any:
    where = str(path)
    if where.startswith(("http:/", "https:/")):
        do = "Save it first, for example with `curl -o feed.json ADDRESS`, and name the file."
        raise UsageError(problem("--feed", "is an address; feeds are read from files", got=where, do=do))
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(problem(where, f"the feed cannot be read ({why})", do="Check the path.")) from None
    if len(content) > MOST_BYTES:
        raise UsageError(problem(where, "the feed is too large", expected=f"at most {MOST_BYTES:,} bytes"))
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(problem(where, "the feed is not UTF-8", expected="JSON", do="Fetch it again.")) from None
    except json.JSONDecodeError as error:
        what, got = f"the feed is not JSON ({error.msg})", content[:40].decode("utf-8", "replace")
        raise UsageError(
            problem(f"{where}:{error.lineno}", what, got=got, expected=_FORMATS, do="Fetch it again.")
        ) from None
    except RecursionError:
        raise UsageError(problem(where, "the feed is nested too deeply", expected=_FORMATS)) from None


def _valid(kind: type[_Kind], raw: Any, where: str) -> _Kind:
    """Raises UsageError that names the first key that is wrong, and how many more are."""
    try:
        return kind.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first, *more = error.errors(include_url=False)
        key = ".".join(map(str, first["loc"])) or "the file"
        expected = first["msg"][:1].lower() + first["msg"][1:]
        got = None if first["type"] == "missing" else _said(first["input"])
        what = f"{key} is missing" if got is None else f"{key} is {got}"
        do = f"Fetch the feed again, or correct it{f'; {len(more)} more keys are wrong' if more else ''}."
        raise UsageError(problem(where, what, expected=f"{_FORMATS} ({expected})", do=do)) from None


def _said(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _announced(entry: _Entry, feed: _ModelEol) -> Iterator[Announced]:
    """One at the publisher, if it has a date, and one at each channel that has."""
    ids = frozenset(name for given in (entry.id, *entry.aliases) for name in (given, re.sub("^ft-", "ft:", given)))
    publisher = _PROVIDERS.get(feed.publisher, (feed.publisher,))
    named = [entry.replacement] if entry.replacement else entry.replacement_options
    note = " ".join(text for text in (entry.notes, entry.replacement_note) if text)
    if entry.shutdown is not None:
        yield _one(
            entry, entry.shutdown, ids, publisher, note=note, source=feed.source,
            successors=tuple(f"{publisher[0]}/{name}" for name in named if name),
        )  # fmt: skip
    for channel in entry.distributions:
        gone = feed.generated.date() if channel.status == "retired" else None
        if (date := channel.shutdown or gone) is not None:
            providers = _PROVIDERS.get(channel.via, (channel.via.replace("-", "_"),))
            yield _one(channel, date, ids, providers, source=entry.source)


def _one(
    clock: _Clock, date: datetime.date, ids: frozenset[str], providers: Sequence[str], *, note: str = "",
    source: str | None, successors: tuple[str, ...] = (),
) -> Announced:  # fmt: skip
    precise = "On this day at the earliest." if clock.date_precision == "earliest" else ""
    return Announced(
        ids=ids,
        providers=frozenset(providers),
        date=date,
        announced=None if clock.announced is None else clock.announced.isoformat(),
        source=_link(clock.source) or _link(source),
        successors=successors,
        note=" ".join(filter(None, (precise, note))) or None,
        tentative=clock.date_precision == "tentative",
    )


def _of_deployment(one: _Deployment) -> Announced:
    route = one.litellm_model or ""
    provider = one.litellm_provider or (route.partition("/")[0] if "/" in route else None)
    ids = {route, route.removeprefix(f"{provider}/")} if route else set()
    return Announced(
        ids=frozenset(ids),
        providers=frozenset([provider] if provider else ()),
        groups=frozenset(filter(None, (one.model_name, one.team_public_model_name))),
        date=one.deprecation_date,
        source=_link(one.deprecation_source),
        successors=(one.successor_model,) if one.successor_model else (),
    )


def _link(text: str | None) -> str | None:
    return text if text and is_link(text) else None
