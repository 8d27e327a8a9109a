"""What people do with the report and the live page, in a real browser."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, served, watched

from offramp.records import CallReply, CallRequest, DemoKind
from offramp.review.report_file import report
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.study import lookup
from offramp.study.wording import number, seconds
from offramp.testing.fakes import FunctionTransport
from review_studies import HOSTILE
from search_jobs import answered_by, reply_to, run_job, write_space

pytest.importorskip("fastapi", reason="the extra web is not installed")
Study = tuple[Path, str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def live(study: Study, hostile: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of both studies, each served by a server of its own on a free port of loopback."""
    with (
        served(study, tmp_path_factory.mktemp("promotions")) as one,
        served(hostile, tmp_path_factory.mktemp("promotions")) as other,
    ):
        yield {"study": one, "hostile": other}


def slide(page: Any, **weights: int) -> None:
    """Moves sliders as a hand would: the value, then the event."""
    for name, value in weights.items():
        page.locator(f"#weight-{name}").evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value
        )


def until(page: Any, condition: str, argument: Any = None) -> None:
    """Waits for a condition; asked from outside, since the page's policy lets nobody evaluate text in it."""
    while not page.evaluate(condition, argument):
        page.wait_for_timeout(50)


def utilities(page: Any) -> dict[str, str]:
    rows = page.locator("#table tbody tr")
    return dict(rows.evaluate_all("rows => rows.map(r => [r.dataset.id, r.querySelector('.utility').textContent])"))


WEIGHTS = ({"quality": 0, "cost": 100, "latency": 0}, {"quality": 33, "cost": 5, "latency": 80}, {"quality": 90, "cost": 1, "latency": 0})  # fmt: skip


@pytest.mark.parametrize("where", ["file", "live"])
def test_sliders_rank_and_recommend_as_the_command_line_does(
    where: str, study: Study, live: dict[str, str], browser: Any, tmp_path: Path
) -> None:
    folder, name = study
    address = live["study"] if where == "live" else report(name, results=folder, out=tmp_path / "r.html").as_uri()
    with watched(browser) as page:
        page.goto(address)
        for weights in WEIGHTS:
            slide(page, **weights)
            told = lookup.pareto(name, results=folder, weights={k: v / 100 for k, v in weights.items()})
            best = told.recommended.candidate
            assert page.locator("#table tr.best").get_attribute("data-id") == best
            assert page.locator("#table tbody tr").first.get_attribute("data-id") in {
                m.candidate for m in told.members if m.utility == max(x.utility for x in told.members)
            }
            assert page.locator("#ranking li").first.get_attribute("data-id") == best
            shown = utilities(page)
            assert {m.candidate: f"{m.utility:.3f}" for m in told.members} == shown
            until(page, "id => Offramp.state.decided === id && Boolean(Offramp.state.data.decisions[id])", best)
            assert page.locator("#decision-title").inner_text() == page.evaluate(
                "id => Offramp.state.data.decisions[id].title", best
            )


def test_a_report_from_disk_is_used_by_mouse_and_shows_a_candidate_in_full(
    study: Study, browser: Any, tmp_path: Path
) -> None:
    folder, name = study
    path = report(name, results=folder, out=tmp_path / "r.html")
    with watched(browser) as page:
        page.goto(path.as_uri())
        page.locator("svg.wide .dot.incumbent .hit").first.click()
        assert "quality" in page.locator("#selected").inner_text()
        page.locator("#selected .links a").first.click()
        today = lookup.pareto(name, results=folder).incumbent.candidate
        assert page.locator(f"#c-{today}").get_attribute("open") is not None
        page.locator("#tab-space").click()
        assert page.locator("#space circle").count() >= 3
        page.locator("#space").press("ArrowLeft")
        page.locator("#filter").fill("large")
        assert 0 < page.locator("#table tbody tr:visible").count() < page.locator("#table tbody tr").count()
        page.locator("#table thead th[data-key=cost] button").click()
        costs = page.locator("#table tbody tr").evaluate_all("rows => rows.map(r => Number(r.cells[4].dataset.v))")
        assert costs == sorted(costs)


def test_the_live_page_opens_a_comparison_of_any_two_and_filters_its_examples(
    live: dict[str, str], browser: Any
) -> None:
    with watched(browser) as page:
        page.goto(live["study"])
        page.wait_for_selector("#course svg")
        boxes = page.locator("td.choose input")
        boxes.nth(0).check()
        boxes.nth(3).check()
        with page.expect_navigation():
            page.locator("#compare-two").click()
        total = page.locator(".example").count()
        with page.expect_navigation(url="**show=win**"):
            page.locator("#show").select_option("win")
        assert page.locator(".example").count() == page.locator(".example.win").count() < total
        with page.expect_navigation(url="**show=&**"):
            page.locator("#show").select_option("")
        with page.expect_navigation(url="**slice=label**"):
            page.locator("#slice").select_option("label=billing")
        gold = page.locator(".example .answers tbody td:nth-child(2)").all_inner_texts()
        assert gold and set(gold) == {"billing"}


