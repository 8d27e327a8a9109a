"""Names of models and their parts: snapshot dates, regions, and what a name says about a model's purpose.

Invariant: two names with one stem and one price stand for one model.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SNAPSHOT = re.compile(
    r"([-@](20\d{6}|20\d\d-\d\d-\d\d|\d{4}|00\d|\d\d-20\d\d)(-v\d+:\d+)?|@default|-latest|-v\d+:\d+)$"
)
_REGION = re.compile(r"(?<=/)(eu|us|apac|au|jp|global|global-standard|us-gov|[a-z]{2}(-gov)?-[a-z]+-\d)[./](?=[a-z])")

_TUNED = re.compile(r"(?P<provider>[a-z0-9_]+/)?ft:(?P<base>[^:/]+):.*")

SPECIAL = frozenset(
    {
        "audio", "tts", "realtime", "search", "research", "computer", "robotics", "image", "lyria", "guard",
        "safeguard", "moderation", "ocr", "transcribe", "live", "router", "container", "codex", "code", "coder",
        "codestral", "cyber", "law", "rosalind", "daybreak", "omni", "vision", "vl", "embed", "embedding", "math",
        "translate", "learnlm", "voxtral", "native", "customtools", "devstral", "leanstral", "vibe", "thinking",
        "fim", "build", "agent", "multi",
    }
)  # fmt: skip
"""Words in a name of a model that is made for one purpose and is not a general one."""

UNSETTLED = frozenset({"preview", "beta", "exp", "experimental", "latest", "alpha", "spot", "free", "labs"})
"""Words in a name of a model that may change or retire on short notice."""


_AS_DASH = str.maketrans(".@", "--")


def folded(name: str) -> str:
    """One form for spellings that differ in case, or in a dot or an at sign for a dash: `claude-3.5-haiku`."""
    return name.casefold().translate(_AS_DASH)


def stem(name: str) -> str:
    """A name without its snapshot date or version: `openai/gpt-4o-2024-08-06` is `openai/gpt-4o`."""
    return _SNAPSHOT.sub("", name)


def tuned_base(name: str) -> str | None:
    """The model that a tuned one was made from, with its provider: `ft:gpt-4o-2024-08-06:org::id` names it.

    None for a name that does not say so, and for a base that is not named alone.
    """
    found = _TUNED.fullmatch(name)
    return None if found is None else f"{found['provider'] or ''}{found['base']}"


@lru_cache(maxsize=1024)
def is_another(asked: str, answered: str) -> bool:
    """Whether the model that answered is not the one asked for: neither it, nor a snapshot or the target of an alias.

    A name that is pinned to a date is not answered by another date. Names of deployments and of model files are their
    owner's own and say nothing about what is behind them.
    """
    if asked.startswith(("azure/", "azure_ai/", "local/")) or answered.lower().endswith(".gguf"):
        return False
    one, other = _bare(asked), _bare(answered)
    if one == other:
        return False
    if one.endswith("-latest"):
        return not set(one.removesuffix("-latest").split("-")) <= set(other.split("-"))
    if stem(one) != stem(other):
        return not _dated(other, one) and not _dated(one, other)
    return stem(one) != one and stem(other) != other


def _dated(name: str, plain: str) -> bool:
    """Whether a name is another one with a date or version of two or more digits behind."""
    return re.fullmatch(re.escape(plain) + r"-(\d{2}-\d{2,4}|\d{3,8}|20\d\d-\d\d-\d\d)", name) is not None


def _bare(name: str) -> str:
    """Lower case, without provider, folders, region, vendor and variants (`:free`); dots and underlines as dashes."""
    last = re.sub(r"-v\d+:\d+$", "", name.rsplit("/", 1)[-1].casefold()).partition(":")[0]
    return re.sub(r"[._@]+", "-", re.sub(r"^(?:[a-z]+(?:-[a-z]+)*\.)+(?=[a-z])", "", last))


def region(route: str) -> str:
    """The part that says where a model runs, such as `eu` of `azure/eu/gpt-4o`; empty if the name has none."""
    found = _REGION.search(route)
    return found[1] if found else ""


def without_region(route: str) -> str:
    """The name without the part that says where the model runs."""
    return _REGION.sub("", route, count=1)


_PLACE = re.compile(r"^(us-gov|us|eu|apac|global|au|jp)\.(?=[a-z])")
_MAKER = re.compile(r"^[a-z0-9]+\.(?=[a-z])")
_NUMBER = re.compile(r"(?<!\d)\d{1,2}(?![\d]*[bBkK\d])")


def own_name(route: str) -> str:
    """A model's name without provider, folders, region and the vendor before a dot."""
    last = (tuned_base(route) or route).rpartition("/")[2]
    return _MAKER.sub("", _PLACE.sub("", last))


def family(route: str) -> str:
    """The first word of a model's own name: `claude` of `bedrock/us.anthropic.claude-sonnet-5`; empty without one."""
    return re.split(r"[^A-Za-z]", own_name(route))[0].casefold()


def generation(route: str) -> tuple[int, ...]:
    """The numbers of a version in a name, to compare models of one family: (4, 5) of `claude-sonnet-4-5-20250929`."""
    return tuple(map(int, _NUMBER.findall(stem(own_name(route)))))


def words(name: str) -> frozenset[str]:
    """The words of a name in lower case, without the provider."""
    return frozenset(re.split(r"[^a-z0-9]+", name.partition("/")[2].lower() or name.lower()))
