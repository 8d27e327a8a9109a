"""A study as a page: everything that the report and the live page show at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from offramp import __version__
from offramp.records import Price
from offramp.review.candidate_detail import Detail, Peek
from offramp.review.charts import FrontChart, LineChart, front_charts
from offramp.review.decision import Decision
from offramp.review.likely_dots import likely_data
from offramp.review.pictures.collected import Pictures
from offramp.review.rows import MOST_OTHERS, Row, columns_for, rows_of, script_data, shares_of, spoken
from offramp.review.study_source import StudySource
from offramp.space.model import SpaceFile
from offramp.store.studies import StudyRow
from offramp.study.domain.importance import Importance
from offramp.study.domain.members import ScoringContext
from offramp.study.queries.spending import Spending, spending
from offramp.study.study_report import Choice, StudyReport
from offramp.study.wording import STOPPED, parked_words

_MOST_DETAILS = 60
MOST_PEEKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPage:
    """A study as it is shown.

    Attributes:
        rows: incumbent, front and the best of the others, by utility; `unlisted` more candidates are not shown.
        peeks: what is shown beside the picture of each of its points; the live page asks for them apart.
        details: of the recommended candidate, the incumbent and the front; `undetailed` members are left out.
        pictures: beside the front; None where they are loaded later.
        choices: what other policies choose, with what each is called.
        shares: of each objective's weight in all, in percent.
        labels: of the candidates in the charts, for whoever does not see them. names: without the numbers.
        data: what the page's script works with.
    """

    row: StudyRow
    report: StudyReport
    decision: Decision
    rows: tuple[Row, ...]
    unlisted: int
    charts: tuple[FrontChart, ...]
    lines: tuple[LineChart, ...]
    pictures: Pictures | None
    importance: tuple[Importance, ...]
    expected: int
    spending: Spending
    provenance: tuple[tuple[str, str], ...]
    details: tuple[Detail, ...]
    peeks: tuple[Peek, ...]
    undetailed: int
    choices: tuple[tuple[str, Choice], ...]
    shares: tuple[int, ...]
    labels: Mapping[str, str]
    names: Mapping[str, str]
    data: Mapping[str, Any]

    @property
    def feasible(self) -> int:
        """How many keep all limits; all of them where none does, and the front is of those."""
        return sum(member.feasible for member in self.report.members) or len(self.report.members)

    @property
    def broken(self) -> int:
        """How many are not on the front because they break a limit."""
        return len(self.report.members) - self.feasible

    @property
    def estimated(self) -> bool:
        """Whether the recommended candidate was not run on all examples."""
        return self.report.recommended is not None and self.report.recommended.estimate is not None

    @property
    def hollow(self) -> bool:
        """Whether the picture has points of candidates that were not run on all examples."""
        return self.estimated or bool(self.report.estimates)

    @property
    def left_out(self) -> int:
        """How many were not run on all examples and are compared with nothing."""
        return self.report.stopped - sum(member.estimate is not None for member in self.report.members)

    @property
    def held(self) -> bool:
        """Whether the picture can show the holdout."""
        return any(dot.held is not None for chart in self.charts for dot in chart.dots)

    @property
    def parked(self) -> tuple[str, ...]:
        """What is to be known of each model that no longer answers."""
        return tuple(parked_words(one) for one in self.report.parked_models)

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Keys and titles of the table's numbers."""
        return columns_for(self.report.latency_statistic)

    @property
    def front(self) -> tuple[Row, ...]:
        """The rows of the front."""
        return tuple(row for row in self.rows if row.front)


