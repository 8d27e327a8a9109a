"""Models that could replace one that retires: the same abilities, enough context, a longer life.

A few, ranked: what your own notice names (also where the table does not have it), what the vendor names, then models of
the same provider, then of others; of each, those of the same family that are not older come first, then by how near the
price is. Only text models made for the same purpose, as far as a name tells, are considered.

Invariant: a successor can do what the promoted config asks for, as far as the table says, and does not retire within
`MARGIN_DAYS` after the one that leaves (or after today, where that is later).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from offramp.lifecycle.in_use import cost_usd_1k
from offramp.models import keys
from offramp.models.acceptance import accepted
from offramp.models.capabilities import supported_params
from offramp.models.embedded import LOCAL_PRICE
from offramp.models.gguf_files import BY_NAME, EMBEDDED, EmbeddedModel
from offramp.models.names import SPECIAL, UNSETTLED, family, generation, region, stem, without_region, words
from offramp.models.retirement.dates import Basis, Calendar, Retirement
from offramp.models.table import TableRow
from offramp.records import Model, Price, Usage

MARGIN_DAYS = 180
MOST = 5
_FROM_OTHERS = 2
_VENDORS = ("openai", "anthropic", "gemini", "mistral", "xai")
TYPICAL_1K = Usage(input_tokens=750_000, output_tokens=150_000)
"""A thousand runs of a feature of which nothing was measured; for ratios only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a model must be able to do.

    Attributes:
        route: the model that leaves.
        context_tokens: at least so many; None where not known.
        request_params: what is sent; a model that rejects some of it is a successor all the same, without them.
        usage_1k: a thousand runs, for the price ratio.
        cost_usd_1k: what they cost with the model that leaves; None where not known.
        requests_per_run: requests that share the prompt tokens of a run.
    """

    route: str
    context_tokens: int | None = None
    json_schema: bool = False
    request_params: Mapping[str, Any] = field(default_factory=dict)
    reasons: bool = False
    usage_1k: Usage = TYPICAL_1K
    cost_usd_1k: float | None = None
    requests_per_run: int = 1

    @property
    def provider(self) -> str:
        """Who serves the model that leaves."""
        return self.route.split("/", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """One possible successor.

    Attributes:
        name: to be used in a space file, and in `offramp migrate --to`.
        named_by: `notice` or `vendor` where one of these names it, else None.
        retirement_date: ISO date; None where not known. `estimated` marks a guess.
        price_ratio: its cost over that of the model that leaves, for the same tokens; None where not known.
        callable_now: whether the environment holds what is needed to call it.
        not_sent: parameters of the model that leaves which it does not accept and would not be sent.
        in_table: whether anything is known of it; if not, your own notice named it.
    """

    name: str
    provider: str
    named_by: str | None
    retirement_date: str | None
    estimated: bool
    context_tokens: int | None
    price: Price | None
    price_ratio: float | None
    callable_now: bool
    not_sent: tuple[str, ...] = ()
    in_table: bool = True


def successors(
    needs: Needs, leaves: Retirement | None, calendar: Calendar, today: datetime.date
) -> tuple[Successor, ...]:
    """At most `MOST` successors, the best first.

    Args:
        leaves: when the model goes, and what was named in its place; None where no date is known.
    """
    until = _until(leaves, today)
    elsewhere = [item for item in _named_elsewhere(needs, leaves, calendar) if _lives(item, until)][:MOST]
    if needs.provider == "local":
        return (*elsewhere, *_embedded(needs, leaves, calendar, today))
    fits = [row for row in calendar.table.chat_rows() if _fits(row, needs)]
    named = _named(leaves, calendar)
    found = [_successor(row, needs, calendar, named.get(row.route)) for row in fits]
    alive = [item for item in found if _lives(item, until)]
    asked = (_asked(item, needs) for item in _few(_one_each(alive, needs), needs))
    return (*elsewhere, *asked)[:MOST]


def _named_elsewhere(needs: Needs, leaves: Retirement | None, calendar: Calendar) -> Iterator[Successor]:
    """Models that your own notice names and that are not among those that are ranked."""
    if leaves is None or leaves.basis is not Basis.NOTICE:
        return
    for name in dict.fromkeys(leaves.successors):
        meant = calendar.meant(name)
        row = None if meant is None else calendar.table.find(meant)
        if name in BY_NAME:
            if needs.provider != "local":
                yield _own(BY_NAME[name], leaves, calendar)
        elif row is None:
            yield _unknown(name, calendar)
        elif needs.provider == "local":
            yield _successor(row, needs, calendar, "notice")


def _unknown(name: str, calendar: Calendar) -> Successor:
    own = calendar.retirement(name)
    provider = name.partition("/")[0] if "/" in name else ""
    return Successor(
        name=name,
        provider=provider,
        named_by="notice",
        retirement_date=None if own is None else own.date.isoformat(),
        estimated=own is not None and own.basis is Basis.ESTIMATE,
        context_tokens=None,
        price=None,
        price_ratio=None,
        callable_now=bool(provider) and keys.has_key(provider),
        in_table=False,
    )


def _asked(item: Successor, needs: Needs) -> Successor:
    """The successor with what it does not accept of the parameters that are sent."""
    if not needs.request_params:
        return item
    model = Model(name=item.name, route=item.name)
    _, rejected = accepted(model, needs.request_params)
    takes = supported_params(model)
    unknown = [name for name in needs.request_params if takes is not None and name not in takes]
    said = [f"{name}={needs.request_params[name]!r}" for name in unknown]
    return replace(item, not_sent=tuple(dict.fromkeys([*said, *(found.what for found in rejected)])))


def _until(leaves: Retirement | None, today: datetime.date) -> datetime.date:
    day = today if leaves is None else max(leaves.date, today)
    margin = datetime.timedelta(days=MARGIN_DAYS)
    return day + min(margin, datetime.date.max - day)


def _lives(item: Successor, until: datetime.date) -> bool:
    return item.retirement_date is None or datetime.date.fromisoformat(item.retirement_date) > until


def _fits(row: TableRow, needs: Needs) -> bool:
    """Whether it can do all that is asked, as far as the table says; what the table leaves open does not exclude it."""
    if stem(row.route) == stem(needs.route) or row.price is None or not row.price.known or not row.price.output_usd:
        return False
    if needs.context_tokens and row.context_tokens and row.context_tokens < needs.context_tokens:
        return False
    if (needs.json_schema and not row.supports_json_schema) or (needs.reasons and not row.supports_reasoning):
        return False
    return _same_purpose(row.route, needs.route)


def _same_purpose(route: str, leaving: str) -> bool:
    """A row for tuned models names no model that can be asked."""
    extra = words(route) - words(leaving)
    return "ft" not in words(route) and not extra & (SPECIAL | UNSETTLED)


def _successor(row: TableRow, needs: Needs, calendar: Calendar, named_by: str | None) -> Successor:
    own = calendar.retirement(row.route)
    return Successor(
        name=row.route,
        provider=row.provider,
        named_by=named_by,
        retirement_date=None if own is None else own.date.isoformat(),
        estimated=own is not None and own.basis is Basis.ESTIMATE,
        context_tokens=row.context_tokens,
        price=None if row.price is None else row.price.flat,
        price_ratio=_ratio(row.price, needs),
        callable_now=keys.has_key(row.provider),
    )


def _named(leaves: Retirement | None, calendar: Calendar) -> dict[str, str]:
    """Routes of the models that are named in its place, however they are spelt, each with who names them."""
    if leaves is None:
        return {}
    rows = (calendar.table.find(calendar.meant(name) or name) for name in leaves.successors)
    by = "notice" if leaves.basis is Basis.NOTICE else "vendor"
    return {row.route: by for row in rows if row is not None}


def _ratio(price: Price | None, needs: Needs) -> float | None:
    """At the service tier that is asked for; a model without it is asked at the standard one."""
    at_tier = None if price is None else price.for_tier(needs.request_params.get("service_tier")) or price
    after = cost_usd_1k(at_tier, needs.usage_1k, needs.requests_per_run)
    return None if not needs.cost_usd_1k or after is None else after / needs.cost_usd_1k


def _one_each(found: Iterable[Successor], needs: Needs) -> list[Successor]:
    """One name of a model: in the region of the one that leaves, else anywhere; the alias before its snapshots.

    Names of one provider with one price and one context are taken for one model, too.
    """
    wanted = region(needs.route)
    ordered = sorted(found, key=lambda item: _spelling_rank(item, wanted))
    by_stem = {stem(without_region(item.name)): item for item in reversed(ordered)}
    ordered = sorted(by_stem.values(), key=lambda item: _spelling_rank(item, wanted))
    return list({(item.provider, item.price, item.context_tokens): item for item in reversed(ordered)}.values())


def _spelling_rank(item: Successor, wanted_region: str) -> tuple[bool, bool, bool, int, str]:
    own = region(item.name)
    return (item.named_by is None, own != wanted_region, own != "", len(item.name), item.name)


def _few(found: Sequence[Successor], needs: Needs) -> Iterator[Successor]:
    """Named ones and those of the provider, with room kept for some of others."""
    ordered = sorted(found, key=lambda item: (*_rank(item, needs), item.name))
    same = [item for item in ordered if item.named_by or item.provider == needs.provider]
    others = [item for item in ordered if item not in same and _worth_showing(item, found)]
    room = min(_FROM_OTHERS, len(others))
    yield from same[: MOST - room]
    yield from others[: MOST - len(same[: MOST - room])]


def _worth_showing(item: Successor, found: Sequence[Successor]) -> bool:
    """Of other providers: those that can be called now; where none can, the vendors' own."""
    if any(other.callable_now for other in found):
        return item.callable_now
    return item.provider in _VENDORS


