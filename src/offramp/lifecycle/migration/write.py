"""A migration as files and JSON values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from offramp.errors import StorageError, problem
from offramp.lifecycle.migration.page import conclusion, page
from offramp.lifecycle.migration.record import Contender, Migration
from offramp.records import Aggregate
from offramp.study.wording import answer_counts

FOLDER = Path("proposals")


def write_proposal(found: Migration, out: Path | None, *, promote_command: str) -> Path:
    """Writes the page as a whole or not at all; `proposals/<feature>-<date>.md` unless a path is given."""
    path = out or FOLDER / f"{found.feature}-{found.today}.md"
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(page(found, promote_command=promote_command), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        do = "Name another place with --out; what was measured is kept in the storage."
        raise StorageError(problem(str(path), f"cannot be written ({error.strerror})", do=do)) from error
    return path


def migration_json(found: Migration) -> dict[str, Any]:
    """The migration as JSON values; results by example are in the storage."""
    return {
        "feature": found.feature,
        "label": found.label,
        "version": found.version,
        "from": found.before.model,
        "verdict": conclusion(found),
        "today": {"basis": str(found.baseline.basis), "holdout": _figures(found.baseline.holdout)},
        "proposed": _contender(found.chosen),
        "drop_ins": [_contender(item) for item in found.drop_ins],
        "not_tried": [asdict(item) for item in found.left_out],
        "trials": found.trials,
        "stop_reason": found.stopped,
        "reference": str(found.reference),
        "spent": asdict(found.spent),
    }


def _figures(seen: Aggregate) -> dict[str, Any]:
    return {
        "n": seen.n,
        "n_fault": seen.n_fault,
        "quality": seen.quality,
        "low": seen.quality_low,
        "high": seen.quality_high,
        "cost_usd": seen.cost_usd,
        "p50_s": seen.latency_p50_s,
        "p95_s": seen.latency_p95_s,
        **answer_counts(seen),
    }


def _contender(item: Contender) -> dict[str, Any]:
    return {
        "kind": str(item.kind),
        "study": item.study,
        "candidate": item.candidate.id,
        "model": item.candidate.model,
        "params": dict(item.candidate.params),
        "utility": item.utility,
        "search": _figures(item.search),
        "holdout": _figures(item.holdout),
        "not_sent": list(item.rejected),
        "against_today": None if item.comparison is None else item.comparison.to_json(),
    }
