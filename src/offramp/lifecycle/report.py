"""Reports as JSON values: the same facts that people see, for jobs that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from offramp.lifecycle.scan import Named, ScanReport
from offramp.lifecycle.successors import Successor
from offramp.lifecycle.watch import Watched, WatchReport
from offramp.models.retirement.dates import Retirement


def watch_json(report: WatchReport) -> dict[str, Any]:
    """All promoted models, the most urgent first."""
    return {
        "today": report.today.isoformat(),
        "within_days": report.within_days,
        "table": report.table,
        "alarming": len(report.alarming),
        "models": [_watched(row) for row in report.rows],
    }


def scan_json(report: ScanReport) -> dict[str, Any]:
    """All models that files name, the most urgent first."""
    return {
        "path": report.path,
        "today": report.today.isoformat(),
        "within_days": report.within_days,
        "table": report.table,
        "files": report.files,
        "unread": list(report.unread),
        "alarming": len(report.alarming),
        "models": [_named(model) for model in report.models],
    }


def _watched(row: Watched) -> dict[str, Any]:
    used = row.used
    return {
        "feature": used.feature,
        "label": used.label,
        "version": used.version,
        "model": used.name,
        "route": used.route,
        "fallback": used.fallback,
        **_date(row.standing.value, row.retirement, row.days_left),
        "cost": {"then_usd_1k": row.cost.then_usd_1k, "now_usd_1k": row.cost.now_usd_1k, "ratio": row.cost.ratio},
        "successors": _successors(row.successors),
        "next": row.next_step,
    }


def _named(model: Named) -> dict[str, Any]:
    return {
        "model": model.name,
        **_date(model.standing.value, model.retirement, model.days_left),
        "places": [asdict(place) for place in model.places],
        "successors": _successors(model.successors),
    }


def _date(standing: str, found: Retirement | None, days_left: int | None) -> dict[str, Any]:
    return {
        "standing": standing,
        "days_left": days_left,
        "retires": None if found is None else found.date.isoformat(),
        "basis": None if found is None else found.basis.value,
        "announced": None if found is None else found.announced,
        "source": None if found is None else found.source,
        "note": None if found is None else found.note,
    }


def _successors(found: Sequence[Successor]) -> list[dict[str, Any]]:
    return [asdict(item) for item in found]
