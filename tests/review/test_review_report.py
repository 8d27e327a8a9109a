"""The report as a file: what it holds, that it agrees with everything else, and that nothing in it acts."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offramp.records import DemoKind
from offramp.review import study_source
from offramp.review.candidate_detail import chosen_demos
from offramp.review.report_file import report
from offramp.review.study_source import StudySource
from offramp.store.engine import open_store
from offramp.store.tables import calls
from offramp.study import lookup
from offramp.study.wording import number, per_thousand, points, seconds
from review_studies import HOSTILE

Study = tuple[Path, str]


class Elements(HTMLParser):
    """Tags with attributes, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def html_of(study: Study, tmp_path: Path) -> str:
    folder, name = study
    return report(name, results=folder, out=tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_numbers_of_the_report_are_those_of_pareto_and_compare(study: Study, tmp_path: Path) -> None:
    folder, name = study
    html = html_of(study, tmp_path)
    front = lookup.pareto(name, results=folder)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    shown = {member["id"]: member for member in data["members"]}
    for member in front.front:
        words = shown[member.candidate]["words"]
        assert words["quality"] == number(member.quality) and words["cost"] == per_thousand(member.cost_usd)
        assert words["latency"] == seconds(member.latency_s) and shown[member.candidate]["quality"] == member.quality
    assert {id for id, member in shown.items() if member["front"]} == {member.candidate for member in front.front}
    assert data["recommended"] == front.recommended.candidate
    found = lookup.compare(name, "recommended", "incumbent", results=folder).whole
    assert f"{points(found.corrected.low)} to {points(found.corrected.high)}" in html
    assert f"{found.wins} better" in html and f"{found.losses} worse" in html


def test_every_member_of_the_front_is_there_in_full(study: Study, tmp_path: Path) -> None:
    folder, name = study
    tags = Elements(html_of(study, tmp_path)).tags
    ids = {attributes.get("id") for tag, attributes in tags if tag == "details"}
    assert {f"c-{member.candidate}" for member in lookup.pareto(name, results=folder).front} <= ids


def test_the_report_names_no_address_and_loads_nothing(study: Study, tmp_path: Path) -> None:
    html = html_of(study, tmp_path)
    for tag, attributes in Elements(html).tags:
        assert tag not in ("iframe", "object", "embed", "base", "img")
        for name in ("src", "href", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "") and "https://" not in html


def test_texts_of_strangers_make_no_element_and_hide_nothing(hostile: Study, tmp_path: Path) -> None:
    html = html_of(hostile, tmp_path)
    found = Elements(html)
    running = [tag for tag, attributes in found.tags if tag == "script" and "type" not in dict(attributes)]
    assert len(running) == 1 and not any(tag == "img" for tag, _ in found.tags)
    assert not any("onmouseover" in attributes or "onerror" in attributes for _, attributes in found.tags)
    text = "".join(found.text)
    for hostile_text in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4], HOSTILE[6]):
        assert hostile_text in text
    assert not set("\u202e\u202c\u2028") & set(html), "marks of direction are written out"
    assert "U+202E" in text and "5332114" not in text


def test_a_report_of_other_weights_recommends_by_them(study: Study, tmp_path: Path) -> None:
    folder, name = study
    weights = {"quality": 0.01, "cost": 1.0}
    path = report(name, results=folder, out=tmp_path / "r.html", weights=weights)
    best = lookup.pareto(name, results=folder, weights=weights).recommended
    assert (
        json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1])["recommended"]
        == best.candidate
    )


def test_a_file_that_cannot_be_written_is_a_message(study: Study, tmp_path: Path) -> None:
    from offramp.errors import StorageError

    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        report(study[1], results=study[0], out=tmp_path / "file" / "r.html")


def test_bootstrapped_demos_are_shown_as_the_program_had_them(study: Study, tmp_path: Path) -> None:
    """Each is a train example with the program's own answer, which the metric approved of."""
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        source = StudySource(store, name)
        train = {e.values["message"]: e.values["label"] for e in source.pool.train}
        kept = {c.id: c.candidate for c in source.candidates if c.candidate.demo_kind is DemoKind.BOOTSTRAPPED}
        found = {id: [dict(demo) for demo in source.bootstrapped(id)] for id in kept}
        assert found and all(1 <= len(found[id]) <= kept[id].demo_count for id in kept)
        assert all(train[demo["message"]] == demo["label"] for demos in found.values() for demo in demos)
        assert source.bootstrapped("none") == ()
    html = html_of(study, tmp_path)
    on_front = [m.candidate for m in lookup.pareto(name, results=folder).front if m.candidate in kept]
    for id in on_front:
        block = html.split(f'data-demos="{id}">')[1].split("</div>\n<")[0]
        assert all(demo["message"] in block for demo in found[id])


def test_demos_whose_answers_are_gone_are_described_and_none_is_invented(study: Study, tmp_path: Path) -> None:
    folder, name = study
    for file in folder.glob("offramp.db*"):
        shutil.copy(file, tmp_path / file.name)
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        with store.transaction() as conn:
            conn.execute(calls.delete().where(calls.c.purpose == "bootstrap"))
        source = StudySource(store, name)
        one = next(c for c in source.candidates if c.candidate.demo_kind is DemoKind.BOOTSTRAPPED)
        assert source.bootstrapped(one.id) == ()
        assert "own answers" in chosen_demos(one.candidate, source.pool)[1]


def test_the_note_on_nearest_demos_says_which_pool_and_how(study: Study) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        source = StudySource(store, name)
        nearest = replace(source.candidates[-1].candidate, demo_kind=DemoKind.NEAREST, demo_count=3)
        demos, note = chosen_demos(nearest, source.pool)
    assert demos == () and "the 3 of the 6 train examples" in note and "cosine" in note


@pytest.mark.parametrize("word", ["keep", "choose", "none", "switch"])
def test_the_kind_of_a_decision_is_no_class_that_other_rules_are_for(word):
    review = Path(study_source.__file__).parent
    css = (review / "static" / "page.css").read_text()
    assert 'class="decision is-{{ page.decision.kind }}"' in (review / "templates" / "_decision.html.j2").read_text()
    assert '"decision is-" + decision.kind' in (review / "static" / "decision.js").read_text()
    assert not re.search(rf"\.decision\.{word}\b", css)
