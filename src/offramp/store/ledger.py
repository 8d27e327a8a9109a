"""The ledger of calls: every physical attempt, what it used and how it ended.

Rows are only ever added. Costs are not stored: tokens are, by price class, and are priced when read. An answer that any
study of this storage paid for is reused for the same request at no cost.

Invariant: what `find` returns was really received, with the latency and tokens of its own physical request.
"""

from __future__ import annotations

import enum
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from statistics import fmean, linear_regression
from typing import Any

import sqlalchemy as sa

from offramp.records import BATCH, STANDARD_TIERS, CallReply, Price, Purpose, Usage
from offramp.store.engine import Store
from offramp.store.long_texts import MOST_CHARS, cut_texts, sha256_of
from offramp.store.tables import calls, json_text

_log = logging.getLogger("offramp")
_USAGE = tuple(f.name for f in fields(Usage))


ESTIMATED = "estimated usage"
"""What the `error` of an answer whose tokens nobody counted begins with."""


class CallStatus(enum.StrEnum):
    """How one attempt ended."""

    OK = "ok"
    REFUSED = "refused"
    TOO_LONG = "too_long"
    RATE_LIMITED = "rate_limited"
    SERVER_FAILED = "server_failed"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    BROKEN_REPLY = "broken_reply"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    UNAUTHORIZED = "unauthorized"
    MODEL_NOT_FOUND = "model_not_found"
    QUOTA_EXHAUSTED = "quota_exhausted"
    INVALID_REQUEST = "invalid_request"
    REQUEST_REJECTED = "request_rejected"  # as seen by its caller; its attempts are recorded as invalid requests
    CANCELLED = "cancelled"  # the caller went away while the request was out
    CRASHED = "crashed"  # a defect of the program, recorded before it is raised again


