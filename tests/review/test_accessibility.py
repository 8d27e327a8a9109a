"""axe-core finds nothing serious on any page: the report, and the live pages of an ordinary and of a hostile study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, served, watched

from offramp.promote.promoting import promote
from offramp.review.report_file import report
from offramp.study import lookup

pytest.importorskip("fastapi", reason="the extra web is not installed")
Study = tuple[Path, str]
AXE = Path(__file__).parents[2] / "build" / "peers" / "node" / "node_modules" / "axe-core" / "axe.min.js"
LIVE = ("index", "study", "candidate", "compare")
PAGES = [("study", page) for page in ("report", *LIVE, "promotions")] + [
    ("hostile", page) for page in ("report", *LIVE)
]


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make peers")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(axe: str) -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def addresses(
    study: Study, hostile: Study, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], str]]:
    """Address by study and page; the first study was promoted."""
    folder = tmp_path_factory.mktemp("promotions")
    promote(study[1], results=study[0], promotions=folder, force=True, why="a test")
    with served(study, folder) as one, served(hostile, folder) as other:
        index = one.rpartition("/studies/")[0]
        found = {("study", "promotions"): f"{index}/promotions/landscape"}
        for kind, (results, name), live in (("study", study, one), ("hostile", hostile, other)):
            today = lookup.pareto(name, results=results).incumbent.candidate
            pages = {"index": f"{live.rpartition('/studies/')[0]}/", "study": live, "compare": f"{live}/compare"}
            pages |= {"candidate": f"{live}/candidates/{today}"}
            pages |= {"report": report(name, results=results, out=folder / f"{kind}.html").as_uri()}
            found |= {(kind, page): address for page, address in pages.items()}
        yield found


@pytest.mark.parametrize("shown", PAGES, ids="-".join)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(
    width: int, scheme: str, shown: tuple[str, str], addresses: dict[tuple[str, str], str], axe: str, browser: Any
) -> None:
    with watched(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        page.add_init_script(axe)
        page.goto(addresses[shown])
        page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in serious] == []
