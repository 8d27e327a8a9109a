"""What is called p50 is p50, whatever the statistic of the latency objective; that one has a name of its own."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.cli.console import PlainConsole
from offramp.cli.study_tables import front_table, print_report, write_csv
from offramp.records import Aggregate
from offramp.review.decision import decide
from offramp.review.report_file import report as write_report
from offramp.study.domain.members import Member, Probe
from offramp.study.proof import latencies, prove
from offramp.study.shown import ShownStudy
from offramp.study.study_report import StudyReport, member_json
from offramp.study.wording import seconds, shown_statistics
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

STATISTICS = ("mean", "p50", "p90", "p95")
SECONDS = {"mean": 0.404, "p50": 0.101, "p90": 0.303, "p95": 0.505}


class Notebook(ShownStudy):
    def __init__(self, report: StudyReport) -> None:
        self.report = report


def member(candidate: str = "one", statistic: str = "p95", *, times: float = 1.0, **more: object) -> Member:
    """One whose statistics of latency all differ."""
    found = {f"latency_{name}_s": value * times for name, value in SECONDS.items()}
    seen = Aggregate(
        n=20, n_fault=0, n_failed=0, quality=0.5, quality_low=0.31, quality_high=0.69, cost_usd=0.001, **found
    )
    return Member(
        candidate=candidate, params={"model": candidate}, search=seen, holdout=seen, latency_statistic=statistic,
        utility=0.5, feasible=True, **more,
    )  # fmt: skip


def probe(p50_s: float) -> Probe:
    return Probe(n=9, concurrency=1, measured_at="", p50_s=p50_s, p50_low_s=0.0, p50_high_s=None,
                 p95_s=0.909, p95_low_s=0.0, p95_high_s=None)  # fmt: skip


def printed(members: list[Member], width: int = 80) -> list[str]:
    out = io.StringIO()
    PlainConsole(file=out, width=width).print(front_table(members, title="front"))
    return out.getvalue().splitlines()


@pytest.fixture(params=STATISTICS)
def report(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyReport:
    """Of a study with this statistic, whose requests take long now and then."""
    answered_by(monkeypatch, FunctionTransport(lambda call: replace(
        reply_to(call), latency_s=2.0 if sum(map(ord, str(call.messages))) % 7 == 0 else 0.1 + len(call.model.name) / 50
    )))  # fmt: skip
    latency = {"weight": 0.3, "scale": [5, 0], "statistic": request.param}
    result = run_job(
        write_space(
            tmp_path / "space", objectives={"latency": latency}, search={"sampler": "grid", "trials": 9, "race": None}
        ),
        tmp_path,
    )
    assert result.error is None
    assert any(len({m.search.latency_s(name) for name in STATISTICS}) > 2 for m in result.report.members)
    return result.report


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_terminal_s_p50_is_p50_in_both_lines_and_80_columns_are_enough(statistic: str) -> None:
    _, head, first, second, *_ = lines = printed([member("0123456789ab", statistic, probe=probe(0.111))])
    shown = ["p50", "p95"] if statistic in ("p50", "p95") else ["p50", statistic, "p95"]
    assert head.split()[5:-2] == shown
    assert f"{' '.join(seconds(SECONDS[name]) for name in shown)} 20" in " ".join(first.split())
    for name, cell in (("p50", "111 ms"), ("p95", "909 ms")):
        at = re.search(rf"{name}\b", head).end()
        assert second[:at].endswith(cell) and first[:at].endswith(seconds(SECONDS[name]))
    assert max(map(len, lines)) <= 80 and len(head) == len(first)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_faster_is_of_p50_with_and_without_timed_runs(statistic: str) -> None:
    new, old = member("new", statistic), member("old", statistic, times=3.0, incumbent=True)
    old = replace(old, search=replace(old.search, latency_p50_s=0.202))
    assert latencies(new, old) == (0.101, 0.202) and latencies(new, None) == (0.101, None)
    assert latencies(replace(new, probe=probe(0.1)), replace(old, probe=probe(0.4))) == (0.1, 0.4)
    assert latencies(replace(new, probe=probe(0.1)), old) == (0.101, 0.202)
    proof = prove(new, old, [new, old], 20)
    assert proof.gains == ("2.0× faster",)
    decision = decide(proof, old, None, str)
    assert [tile.now for tile in decision.tiles if tile.name == "Latency p50, as run"] == ["101 ms"]
    alone = decide(prove(new, None, [new], 20), None, None, str)
    assert "p50 101 ms per run" in alone.why


@pytest.mark.parametrize("statistic", STATISTICS)
def test_json_has_p50_beside_the_statistic(statistic: str) -> None:
    found = member_json(member(statistic=statistic))
    for seen in (found, found["holdout"]):
        assert (seen["latency_s"], seen["latency_p50_s"]) == (SECONDS[statistic], 0.101)


def test_pages_notebooks_and_tables_agree_on_p50(report: StudyReport, tmp_path: Path) -> None:
    names = shown_statistics(report.latency_statistic)
    html = write_report(report.study, results=tmp_path, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"seconds per run, {report.latency_statistic}" in html
    table = re.search(r'<table class="grid-table" id="table">.*?</table>', html, re.DOTALL)[0]
    assert [key for key in re.findall(r'data-key="(.*?)"', table) if key in STATISTICS] == list(names)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["statistics"] == list(names)
    rows = {found["id"]: found for found in data["members"]}
    notebook, out = Notebook(report)._repr_html_(), io.StringIO()
    print_report(report, everything=True, console=PlainConsole(file=out, width=120))
    for m in report.front:
        cells = [seconds(m.search.latency_s(name)) for name in names]
        assert [rows[m.candidate]["words"][name] for name in names] == cells
        row = re.search(rf'<tr data-id="{m.candidate}".*?</tr>', table, re.DOTALL)[0]
        assert [re.search(rf'data-l="{name}"[^>]*>(.*?)</td>', row)[1] for name in names] == cells
        assert " ".join(cells) in " ".join(re.sub("<[^>]+>", " ", notebook).split())
        assert f"{m.candidate} " in out.getvalue() and " ".join(cells) in " ".join(out.getvalue().split())
        assert f"p50 <b>{cells[0]}</b>" in html
        assert f"p50 {cells[0]}, p95 {cells[-1]}, {m.search.n} runs" in html
    written = io.StringIO()
    write_csv(written, report, everything=False)
    for row, m in zip(csv.DictReader(io.StringIO(written.getvalue())), report.front, strict=True):
        assert float(row["latency_p50_s"]) == m.search.latency_p50_s and float(row["latency_s"]) == m.latency_s