def test_bootstrapped_demos_come_after_the_page(live: dict[str, str], study: Study, browser: Any) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        kept = {row.id: row.candidate.demo_kind for row in CandidateStore(store).all(name)}
    told = lookup.pareto(name, results=folder)
    one = next(m.candidate for m in told.members if kept[m.candidate] is DemoKind.BOOTSTRAPPED)
    with watched(browser) as page:
        page.goto(f"{live['study']}/candidates/{one}")
        page.wait_for_selector(".demo")
        assert "case" in page.locator(".demo").first.inner_text()


def test_everything_is_reached_and_done_by_keyboard(live: dict[str, str], browser: Any) -> None:
    with watched(browser) as page:
        page.goto(live["study"])
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        seen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate(
                    "(document.activeElement.className.baseVal ?? document.activeElement.className) + '#' + document.activeElement.id"
                )
            )
            if page.evaluate("document.activeElement.matches('.dot')"):
                break
        assert any(name.startswith("dot") for name in seen), seen
        outline = page.evaluate("getComputedStyle(document.activeElement.querySelector('.ring')).strokeWidth")
        assert outline == "3px"
        first = page.evaluate("document.activeElement.dataset.id")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.matches('.dot')")
        assert page.evaluate("document.activeElement.dataset.id") != first
        page.keyboard.press("Tab")
        assert not page.evaluate("document.activeElement.matches('.dot')"), "the points are one stop"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        assert page.locator("#selected").is_visible()
        page.locator("#weight-cost").focus()
        page.keyboard.press("End")
        assert page.locator("#weight-cost + output").inner_text() == "100%"
        page.locator("#tab-cost").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#picture-latency").is_visible() and not page.locator("#picture-cost").is_visible()


@pytest.mark.parametrize("where", ["file", "live", "compare", "candidate"])
def test_texts_of_strangers_are_shown_as_text_and_run_nothing(
    where: str, hostile: Study, live: dict[str, str], browser: Any, tmp_path: Path
) -> None:
    folder, name = hostile
    best = lookup.pareto(name, results=folder).recommended.candidate
    addresses = {
        "file": report(name, results=folder, out=tmp_path / "r.html").as_uri(),
        "live": live["hostile"],
        "compare": f"{live['hostile']}/compare",
        "candidate": f"{live['hostile']}/candidates/{best}",
    }
    with watched(browser) as page:
        page.goto(addresses[where])
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.pwned") is None
        assert page.locator("#content img, #content iframe, #content b:has-text('bold')").count() == 0
        text = page.locator("#content").evaluate("e => e.textContent")
        assert "\u202e" not in text
        if where in ("compare", "file", "candidate"):
            assert any(found in text for found in (HOSTILE[0], HOSTILE[1])) and "U+202E" in text
        if where == "compare":
            with page.expect_navigation():
                page.locator("#slice").select_option(index=1)
            assert page.locator(".example").count() > 0 and page.evaluate("window.pwned") is None


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light"), (390, "dark")])
def test_nothing_sticks_out_at_any_width_in_light_or_dark(
    width: int, scheme: str, study: Study, browser: Any, tmp_path: Path
) -> None:
    folder, name = study
    path = report(name, results=folder, out=tmp_path / "r.html")
    with watched(browser, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert (
            page.evaluate("getComputedStyle(document.body).backgroundColor")
            == {"dark": "rgb(20, 23, 26)", "light": "rgb(251, 250, 248)"}[scheme]
        )
        assert page.locator("svg.front:visible").count() == 1
        if width < 560:
            wide = page.locator(".scroll").evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth).length")
            assert wide == 0, "a table has to be pushed aside on a phone"


