"""From what a space file names to a `Model` that can be called and priced.

Three kinds of names: an embedded model (`local/...`), a model of LiteLLM's table (with or without its provider in
front), and an alias for a server of one's own (`api_base`, perhaps `route`). What the file states wins over what the
catalogue knows.

Invariant: two spellings of one model get one route, so the ledger sees one model.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from offramp.errors import ModelError, nearest, problem
from offramp.models import capabilities, keys
from offramp.models.embedded import LOCAL_PRICE
from offramp.models.gguf_files import BY_NAME, embedded_model
from offramp.models.table import TableRow, load_table, valid_date
from offramp.records import Model, Price
from offramp.space.model import ModelPart

SERVED_CONTEXT_TOKENS = 8192
"""What one call to an embedded model may hold unless the space file says otherwise: memory grows with it."""

_OTHER_PROVIDERS = frozenset(
    {*keys.KEYLESS, "custom_openai", "openai_like", "litellm_proxy", "openrouter", "huggingface"}
)


def resolve(part: str | ModelPart, where: str) -> Model:
    """The model that a space file names.

    Args:
        part: a name, or a name with what the file adds.
        where: file and field, for messages.

    Raises:
        ModelError: nobody knows the name and the file gives neither `api_base` nor `price`, or what the file gives
            cannot be right.
    """
    given = ModelPart(name=part) if isinstance(part, str) else part
    _check(given, where)
    asked = given.route or given.name
    base = _embedded(asked, where) if asked.startswith("local/") else _hosted(asked, given, where)
    return _with_stated(replace(base, name=given.name), given, where)


def _check(given: ModelPart, where: str) -> None:
    if given.retirement_date is not None and valid_date(given.retirement_date) is None:
        what = f"{given.name}: retirement_date"
        raise ModelError(problem(where, what, got=given.retirement_date, expected="a date such as 2027-01-31"))
    if given.api_base is not None and not is_address(given.api_base):
        what = f"{given.name}: api_base"
        do = "Keys belong in an environment variable: name it with `api_key_env`."
        raise ModelError(problem(where, what, expected="an http or https address without user or password", do=do))


def is_address(text: str) -> bool:
    """Whether it is the address of a server, without anything secret in it."""
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
    if row is not None and not _hides_another(row, given):
        return _listed(row, asked, given.api_base)
    if given.api_base is None and given.price is None:
        raise _unknown(asked, where)
    route = asked if _provider_of(asked) else f"openai/{asked}"
    return Model(name=asked, route=route, api_key_env=keys.usual_key(route.split("/", 1)[0], given.api_base))


def _hides_another(row: TableRow, given: ModelPart) -> bool:
    """A server of one's own that calls its model as a vendor does: the vendor's price says nothing about it."""
    return keys.is_loopback(given.api_base) and row.provider not in keys.KEYLESS


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
    """What the file states wins."""
    if base.local:
        _check_local(base, given, where)
    return replace(
        base,
        api_base=given.api_base,
        api_key_env=given.api_key_env or base.api_key_env,
        price=base.price if given.price is None else Price(**given.price.model_dump()),
        supported_params=_stated_params(base, given),
        supports_json_schema=base.supports_json_schema
        if given.json_schema_output is None
        else given.json_schema_output,
        context_tokens=given.context_tokens or base.context_tokens,
        retirement_date=given.retirement_date or base.retirement_date,
    )


def _stated_params(base: Model, given: ModelPart) -> frozenset[str] | None:
    if given.supports is None:
        return base.supported_params
    changes_only = given.supports and all(name.startswith(("+", "-")) for name in given.supports)
    return capabilities.adjusted(capabilities.supported_params(base) if changes_only else None, given.supports)


def _check_local(base: Model, given: ModelPart, where: str) -> None:
    limit = embedded_model(base.route, where).context_tokens
    if given.api_base is not None:
        do = f"Leave api_base out, or give the server's model name as `route` in place of {base.route!r}."
        raise ModelError(problem(where, f"{given.name}: an embedded model has no api_base", do=do))
    if given.context_tokens is not None and given.context_tokens > limit:
        what = f"{given.name}: context_tokens"
        raise ModelError(problem(where, what, got=given.context_tokens, expected=f"at most {limit}", do="Lower it."))


def _provider_of(name: str) -> str | None:
    """The provider that a name begins with, or None where its first part is something else."""
    first = name.split("/", 1)[0] if "/" in name else ""
    known = {row.provider for row in load_table().by_key.values()} | set(keys.PROVIDER_KEYS) | _OTHER_PROVIDERS
    return first if first in known else None


def _unknown(name: str, where: str) -> ModelError:
    hint = nearest_models(name)
    do = f"{hint} " if hint else ""
    do += "For a server of your own give `api_base`; for a model newer than the table give `price`."
    expected = "a name of `offramp models --all`"
    return ModelError(problem(where, "no model has this name", got=name, expected=expected, do=do))


def nearest_models(name: str) -> str:
    """`Did you mean ...?` among chat models, those of the same provider first; empty where nothing is near."""
    routes = [row.route for row in load_table().chat_rows()]
    provider = _provider_of(name)
    if provider is not None and (hint := nearest(name, [r for r in routes if r.startswith(provider + "/")])):
        return hint
    keys_of_table = [row.key for row in load_table().chat_rows()]
    return nearest(name, [*BY_NAME, *routes, *keys_of_table])
