"""The pictures beside the front say what is stored, and a person uses them by mouse and by keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, watched

from offramp.records import Aggregate, Price, Split, Usage
from offramp.review.pictures.token_costs import CLASSES, cost_parts
from offramp.review.report_file import report
from offramp.review.study_source import StudySource
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.study import lookup
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

Study = tuple[Path, str]


@pytest.fixture(scope="module")
def page_of(study: Study, hostile: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Gives a watched page of a report: `page_of(width, scheme, study)`."""
    folder = tmp_path_factory.mktemp("reports")
    paths = {
        name: report(one[1], results=one[0], out=folder / f"{name}.html")
        for name, one in (("study", study), ("hostile", hostile))
    }
    with chromium() as browser:

        def opened(width: int = 1280, scheme: str = "light", name: str = "study") -> Any:
            shape = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
            return paths[name], watched(browser, **shape)

        yield opened


def test_the_map_has_every_score_and_answer_of_the_incumbent_and_the_front(study: Study) -> None:
    folder, name = study
    told = lookup.pareto(name, results=folder)
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        found = StudySource(store, name).pictures.heatmap
        results = ResultStore(store).all(name, Split.SEARCH)
    assert {one["id"] for one in found["candidates"]} == {m.candidate for m in (*told.front, told.incumbent)}
    for number, (one, codes) in enumerate(zip(found["candidates"], found["cells"], strict=True)):
        for example, code in zip(found["examples"], codes, strict=True):
            kept = results[one["id"]][example["id"]]
            assert code == {1.0: "9", 0.0: "0"}[kept.score]
            (given,) = [text for text, who in example["answers"] if number in who]
            assert given == kept.outputs["label"]


PRICE = Price(input_usd=3.0, cached_input_usd=0.3, cache_write_usd=4.0, output_usd=15.0, reasoning_usd=20.0)
USAGE = Usage(input_tokens=100, cached_input_tokens=50, cache_write_tokens=20, output_tokens=30, reasoning_tokens=7)


@pytest.mark.parametrize("others", [0.0, 0.5])
@pytest.mark.parametrize("price", [PRICE, Price(input_usd=1.0, output_usd=2.0), Price(compute_usd_per_hour=3.6)])
def test_the_parts_of_a_cost_are_the_cost(price: Price, others: float) -> None:
    usage = USAGE if price.compute_usd_per_hour is None else Usage(input_tokens=9, compute_s=2.0)
    plain = Aggregate(n=4, n_fault=0, n_failed=0, quality=1.0, usage=usage, others_usd=others)
    parts = cost_parts(plain.priced(price), price)
    assert len(parts) == len(CLASSES) and sum(parts) == pytest.approx(plain.priced(price).cost_usd)


def test_where_a_price_is_not_known_no_bar_is_drawn() -> None:
    assert not any(cost_parts(Aggregate(n=4, n_fault=0, n_failed=0, quality=1.0, usage=USAGE), None))


def test_the_best_so_far_rises_to_the_best_and_says_who_found_it(study: Study) -> None:
    folder, name = study
    told = lookup.pareto(name, results=folder)
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        best = StudySource(store, name).pictures.best
    qualities = [float(one.quality) for one in best.found]
    assert qualities == sorted(set(qualities)) and qualities[-1] == round(max(m.quality for m in told.members), 3)
    assert best.found[0].origin == "what runs today" and len(best.charts) == 2
    assert all(len(chart.marks) == len(best.found) for chart in best.charts)


def test_a_job_with_few_calls_shows_whom_it_expects_ahead_and_which_params_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": 6, "search": 40, "holdout": 14}
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(
        tmp_path, count=80, splits=splits, search={"sampler": "random", "trials": 20},
        objectives={"quality": {"weight": 0.98}, "cost": {"weight": 0.02, "scale": "incumbent"}, "latency": None},
    )  # fmt: skip
    told = run_job(space, tmp_path, calls=40 + 30 + 28).report
    with open_store(lookup.default_storage(tmp_path), write_probe=False) as store:
        source = StudySource(store, told.study)
        best, importance, tried = source.pictures.best, source.importance, source.tried
    chosen = told.recommended
    assert chosen is not None and chosen.estimate is not None and not chosen.incumbent
    assert best is not None and [one.id for one in best.found] == [told.incumbent.candidate, chosen.candidate]
    assert best.found[-1].quality == f"~{chosen.quality:.3f}" and all(chart.estimate for chart in best.charts)
    assert len(tried) == told.trials and sum(one.expected for one in tried) == len(tried) - 1
    page = report(told.study, results=tmp_path, out=tmp_path / "report.html").read_text()
    for words in (
        f">{chosen.estimate.n}/40</text>", "of these only the recommended one is on the front",
        f"{told.trials - 2} others were not run on all examples", '<span class="badge off" title="run on ',
    ):  # fmt: skip
        assert words in page
    (model,) = [item for item in importance if item.param == "model"]
    assert model.shares["quality"] is not None and model.levels[0].value == "large"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_answers_of_a_cell_are_read_by_keys_and_by_mouse(width: int, page_of: Any) -> None:
    path, opened = page_of(width)
    with opened as page:
        page.goto(path.as_uri())
        page.locator("#map").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        first = page.locator("#map-answers").inner_text()
        assert "case" in first and "gold" in first and page.locator("#map-answers tbody tr").count() >= 1
        page.locator("#map-columns").select_option("data")
        assert page.locator("#map-says").inner_text() != ""
        seen = {first}
        for right in (5, 25, 50):
            wide = page.locator("#map").bounding_box()["width"]
            page.locator("#map").click(position={"x": wide - right, "y": 9})
            seen.add(page.locator("#map-answers").inner_text())
        assert len(seen) >= 3
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_brushed_fades_everything_else_also_in_the_front(width: int, page_of: Any, study: Study) -> None:
    told = lookup.pareto(study[1], results=study[0])
    large = {m.candidate for m in told.members if m.params["model"] == "large"}
    path, opened = page_of(width)
    kept = "s => new Set([...document.querySelectorAll(s)].filter(e => !e.classList.contains('faded')).map(e => e.dataset.id)).size"
    with opened as page:
        page.goto(path.as_uri())
        assert page.locator("#parallel .thread").count() == len(told.members)
        page.locator("[data-brush='model small']").focus()
        page.keyboard.press("Space")
        assert page.evaluate(kept, "#parallel .thread") == len(large) == page.evaluate(kept, "#table tbody tr")
        assert page.evaluate(kept, "svg.front .dot") == len(large & {m.candidate for m in told.front})
        assert page.locator("#brush-count").inner_text().startswith(f"{len(large)} of {len(told.members)}")
        page.locator("#brush-clear").press("Enter")
        assert page.evaluate(kept, "#parallel .thread") == len(told.members)
        axis = page.locator("#parallel .axis").nth(-3)
        axis.scroll_into_view_if_needed()
        box = axis.bounding_box()
        page.mouse.move(box["x"], box["y"] - 3)
        page.mouse.down()
        page.mouse.move(box["x"], box["y"] + box["height"] * 0.3, steps=4)
        page.mouse.up()
        least = min(m.quality for m in told.members) + 0.7 * (max(q := [m.quality for m in told.members]) - min(q))
        assert page.evaluate(kept, "#parallel .thread") == sum(value >= least for value in q)
        assert page.evaluate("document.documentElement.scrollWidth") == width
