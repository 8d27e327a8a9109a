"""A recorded table becomes a front; nothing of it is used that was not paid for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import offramp
from offramp.cli.main import main
from offramp.cli.main import offramp as command
from offramp.errors import UsageError
from offramp.records import Split
from offramp.search.replay.table import PaidCells, RecordedTable, read_table

MODELS = {"small": (0.3, 0.001, 0.2), "middle": (0.6, 0.004, 0.9), "large": (0.9, 0.02, 2.0), "waste": (0.2, 0.03, 3.0)}


def table(examples: int = 40, splits: tuple[str, ...] = ("search", "holdout"), seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = []
    for model, (quality, cost, latency) in MODELS.items():
        for temperature in (0.0, 0.5, None):
            for split in splits:
                for n in range(examples):
                    rows.append(
                        {
                            "param.model": model,
                            "param.temperature": temperature,
                            "example_id": f"{split}-{n}",
                            "split": split,
                            "score": float(generator.random() < quality),
                            "cost_usd": cost * generator.lognormal(0, 0.2),
                            "latency_s": latency * generator.lognormal(0, 0.4),
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table().to_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_a_front_is_found_in_a_part_of_the_cells(path: Path) -> None:
    found = offramp.replay(path, share=0.25)
    assert found.cells_used <= 0.25 * 12 * 40
    assert {m.params["model"] for m in found.front} == {"small", "middle", "large"}
    assert found.recommended in found.front


def test_all_cells_give_the_exact_front_of_means(path: Path) -> None:
    data = table()
    means = data[data.split == "search"].groupby(["param.model", "param.temperature"], dropna=False)
    means = means[["score", "cost_usd", "latency_s"]].mean()
    losses = means.to_numpy() * [-1, 1, 1]
    best = {
        (model, None if np.isnan(t) else t)
        for (model, t), row in zip(means.index, losses, strict=True)
        if not any((o <= row).all() and (o < row).any() for o in losses)
    }
    found = offramp.replay(path)
    assert found.cells_used == found.cells_total
    assert {(m.params["model"], m.params["temperature"]) for m in found.front} == best
    assert all(m.sd["quality"] == 0 for m in found.front)


def test_the_same_seed_gives_the_same_answer_whatever_the_order_of_rows(path: Path, tmp_path: Path) -> None:
    table().sample(frac=1, random_state=3).to_parquet(tmp_path / "other.parquet")
    first, second = (offramp.replay(p, cells=100, seed=5).to_json() for p in (path, tmp_path / "other.parquet"))
    assert json.dumps(first) == json.dumps(second)
    assert json.dumps(offramp.replay(path, cells=100, seed=6).to_json()) != json.dumps(first)


def test_what_was_not_read_changes_nothing(path: Path, tmp_path: Path) -> None:
    """Every cell that the first run did not pay for is replaced by nonsense; the second run cannot tell."""
    from offramp.search.racing import COST, LATENCY, QUALITY
    from offramp.search.replay.run import race_over_table

    recorded = read_table(path)[Split.SEARCH]
    objectives = (QUALITY, COST, LATENCY)
    race = race_over_table(recorded, objectives, 120, 0)
    spoilt = np.where(race.cells.requested[:, :, None], recorded.values, 0.77)
    again = race_over_table(
        RecordedTable(pool=recorded.pool, examples=recorded.examples, outcomes=recorded.outcomes, values=spoilt),
        objectives,
        120,
        0,
    )
    assert (again.cells.requested == race.cells.requested).all()
    assert again.declare() == race.declare()


def test_no_cell_beyond_the_cap_is_given_out() -> None:
    recorded = RecordedTable(pool=({}, {}), examples=("a", "b"), outcomes=("score",), values=np.ones((2, 2, 1)))
    paid = PaidCells(recorded, 2)
    paid.read(0, [0, 1])
    paid.read(0, [0, 1])
    assert (paid.used, paid.remaining) == (2, 0)
    with pytest.raises(ValueError, match="1 cells requested, 0 remaining"):
        paid.read(1, [0])


def test_columns_and_cells_may_be_missing(tmp_path: Path) -> None:
    data = table(splits=("search",)).drop(columns=["split", "cost_usd", "latency_s"])
    data.loc[::7, "score"] = np.nan
    data.iloc[10:].to_csv(tmp_path / "t.csv", index=False)
    found = offramp.replay(tmp_path / "t.csv", cells=200)
    assert found.front[0].params["model"] == "large"
    assert found.front[0].estimates["cost_usd"] is None and found.front[0].estimates["latency_s"] is None
    with pytest.raises(UsageError, match="unknown objective"):
        offramp.replay(tmp_path / "t.csv", weights={"cost": 1})


def test_json_at_the_command_line(path: Path) -> None:
    done = CliRunner().invoke(command, ["replay", str(path), "--share", "0.1", "--json", "--verify"])
    printed = json.loads(done.output)
    assert printed["cells_used"] == 48
    assert {"params", "quality", "cost_usd", "latency_s", "holdout_quality"} <= set(printed["front"][0])
    assert printed["recommended"] in printed["front"]
    assert set(printed["recommended"]["params"]) == {"model", "temperature"}
    assert "recommended:" in CliRunner().invoke(command, ["replay", str(path), "--cells", "60"]).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--share", "0"], "share"),
        (["--share", "1.5"], "share"),
        (["--cells", "0"], "cells"),
        (["--cells", "5", "--share", "0.5"], "Choose one"),
        (["--weights", "speed=1"], "unknown objective"),
    ],
)
def test_bad_options_are_one_message(
    path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(path), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop(columns=["param.model", "param.temperature"]), "begins with 'param.'"),
        (lambda d: d.drop(columns=["score"]), "no column 'score'"),
        (lambda d: d.assign(score=d.score * 100), "in \\[0, 1\\]"),
        (lambda d: d.assign(cost_usd=-1.0), "0 or more"),
        (lambda d: d.assign(split="train"), "expected 'search' or 'holdout'"),
        (lambda d: d[d.split == "holdout"], "rows with 'search'"),
        (lambda d: d.assign(score=np.nan), "no number"),
        (lambda d: d.iloc[:0], "has no rows"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_message(change, message: str, tmp_path: Path) -> None:
    change(table()).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(UsageError, match=message):
        offramp.replay(tmp_path / "bad.parquet")


def test_a_file_that_is_no_table_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        offramp.replay(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(UsageError, match="cannot be read"):
        offramp.replay(tmp_path / "text.parquet")


def written(path: Path, rows: list[str], head: str = "param.prompt,example_id,score,cost_usd,split") -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def logged(prompts: list[str], ids: list[str] | None = None) -> list[str]:
    """Rows in which each prompt has quality and cost of its own, on each id."""
    ids = ids or [f"e{n}" for n in range(4)]
    return [f"{p},{i},{0.1 * k:.1f},{0.001 * (k + 1)},search" for k, p in enumerate(prompts) for i in ids]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1.1", "1.10", "1.9"], ["1.1", "1.10", "1.9"]),
        (["01", "1"], ["01", "1"]),
        (["1", "1.0"], ["1", "1.0"]),
        (["true", "True", "TRUE"], ["true", "True", "TRUE"]),
        (["true", "False"], ["true", "False"]),
        (["None", "NA", "null", "nan", ""], ["None", "NA", "null", "nan", None]),
        (["1234567890123456781", "1234567890123456782"], ["1234567890123456781", "1234567890123456782"]),
        (["0", "0.5", ""], [0, 0.5, None]),
        (["1e-05", "-2.5"], [1e-05, -2.5]),
        (["True", "False"], [True, False]),
    ],
)
def test_params_of_a_csv_that_are_written_in_different_ways_are_different_candidates(texts, values, tmp_path) -> None:
    path = written(tmp_path / "t.csv", logged(texts))
    pool = [params["prompt"] for params in read_table(path)[Split.SEARCH].pool]
    assert sorted(map(repr, pool)) == sorted(map(repr, values))
    best = offramp.replay(path, weights={"quality": 1}).recommended
    assert best is not None and repr(best.params["prompt"]) == repr(values[-1]), "no figures are pooled"
    assert best.estimates["quality"] == pytest.approx(0.1 * (len(texts) - 1))


def test_ids_of_a_csv_that_are_written_in_different_ways_are_different_examples(tmp_path) -> None:
    ids = ["1", "01", "001", "1.0", "NA", "1234567890123456781", "1234567890123456782"]
    read = read_table(written(tmp_path / "t.csv", logged(["a", "b"], ids)))[Split.SEARCH]
    assert read.examples == tuple(sorted(ids))


def test_a_csv_gives_what_the_same_table_in_parquet_gives(path: Path, tmp_path: Path) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    first, second = (offramp.replay(p, share=0.3, verify=True).to_json() for p in (path, tmp_path / "t.csv"))
    assert first == second


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,e9,good,0.1,search", "t.csv:6: column score: got 'good', expected a number in [0, 1]."),
        ("a,e9,2,0.1,search", "t.csv:6: column score: got 2.0, expected a number in [0, 1]."),
        ("a,e9,1,$0.1,search", "t.csv:6: column cost_usd: got '$0.1', expected a number of 0 or more."),
        ("a,e9,1,1_0,search", "t.csv:6: column cost_usd: got '1_0', expected a number of 0 or more."),
        ("a,e9,1,inf,search", "t.csv:6: column cost_usd: got inf, expected a number of 0 or more."),
        ("a,e9,1,0.1,serach", "t.csv:6: column split: got 'serach', expected 'search' or 'holdout'. Did you mean"),
        ("a,e9,1,0.1,", "t.csv:6: column split: got an empty cell, expected 'search' or 'holdout'."),
        ("a,,1,0.1,search", "t.csv:6: column example_id: got an empty cell, expected the id of an example."),
        ("a,e9,1,0.1", "row 5: has 4 cells (ends in line 6)"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_line_and_column(row: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [*logged(["a"]), row])
    for run in (offramp.replay, offramp.cascades):
        with pytest.raises(UsageError) as found:
            run(path)
        assert says in str(found.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("score", 2.0, "row 3: column score: got 2.0, expected"),
        ("example_id", None, "row 3: column example_id: got an empty cell"),
        ("split", "Serach", "row 3: column split: got 'Serach'"),
        ("split", None, "row 3: column split: got an empty cell"),
        ("confidence", "high", "row 3: column confidence: got 'high', expected a number"),
    ],
)
def test_a_row_of_a_parquet_file_that_cannot_be_used_is_refused_with_row_and_column(
    name: str, value: object, says: str, tmp_path: Path
) -> None:
    data = table().assign(confidence=None)
    data[name] = data[name].astype(object)
    data.loc[2, name] = value
    data.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError) as found:
        offramp.replay(tmp_path / "t.parquet")
    assert says in str(found.value) and "np." not in str(found.value)


def test_splits_in_other_cases_and_values_that_are_said_to_be_missing_are_read(tmp_path: Path) -> None:
    rows = ["a,e1,true,0.1,Search", "a,e2,nan,NULL, search ", "a,e3,False,n/a,HOLDOUT"]
    read = read_table(written(tmp_path / "t.csv", rows))
    assert read[Split.SEARCH].examples == ("e1", "e2") and read[Split.HOLDOUT].examples == ("e3",)
    assert read[Split.SEARCH].values.tolist()[0][0] == [1.0, 0.1] and np.isnan(read[Split.SEARCH].values[0, 1]).all()
    assert read[Split.HOLDOUT].values[0, 0, 0] == 0.0


@pytest.mark.parametrize("name", ["cost_usd", "latency_s", "score"])
def test_no_figure_is_made_up_for_a_candidate_that_has_none(name: str, tmp_path: Path) -> None:
    """It had `$3.01` and `trust 1.00`, which were the costs of the others."""
    data = table()
    data.loc[(data["param.model"] == "large") & (data.split == "search"), name] = np.nan
    data.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError) as found:
        offramp.replay(tmp_path / "t.parquet")
    assert "candidate model=large, temperature=0.0 (and 2 more): no " + name in str(found.value)
    data.loc[data.split == "search", name] = np.nan
    data.to_parquet(tmp_path / "t.parquet")
    if name == "score":
        with pytest.raises(UsageError, match="no number in a search row"):
            offramp.replay(tmp_path / "t.parquet")
    else:
        front = offramp.replay(tmp_path / "t.parquet").front
        assert {member.estimates[name] for member in front} == {None}, "holdout rows alone make no objective"


def test_the_columns_of_a_file_that_is_no_table_are_listed_as_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"begins with 'param\.'; the columns are id, ticket"):
        offramp.replay(written(tmp_path / "t.csv", ["1,x"], head="id,ticket"))


def test_a_param_that_is_the_word_none_is_not_shown_like_one_that_does_not_apply(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", logged(["None", ""]))
    printed = CliRunner().invoke(command, ["replay", str(path)]).output
    assert "prompt=None" in printed and "(no params)" in printed