def test_the_live_page_follows_a_study_that_goes_on(live: dict[str, str], study: Study, browser: Any) -> None:
    from offramp.store.studies import RunUnderWay, StudyStatus, StudyStore

    folder, name = study
    told = RunUnderWay(at=dt.datetime.now(dt.UTC).isoformat(), share=0.25, remaining_s=600.0, most_s=None)
    with watched(browser) as page:
        page.goto(live["study"])
        page.locator("#filter").fill("small")
        stamp = page.locator("body").get_attribute("data-stamp")
        with open_store(lookup.default_storage(folder)) as store:
            details = replace(StudyStore(store).get(name).details, run=told)
            StudyStore(store).update(name, status=StudyStatus.RUNNING, stop_reason=None, details=details)
            until(page, "s => document.body.dataset.stamp !== s", stamp)
            assert "running" in page.locator("#status").inner_text()
            assert page.locator(".eyebrow").inner_text().startswith("So far")
            assert page.locator(".pace").inner_text().startswith("25% done, about ")
            assert page.locator("#filter").input_value() == "small"
            ended = replace(details, run=None)
            StudyStore(store).update(name, status=StudyStatus.FINISHED, stop_reason="trials", details=ended)
        until(page, "() => document.querySelector('#status').textContent === 'finished'")


def test_what_was_set_by_hand_stays_when_the_page_takes_new_content_again_and_again(
    live: dict[str, str], study: Study, browser: Any
) -> None:
    """Weights, tab, order, filters, choices and focus of the first renewal came back with each later one."""
    from offramp.store.studies import StudyStatus, StudyStore

    folder, name = study
    with watched(browser) as page, open_store(lookup.default_storage(folder)) as store:
        page.goto(live["study"])
        for status, key, weight in ((StudyStatus.RUNNING, "cost", 90), (StudyStatus.STOPPED, "p50", 30)):
            slide(page, quality=weight)
            page.locator("#tab-latency").click()
            page.locator("#only-front").check()
            page.locator(f"#table thead th[data-key={key}] button").click()
            page.locator("td.choose input:visible").nth(1).check()
            page.locator("#table thead th[data-key=p95] button").focus()
            order = page.locator("#table tbody tr").evaluate_all("rows => rows.map(r => r.dataset.id)")
            chosen = page.locator("td.choose input:checked").evaluate_all("boxes => boxes.map(b => b.value)")
            stamp = page.locator("body").get_attribute("data-stamp")
            StudyStore(store).update(name, status=status)
            until(page, "s => document.body.dataset.stamp !== s", stamp)
            assert page.locator("#weight-quality + output").inner_text() == f"{weight}%"
            assert page.locator("#picture-latency").is_visible() and page.locator("#only-front").is_checked()
            assert page.locator("#table tbody tr").evaluate_all("rows => rows.map(r => r.dataset.id)") == order
            kept = page.locator("td.choose input:checked").evaluate_all("boxes => boxes.map(b => b.value)")
            assert kept == chosen and chosen
            assert page.evaluate("document.activeElement.textContent") == "p95"
        StudyStore(store).update(name, status=StudyStatus.FINISHED)


def test_a_slider_that_is_held_is_not_taken_away(live: dict[str, str], study: Study, browser: Any) -> None:
    from offramp.store.studies import StudyStatus, StudyStore

    folder, name = study
    with watched(browser) as page, open_store(lookup.default_storage(folder)) as store:
        page.goto(live["study"])
        stamp = page.locator("body").get_attribute("data-stamp")
        box = page.locator("#weight-cost").bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
        page.mouse.down()
        StudyStore(store).update(name, status=StudyStatus.RUNNING)
        page.wait_for_timeout(2500)
        assert page.locator("body").get_attribute("data-stamp") == stamp
        page.mouse.up()
        until(page, "s => document.body.dataset.stamp !== s", stamp)
        StudyStore(store).update(name, status=StudyStatus.FINISHED)


def test_a_point_is_compared_as_the_new_one_with_what_runs_today(
    live: dict[str, str], study: Study, browser: Any
) -> None:
    """The card's link and the table's button put today's first: wins were shown as losses."""
    folder, name = study
    told = lookup.pareto(name, results=folder)
    best, today = told.recommended.candidate, told.incumbent.candidate
    with watched(browser) as page:
        page.goto(live["study"])
        page.locator("#ranking .pick").first.click()
        page.locator("#selected a", has_text="Compare").click()
        assert page.locator("#choose-a").input_value() == best and page.locator("#choose-b").input_value() == today
        page.goto(live["study"])
        for row in page.locator("#table tbody tr").all():
            if row.get_attribute("data-id") in (best, today):
                row.locator("input").check()
        slide(page, cost=100, quality=0)
        with page.expect_navigation():
            page.locator("#compare-two").click()
        assert page.locator("#choose-b").input_value() == today


