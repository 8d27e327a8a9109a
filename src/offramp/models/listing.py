"""The catalogue as rows for people: what can be searched, at which price, and for how long.

Invariant: a listing fetches nothing, imports no model library and reads no key, only whether one is there.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from offramp.models import embedded, keys
from offramp.models.catalogue import resolve
from offramp.models.gguf_files import EMBEDDED
from offramp.models.table import TableRow, load_table
from offramp.records import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model as listed.

    Attributes:
        price, context_tokens, max_output_tokens, retirement_date: None where not known.
        days_left: until the retirement date; negative once it has passed; None where there is no date.
        runs_here: it could be called now: a key (or the address of a server of one's own) is in the environment, or it
            is embedded and llama.cpp is installed.
        pulled: whether an embedded model's file is here; None for others.
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
        search: only names that contain this text, whatever its case.
        today: what days are counted from; the current UTC date by default.
    """
    day = today or datetime.datetime.now(datetime.UTC).date()
    rows = [*_embedded_rows(), *_hosted_rows(day)]
    return [row for row in rows if _wanted(row, everything, provider, search)]


def _wanted(row: ModelRow, everything: bool, provider: str | None, search: str | None) -> bool:
    if provider is not None and row.provider != provider:
        return False
    if search is not None and search.lower() not in row.name.lower():
        return False
    return everything or row.runs_here or row.provider == "local"


def _embedded_rows() -> Iterable[ModelRow]:
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
            pulled=embedded.is_pulled(known.name),
        )


def _hosted_rows(day: datetime.date) -> Iterable[ModelRow]:
    rows = load_table().chat_rows()
    callable_now = {name: keys.has_key(name) for name in {row.provider for row in rows}}
    return [_hosted_row(row, day, callable_now[row.provider]) for row in rows]


def _hosted_row(row: TableRow, day: datetime.date, runs_here: bool) -> ModelRow:
    return ModelRow(
        name=row.route,
        provider=row.provider,
        price=row.price,
        context_tokens=row.context_tokens,
        max_output_tokens=row.max_output_tokens,
        retirement_date=row.retirement_date,
        days_left=days_left(row.retirement_date, day),
        runs_here=runs_here,
    )


def days_left(retirement_date: str | None, day: datetime.date) -> int | None:
    """Days from `day` to an ISO date; None where there is none."""
    return None if retirement_date is None else (datetime.date.fromisoformat(retirement_date) - day).days
