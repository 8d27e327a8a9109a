"""`offramp cascades` over tables and studies: what is said, what is refused, and that no call is made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import offramp
from offramp.errors import DatasetError, UsageError
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, main, reply_to, run_job, write_space

RECORDED = Path(__file__).parents[3] / "shared" / "replay"


def table(n: int = 60, holdout: int = 30, seed: int = 0) -> pd.DataFrame:
    """Two cheap models, each right on its own topic; a large one that is right everywhere and expensive."""
    rng = np.random.default_rng(seed)
    rows = []
    for split, count in (("search", n), ("holdout", holdout)):
        for i in range(count):
            topic = ("law", "maths")[i % 2]
            for model, right, cost in (
                ("lawyer", topic == "law", 1),
                ("counter", topic == "maths", 1),
                ("all", True, 60),
            ):
                score = float(right if rng.random() < 0.95 else not right)
                rows.append(
                    {
                        "param.model": model, "example_id": f"{split}-{i}", "split": split, "score": score,
                        "cost_usd": cost * 0.001 * rng.lognormal(0, 0.1), "latency_s": 0.5 + cost / 60,
                        "input.topic": topic, "answer": f"right {i}" if score else f"{model} {i}",
                        "confidence": 0.9 if score else 0.2,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def shown(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def runner(*args):
        code = main(["cascades", *map(str, args)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return runner


def test_a_table_is_scored_with_every_signal_that_it_records_and_the_holdout_reports(tmp_path, shown) -> None:
    path = tmp_path / "t.parquet"
    table().to_parquet(path)
    found = offramp.cascades(path)
    assert {one.kind for one in found.crossed} == {
        "chosen", "single", "cost", "predicted", "confidence", "stages_cost", "stages_confidence", "agreement", "pair", "router",
    }  # fmt: skip
    assert found.missing == {} and found.rows == 60 and found.holdout_rows == 30 and found.candidates == 3
    for results in (found.crossed, found.holdout or ()):
        by_kind = {one.kind: one for one in results}
        assert by_kind["pair"].difference > 0.05 and by_kind["pair"].p_value < by_kind["pair"].p_corrected
        assert by_kind["confidence"].difference > 0.05
        assert by_kind["single"].difference is None
    pair = next(one for one in found.crossed if one.kind == "pair")
    assert pair.low > 0 and pair.p_corrected < 0.05
    assert {found.best["pair"].params[i]["model"] for i in range(2)} == {"lawyer", "counter"}
    sure = found.best["confidence"]
    assert sure.of == "confidence" and 0.2 <= sure.threshold <= 0.9
    code, out, _ = shown(path)
    assert code == 0 and "no call was made" in out and "Ahead of the best single candidate" in out
    assert "On 30 holdout rows" in out and all(
        len(line) <= 80 for line in out.splitlines() if line[:6] in ("router", "best s")
    )
    code, out, _ = shown(path, "--json")
    assert code == 0 and json.loads(out)["rule"]["kind"] in {one.kind for one in found.crossed}


@pytest.mark.parametrize("dropped", [["cost_usd"], ["latency_s"], ["cost_usd", "latency_s"], ["input.topic", "answer"]])
def test_columns_that_are_missing_leave_their_rules_out_and_say_so(tmp_path, shown, dropped) -> None:
    path = tmp_path / "t.csv"
    table().drop(columns=dropped).to_csv(path, index=False)
    found = offramp.cascades(path)
    code, out, _ = shown(path)
    assert code == 0 and found.crossed[0].kind == "chosen"
    if "answer" in dropped:
        assert set(found.missing) == {"agreement", "router"} and "no answers are recorded" in out
    if {"cost_usd", "latency_s"} <= set(dropped):
        assert "cost" in found.missing and found.crossed[0].cost_usd is None


def test_cells_that_are_missing_count_against_nobody_and_candidates_with_few_are_left_out(tmp_path) -> None:
    data = table(holdout=0)
    data.loc[data.index[:4], "cost_usd"] = np.nan
    few = data[data["param.model"] == "all"].assign(**{"param.model": "rarely"}).head(5)
    path = tmp_path / "t.parquet"
    pd.concat([data, few]).sample(frac=1, random_state=0).to_parquet(path)
    found = offramp.cascades(path)
    assert found.candidates == 3 and found.rows == 60 and found.holdout is None
    data.sort_values("cost_usd").to_parquet(path)
    assert offramp.cascades(path).crossed == found.crossed, "the order of rows does not matter"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d[d["param.model"] == "all"], "candidates with results on all search rows"),
        (lambda d: d[d.example_id.isin([f"search-{i}" for i in range(15)])], "search rows that all candidates"),
        (lambda d: d.drop(columns="score"), "no column 'score'"),
        (lambda d: d.iloc[:0], "has no rows"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_in_one_message(tmp_path, shown, change, says) -> None:
    path = tmp_path / "t.csv"
    change(table(holdout=0)).to_csv(path, index=False)
    code, out, err = shown(path)
    assert code == 2 and says in err and out == "" and "Traceback" not in err


@pytest.mark.parametrize("weights", ["speed=1", "quality=-1", "quality=0", "quality"])
def test_weights_that_do_not_fit_are_refused(tmp_path, shown, weights) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    code, _, err = shown(tmp_path / "t.csv", "--weights", weights)
    assert code == 2 and "--weights" in err


def test_a_path_that_is_no_table_and_a_study_that_is_not_there_are_refused(tmp_path, shown) -> None:
    with pytest.raises(DatasetError):
        offramp.cascades(tmp_path / "none.parquet")
    code, _, err = shown("nosuch", "--results", tmp_path)
    assert code == 2 and "Traceback" not in err


def test_a_study_is_scored_from_its_stored_results_without_a_call(tmp_path, shown, monkeypatch) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(
        tmp_path / "job", count=40, splits={"train": 2, "search": 24, "holdout": 12},
        search={"sampler": "random", "trials": 4, "race": None},
    )  # fmt: skip
    report = run_job(space, tmp_path).report
    transport = FunctionTransport(lambda _: pytest.fail("a call was made"))
    answered_by(monkeypatch, transport)
    found = offramp.cascades(report.study[:12], results=tmp_path)
    assert found.source == report.study and found.rows == 24 and found.candidates >= 3
    assert "agreement" in {one.kind for one in found.crossed} and found.features == ("message",)
    code, out, _ = shown("latest", "--results", tmp_path, "--json")
    assert code == 0 and json.loads(out)["weights"] == {"quality": 0.7, "cost": 0.3}
    (tmp_path / "job" / "rows.jsonl").unlink()
    assert "router" in offramp.cascades("latest", results=tmp_path).missing, (
        "without the data nothing is known of inputs"
    )


def test_a_study_with_too_few_rows_is_refused(tmp_path, shown, monkeypatch) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    run_job(write_space(tmp_path / "job"), tmp_path)
    with pytest.raises(UsageError, match="20 or more"):
        offramp.cascades("latest", results=tmp_path)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded tables are not here")
def test_nine_recorded_models_are_ahead_of_the_best_single_one_on_rows_that_chose_nothing(shown) -> None:
    found = offramp.cascades(RECORDED / "mcqa_temperature.parquet")
    assert found.chosen.kind == "chosen" and found.chosen.difference > 0
    code, out, _ = shown(RECORDED / "prompts_gsm8k_42.parquet")
    assert code == 0 and "Not ahead of the best single candidate" in out, "one model, and nothing known of the inputs"