@pytest.mark.parametrize(
    ("cost", "seconds"), [("2", ""), ("", "0.2"), ("0.3", "0.2"), ("0", ""), ("1e9", "1e9"), ("-1", "")]
)
def test_the_best_under_limits_is_the_one_that_pareto_picks(
    cost: str, seconds: str, study: Study, browser: Any, tmp_path: Path
) -> None:
    folder, name = study
    limits = [f"usd={float(cost) / 1000!r}"] if cost else []
    limits += [f"seconds={seconds}"] if seconds else []
    with watched(browser) as page:
        page.goto(report(name, results=folder, out=tmp_path / "r.html").as_uri())
        page.locator("#under-cost").fill(cost)
        page.locator("#under-seconds").fill(seconds)
        found = page.locator("#under-found")
        if cost == "-1":
            assert found.inner_text() == "", "a limit that is none chooses nobody"
            return
        told = lookup.pareto(name, results=folder, pick="under:" + ",".join(limits)).picked.member
        if told is None:
            assert "none" in found.inner_text()
        else:
            assert found.locator("button").get_attribute("data-pick") == told.candidate
            assert f"({number(told.quality)})" in found.inner_text()


def test_a_filter_is_chosen_by_arrow_keys_and_shown_by_the_button(live: dict[str, str], browser: Any) -> None:
    """Each arrow key in a list of choices loaded the page anew, and took the focus away."""
    with watched(browser) as page:
        page.goto(f"{live['study']}/compare")
        address = page.url
        page.locator("#show").focus()
        for _ in range(2):
            page.keyboard.press("ArrowDown")
        page.wait_for_timeout(300)
        assert page.url == address and page.locator("#show").input_value() == "win"
        with page.expect_navigation(url="**show=win**"):
            page.locator("#filters button").press("Enter")
        assert page.locator(".example").count() == page.locator(".example.win").count() > 0


def test_a_candidate_is_promoted_from_the_page_by_keyboard(live: dict[str, str], study: Study, browser: Any) -> None:
    """With the policy `no-referrer` a browser sends a form's origin as `null`: every promotion was refused."""
    folder, name = study
    best = lookup.pareto(name, results=folder).recommended.candidate
    with watched(browser) as page:
        page.goto(f"{live['study']}/candidates/{best}")
        page.locator("input[name=why]").fill("tried in a test")
        page.locator("input[name=force]").press("Space")
        with page.expect_navigation():
            page.locator("form.promote button").press("Enter")
        assert page.locator("h1").inner_text() == "Promoted"
        assert "landscape production points to version" in page.locator(".message").inner_text()
        assert "offramp.load('landscape'" in page.locator("code").first.inner_text()
        first = page.locator("#label-1 .id").inner_text()
        page.goto(f"{live['study']}/candidates/{lookup.pareto(name, results=folder).incumbent.candidate}")
        page.locator("input[name=why]").fill("to be undone")
        page.locator("input[name=force]").press("Space")
        with page.expect_navigation():
            page.locator("form.promote button").press("Enter")
        assert page.locator("#label-1 .id").inner_text() != first
        with page.expect_navigation():
            page.locator(".undo button").press("Enter")
        assert page.locator("h1").inner_text() == "Rolled back" and page.locator("#label-1 .id").inner_text() == first
        page.goto(live["study"].rpartition("/studies/")[0])
        assert page.locator("#studies .badge").inner_text() == "landscape: production"
        assert page.locator("#studies .spark path").count() == 1
        page.locator("#study-search").fill("no such study")
        assert page.locator("#studies li:visible").count() == 0
        page.locator("#study-search").fill("landscape PRODUCTION")
        assert page.locator("#studies li:visible").count() == 1


@pytest.mark.parametrize("width", [1280, 1440, 1920])
def test_no_column_of_the_table_is_cut_off(width: int, live: dict[str, str], browser: Any) -> None:
    """The last column, by which the table is sorted, was cut off at every width from 1280 to 1920."""
    with watched(browser, viewport={"width": width, "height": 900}) as page:
        page.goto(live["study"])
        box = page.locator("#candidates .scroll")
        assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
        box.evaluate("e => { e.style.width = '500px'; e.scrollLeft = 120; }")
        inside = """e => { const b = e.closest('.scroll').getBoundingClientRect(), c = e.getBoundingClientRect();
                           return c.left >= b.left - 1 && c.right <= b.right + 1 && c.width > 20; }"""
        assert page.locator("#table tbody tr").first.locator("th.name").evaluate(inside)
        assert page.locator("#table tbody tr").first.locator("td.utility").evaluate(inside)


