"""The models that can be searched: a name resolved into a `Model` that can be called and priced, and all models listed.

A name is an embedded model (`local/...`), a model of LiteLLM's table (with or without its provider in front), or an
alias for a server of the user's (`api_base`, perhaps `route`). What the file states overrides what the catalogue knows.

Invariants: two spellings of one model get one route, so the ledger sees one model. A listing fetches nothing, imports
no model library and reads no key, only whether there is one.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from offramp.errors import ModelError, nearest, problem
from offramp.models import capabilities, keys
from offramp.models.embedded import LOCAL_PRICE, is_pulled
from offramp.models.gguf_files import BY_NAME, EMBEDDED, embedded_model
from offramp.models.table import TableRow, load_table, valid_date
from offramp.records import Model, Price
from offramp.space.model import ModelPart

SERVED_CONTEXT_TOKENS = 8192
"""Context of one call to an embedded model unless the space file says otherwise: memory grows with it."""

_OTHER_PROVIDERS = frozenset(
    {*keys.KEYLESS, "custom_openai", "openai_like", "litellm_proxy", "openrouter", "huggingface"}
)


def resolve(part: str | ModelPart, where: str) -> Model:
    """The model that a space file names.

    Args:
        part: a name, or a name with what the file adds.
        where: file and field, for messages.

    Raises:
        ModelError: the name is unknown and the file gives neither `api_base` nor `price`, or the file states something
            that cannot be right.
    """
    given = ModelPart(name=part) if isinstance(part, str) else part
    if given.retirement_date is not None and valid_date(given.retirement_date) is None:
        what = f"{given.name}: retirement_date"
        raise ModelError(problem(where, what, got=given.retirement_date, expected="a date such as 2027-01-31"))
    if given.api_base is not None and not is_address(given.api_base):
        what = f"{given.name}: api_base"
        do = "Keys belong in an environment variable: name it with `api_key_env`."
        raise ModelError(problem(where, what, expected="an http or https address without user or password", do=do))
    asked = given.route or given.name
    base = _embedded(asked, where) if asked.startswith("local/") else _hosted(asked, given, where)
    return _with_stated(replace(base, name=given.name), given, where)


def is_address(text: str) -> bool:
    """Whether it is the http(s) address of a server, without a user or password in it."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _embedded(name: str, where: str) -> Model:
    known = embedded_model(name, where)
    return Model(
        name=name,
        route=name,
        revision=known.sha256,
        price=LOCAL_PRICE,
        supported_params=capabilities.LLAMA_CPP_PARAMS,
        supports_json_schema=True,
        context_tokens=min(known.context_tokens, SERVED_CONTEXT_TOKENS),
    )


def _hosted(asked: str, given: ModelPart, where: str) -> Model:
    row = load_table().find(asked)
    if row is not None and not row.chat:
        raise ModelError(
            problem(where, f"{asked} is not a chat model", got=row.mode, expected="mode chat or responses")
        )
    # A server on this machine may call its model as a vendor does: the vendor's price says nothing about it.
    is_own = row is not None and keys.is_loopback(given.api_base) and row.provider not in keys.KEYLESS
    if row is not None and not is_own:
        return _listed(row, asked, given.api_base)
    if given.api_base is None and given.price is None:
        do = "For a server of your own give `api_base`; for a model newer than the table give `price`."
        do = " ".join(filter(None, [nearest_models(asked), do]))
        expected = "a name of `offramp models --all`"
        raise ModelError(problem(where, "no model has this name", got=asked, expected=expected, do=do))
    route = asked if _provider_of(asked) else f"openai/{asked}"
    return Model(name=asked, route=route, api_key_env=keys.usual_key(route.split("/", 1)[0], given.api_base))


def _listed(row: TableRow, asked: str, api_base: str | None) -> Model:
    tuned = asked.removeprefix("openai/").startswith("ft:")
    route = f"openai/{asked.removeprefix('openai/')}" if tuned else row.route
    return Model(
        name=asked,
        route=route,
        api_key_env=keys.usual_key(row.provider, api_base),
        price=row.price,
        supports_json_schema=row.supports_json_schema,
        context_tokens=row.context_tokens,
        max_output_tokens=row.max_output_tokens,
        retirement_date=row.retirement_date,
    )


