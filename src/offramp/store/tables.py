"""The tables, all named `offramp_...` because Optuna keeps its own in the same database.

Money is whole nano-USD and tokens are whole numbers by price class, so that sums are exact and a change of prices
re-prices old studies. Two column types keep text from strangers storable everywhere: PostgreSQL refuses NUL, and both
databases refuse lone surrogates, yet a model may answer with either. Both leave keys out, on the way in and, for what
earlier versions stored, on the way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from offramp.scrubbing import holds_key, know_variable, scrubbed, scrubbed_value

metadata = sa.MetaData()


class JsonText(TypeDecorator[Any]):
    """Any JSON value as text, without loss: NUL and lone surrogates are written as escapes, NaN as Python does."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Python to database; None is SQL NULL."""
        if value is None:
            return None
        text = json_text(value)
        return json_text(scrubbed_value(value)) if holds_key(text) else text

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Database to Python."""
        if value is None:
            return None
        return scrubbed_value(json.loads(value)) if holds_key(value) else json.loads(value)


class PlainText(TypeDecorator[str]):
    """Text for people (errors, reasons): what a database cannot hold becomes U+FFFD."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Python to database."""
        return None if value is None else storable(scrubbed(value))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Database to Python."""
        return None if value is None else scrubbed(value)


class SpaceJson(TypeDecorator[str]):
    """A checked space file, read back exactly. Reading it makes the keys of its models known."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Python to database."""
        return None if value is None else storable(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Database to Python."""
        for name in re.findall(r'"api_key_env":\s*"(\w+)"', value or ""):
            know_variable(name, (value,))
        return value


class OthersUsd(TypeDecorator[float]):
    """USD of other models than the candidate's: NULL is none of them, also in earlier versions, and -1 is not known."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> float | None:
        """Python to database."""
        return -1.0 if value is None else value or None

    def process_result_value(self, value: float | None, dialect: sa.Dialect) -> float | None:
        """Database to Python."""
        return None if value == -1.0 else value or 0.0


def json_text(value: Any) -> str:
    """Sorted JSON text that every database can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text


def storable(text: str) -> str:
    """`text` with NUL and lone surrogates replaced by U+FFFD."""
    clean = "".join("\N{REPLACEMENT CHARACTER}" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)
    return clean.replace("\x00", "\N{REPLACEMENT CHARACTER}")


_ZERO: Mapping[str, Any] = {"nullable": False, "default": 0}


def _columns(kind: Any, *names: str, **options: Any) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, **options) for name in names]


def _tokens() -> list[sa.Column[Any]]:
    names = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    return [*_columns(sa.BigInteger, *names, **_ZERO), sa.Column("compute_s", sa.Double)]


def _owner() -> list[sa.Column[Any]]:
    return [
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("token", sa.String(255), nullable=False),
    ]


schema_version = sa.Table(
    "offramp_schema_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("applied_at", sa.String(40), nullable=False),
)

calls = sa.Table(
    "offramp_calls",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("study", sa.String(255), nullable=False),
    sa.Column("purpose", sa.String(20), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("provider", sa.String(255), nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    *_tokens(),
    sa.Column("latency_s", sa.Double),
    sa.Column("queue_s", sa.Double, nullable=False),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("request_json", JsonText),
    sa.Column("reply_text", JsonText),
    *_columns(PlainText, "finish_reason", "error", "answered_by", "fingerprint"),
    sa.Column("service_tier", sa.String(40)),
    sa.Column("logprob", sa.Double),
    sa.Index("offramp_calls_by_request", "request_hash", "status"),
    sa.Index("offramp_calls_by_study", "study"),
)

budgets = sa.Table(
    "offramp_purses",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("cap_nano", sa.BigInteger),
    sa.Column("cap_calls", sa.BigInteger),
    *_columns(sa.BigInteger, "spent_nano", "reserved_nano", "assumed_nano", "calls", "reserved_calls", **_ZERO),
    sa.Column("surplus", sa.Double, nullable=False, default=1.0, server_default="1"),
)

reservations = sa.Table(
    "offramp_reservations",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("purse", sa.String(255), sa.ForeignKey("offramp_purses.id"), key="budget", nullable=False, index=True),
    sa.Column("nano", sa.BigInteger, nullable=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    *_owner(),
    sa.Column("created_at", sa.Double, nullable=False),
)

results = sa.Table(
    "offramp_results",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("split", sa.String(20), primary_key=True),
    sa.Column("candidate", sa.String(64), primary_key=True),
    sa.Column("example", sa.String(255), primary_key=True),
    sa.Column("state", sa.String(10), nullable=False),
    *_columns(sa.Double, "score", "cost_usd", "latency_s"),
    *_tokens(),
    sa.Column("outputs", JsonText),
    sa.Column("reason", PlainText),
    sa.Column("parts", JsonText, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("cached_calls", sa.Integer, nullable=False),
    sa.Column("ending", sa.String(20)),
    sa.Column("reasoning_only", sa.Boolean),
    sa.Column("other_model", PlainText),
    sa.Column("others_usd", OthersUsd),
    sa.Column("confidence", sa.Double),
    sa.Column("replicates", JsonText),
)

candidates = sa.Table(
    "offramp_candidates",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("candidate", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    *_columns(JsonText, "params", "content", "origin", nullable=False),
    sa.Column("reason", PlainText),
)

variants = sa.Table(
    "offramp_variants",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("predictor", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("name", sa.String(255)),
    sa.Column("text", JsonText),
    sa.Column("reason", PlainText),
    sa.Column("parents", JsonText, nullable=False),
    sa.Column("params", JsonText),
    sa.Column("model", sa.String(255)),
)

summaries = sa.Table(
    "offramp_summaries",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("split", sa.String(20), primary_key=True),
    sa.Column("candidate", sa.String(64), primary_key=True),
    *_columns(sa.Integer, "n", "n_fault", "n_failed", nullable=False),
    sa.Column("quality", sa.Double),
    sa.Column("quality_square", sa.Double),
    *_tokens(),
    *_columns(sa.Double, "latency_mean_s", "latency_p50_s", "latency_p90_s", "latency_p95_s"),
    *_columns(sa.Integer, "n_cut", "n_cut_reasoning", "n_filtered", "n_refused", "n_empty", "n_unreadable"),
    sa.Column("n_other_model", sa.Integer),
    sa.Column("other_model", PlainText),
    sa.Column("others_usd", OthersUsd),
    sa.Column("n_runs", sa.Integer),
    sa.Column("within_variance", sa.Double),
)

probes = sa.Table(
    "offramp_probes",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("candidate", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("example", sa.String(255), nullable=False),
    sa.Column("latency_s", sa.Double, nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=False),
    sa.Column("measured_at", sa.String(40), nullable=False),
)

studies = sa.Table(
    "offramp_studies",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("space_name", sa.String(255), nullable=False),
    sa.Column("space_json", SpaceJson, nullable=False),
    sa.Column("space_hash", sa.String(64), nullable=False),
    sa.Column("task_hash", sa.String(64), nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("updated_at", sa.String(40), nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("stop_reason", PlainText),
    sa.Column("summary_json", PlainText),
    sa.Column("extra", JsonText, nullable=False),
)

leases = sa.Table(
    "offramp_leases",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("id", sa.String(32), nullable=False),
    *_owner(),
    sa.Column("expires_at", sa.Double, nullable=False),
)

header_notices = sa.Table(
    "offramp_header_notices",
    metadata,
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("route", sa.String(255), primary_key=True),
    sa.Column("own", sa.Boolean, nullable=False),
    sa.Column("seen_on", sa.String(10), nullable=False),
    sa.Column("deprecated", sa.Boolean, nullable=False),
    sa.Column("since", sa.String(10), nullable=False),
    sa.Column("sunset", sa.String(10), nullable=False),
    sa.Column("link", PlainText, nullable=False),
)

tool_results = sa.Table(
    "offramp_tool_results",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("tool", PlainText, nullable=False),
    sa.Column("result", JsonText, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
)

waves = sa.Table(
    "offramp_waves",
    metadata,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("content", JsonText, nullable=False),
)

batch_lines = sa.Table(
    "offramp_batch_lines",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("batch", sa.String(32), nullable=False),
    sa.Column("study", sa.String(255), nullable=False),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("reservation", sa.String(32), nullable=False),
    sa.Column("asked_nano", sa.BigInteger, nullable=False),
    sa.Column("remote", PlainText),
    sa.Column("written_at", sa.Double, nullable=False),
)