@pytest.mark.parametrize("where", ["file", "live"])
def test_the_picture_shows_the_holdout_and_who_is_ahead_there(
    where: str, study: Study, live: dict[str, str], browser: Any, tmp_path: Path
) -> None:
    folder, name = study
    told = lookup.pareto(name, results=folder)
    held = {m.candidate for m in told.members if m.holdout is not None}
    address = live["study"] if where == "live" else report(name, results=folder, out=tmp_path / "r.html").as_uri()
    with watched(browser) as page:
        page.goto(address)
        spots = "split => [...document.querySelectorAll(`#picture-cost .spot.on-${split}`)].filter(e => e.getClientRects().length).length"
        assert page.evaluate(spots, "holdout") == 0
        page.locator("#split-switch input").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate(spots, "holdout") == len(held) and page.evaluate(spots, "search") == 0
        page.keyboard.press("ArrowRight")
        assert page.evaluate(spots, "holdout") == len(held) and page.evaluate(spots, "search") >= len(held)
        for member in told.members:
            ahead = told.ahead_on_holdout(member)
            if ahead:
                row = page.locator(f"#table tr[data-id='{member.candidate}'] th.name")
                assert "dominated by" in row.inner_text()
                assert ahead[0].candidate in row.locator("a").nth(1).get_attribute("href")


@pytest.mark.parametrize("where", ["file", "live"])
def test_pointing_at_a_point_shows_its_scores_prompt_and_demos_beside_the_picture(
    where: str, study: Study, live: dict[str, str], browser: Any, tmp_path: Path
) -> None:
    folder, name = study
    told = lookup.pareto(name, results=folder)
    address = live["study"] if where == "live" else report(name, results=folder, out=tmp_path / "r.html").as_uri()
    with watched(browser) as page:
        page.goto(address)
        page.wait_for_selector("#peeks template", state="attached")
        card = page.locator("#selected")
        assert told.recommended.candidate in card.inner_text()
        page.locator("#picture-cost").scroll_into_view_if_needed()
        today = told.incumbent
        page.locator("#picture-cost svg.wide .dot.incumbent .on-search .hit").hover()
        assert number(today.quality) in card.inner_text() and "Vague." in card.inner_text()
        beside = page.evaluate(
            "[...document.querySelectorAll('#picture, #selected')].map(e => e.getBoundingClientRect().top)"
        )
        assert abs(beside[0] - beside[1]) < 2
        page.mouse.move(1, 1)
        assert told.recommended.candidate in card.inner_text()
        for member in told.front:
            page.locator(f"#picture-cost svg.wide .dot[data-id='{member.candidate}']").focus()
            shown = card.inner_text()
            assert number(member.quality) in shown and f"{str(member.params['instruction']).title()}." in shown
            assert ("Demos" in shown) == (member.params["demos"] != "none")


@pytest.mark.parametrize("statistic", ["mean", "p95"])
def test_p50_on_the_card_is_p50_whatever_the_statistic(
    statistic: str, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(request: CallRequest) -> CallReply:
        return replace(reply_to(request), latency_s=2.0 if sum(map(ord, str(request.messages))) % 7 == 0 else 0.1)

    answered_by(monkeypatch, FunctionTransport(reply))
    latency = {"weight": 0.3, "scale": [5, 0], "statistic": statistic}
    space = write_space(tmp_path / "space", objectives={"latency": latency})
    with ThreadPoolExecutor() as beside:  # the browser's own event loop runs in this thread
        found = beside.submit(run_job, space, tmp_path).result().report
    best = found.recommended.search
    assert best.latency_p50_s != best.latency_s(statistic)
    with watched(browser) as page:
        page.goto(report(found.study, results=tmp_path, out=tmp_path / "r.html").as_uri())
        names = page.locator("#selected dt").all_inner_texts()
        facts = dict(zip(names, page.locator("#selected dd").all_inner_texts(), strict=True))
        for name in dict.fromkeys(("p50", statistic, "p95")):
            assert facts[name] == seconds(best.latency_s(name))
            page.locator(f"#table thead th[data-key={name}] button").click()
            assert page.locator(f"#table thead th[data-key={name}]").get_attribute("aria-sort") == "ascending"
        assert page.locator("#candidates .scroll").evaluate("e => e.scrollWidth <= e.clientWidth")


def test_the_request_as_it_is_sent_is_copied(live: dict[str, str], study: Study, browser: Any) -> None:
    folder, name = study
    best = lookup.pareto(name, results=folder).recommended
    with watched(browser) as page:
        page.add_init_script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        page.goto(f"{live['study']}/candidates/{best.candidate}")
        page.locator(".request summary").click()
        page.locator(".request [data-copy]").press("Enter")
        until(page, "() => Boolean(window.copied)")
        body = json.loads(page.evaluate("window.copied"))
        assert body["model"] == f"openai/{best.params['model']}" and body["messages"][-1]["content"].startswith("case ")
