"""How other tools spell the name of a model, and which name of the table that is.

`openai:gpt-4o` and `openai:chat:gpt-4o` are `openai/gpt-4o`; behind `openrouter/openai/gpt-4o` is `openai/gpt-4o`; and
`ft:gpt-4o-mini-2024-07-18:org::id` is served as long as its base is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from offramp.models.names import tuned_base
from offramp.models.retirement.dates import Calendar
from offramp.models.table import Table

_COLON = re.compile(r"(?P<provider>[A-Za-z][A-Za-z0-9_-]*):(?P<rest>[^/:@].*)")
_KIND = re.compile(r"(chat|responses|completions?|messages|text):(?=.)")
_VARIANT = re.compile(r":(free|nitro|floor|online|extended|thinking|beta|exacto)$")
_TABLE_PROVIDERS = {
    "openai-chat": "openai", "openai-responses": "openai", "google": "gemini", "google-gla": "gemini",
    "google_genai": "gemini", "google-vertex": "vertex_ai", "google_vertexai": "vertex_ai", "vertex": "vertex_ai",
    "google_anthropic_vertex": "vertex_ai", "azureopenai": "azure", "azure_openai": "azure", "mistralai": "mistral",
    "bedrock_converse": "bedrock", "cohere": "cohere_chat", "together": "together_ai", "fireworks": "fireworks_ai",
    "grok": "xai",
}  # fmt: skip
"""What pydantic-ai, LangChain and promptfoo call the providers of the table."""
_ROUTERS = frozenset(
    {
        "openrouter",
        "litellm_proxy",
        "litellm",
        "gateway",
        "vercel",
        "vercel_ai_gateway",
        "portkey",
        "helicone",
        "github",
    }
)
"""They pass a request on to the vendor whose model it names."""


def readings(name: str, providers: Collection[str]) -> Iterator[str]:
    """The names that it may have in the table, the likeliest first: as written, then without what a tool adds.

    Args:
        providers: those of the table.
    """
    yield name
    if name.startswith("ft:"):
        if tuned_base(name) is not None:
            yield f"openai/{name}"
        return
    spelled = _COLON.fullmatch(name)
    if spelled is not None:
        provider = _TABLE_PROVIDERS.get(spelled["provider"], spelled["provider"])
        if provider in providers or provider in _ROUTERS:
            yield from readings(f"{provider}/{_KIND.sub('', spelled['rest'], count=1)}", providers)
        return
    provider, _, rest = name.partition("/")
    nested = provider in providers and "/" in rest and rest.partition("/")[0] in providers
    if rest and (nested or provider in _ROUTERS):
        yield from readings(_VARIANT.sub("", rest), providers)


def providers_of(table: Table) -> frozenset[str]:
    """Who serves the models of the table that answer messages."""
    return frozenset(row.provider for row in table.by_route.values() if row.chat)


def in_table(name: str, calendar: Calendar) -> str | None:
    """The first reading that the table has, itself or as the base of a tuned model; None where it has none."""
    if calendar.knows(name):
        return name
    return next((reading for reading in readings(name, providers_of(calendar.table)) if calendar.knows(reading)), None)