ANSWERED = (CallStatus.OK, CallStatus.REFUSED, CallStatus.TOO_LONG)
"""Endings that another try would not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAttempt:
    """One physical attempt.

    Attributes:
        attempt: 1 for the first try of a request.
        latency_s: wall clock until the reply or the failure; None where it never left, and in a batch.
        queue_s: seconds it waited for its turn.
        started_at: UTC, ISO 8601.
        request_json: messages and params; None where texts are not kept.
        reply_text: None where there is no answer, or texts are not kept; with tool calls, an object of both. Read from
            the storage it has `cut` (characters and sha256 of the whole) where it was too long to keep.
        error: short class and scrubbed text; None for a plain success.
        answered_by, fingerprint, logprob: as in `CallReply`. service_tier: likewise, also of a request that failed.
    """

    request_hash: str
    study: str
    purpose: Purpose
    model: str
    provider: str
    replicate: int = 0
    attempt: int = 1
    status: CallStatus
    usage: Usage = field(default_factory=Usage)
    latency_s: float | None = None
    queue_s: float = 0.0
    started_at: str
    request_json: Any = None
    reply_text: str | Mapping[str, Any] | None = None
    finish_reason: str | None = None
    error: str | None = None
    answered_by: str | None = None
    fingerprint: str | None = None
    service_tier: str | None = None
    logprob: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotals:
    """Sums over the attempts of one study; `usage` is by (model, purpose)."""

    calls: int
    usage: Mapping[tuple[str, Purpose], Usage]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedTotals:
    """USD of some totals at some prices. A part whose price is unknown is None, and so is every sum it is in.

    Attributes:
        usd: all of it.
        by_model, by_purpose: parts.
    """

    usd: float | None
    by_model: Mapping[str, float | None]
    by_purpose: Mapping[Purpose, float | None]


def kept_text(reply: CallReply) -> str | dict[str, Any]:
    """An answer as the ledger has it."""
    return {"text": reply.text, "tool_calls": list(reply.tool_calls)} if reply.tool_calls else reply.text


_ADD = calls.insert()
_KEPT_ANSWER = (
    calls.c.status == CallStatus.OK,
    calls.c.reply_text.is_not(None),
    sa.type_coerce(calls.c.reply_text, sa.Text).not_like('{"cut":%'),
)
_NOT_BATCHED = sa.or_(calls.c.service_tier.is_(None), calls.c.service_tier != BATCH)
_BILLED_REFUSAL = (
    calls.c.status == CallStatus.REFUSED,
    sa.or_(calls.c.input_tokens > 0, calls.c.cached_input_tokens > 0, calls.c.output_tokens > 0),
)


class Ledger:
    """The ledger as one study writes it; reading spans every study of the storage.

    Args:
        timed: whether answers are needed with their latency: then those of batches, which have none, are not reused.
    """

    def __init__(
        self, store: Store, study: str, store_text: bool = True, most_chars: int = MOST_CHARS, *, timed: bool = False
    ) -> None:
        self._store, self.study, self._store_text, self._most_chars = store, study, store_text, most_chars
        self._kept = (*_KEPT_ANSWER, _NOT_BATCHED) if timed else _KEPT_ANSWER
        self._refused = (*_BILLED_REFUSAL, _NOT_BATCHED) if timed else _BILLED_REFUSAL
        known = sa.or_(sa.and_(*self._kept), sa.and_(*self._refused))
        asked = calls.c.request_hash.in_(sa.bindparam("hashes", expanding=True))
        self._find = sa.select(calls).where(asked, known).order_by(calls.c.id)
        self._said = False

    def find(self, request_hash: str) -> CallReply | None:
        """The earliest answer to this request that is stored as a whole, from any study; None where there is none."""
        row = self._first(request_hash, *self._kept)
        return None if row is None else _reply(row)

    def find_refusal(self, request_hash: str) -> CallAttempt | None:
        """The earliest refusal of this request that was billed; asking again would pay for it again."""
        row = self._first(request_hash, *self._refused)
        return None if row is None else _attempt(row)

    def find_many(
        self, conn: sa.Connection, hashes: Sequence[str]
    ) -> list[Callable[[], CallReply | CallAttempt | None]]:
        """For `Groups`: for each request the answer as `find`, else the refusal as `find_refusal`, else None."""
        found: dict[str, Any] = {}
        for row in conn.execute(self._find, {"hashes": list(set(hashes))}):
            first = found.setdefault(row.request_hash, row)
            if first.status != CallStatus.OK and row.status == CallStatus.OK:
                found[row.request_hash] = row
        return [partial(_found, found.get(request_hash)) for request_hash in hashes]

    def knows(self, request_hash: str) -> bool:
        """Whether this request was ever answered or refused, also where its texts were not kept."""
        return self._first(request_hash, calls.c.status.in_(ANSWERED)) is not None

    def has_answer_of(self, model: str) -> bool:
        """Whether a model, by its name, has answered any request of this study."""
        c = calls.c
        where = (c.study == self.study, c.model == model, c.status == CallStatus.OK)
        with self._store.reading() as conn:
            return conn.scalar(sa.select(c.id).where(*where).limit(1)) is not None

    def models_not_found(self) -> frozenset[str]:
        """Models whose provider did not have them when this study asked last."""
        c = calls.c
        last = sa.select(sa.func.max(c.id)).where(c.study == self.study).group_by(c.model)
        select = sa.select(c.model).where(c.id.in_(last), c.status == CallStatus.MODEL_NOT_FOUND)
        with self._store.reading() as conn:
            return frozenset(conn.scalars(select))

    def record(self, attempt: CallAttempt) -> None:
        """Adds one attempt. Texts that are too long are cut; of an answer the row then has length and hash in `cut`."""
        with self._store.transaction() as conn:
            self.record_many(conn, [attempt])

    def record_many(self, conn: sa.Connection, attempts: Sequence[CallAttempt]) -> None:
        """Adds attempts within a write transaction, in order."""
        conn.execute(_ADD, [self._row(attempt) for attempt in attempts])

    def _row(self, attempt: CallAttempt) -> dict[str, Any]:
        kept = {f.name: getattr(attempt, f.name) for f in fields(attempt) if f.name != "usage"}
        if not self._store_text:
            kept |= {"request_json": None, "reply_text": None, "error": _class_only(attempt.error)}
        else:
            kept |= {
                "request_json": cut_texts(attempt.request_json, self._most_chars),
                "reply_text": self._cut_answer(attempt),
            }
        return kept | {name: getattr(attempt.usage, name) for name in _USAGE}

    def _cut_answer(self, attempt: CallAttempt) -> str | Mapping[str, Any] | None:
        """The answer as it is kept: one that is cut cannot be reused, which is said once."""
        whole = attempt.reply_text
        kept: Any = cut_texts(whole, self._most_chars)
        if whole is None or kept is whole:
            return whole
        text = whole if isinstance(whole, str) else json_text(whole)
        if not self._said:
            self._said = True
            _log.warning(
                "%s: an answer of %d characters was cut in the storage (calls.stored_answer_chars: %d); its score is "
                "of the whole. Where it would be reused, the model is asked again",
                attempt.model, len(text), self._most_chars,
            )  # fmt: skip
        cut = {"chars": len(text), "sha256": sha256_of(text)}
        return {"cut": cut, **({"text": kept, "tool_calls": []} if isinstance(kept, str) else kept)}

    def totals(self) -> LedgerTotals:
        """Sums over the attempts of this study."""
        c = calls.c
        sums = [sa.func.sum(c[name]).label(name) for name in _USAGE]
        select = sa.select(c.model, c.purpose, sa.func.count().label("n"), *sums)
        with self._store.reading() as conn:
            rows = conn.execute(select.where(c.study == self.study).group_by(c.model, c.purpose)).all()
        return LedgerTotals(
            calls=sum(row.n for row in rows),
            usage={(row.model, Purpose(row.purpose)): _usage(row) for row in rows},
        )

    def priced_calls(self, prices: Mapping[str, Price | None]) -> PricedTotals:
        """Every request of this study priced alone, at the tier that served it and the length of its prompt.

        The tier that was asked for counts where the reply named none. One whose tier is not kept,
        because texts are not, is not priced where its model has tiers.
        """
        c, costs = calls.c, defaultdict[tuple[str, Purpose], list[float | None]](list)
        columns = [c.model, c.purpose, c.request_json, c.service_tier, *(c[name] for name in _USAGE)]
        with self._store.reading() as conn:
            for row in conn.execute(sa.select(*columns).where(c.study == self.study)):
                price = prices.get(row.model)
                served = None if price is None or row.service_tier is None else price.for_tier(row.service_tier)
                if price is not None and row.service_tier == BATCH:
                    price = price.batched
                elif served is not None:
                    price = served
                elif price is not None and row.request_json is None and price.tiers:
                    price = None
                elif price is not None:
                    price = price.for_request((row.request_json or {}).get("params", {}))
                costs[row.model, Purpose(row.purpose)].append(_cost(price, _usage(row)))
        return _priced_totals({key: _sum(found) for key, found in costs.items()})

    def has_batches(self) -> bool:
        """Whether some request of this study went in a batch, answered or not."""
        c = calls.c
        select = sa.select(sa.literal(1)).where(c.study == self.study, c.service_tier == BATCH).limit(1)
        with self._store.reading() as conn:
            return conn.execute(select).first() is not None

    def other_tiers(self) -> bool:
        """Whether some request of this study was served at another tier than the standard one."""
        c = calls.c
        other = sa.and_(c.service_tier.is_not(None), sa.func.lower(c.service_tier).not_in(STANDARD_TIERS))
        select = sa.select(sa.literal(1)).where(c.study == self.study, other).limit(1)
        with self._store.reading() as conn:
            return conn.execute(select).first() is not None

    def estimated_answers(self) -> Mapping[str, tuple[int, int]]:
        """Of models whose replies named no tokens, by name: how many of how many answers of this study."""
        c = calls.c
        estimated = sa.func.sum(sa.case((c.error.like(f"{ESTIMATED}%"), 1), else_=0))
        select = sa.select(c.model, estimated, sa.func.count()).where(c.study == self.study, c.status == CallStatus.OK)
        with self._store.reading() as conn:
            rows = conn.execute(select.group_by(c.model).order_by(c.model)).all()
        return {model: (int(n), int(of)) for model, n, of in rows if n}

    def longest_prompts(self) -> dict[str, int]:
        """Tokens of the longest prompt that this study has sent, by model."""
        c = calls.c
        longest = sa.func.max(c.input_tokens + c.cached_input_tokens + c.cache_write_tokens).label("longest")
        select = sa.select(c.model, longest).where(c.study == self.study).group_by(c.model)
        with self._store.reading() as conn:
            return {row.model: int(row.longest or 0) for row in conn.execute(select)}

    def endings(self) -> dict[tuple[str, CallStatus], int]:
        """How many attempts of this study ended how, by (model, status)."""
        c = calls.c
        select = sa.select(c.model, c.status, sa.func.count().label("n")).where(c.study == self.study)
        with self._store.reading() as conn:
            rows = conn.execute(select.group_by(c.model, c.status)).all()
        return {(row.model, CallStatus(row.status)): row.n for row in rows}

    def _first(self, request_hash: str, *conditions: sa.ColumnElement[bool]) -> Any:
        select = sa.select(calls).where(calls.c.request_hash == request_hash, *conditions)
        with self._store.reading() as conn:
            return conn.execute(select.order_by(calls.c.id).limit(1)).first()


def priced(totals: LedgerTotals, prices: Mapping[str, Price | None]) -> PricedTotals:
    """What some totals of requests at the plain price cost at these prices, by model name as in the space file."""
    return _priced_totals({key: _cost(_flat(prices.get(key[0])), usage) for key, usage in totals.usage.items()})


def _priced_totals(found: Mapping[tuple[str, Purpose], float | None]) -> PricedTotals:
    models: dict[str, list[float | None]] = defaultdict(list)
    purposes: dict[Purpose, list[float | None]] = defaultdict(list)
    for (model, purpose), cost in found.items():
        models[model].append(cost)
        purposes[purpose].append(cost)
    return PricedTotals(
        usd=_sum([cost for costs in models.values() for cost in costs]),
        by_model={model: _sum(costs) for model, costs in models.items()},
        by_purpose={purpose: _sum(costs) for purpose, costs in purposes.items()},
    )


def _flat(price: Price | None) -> Price | None:
    return None if price is None else price.flat


def _cost(price: Price | None, usage: Usage) -> float | None:
    """Nothing used costs nothing, whatever the price: a study of failed requests alone is not unknown."""
    if usage in (Usage(), Usage(compute_s=0.0)):
        return 0.0
    return None if price is None else price.reply_usd(usage)


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _class_only(error: str | None) -> str | None:
    """An error may quote the prompt: where texts are not kept, only its class is."""
    return None if error is None else error.split(":", 1)[0]


def _found(row: Any) -> CallReply | CallAttempt | None:
    if row is None:
        return None
    return _reply(row) if row.status == CallStatus.OK else _attempt(row)


def _reply(row: Any) -> CallReply:
    kept = row.reply_text if isinstance(row.reply_text, dict) else {"text": row.reply_text, "tool_calls": ()}
    return CallReply(
        text=kept["text"],
        tool_calls=tuple(kept["tool_calls"]),
        finish_reason=row.finish_reason,
        usage=_usage(row),
        latency_s=row.latency_s or 0.0,
        attempt=row.attempt,
        cached=True,
        answered_by=row.answered_by,
        fingerprint=row.fingerprint,
        service_tier=row.service_tier,
        logprob=row.logprob,
    )


def _usage(row: Any) -> Usage:
    tokens = {name: int(getattr(row, name) or 0) for name in _USAGE if name != "compute_s"}
    return Usage(**tokens, compute_s=row.compute_s)


def _attempt(row: Any) -> CallAttempt:
    plain = {f.name: getattr(row, f.name) for f in fields(CallAttempt) if f.name not in ("usage", "purpose", "status")}
    return CallAttempt(**plain, usage=_usage(row), purpose=Purpose(row.purpose), status=CallStatus(row.status))


# ------------------------------------------------------------------------------------------ what past calls say


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalPrompt:
    """What a model bills for a prompt: `more` tokens and `per_byte` for each byte of its texts."""

    per_byte: float
    more: float = 0.0

    def tokens(self, text_bytes: float) -> float:
        """Of a prompt with so many bytes of UTF-8."""
        return self.more + self.per_byte * text_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalCall:
    """Means over the answered calls of one model: seconds of a request, tokens written; `n` calls were answered.

    Attributes:
        prompt: what its latest prompts were billed at; None where their texts were not kept.
    """

    latency_s: float
    output_tokens: float
    n: int
    prompt: TypicalPrompt | None = None


LATEST_PROMPTS = 200
"""Of each model, so many of the latest prompts say what a prompt is billed at."""
PER_BYTE = 0.25
"""Tokens of a byte of English, for models whose prompts were all about as long: the rest comes with every prompt."""
CUT = "[cut by offramp: "
"""What is at the end of a text that is not kept whole (`long_texts`)."""
LEAST_SPREAD = 0.2
"""Prompts whose lengths differ by less than this share of their mean say nothing about what a byte is billed at."""


def typical_calls(store: Store) -> Mapping[str, TypicalCall]:
    """By model name, over all studies of the storage; models that never answered are left out."""
    prompts = _typical_prompts(store)
    written = calls.c.output_tokens + calls.c.reasoning_tokens
    columns = (calls.c.model, sa.func.avg(calls.c.latency_s), sa.func.avg(written), sa.func.count())
    query = sa.select(*columns).where(calls.c.status == CallStatus.OK.value).group_by(calls.c.model)
    with store.reading() as conn:
        rows = conn.execute(query).all()
    return {
        model: TypicalCall(
            latency_s=float(latency), output_tokens=float(tokens), n=int(n), prompt=prompts.get(model)
        )
        for model, latency, tokens, n in rows
        if latency is not None
    }  # fmt: skip


def _typical_prompts(store: Store) -> Mapping[str, TypicalPrompt]:
    """By model name, from the latest answered requests whose texts were kept whole."""
    c = calls.c
    place = sa.func.row_number().over(partition_by=c.model, order_by=c.id.desc()).label("place")
    kept = (c.status == CallStatus.OK.value, c.request_json.is_not(None))
    latest = sa.select(c.id, place).where(*kept).subquery()
    billed = c.input_tokens + c.cached_input_tokens + c.cache_write_tokens
    select = sa.select(c.model, billed, c.request_json).join(latest, c.id == latest.c.id)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with store.reading() as conn:
        for model, tokens, request in conn.execute(select.where(latest.c.place <= LATEST_PROMPTS)):
            if tokens and (size := _text_bytes(request)):
                found[model].append((size, float(tokens)))
    return {model: _fitted(pairs) for model, pairs in found.items()}


def _text_bytes(request: Any) -> int:
    """Bytes of the texts of a request's messages; 0 where some of them were cut or are not known."""
    messages = request.get("messages") if isinstance(request, Mapping) else None
    texts: list[str] = []
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts += [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
    if any(CUT in text[-120:] for text in texts):
        return 0
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _fitted(pairs: Sequence[tuple[float, float]]) -> TypicalPrompt:
    """A line through bytes and billed tokens; where they do not say where it starts, from what English takes."""
    sizes, tokens = zip(*pairs, strict=True)
    size, billed = fmean(sizes), fmean(tokens)
    if max(sizes) - min(sizes) >= LEAST_SPREAD * size:
        slope, start = linear_regression(sizes, tokens)
        if slope > 0 and start >= 0:
            return TypicalPrompt(per_byte=slope, more=start)
    elif billed >= PER_BYTE * size:
        return TypicalPrompt(per_byte=PER_BYTE, more=billed - PER_BYTE * size)
    return TypicalPrompt(per_byte=billed / size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What the requests of one purpose used.

    Attributes:
        questions: answered requests; one that was asked again, since its answer could not be read, counts once.
        attempts: physical requests, failed ones included.
        usage: of all of them, by model.
    """

    questions: int = 0
    attempts: int = 0
    usage: Mapping[str, Usage] = field(default_factory=dict)


class StudyEffort:
    """What the physical requests of a study have taken: read from the ledger once, then added to.

    Attributes:
        by_purpose: those that asked for nothing are left out.
    """

    def __init__(self) -> None:
        self.by_purpose: dict[Purpose, Effort] = {}

    def read(self, store: Store, study: str) -> StudyEffort:
        """Adds what the ledger has of a study; returns itself."""
        c = calls.c
        first = sa.or_(c.replicate == 0, c.purpose != Purpose.JUDGE)
        asked = sa.case((sa.and_(c.status.in_(ANSWERED), first), 1), else_=0)
        sums = [sa.func.sum(c[name]).label(name) for name in _USAGE]
        numbers = (sa.func.count().label("n"), sa.func.sum(asked).label("asked"))
        select = sa.select(c.purpose, c.model, *numbers, *sums).where(c.study == study)
        with store.reading() as conn:
            rows = conn.execute(select.group_by(c.purpose, c.model)).all()
        for row in rows:
            tokens = {name: int(getattr(row, name) or 0) for name in _USAGE if name != "compute_s"}
            usage = Usage(**tokens, compute_s=row.compute_s)
            self._add(Purpose(row.purpose), row.model, usage, questions=int(row.asked), attempts=row.n)
        return self

    def add(self, attempt: CallAttempt) -> None:
        """One more attempt."""
        answered = attempt.status in ANSWERED and (attempt.replicate == 0 or attempt.purpose is not Purpose.JUDGE)
        self._add(attempt.purpose, attempt.model, attempt.usage, questions=int(answered), attempts=1)

    def _add(self, purpose: Purpose, model: str, usage: Usage, *, questions: int, attempts: int) -> None:
        before = self.by_purpose.get(purpose, Effort())
        self.by_purpose[purpose] = Effort(
            questions=before.questions + questions,
            attempts=before.attempts + attempts,
            usage={**before.usage, model: before.usage.get(model, Usage()) + usage},
        )