def _with_stated(base: Model, given: ModelPart, where: str) -> Model:
    """The model with what the file states about it."""
    if base.local:
        _check_local(base, given, where)
    params = base.supported_params
    if given.supports is not None:
        changes_only = given.supports and all(name.startswith(("+", "-")) for name in given.supports)
        params = capabilities.adjusted(capabilities.supported_params(base) if changes_only else None, given.supports)
    json_schema = base.supports_json_schema if given.json_schema_output is None else given.json_schema_output
    return replace(
        base,
        api_base=given.api_base,
        api_key_env=given.api_key_env or base.api_key_env,
        price=base.price if given.price is None else Price(**given.price.model_dump(), any_tier=True),
        supported_params=params,
        stated_params=capabilities.adjusted(None, given.supports or ()),
        supports_json_schema=json_schema,
        context_tokens=given.context_tokens or base.context_tokens,
        retirement_date=given.retirement_date or base.retirement_date,
    )


def _check_local(base: Model, given: ModelPart, where: str) -> None:
    limit = embedded_model(base.route, where).context_tokens
    if given.api_base is not None:
        do = f"Leave api_base out, or give the server's model name as `route` in place of {base.route!r}."
        raise ModelError(problem(where, f"{given.name}: an embedded model has no api_base", do=do))
    if given.context_tokens is not None and given.context_tokens > limit:
        what = f"{given.name}: context_tokens"
        raise ModelError(problem(where, what, got=given.context_tokens, expected=f"at most {limit}", do="Lower it."))


def _provider_of(name: str) -> str | None:
    """The provider that a name begins with; None if its first part is not a provider."""
    first = name.split("/", 1)[0] if "/" in name else ""
    known = {row.provider for row in load_table().by_key.values()} | set(keys.PROVIDER_KEYS) | _OTHER_PROVIDERS
    return first if first in known else None


def nearest_models(name: str) -> str:
    """`Did you mean ...?` among chat models, those of the same provider first; empty if nothing is near."""
    routes = [row.route for row in load_table().chat_rows()]
    provider = _provider_of(name)
    if provider is not None and (hint := nearest(name, [r for r in routes if r.startswith(provider + "/")])):
        return hint
    keys_of_table = [row.key for row in load_table().chat_rows()]
    return nearest(name, [*BY_NAME, *routes, *keys_of_table])


# ----------------------------------------------------------------------------------------------- all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model as listed.

    Attributes:
        price, context_tokens, max_output_tokens, retirement_date: None if unknown.
        days_left: until the retirement date; negative once it has passed; None if there is no date.
        runs_here: whether it could be called now: a key (or the address of a server of the user's) is in the
            environment, or it is embedded and llama.cpp is installed.
        pulled: whether the file of an embedded model has been pulled; None for other models.
    """

    name: str
    provider: str
    price: Price | None
    context_tokens: int | None
    max_output_tokens: int | None
    retirement_date: str | None
    days_left: int | None
    runs_here: bool
    pulled: bool | None = None


def list_models(
    *,
    everything: bool = True,
    provider: str | None = None,
    search: str | None = None,
    today: datetime.date | None = None,
) -> list[ModelRow]:
    """Embedded models, then the chat models of LiteLLM's table by name.

    Args:
        everything: False leaves out hosted models for which the environment holds no key.
        provider: only this one, such as `openai` or `local`.
        search: only names that contain this text, in upper or lower case.
        today: the day that `days_left` counts from; by default the current UTC date.
    """
    day = today or datetime.datetime.now(datetime.UTC).date()
    return [
        row
        for row in [*_embedded_rows(), *_hosted_rows(day)]
        if provider in (None, row.provider)
        and (search is None or search.lower() in row.name.lower())
        and (everything or row.runs_here or row.provider == "local")
    ]


def _embedded_rows() -> Iterator[ModelRow]:
    can_serve = importlib.util.find_spec("xllamacpp") is not None
    for known in EMBEDDED:
        model = resolve(known.name, "models")
        yield ModelRow(
            name=model.name,
            provider="local",
            price=model.price,
            context_tokens=model.context_tokens,
            max_output_tokens=None,
            retirement_date=None,
            days_left=None,
            runs_here=can_serve,
            pulled=is_pulled(known.name),
        )


def _hosted_rows(day: datetime.date) -> Iterator[ModelRow]:
    rows = load_table().chat_rows()
    callable_now = {name: keys.has_key(name) for name in {row.provider for row in rows}}
    for row in rows:
        yield ModelRow(
            name=row.route,
            provider=row.provider,
            price=row.price,
            context_tokens=row.context_tokens,
            max_output_tokens=row.max_output_tokens,
            retirement_date=row.retirement_date,
            days_left=days_left(row.retirement_date, day),
            runs_here=callable_now[row.provider],
        )


def days_left(retirement_date: str | None, day: datetime.date) -> int | None:
    """Days from `day` to an ISO date; None if there is no date."""
    return None if retirement_date is None else (datetime.date.fromisoformat(retirement_date) - day).days
