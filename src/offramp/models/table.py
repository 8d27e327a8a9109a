"""LiteLLM's table of prices, context sizes and retirement dates, read as a file: importing litellm takes seconds.

Many people edit the table, so only what is certain is taken: a price has to be a finite number of at least 0, a date
has to be a date, and a model that also bills per request or per second has no known price per token.

Invariant: what the table does not say is None; a listed 0 is a price (some models are free), a missing one is not.
Prices of service tiers (`..._flex`) and of long prompts (`..._above_200k_tokens`, `tiered_pricing`) are the tiers and
steps of a `Price`. Known gap: longer-lived cache writes and prices by time of day.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from offramp.errors import ModelError, problem
from offramp.records import Price

FILE_NAME = "model_prices_and_context_window_backup.json"
CHAT_MODES = frozenset({"chat", "responses"})

_PRICES = {
    "input_usd": "input_cost_per_token",
    "cached_input_usd": "cache_read_input_token_cost",
    "cache_write_usd": "cache_creation_input_token_cost",
    "output_usd": "output_cost_per_token",
    "reasoning_usd": "output_cost_per_reasoning_token",
}
_OTHER_METERS = ("input_cost_per_request", "cost_per_second", "input_cost_per_second", "output_cost_per_second")
_PROVIDERS = {"bedrock_converse": "bedrock", "ai21": "ai21_chat"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One model of the table.

    Attributes:
        key: as in the table, with or without the provider in front.
        provider: as LiteLLM routes to it.
        mode: `chat`, `responses`, `embedding`, ...; None if not stated.
        price, context_tokens, max_output_tokens, retirement_date: None if unknown.
        openai_params: request parameters that the table lists; None if it lists none.
        retirement_source: web address of the vendor's announcement; None if the table gives none.
        successor: key of the model that the vendor recommends instead; None if it names none.
        media: what it takes beside text: `image`, `audio`, `file`.
        takes_sampling_params: False if the table says that temperature and similar parameters are rejected.
    """

    key: str
    provider: str
    mode: str | None
    price: Price | None
    context_tokens: int | None
    max_output_tokens: int | None
    retirement_date: str | None
    supports_json_schema: bool
    supports_reasoning: bool
    openai_params: frozenset[str] | None
    retirement_source: str | None = None
    successor: str | None = None
    takes_sampling_params: bool = True
    media: frozenset[str] = frozenset()

    @property
    def route(self) -> str:
        """The unambiguous LiteLLM name, provider first."""
        return self.key if self.key.split("/", 1)[0] == self.provider else f"{self.provider}/{self.key}"

    @property
    def chat(self) -> bool:
        """Whether it answers messages with text."""
        return self.mode in CHAT_MODES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The whole table by key and by route, and which version of it this is. One table equals itself alone.

    Attributes:
        aliases: rows by names that stand for them, such as `claude-sonnet-latest`.
    """

    by_key: Mapping[str, TableRow]
    by_route: Mapping[str, TableRow]
    version: str
    aliases: Mapping[str, TableRow] = field(default_factory=dict)

    def find(self, name: str) -> TableRow | None:
        """The row of a name: a key or route, with or without `openai/` in front, or the base of a tuned model.

        `ft:gpt-4o-2024-08-06:org::id` is billed as the table's `ft:gpt-4o-2024-08-06`.
        """
        bare = name.removeprefix("openai/")
        base = ":".join(bare.split(":")[:2]) if bare.startswith("ft:") else name
        for asked in (name, f"openai/{name}", base):
            row = self.by_route.get(asked) or self.by_key.get(asked) or self.aliases.get(asked)
            if row is not None:
                return row
        return None

    def chat_rows(self) -> list[TableRow]:
        """All models that answer messages, by route, without duplicates."""
        return [row for _, row in sorted(self.by_route.items()) if row.chat]


def load_table(path: Path | None = None) -> Table:
    """The table of the installed litellm, or of another file of that form. Each file is read once per process."""
    return _load(path or table_path())


def price_table_version() -> str:
    """Which price table is in use, for provenance: litellm's version and the first 12 characters of the sha256."""
    return load_table().version


def table_path() -> Path:
    """The file with the installed litellm's table. Raises ModelError without one."""
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (place := Path(folder) / FILE_NAME).is_file():
            return place
    raise ModelError(problem("models", f"litellm's {FILE_NAME} is not installed", do="Run `pip install litellm`."))


@functools.lru_cache(maxsize=4)
def _load(path: Path) -> Table:
    try:
        content = path.read_bytes()
        raw = json.loads(content)
    except (OSError, ValueError) as error:
        raise ModelError(problem(str(path), "cannot be read as a price table", do="Reinstall litellm.")) from error
    if not isinstance(raw, dict):
        raise ModelError(problem(str(path), "is not a price table", got=type(raw).__name__, expected="an object"))
    rows = [
        _row(key, facts)
        for key, facts in raw.items()
        if key != "sample_spec" and isinstance(facts, dict) and isinstance(facts.get("litellm_provider"), str)
    ]
    try:
        installed = importlib.metadata.version("litellm")
    except importlib.metadata.PackageNotFoundError:
        installed = "of unknown version"
    # A key that spells the route out overrides one to which the provider was added.
    by_route = {row.route: row for row in rows} | {row.route: row for row in rows if row.key == row.route}
    version = f"litellm {installed} sha256:{hashlib.sha256(content).hexdigest()[:12]}"
    by_key = {row.key: row for row in rows}
    return Table(by_key=by_key, by_route=by_route, version=version, aliases=_aliases(raw, by_key, by_route))


