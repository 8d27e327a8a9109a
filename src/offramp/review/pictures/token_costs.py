"""What a run costs by class of token, at today's prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Aggregate, Price, Usage
from offramp.review.rows import Row
from offramp.study.domain.members import Member
from offramp.study.wording import per_thousand

WIDTH = 600.0
CLASSES = ("input", "cached input", "cache writes", "output", "reasoning", "computing", "other models and prices")
_REST = 0.01  # of the cost; what is below is rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One class of a candidate's cost: its number in `CLASSES`, where its bar begins, how wide it is, and in words."""

    number: int
    x: float
    width: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBar:
    """The cost of one candidate in parts."""

    row: Row
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCosts:
    """Bars over one axis; `used` are the classes that any of them has."""

    bars: tuple[CostBar, ...]
    used: tuple[tuple[int, str], ...]


def token_costs(rows: Sequence[Row], prices: Mapping[str, Price | None]) -> TokenCosts | None:
    """The bars of these candidates; None where no cost is known.

    Args:
        prices: by candidate, at the tier that it asks for.
    """
    parts = {row.id: _as_shown(row.member, prices.get(row.id)) for row in rows}
    most = max((sum(found) for found in parts.values()), default=0.0)
    if most <= 0:
        return None
    bars = []
    for row in rows:
        at, drawn = 0.0, []
        for number, usd in enumerate(parts[row.id]):
            if usd > 0:
                width = round(WIDTH * usd / most, 2)
                drawn.append(Part(number=number, x=at, width=width, words=f"{CLASSES[number]} {per_thousand(usd)}"))
                at = round(at + width, 2)
        if drawn:
            bars.append(CostBar(row=row, parts=tuple(drawn)))
    used = sorted({part.number for bar in bars for part in bar.parts})
    return TokenCosts(bars=tuple(bars), used=tuple((number, CLASSES[number]) for number in used))


def _as_shown(member: Member, price: Price | None) -> list[float]:
    """The parts in the proportions of its own rows; their sum is the cost that is shown, which is as on all rows."""
    own = member.search.cost_usd
    factor = member.cost_usd / own if own and member.cost_usd else 1.0
    return [factor * usd for usd in cost_parts(member.search, price)]


def cost_parts(seen: Aggregate, price: Price | None) -> list[float]:
    """USD of one run by class, in the order of `CLASSES`; their sum is the mean cost. Zeros where it is not known."""
    if seen.cost_usd is None or seen.usage is None or price is None or not seen.n:
        return [0.0] * len(CLASSES)
    flat, usage = price.flat, seen.usage
    classes = (
        Usage(input_tokens=usage.input_tokens), Usage(cached_input_tokens=usage.cached_input_tokens),
        Usage(cache_write_tokens=usage.cache_write_tokens), Usage(output_tokens=usage.output_tokens),
        Usage(reasoning_tokens=usage.reasoning_tokens),
    )  # fmt: skip
    computing = price.compute_usd_per_hour is not None
    found = [0.0 if computing else (flat.cost_usd(one) or 0.0) / seen.n for one in classes]
    found.append((flat.cost_usd(usage) or 0.0) / seen.n if computing else 0.0)
    rest = seen.cost_usd - sum(found)
    return [*found, rest if rest > _REST * seen.cost_usd else 0.0]
