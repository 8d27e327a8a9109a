"""What a rule came to on the holdout is by the decisions that an app takes, on inputs and works of many sorts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offramp.records import Objective
from offramp.study.domain.cascade_cells import Cells, complete, recorded
from offramp.study.domain.cascade_report import cascade_report, rule_to_run
from offramp.study.domain.cascade_rule import Decisions

OBJECTIVES = (
    Objective(name="quality", weight=0.6, scale=(0.0, 1.0)),
    Objective(name="cost", weight=0.3, scale=(0.02, 0.0)),
)
TOPICS = ("where is my parcel now", "please refund the invoice", "how do I return shoes")


def cells(seed: int, searched: int = 30, held: int = 14) -> Cells:
    rng = np.random.default_rng(seed)
    n = searched + held
    topic = rng.integers(0, 3, n)
    right = np.stack([topic == 0, topic != 0, rng.random(n) < 0.5])
    return Cells(
        source="s", candidates=("a", "b", "c"), params=tuple({"model": m} for m in "abc"),
        rows=tuple(f"e{i}" for i in range(n)), searched=searched,
        score=(right ^ (rng.random((3, n)) < 0.15)).astype(float),
        cost=rng.lognormal(-5.5, 0.5, (3, n)), latency=rng.lognormal(0.0, 0.4, (3, n)),
        answers=None, confidence=None, groups=tuple(f"e{i}" for i in range(n)), objectives=OBJECTIVES,
        inputs={"text": [f"{TOPICS[t]} {'order' if i < searched else 'ticket'} {i}" for i, t in enumerate(topic)]},
    )  # fmt: skip


def without_work(data: Cells, cost: float) -> Cells:
    """All runs cost the same, and no latency is known."""
    return replace(data, cost=np.full_like(data.cost, cost), latency=np.full_like(data.latency, np.nan))


@pytest.mark.parametrize("kind", ["predicted", "pair", "router"])
@pytest.mark.parametrize("seed", range(4))
def test_the_gain_on_the_holdout_is_by_the_decisions_of_an_app(kind, seed) -> None:
    data = cells(seed)
    rule = rule_to_run(data, cascade_report(data), kind)
    decisions, at = Decisions(rule), [data.candidates.index(m) for m in rule.members]
    scores = []
    for i in range(data.searched, len(data.rows)):
        inputs = {name: values[i] for name, values in data.inputs.items()}
        if kind == "predicted":
            runs = {"cost_usd": data.cost, "latency_s": data.latency}[rule.of]
            place = int(decisions.escalates(inputs, float(runs[at[0], i])))
        else:
            place = decisions.order_for(inputs)[0]
        scores.append(data.score[at[place], i])
    assert rule.holdout["quality"] == pytest.approx(np.mean(scores))


def test_other_rows_of_the_holdout_do_not_change_how_alike_a_row_is_to_those_of_the_search() -> None:
    data = cells(2)
    other = [*data.inputs["text"][:-1], "quite other words about nothing of this order invoice parcel"]
    kept, rows = complete(data)
    one, two = (
        recorded(replace(data, inputs={"text": texts}), kept, rows, OBJECTIVES).similarity
        for texts in (data.inputs["text"], other)
    )
    assert (one[:-1, : data.searched] == two[:-1, : data.searched]).all()
    assert (one[-1, : data.searched] != two[-1, : data.searched]).any()
    assert one[data.searched : -1, : data.searched].std() > 0


@pytest.mark.parametrize("cost", [0.0, 0.01])
def test_where_no_run_of_a_member_took_more_than_another_a_prediction_goes_by_the_inputs_alone(cost) -> None:
    data = cells(1)
    flat = without_work(data, cost)
    flat = replace(flat, cost=np.stack([flat.cost[0], data.cost[1], flat.cost[2]]))
    report = cascade_report(flat)
    for kind in ("predicted", "cost"):
        rule = rule_to_run(flat, report, kind)
        assert kind != "cost" or rule.members[0] == "b"
        decisions = Decisions(rule)
        assert rule.work or kind == "cost" or rule.of is None
        assert isinstance(decisions.escalates({"text": "refund"}, None), bool)
    bare = replace(rule_to_run(flat, report, "predicted"), work=(), of=None)
    answers = [Decisions(bare).escalates({"text": "refund the invoice"}, spent) for spent in (None, 0.0, 0.01, 5.0)]
    assert len(set(answers)) == 1
