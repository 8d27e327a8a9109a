"""Where a study comes from, as names and values: data, metric, seeds, versions, prices."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from offramp.records import Price
from offramp.space.model import SpaceFile
from offramp.store.studies import StudyRow
from offramp.study.domain.members import ScoringContext
from offramp.study.wording import STOPPED


def provenance(row: StudyRow, scoring: ScoringContext) -> tuple[tuple[str, str], ...]:
    """Names and values, in the order of reading."""
    space = SpaceFile.model_validate_json(row.space_json)
    return (*_study(row, space), *_data(row, space), *_measured(scoring), *_prices(scoring), *_versions(row))


def _study(row: StudyRow, space: SpaceFile) -> Iterator[tuple[str, str]]:
    yield "study", row.name
    yield "seed", str(row.seed)
    yield "sampler", f"{space.search.sampler} ({space.search.mode})"
    yield "created", f"{row.created_at[:19].replace('T', ' ')} UTC"
    yield "last change", f"{row.updated_at[:19].replace('T', ' ')} UTC"
    if row.stop_reason:
        yield "ended", STOPPED.get(row.stop_reason, row.stop_reason)
    yield "space", f"sha256 {row.space_hash}"


def _data(row: StudyRow, space: SpaceFile) -> Iterator[tuple[str, str]]:
    details = row.details
    yield "dataset", space.dataset.path or str(space.dataset.hub)
    if details.dataset_hash is not None:
        yield "dataset content", f"sha256 {details.dataset_hash}"
    if details.examples:
        yield "examples", ", ".join(f"{name} {n}" for name, n in details.examples.items())
    yield "metric", _metric(space.metric.model_dump(mode="json", exclude_defaults=True))
    yield "task (data, splits, metric, fields)", f"sha256 {row.task_hash}"


def _metric(part: dict[str, Any]) -> str:
    if "parts" in part:
        return f"{part.get('kind', 'mix')}: " + " + ".join(_metric(inner) for inner in part["parts"])
    rest = [f"{name} {value}" for name, value in part.items() if name not in ("kind", "parts")]
    return f"{part.get('kind', '')} ({', '.join(rest)})" if rest else str(part.get("kind", ""))


def _measured(scoring: ScoringContext) -> Iterator[tuple[str, str]]:
    for o in scoring.objectives:
        scale = "not fixed yet" if o.scale is None else f"worst {o.scale[0]:g}, best {o.scale[1]:g}"
        statistic = f"{o.statistic}, " if o.name == "latency" else ""
        yield f"objective {o.name}", f"{statistic}scale {scale}"
    for name, limit in scoring.constraints.model_dump(mode="json", exclude_none=True).items():
        yield f"constraint {name}", str(limit)


def _prices(scoring: ScoringContext) -> Iterator[tuple[str, str]]:
    for model, price in scoring.prices.items():
        yield f"price of {model}", price_words(price)


def price_words(price: Price | None) -> str:
    """A price in words; an unknown one is said to be."""
    if price is None or not price.known:
        return "not known"
    if price.compute_usd_per_hour is not None:
        return f"${price.compute_usd_per_hour:g} per hour of computing"
    return f"${price.input_usd:g} in, ${price.output_usd:g} out per million tokens"


def _versions(row: StudyRow) -> Iterator[tuple[str, str]]:
    if row.details.versions:
        yield "run with", ", ".join(f"{name} {number}" for name, number in row.details.versions.items())
    yield "shown with", f"offramp {_version('offramp')}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
