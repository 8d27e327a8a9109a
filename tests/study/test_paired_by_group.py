"""Examples of one group count as one in comparisons and intervals, from the space file to the report."""

import random

import numpy as np
import pytest

from offramp.search.api import optimize
from offramp.study.domain.paired_comparison import compare_paired, compare_scores
from offramp.testing.fakes import FunctionTransport


def test_with_one_example_a_group_a_comparison_is_what_it_was():
    rng = np.random.default_rng(0)
    a, b = rng.random(30), rng.random(30)
    assert compare_paired(a, b, groups=[str(i) for i in range(30)]) == compare_paired(a, b)


def test_three_copies_of_each_example_prove_no_more_than_one():
    rng = np.random.default_rng(1)
    a, b = (rng.random(20) < 0.7).astype(float), (rng.random(20) < 0.4).astype(float)
    alone = compare_paired(a, b)
    copies = compare_paired(np.repeat(a, 3), np.repeat(b, 3), groups=[str(i // 3) for i in range(60)])
    naive = compare_paired(np.repeat(a, 3), np.repeat(b, 3))
    assert copies.p_value == pytest.approx(alone.p_value)
    assert (copies.interval.low, copies.interval.high) == pytest.approx((alone.interval.low, alone.interval.high))
    assert naive.p_value < alone.p_value
    assert (copies.n, copies.wins, copies.difference) == (60, 3 * alone.wins, pytest.approx(alone.difference))
    assert copies.worse_at_most >= naive.worse_at_most


def test_groups_of_unequal_size_keep_the_difference_over_examples():
    a = {f"e{i}": float(i % 3 == 0) for i in range(20)}
    b = {f"e{i}": float(i % 5 == 0) for i in range(20)}
    groups = {f"e{i}": "big" for i in range(8)} | {"e8": "pair", "e9": "pair"}
    by_group, by_example = compare_scores(a, b, groups=groups), compare_scores(a, b)
    assert by_group.difference == pytest.approx(by_example.difference)
    assert by_group.interval.low <= by_group.difference <= by_group.interval.high


def write(folder, group):
    rng = random.Random(0)
    rows = [
        f"question {number} asked in way {k},{'ab'[q % 2]},{q}"
        for q, number in enumerate(rng.sample(range(10**6), 40))
        for k in range(3)
    ]
    (folder / "d.csv").write_text("text,label,q\n" + "\n".join(rows) + "\n")
    (folder / "s.yaml").write_text(
        "schema_version: 1\nname: grouped\ntask: {signature: \"text -> label: Literal['a', 'b']\"}\n"
        f"dataset: {{path: d.csv, fields: {{}}{', group: q' if group else ''}}}\nmetric: {{kind: exact, field: label}}\n"
        "incumbent: {model: local/smollm2-135m, instruction: one}\nmodels: [local/smollm2-135m]\n"
        "instructions: {one: Say a., two: Say it.}\nparams: {max_tokens: 8}\nobjectives: {cost: null, latency: null}\n"
        "search: {sampler: grid, trials: 2, race: null}\n"
    )
    return folder / "s.yaml"


def answer(request):
    """Memorises by question: right for all three ways of asking or for none."""
    if "Say a." in str(request.messages[0]["content"]):
        return "a"
    number = int(str(request.messages[-1]["content"]).split()[1])
    return "ab"[number % 7 % 2]


def test_a_job_with_groups_has_wider_intervals_than_the_same_scores_without(tmp_path):
    result = optimize(write(tmp_path, group=True), results=tmp_path / "r", transport=FunctionTransport(answer))
    assert result.error is None
    for member in result.report.members:
        seen = member.search
        from offramp.stats import mean_interval_of

        naive = mean_interval_of(n=seen.n, mean=seen.quality, mean_square=seen.quality_square)
        assert seen.quality_high - seen.quality_low > 1.3 * (naive.high - naive.low)
