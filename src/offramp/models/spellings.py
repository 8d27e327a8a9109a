"""How LiteLLM, other tools and hosts spell the name of a model, and which names of the table that may be.

    provider in other words    openai:chat:gpt-4o, google/gemini-2.5-flash, vertex_ai_beta/gemini-2.5-flash
    how it is asked, or where  azure/responses/gpt-4o, bedrock/converse/..., bedrock/eu-west-1/..., arn:aws:bedrock:...
    case, dots and dashes      OpenAI/GPT-4o, claude-3.5-haiku
    whose model it is          openrouter/anthropic/claude-opus-4.1, github_copilot/gpt-4o

A tuned model, `ft:gpt-4o-mini-2024-07-18:org::id`, is served as long as its base is.

Invariant: a reading names the same model. What a host serves under weights that are open, and what Azure, Bedrock and
Vertex serve by their own dates, is nobody else's model.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from offramp.models import keys
from offramp.models.names import folded, stem, tuned_base
from offramp.models.retirement.policies import release_date
from offramp.models.table import Table

LONGEST = 200
"""Characters of a name; what is longer is none."""

_END = re.compile("[/:]")
_COLON = re.compile(r"(?P<provider>[A-Za-z][A-Za-z0-9_-]*):(?P<rest>[^/:@].*)")
_KIND = re.compile(r"(chat|responses|completions?|messages|text):(?=.)")
_VARIANT = re.compile(r":(free|nitro|floor|online|extended|thinking|beta|exacto)$")
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]*:\d*:(?:foundation-model|inference-profile)/(?P<model>[^/]+)")

_PROVIDERS = {
    "openai-chat": "openai", "openai-responses": "openai", "google": "gemini", "google-gla": "gemini",
    "google_genai": "gemini", "google-vertex": "vertex_ai", "google_vertexai": "vertex_ai", "vertex": "vertex_ai",
    "google_anthropic_vertex": "vertex_ai", "vertex_ai_beta": "vertex_ai", "azureopenai": "azure",
    "azure_openai": "azure", "bedrock_converse": "bedrock", "cohere": "cohere_chat", "together": "together_ai",
    "fireworks": "fireworks_ai", "grok": "xai", "x-ai": "xai",
}  # fmt: skip
"""What pydantic-ai, LangChain, promptfoo, OpenRouter and LiteLLM itself call the providers of the table."""

_COLON_PROVIDERS = {**_PROVIDERS, "mistralai": "mistral"}
_VENDORS = {
    **_COLON_PROVIDERS, "moonshotai": "moonshot", "deepseek-ai": "deepseek", "z-ai": "zai", "ai21": "ai21_chat",
}  # fmt: skip
"""The same behind a router; alone before a slash they are also organisations of Hugging Face."""

_ROUTERS = frozenset(
    {
        "openrouter", "litellm_proxy", "litellm", "gateway", "vercel", "vercel_ai_gateway", "portkey", "helicone",
        "github", "github_copilot",
    }
)  # fmt: skip
"""They pass a request on to the vendor whose model it names."""

_OWN_DATES = keys.KEYLESS | {
    "openai", "text-completion-openai", "azure", "azure_ai", "bedrock", "bedrock_mantle", "vertex_ai", "anthropic",
    "gemini", "xai", "chatgpt", "custom_openai", "openai_like", "sagemaker",
}  # fmt: skip
"""Vendors, clouds with dates of their own, and servers of the user's."""

_CLOSED = {
    "openai": re.compile(r"gpt-(?!oss)\d.*|chatgpt-.*|o\d(-.*)?", re.IGNORECASE),
    "anthropic": re.compile(r"claude-.*", re.IGNORECASE),
    "gemini": re.compile(r"gemini-.*", re.IGNORECASE),
    "xai": re.compile(r"grok-.*", re.IGNORECASE),
}
"""Names of models that only their vendor has, whoever passes them on."""