def _aliases(
    raw: Mapping[str, Any], by_key: Mapping[str, TableRow], by_route: Mapping[str, TableRow]
) -> dict[str, TableRow]:
    """The rows behind names such as `claude-sonnet-latest`, which stand for another row of the table."""
    found: dict[str, TableRow] = {}
    for name, facts in raw.items():
        target, seen = name, {name}
        while isinstance(facts, dict) and isinstance(facts.get("alias_of"), str):
            target = facts["alias_of"]
            if target in seen:  # a circle leads nowhere
                break
            seen.add(target)
            facts = raw.get(target)
        row = by_key.get(target) or by_route.get(target)
        if target != name and row is not None and name not in by_key:
            found[name] = row
    return found


_MEDIA = {"image": "supports_vision", "audio": "supports_audio_input", "file": "supports_pdf_input"}


def _row(key: str, facts: Mapping[str, Any]) -> TableRow:
    params, mode, provider = (facts.get(name) for name in ("supported_openai_params", "mode", "litellm_provider"))
    provider = "vertex_ai" if str(provider).startswith("vertex_ai-") else str(provider)
    return TableRow(
        key=key,
        provider=_PROVIDERS.get(provider, provider),
        mode=mode if isinstance(mode, str) else None,
        price=_price(facts, str(provider)),
        context_tokens=_count(facts.get("max_input_tokens")),
        max_output_tokens=_count(facts.get("max_output_tokens")),
        retirement_date=valid_date(facts.get("deprecation_date")),
        supports_json_schema=facts.get("supports_response_schema") is True,
        supports_reasoning=facts.get("supports_reasoning") is True,
        openai_params=frozenset(map(str, params)) if isinstance(params, list) else None,
        retirement_source=_text(facts.get("deprecation_source")),
        successor=_text(facts.get("successor_model")),
        takes_sampling_params=facts.get("supports_sampling_params") is not False,
        media=frozenset(kind for kind, fact in _MEDIA.items() if facts.get(fact) is True),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


_CLASS = "|".join(_PRICES.values())
_KEY = re.compile(
    rf"(?P<name>{_CLASS})(?:_(?P<tier>[a-z]+))?(?:_above_(?P<above>\d+)(?P<k>k?)_tokens)?(?:_(?P<last>[a-z]+))?"
)
_INPUT, _OUTPUT, _REASONING = (_PRICES[name] for name in ("input_usd", "output_usd", "reasoning_usd"))
_Rates = Mapping[str, float]


def _price(facts: Mapping[str, Any], provider: str) -> Price | None:
    """The price with its steps and tiers. A tier counts where the table states both its input and its output."""
    if any(_usd(facts.get(meter)) for meter in _OTHER_METERS):
        return None
    listed: dict[tuple[str | None, int], dict[str, float]] = {}
    for key, value in facts.items():
        usd, found = _usd(value), _KEY.fullmatch(key)
        if usd is None or found is None or (found["tier"] and found["last"]):
            continue
        above = int(found["above"] or 0) * (1000 if found["k"] else 1)
        above -= 1 if above and provider == "xai" else 0  # bills a step from that length on
        tier = found["tier"] or found["last"]
        listed.setdefault(("batch" if tier == "batches" else tier, above), {})[found["name"]] = usd
    flat = listed.get((None, 0), {})
    if ranges := _ranges(facts.get("tiered_pricing"), flat):
        first, *more = ranges
        return replace(_per_million(first[1]), steps=tuple((above, _per_million(rates)) for above, rates in more))
    if not flat:
        return None
    named = sorted(tier for tier, above in listed if tier and not above and {_INPUT, _OUTPUT} <= listed[tier, 0].keys())
    return replace(_with_steps(listed, None), tiers=tuple((tier, _with_steps(listed, tier)) for tier in named))


def _with_steps(listed: Mapping[tuple[str | None, int], _Rates], tier: str | None) -> Price:
    """The price of one tier.

    As LiteLLM bills, a class that it does not state at a step is the standard one of that step, else what it was below;
    reasoning is billed as output unless it has a price of its own.
    """
    standard = listed.get((None, 0), {})
    rates = dict(standard)
    if tier is not None:
        rates = {**{name: usd for name, usd in standard.items() if name != _REASONING}, **listed[tier, 0]}
    base, steps = _per_million(rates), []
    if rates.get(_REASONING) == rates.get(_OUTPUT):
        rates.pop(_REASONING, None)
    for above in sorted({above for name, above in listed if above and name in (None, tier)}):
        rates |= {**listed.get((None, above), {}), **listed.get((tier, above), {})}
        steps.append((above, _per_million(rates)))
    return replace(base, steps=tuple(steps))


def _ranges(tiered: Any, flat: _Rates) -> list[tuple[int, _Rates]]:
    """`tiered_pricing`, another way to state steps: the lower end of each range and its rates, from 0 up."""
    found: list[tuple[int, _Rates]] = []
    for part in tiered if isinstance(tiered, list) else ():
        ends = part.get("range") if isinstance(part, dict) else None
        rates = {name: usd for name in _PRICES.values() if (usd := _usd(part.get(name))) is not None} if ends else {}
        if _INPUT in rates and isinstance(ends, list) and _usd(ends[0]) is not None:
            output = {_OUTPUT: flat[_OUTPUT]} if _OUTPUT in flat else {}
            found.append((int(ends[0]), {**output, **rates}))
    found.sort(key=lambda one: one[0])
    return found if found and found[0][0] == 0 else []


def _per_million(rates: _Rates) -> Price:
    return Price.from_json({ours: round(rates[theirs] * 1e6, 9) for ours, theirs in _PRICES.items() if theirs in rates})


def _usd(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if value >= 1 else None


def valid_date(value: Any) -> str | None:
    """`value` if it is an ISO date such as 2026-10-14, else None."""
    try:
        return datetime.date.fromisoformat(value).isoformat() if isinstance(value, str) else None
    except ValueError:
        return None
