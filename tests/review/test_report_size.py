"""The report of a large study: 300 candidates, nearly all on the front, by 500 examples, with long texts everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from offramp.review.report_file import report
from offramp.review.report_size import LEVELS, MOST_BYTES
from offramp.store.engine import open_store
from offramp.store.tables import candidates, results, summaries
from offramp.study import lookup
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

COPIES, EXAMPLES, LONG = 298, 500, 4_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small study that was run; then more examples, with long texts, and copies of a candidate, each better and dearer."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        name = run_job(write_space(folder, search={"sampler": "random", "race": None}), folder, trials=2).report.study
    examples = [f"e{n:03}" for n in range(EXAMPLES)]
    texts = [{"id": one, "message": "word " * (LONG // 5), "label": "billing"} for one in examples]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    ids, answer = [f"c{n:03}" for n in range(COPIES)], {"label": "<b>é</b> " * 200}
    with open_store(lookup.default_storage(folder)) as store, store.transaction() as conn:
        first = conn.execute(sa.select(candidates).order_by(candidates.c.number)).all()[-1]
        kept = dict(first._mapping)
        copies = [
            {**kept, "candidate": one, "number": 10 + n, "params": {**kept["params"], "temperature": n / 1000}}
            for n, one in enumerate(ids)
        ]
        conn.execute(candidates.insert(), copies)
        mine = (summaries.c.candidate == first.candidate, summaries.c.split == "search")
        seen = dict(conn.execute(sa.select(summaries).where(*mine)).one()._mapping)
        own = [
            {**seen, "candidate": one, "n": EXAMPLES, "quality": 0.4 + n / 600, "input_tokens": 9000 + 900 * n}
            for n, one in enumerate(ids)
        ]
        conn.execute(summaries.insert(), own)
        mine = (results.c.candidate == first.candidate, results.c.split == "search")
        ran = dict(conn.execute(sa.select(results).where(*mine).limit(1)).one()._mapping)
        today = conn.execute(sa.select(candidates.c.candidate).order_by(candidates.c.number)).scalars().first()
        known = (results.c.candidate == today, results.c.split == "search")
        conn.execute(results.delete().where(*known))
        conn.execute(results.insert(), [{**ran, "candidate": today, "example": e, "score": 0.0} for e in examples])
        ran = {**ran, "score": 1.0}
        for one in ids[-30:]:  # those of the highest quality, which are shown in full
            conn.execute(
                results.insert(), [{**ran, "candidate": one, "example": e, "outputs": answer} for e in examples]
            )
    return folder, name


def test_the_report_of_a_large_study_is_small_and_says_what_it_leaves_out(
    large: tuple[Path, str], tmp_path: Path
) -> None:
    folder, name = large
    html = report(name, results=folder, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(html.encode()) < MOST_BYTES
    front = lookup.pareto(name, results=folder).front
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert len(front) > 250 and {m["id"] for m in data["members"] if m["front"]} == {m.candidate for m in front}
    assert re.search(r"Texts are cut after [\d,]+ characters\. This file stays below 2 MB", html)
    shown = html.count('<details class="candidate"')
    told = re.search(r"These are the (\d+) of highest utility; (\d+) more of the front", html)
    fronts = sum(f'id="c-{member.candidate}"' in html for member in front)
    assert (int(told[1]), int(told[2])) == (shown, len(front) - fronts)
    assert f"These are 200 of {EXAMPLES} examples." in html
    assert re.search(r"… and [\d,]+ more characters", html)


def test_each_level_holds_less_than_the_one_before() -> None:
    sizes = [(level.details, level.others, level.text) for level in LEVELS]
    assert sizes == sorted(sizes, reverse=True)