_HOW = re.compile(r"(?:responses|chat|completions?|messages|text)/(?=.)")
_HOW_ON = {
    "bedrock": re.compile(
        r"(?:(?:converse|converse_like|invoke|async_invoke|nova|llama|openai|deepseek_r1|[a-z]{2}(?:-gov)?-[a-z]+-\d)/"
        r"|(?:us-gov|us|eu|apac|global|au|jp|ca)\.(?=[a-z0-9]+\.))(?=.)"
    ),
    "vertex_ai": re.compile(r"(?:google|publishers/[a-z0-9-]+/models)/(?=.)"),
}
"""What stands between a provider and a model: the interface, the region, the publisher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """Names of a table.

    Attributes:
        providers: who serves models that answer messages.
        first: what a name in another spelling can begin with, in lower case.
        by_folded: names by `folded`. newest: the newest dated one, by `folded` of the name without its date.
    """

    providers: frozenset[str]
    first: frozenset[str]
    by_folded: Mapping[str, str]
    newest: Mapping[str, str]


@functools.lru_cache(maxsize=4)
def _names(table: Table) -> _Names:
    providers = frozenset(row.provider for row in table.by_route.values() if row.chat)
    by_folded: dict[str, str] = {}
    for name in (*table.by_route, *table.by_key, *table.aliases):
        by_folded.setdefault(folded(name), name)
    dated = sorted((day, route) for route in table.by_route if (day := release_date(route)) is not None)
    return _Names(
        providers=providers,
        first=providers | _VENDORS.keys() | _ROUTERS | {"arn", "ft"},
        by_folded=by_folded,
        newest={folded(stem(route)): route for _, route in dated},
    )


def providers_of(table: Table) -> Collection[str]:
    """Who serves the models of the table that answer messages."""
    return _names(table).providers


def may_be_read(name: str, table: Table) -> bool:
    """Whether a name can have another reading than itself: a cheap look, for texts that are names of nothing."""
    known = _names(table)
    return (
        folded(name) in known.by_folded
        or (end := _END.search(name)) is None
        or name[: end.start()].casefold() in known.first
    )


def readings(name: str, table: Table) -> Iterator[str]:
    """The names that it may have in the table, the likeliest first: as written, then without what others add.

    They need not be in the table. A name that no table can have is its only reading.
    """
    yield name
    known = _names(table)
    if len(name) > LONGEST:
        return
    seen, waiting = {name}, deque([name])
    while waiting:
        for other in _simpler(waiting.popleft(), known):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
                yield other


def _simpler(name: str, known: _Names) -> Iterator[str]:
    """What one step of reading makes of a name."""
    if (listed := known.by_folded.get(folded(name), name)) != name:
        yield listed
    end = _END.search(name)
    head = name[: end.start()] if end else name
    if end is None:
        yield from ([f"vertex_ai/{name}"] if "@" in name else _of_makers(name))
    elif head.casefold() not in known.first:
        return
    elif name.startswith("ft:"):
        if tuned_base(name) is not None:
            yield f"openai/{name}"
    elif (arn := _ARN.fullmatch(name)) is not None:
        yield f"bedrock/{arn['model']}"
    elif (spelled := _COLON.fullmatch(name)) is not None:
        provider = _COLON_PROVIDERS.get(head.casefold(), head.casefold())
        if provider in known.providers or provider in _ROUTERS:
            yield f"{provider}/{_KIND.sub('', spelled['rest'], count=1)}"
    elif end[0] == "/":
        yield from _behind_slash(head, name[len(head) + 1 :], known)


def _behind_slash(head: str, rest: str, known: _Names) -> Iterator[str]:
    provider = _PROVIDERS.get(head.casefold(), head.casefold())
    if provider != head:
        own = _CLOSED.get(provider) if provider == "gemini" else None  # google/gemma-... is a repository
        if rest and (own is None or own.fullmatch(rest)) and (provider in known.providers or provider in _ROUTERS):
            yield f"{provider}/{rest}"
        return
    if rest.startswith("arn:"):
        yield rest
        return
    for how in (_HOW_ON.get(provider), _HOW):
        if how is not None and (found := how.match(rest)) is not None:
            yield f"{provider}/{rest[found.end() :]}"
    if provider == "azure_ai":
        yield f"azure/{rest}"
    if rest and provider not in _OWN_DATES and (provider in known.providers or provider in _ROUTERS):
        yield from _of_vendor(provider, _VARIANT.sub("", rest), known)


def _of_vendor(host: str, rest: str, known: _Names) -> Iterator[str]:
    """The model of a vendor that a router or another host passes requests on to."""
    first, _, more = rest.partition("/") if "/" in rest else rest.partition(".")
    vendor = _VENDORS.get(first.casefold(), first.casefold())
    if more and vendor in known.providers and ("/" in rest or vendor in _CLOSED):
        if host in _ROUTERS or _is_closed(vendor, more):
            yield from _with_snapshot(f"{vendor}/{more}", known)
    elif "/" not in rest:
        for route in _of_makers(rest):
            yield from _with_snapshot(route, known)
    if host in _ROUTERS:
        yield rest


def _of_makers(name: str) -> Iterator[str]:
    return (f"{maker}/{name}" for maker in _CLOSED if _is_closed(maker, name))


def _is_closed(vendor: str, name: str) -> bool:
    return vendor in _CLOSED and _CLOSED[vendor].fullmatch(name) is not None


def _with_snapshot(name: str, known: _Names) -> Iterator[str]:
    """Routers leave the date out of a name that its vendor dates."""
    yield name
    if folded(name) not in known.by_folded and (dated := known.newest.get(folded(name))) is not None:
        yield dated