def study_page(source: StudySource, *, whole: bool, most_others: int = MOST_OTHERS) -> StudyPage:
    """The page of a study.

    Args:
        whole: with everything that a file has to hold, since it cannot ask for more: details of the front with wins and
            losses, the decision for each member of the front, how the study went. The live page asks for these apart.
    """
    report = source.report
    rows = rows_of(report, most_others=most_others)
    wanted: list[Row] = []
    if whole:
        wanted = [row for row in rows if row.recommended or row.member.incumbent]
        wanted = [*wanted, *(row for row in rows if row.front and row not in wanted)][:_MOST_DETAILS]
    details = [source.detail(row, bootstrapped=True) for row in wanted]
    decisions = {row.id: source.decision(row.id).to_json() for row in wanted if row.front}
    front = sum(row.front for row in rows)
    return StudyPage(
        row=source.row,
        report=report,
        decision=source.decision(),
        rows=rows,
        unlisted=len(report.members) - len(rows),
        charts=front_charts(report),
        lines=source.lines if whole else (),
        pictures=source.pictures if whole else None,
        importance=source.importance,
        expected=sum(one.expected for one in source.tried),
        spending=spending(source.store, source.rows),
        provenance=tuple(provenance(source.row, source.scoring)),
        details=tuple(detail for detail in details if detail is not None),
        peeks=source.peeks(MOST_PEEKS, {d.row.id: d.demos for d in details if d is not None}) if whole else (),
        undetailed=max(0, front - sum(row.front for row in wanted)) if whole else 0,
        choices=source.ways if report.front else (),
        shares=shares_of(report.objectives),
        labels={row.id: f"{row.label}: {spoken(row)}" for row in rows if row.front or row.member.incumbent},
        names={row.id: row.label for row in rows},
        data=script_data(
            report,
            rows,
            {"decisions": decisions, "own_weights": source.own_weights, "likely": likely_data(report.estimates)},
        ),
    )


def provenance(row: StudyRow, scoring: ScoringContext) -> Iterator[tuple[str, str]]:
    """Where a study comes from, as names and values: data, metric, seeds, prices, versions."""
    space = SpaceFile.model_validate_json(row.space_json)
    details = row.details
    yield "study", row.name
    yield "seed", str(row.seed)
    yield "sampler", f"{space.search.sampler} ({space.search.mode})"
    yield "created", f"{row.created_at[:19].replace('T', ' ')} UTC"
    yield "last change", f"{row.updated_at[:19].replace('T', ' ')} UTC"
    if row.stop_reason:
        yield "ended", STOPPED.get(row.stop_reason, row.stop_reason)
    yield "space", f"sha256 {row.space_hash}"
    yield "dataset", space.dataset.path or str(space.dataset.hub)
    if details.dataset_hash is not None:
        yield "dataset content", f"sha256 {details.dataset_hash}"
    if details.examples:
        yield "examples", ", ".join(f"{name} {n}" for name, n in details.examples.items())
    yield "metric", metric_words(space.metric.model_dump(mode="json", exclude_defaults=True))
    yield "task (data, splits, metric, fields)", f"sha256 {row.task_hash}"
    for o in scoring.objectives:
        scale = "not fixed yet" if o.scale is None else f"worst {o.scale[0]:g}, best {o.scale[1]:g}"
        statistic = f"{o.statistic}, " if o.name == "latency" else ""
        yield f"objective {o.name}", f"{statistic}scale {scale}"
    for name, limit in scoring.constraints.model_dump(mode="json", exclude_none=True).items():
        yield f"constraint {name}", str(limit)
    for model, price in scoring.prices.items():
        yield f"price of {model}", price_words(price)
    if details.versions:
        yield "run with", ", ".join(f"{name} {number}" for name, number in details.versions.items())
    yield "shown with", f"offramp {__version__}"


def metric_words(part: dict[str, Any]) -> str:
    """A metric in words: its kind, and what is not its default."""
    if "parts" in part:
        return f"{part.get('kind', 'mix')}: " + " + ".join(metric_words(inner) for inner in part["parts"])
    rest = [f"{name} {value}" for name, value in part.items() if name not in ("kind", "parts")]
    return f"{part.get('kind', '')} ({', '.join(rest)})" if rest else str(part.get("kind", ""))


def price_words(price: Price | None) -> str:
    """A price in words."""
    if price is None or not price.known:
        return "not known"
    if price.compute_usd_per_hour is not None:
        return f"${price.compute_usd_per_hour:g} per hour of computing"
    return f"${price.input_usd:g} in, ${price.output_usd:g} out per million tokens"
