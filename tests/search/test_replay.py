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
    from offramp.records import Split
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
        (lambda d: d.assign(split="train"), "rows with 'search'"),
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
