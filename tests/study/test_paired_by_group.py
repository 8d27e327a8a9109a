"""Examples of one group count as one in comparisons and intervals, from the space file to the report."""

import random

import numpy as np
import pytest

from offramp.errors import SpaceError
from offramp.lifecycle.migration.baseline import by_answers
from offramp.promote.promoting import promote
from offramp.records import Split
from offramp.search.api import optimize
from offramp.stats import share_at_most
from offramp.store.results import PairedCounts
from offramp.study import lookup
from offramp.study.domain.paired_comparison import compare_paired, compare_scores
from offramp.study.domain.regressions import paired_counts, regressed_at_most
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


def test_a_regression_budget_counts_losses_by_group():
    """Sixty rows of twenty questions without a loss are twenty examples without a loss, not sixty."""
    groups = {f"e{i}": str(i // 3) for i in range(60)}
    same = dict.fromkeys(groups, 1.0)
    assert paired_counts(same, same) == PairedCounts(n=60, wins=0, losses=0)
    assert paired_counts(same, same, groups) == PairedCounts(n=20, wins=0, losses=0)
    lost = {name: float(int(name[1:]) >= 6) for name in groups}  # two whole questions
    by_group, by_example = paired_counts(lost, same, groups), paired_counts(lost, same)
    assert by_group.n in (19, 20) and by_group.losses == 2 and (by_example.n, by_example.losses) == (60, 6)
    assert regressed_at_most(by_group, 0.95) > regressed_at_most(by_example, 0.95)
    alone = {name: name for name in groups}
    assert paired_counts(lost, same, alone) == by_example


@pytest.mark.parametrize("group", [False, True])
def test_the_search_the_report_and_compare_hold_the_same_budget_by_group(tmp_path, group):
    space = write(tmp_path, group=group)
    space.write_text(space.read_text() + "constraints: {regressions: {max: 0.9, confidence: 0.9}}\n")
    result = optimize(space, results=tmp_path / "r", transport=FunctionTransport(answer))
    assert result.error is None
    (other,) = [member for member in result.report.members if not member.incumbent]
    stored = lookup.pareto(result.report.study, results=tmp_path / "r")
    assert {m.candidate: m.regressed_at_most for m in stored.members}[other.candidate] == other.regressed_at_most
    found = lookup.compare(
        result.report.study, other.candidate, "incumbent", results=tmp_path / "r", split=Split.SEARCH
    )
    assert found.regressions.share_at_most == other.regressed_at_most
    naive = share_at_most(found.whole.losses, found.whole.n, confidence=0.9)
    assert (other.regressed_at_most > naive) == group
    rules = {
        "feature": "grouped",
        "results": tmp_path / "r",
        "promotions": tmp_path / "p",
        "dry_run": True,
        "force": True,
    }
    gated = promote(result.report.study, pick=other.candidate, why="to see what the gate says", **rules)
    assert not any("regress" in reason for reason in gated.refused)


def test_a_budget_that_needs_more_groups_than_there_are_is_refused(tmp_path):
    space = write(tmp_path, group=True)
    space.write_text(space.read_text() + "constraints: {regressions: {max: 0.05, confidence: 0.9}}\n")
    with pytest.raises(SpaceError, match=r"groups of the search split"):
        optimize(space, results=tmp_path / "r", transport=FunctionTransport(answer))


def test_a_migration_compares_by_group(tmp_path):
    from offramp.lifecycle.migration.migrating import groups_in
    from offramp.lifecycle.migration.origin import read_origin

    space = write(tmp_path, group=True)
    result = optimize(space, results=tmp_path / "r", transport=FunctionTransport(answer))
    promote(
        result.report.study, pick="incumbent", feature="grouped", results=tmp_path / "r", promotions=tmp_path / "p",
        force=True, why="what runs today",
    )  # fmt: skip
    origin = read_origin(
        "grouped", label="production", promotions=tmp_path / "p", storage=f"sqlite:///{tmp_path / 'r' / 'offramp.db'}"
    )
    groups = groups_in(origin)
    assert len(groups) == 120 and len(set(groups.values())) == 40
    changed, _ = by_answers(origin, tmp_path / "r")
    again = groups_in(changed)
    assert again and all(groups[name] == group for name, group in again.items())