def _rank(item: Successor, needs: Needs) -> tuple[bool, bool, bool, float]:
    """Named first; then of its family and not older; then the nearest price: one of its class is the likeliest."""
    distance = abs(math.log(item.price_ratio)) if item.price_ratio else math.inf
    follows = family(item.name) == family(needs.route) and generation(item.name) >= generation(needs.route)
    return (item.named_by != "notice", item.named_by != "vendor", not follows, distance)


def _embedded(needs: Needs, leaves: Retirement | None, calendar: Calendar, today: datetime.date) -> Iterator[Successor]:
    """Other embedded models, in the order of one's own notice, then of the catalogue."""
    named = leaves.successors if leaves else ()
    until = _until(leaves, today)
    for known in sorted(EMBEDDED, key=lambda model: named.index(model.name) if model.name in named else len(named)):
        item = _own(known, leaves, calendar)
        if known.name != needs.route and _lives(item, until):
            yield item


def _own(known: EmbeddedModel, leaves: Retirement | None, calendar: Calendar) -> Successor:
    own = calendar.retirement(known.name)
    return Successor(
        name=known.name,
        provider="local",
        named_by="notice" if leaves and known.name in leaves.successors else None,
        retirement_date=None if own is None else own.date.isoformat(),
        estimated=False,
        context_tokens=known.context_tokens,
        price=LOCAL_PRICE,
        price_ratio=None,
        callable_now=True,
    )
