"""Cascades and routers against counting by hand, and that no reported row chose what it reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.records import Objective
from offramp.study.domain.cascade_choice import (
    CHOSEN,
    MARGIN_SE,
    Fitted,
    choose,
    cross_fitted,
    fit,
    left_out_choice,
    pool_of,
)
from offramp.study.domain.cascade_options import PRIORS, kinds
from offramp.study.domain.cascade_rule import CascadeRule, Decisions
from offramp.study.domain.cascades import SINGLE, STAGES, Outcome, Recorded, Rule, apply
from offramp.study.domain.similarity import AlikeRows, similarity

OBJECTIVES = (
    Objective(name="quality", weight=0.6, scale=(0.0, 1.0)),
    Objective(name="cost", weight=0.3, scale=(0.02, 0.0)),
    Objective(name="latency", weight=0.1, scale=(4.0, 0.0)),
)


def recorded(seed: int = 0, n: int = 24, k: int = 4, *, grouped: bool = False) -> Recorded:
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, 3, n)
    skill = rng.random((k, 3))
    return Recorded(
        models=tuple(f"m{i % 3}" for i in range(k)),
        score=(rng.random((k, n)) < skill[:, topics]).astype(float),
        cost=rng.lognormal(-5.5, 0.6, (k, n)),
        latency=rng.lognormal(0.0, 0.4, (k, n)),
        answers=rng.integers(-1, 3, (k, n)),
        confidence=np.where(rng.random((k, n)) < 0.1, np.nan, rng.random((k, n))),
        similarity=similarity({"topic": [f"t{t}" for t in topics]}),
        groups=np.arange(n) // (2 if grouped else 1),
        objectives=OBJECTIVES,
    )


def utility(data: Recorded, score: float, cost: float, latency: float) -> float:
    return 0.6 * score + 0.3 * (1 - cost / 0.02) + 0.1 * (1 - latency / 4)


def by_hand(data: Recorded, rule, train, row) -> float:
    """One row under one rule, spelled out."""
    a = rule.members[0]
    others = [j for j in train if data.groups[j] != data.groups[row]]

    def estimate(values, weight) -> float:
        weights = [weight(j) for j in others]
        average = sum(values(j) for j in others) / max(1, len(others))
        return (sum(w * values(j) for w, j in zip(weights, others, strict=True)) + rule.prior * average) / (
            sum(weights) + rule.prior
        )

    def of(i, j) -> float:
        return utility(data, data.score[i, j], data.cost[i, j], data.latency[i, j])

    def both(i, j) -> float:
        return utility(
            data, data.score[i, j], data.cost[a, j] + data.cost[i, j], data.latency[a, j] + data.latency[i, j]
        )

    if rule.kind == SINGLE:
        return of(a, row)
    if rule.kind in ("pair", "router"):
        expected = [estimate(lambda j, i=i: of(i, j), lambda j: data.similarity[row, j]) for i in rule.members]
        return of(rule.members[int(np.argmax(expected))], row)
    b = rule.members[1]
    if rule.kind in STAGES:
        c, signal = rule.members[2], STAGES[rule.kind]

        def unsure(i, threshold) -> bool:
            sure = data.confidence[i, row]
            return (
                np.isnan(sure) or -sure > threshold if signal == "confidence" else np.log(data.cost[i, row]) > threshold
            )

        ran = [a] if not unsure(a, rule.threshold) else [a, b, c] if unsure(b, rule.second_threshold) else [a, b]
        return utility(data, data.score[ran[-1], row], data.cost[ran, row].sum(), data.latency[ran, row].sum())
    if rule.kind == "agreement":
        c = rule.members[2]
        differ = data.answers[a, row] < 0 or data.answers[a, row] != data.answers[c, row]
        cost = data.cost[a, row] + data.cost[c, row] + (data.cost[b, row] if differ else 0)
        latency = max(data.latency[a, row], data.latency[c, row]) + (data.latency[b, row] if differ else 0)
        return utility(data, data.score[b if differ else a, row], cost, latency)
    if rule.kind == "predicted":
        logs = np.log(data.cost[a])
        spread = logs[train].std()
        near = lambda j: data.similarity[row, j] * np.exp(-0.5 * ((logs[row] - logs[j]) / spread / 0.7) ** 2)  # noqa: E731
        go = estimate(lambda j: both(b, j) - of(a, j), near) > 0
    elif rule.kind == "confidence":
        sure = data.confidence[a, row]
        go = np.isnan(sure) or -sure > rule.threshold
    else:
        go = np.log(data.cost[a, row]) > rule.threshold
    return both(b, row) if go else of(a, row)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), grouped=st.booleans())
def test_every_rule_scores_what_counting_by_hand_gives_on_rows_that_chose_it_and_on_others(seed, grouped) -> None:
    data = recorded(seed, n=16, grouped=grouped)
    train, others = np.arange(12), np.arange(12, 16)
    for options in kinds(data).values():
        rules, values = options(data, range(4), train)
        for i in np.random.default_rng(seed).permutation(len(rules))[:6]:
            assert values[i] == pytest.approx([by_hand(data, rules[i], train, row) for row in train])
            assert apply(data, rules[i], train, train).utility == pytest.approx(values[i])
            expected = [by_hand(data, rules[i], train, row) for row in others]
            assert apply(data, rules[i], train, others).utility == pytest.approx(expected)


def test_every_ordered_pair_of_models_is_a_cascade_at_every_threshold() -> None:
    data = recorded(1, k=3)
    for kind in ("cost", "confidence"):
        rules, _ = kinds(data)[kind](data, range(3), np.arange(24))
        pairs = {rule.members for rule in rules}
        assert pairs == {(a, b) for a in range(3) for b in range(3) if a != b}
        assert all(sum(r.members == p for r in rules) == 6 for p in pairs)
    rules, _ = kinds(data)["predicted"](data, range(3), np.arange(24))
    assert len(rules) == 6 and all(rule.prior in PRIORS for rule in rules)


def test_a_rule_is_of_different_models_unless_all_are_the_same() -> None:
    data = recorded(2, k=6)
    for kind, options in kinds(data).items():
        rules, _ = options(data, range(6), np.arange(24))
        for rule in rules:
            models = [data.models[i] for i in rule.members[:2]]
            assert kind in (SINGLE, "router") or models[0] != models[1]
    same = replace(data, models=("m",) * 6)
    assert all(len(options(same, range(6), np.arange(24))[0]) for options in kinds(same).values())


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_the_pool_has_equally_many_of_each_model_the_best_first(models) -> None:
    named = [f"m{m}" for m in models]
    pool = pool_of(named, range(len(named)))
    each = 12 // len(set(named))
    for name in set(named):
        assert [i for i in pool if named[i] == name] == [i for i, m in enumerate(named) if m == name][:each]
    assert pool == sorted(pool)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_row_is_expected_to_get_what_rows_of_other_groups_choose(seed) -> None:
    rng = np.random.default_rng(seed)
    values, groups = rng.integers(0, 4, (5, 9)).astype(float), rng.integers(0, 4, 9)
    best, expected = left_out_choice(values, groups)
    assert best == int(values.sum(1).argmax())
    assert (expected >= values.min(0) - 1e-9).all() and (expected <= values.max(0) + 1e-9).all()
    if (groups == groups[0]).sum() == 1:  # a choice that its own row would change
        values[0, 0], values[1:, 0], values[:, 1:] = 100.0, 0.0, 0.0
        values[1, 1:] = 1.0
        assert left_out_choice(values, groups)[0] == 0 and left_out_choice(values, groups)[1][0] == 0.0


@given(
    router=st.floats(-0.2, 0.2), other=st.floats(-0.2, 0.2), spread=st.floats(0.0, 0.3), knows=st.booleans(),
)  # fmt: skip
def test_a_kind_is_chosen_over_the_router_only_with_a_clear_lead_and_one_model_where_nothing_leads(
    router, other, spread, knows
) -> None:
    noise = spread * np.tile([1.0, -1.0], 20)
    found = {
        kind: Fitted(rule=Rule(kind=kind, members=(0, 1), prior=prior), expected=expected, scored=1)
        for kind, prior, expected in (
            (SINGLE, None, np.zeros(40)), ("router", 4.0 if knows else PRIORS[-1], np.full(40, router)),
            ("pair", 4.0, other + noise),
        )
    }  # fmt: skip
    base = max(router, 0.0) if knows else 0.0
    clear = other - base > MARGIN_SE * spread / np.sqrt(40) + 1e-9
    unclear = other - base < MARGIN_SE * spread / np.sqrt(40) - 1e-9
    assert not clear or choose(found) == "pair"
    if unclear:
        assert choose(found) == ("router" if knows and router > 0 else SINGLE)


def test_similar_rows_count_for_much_where_they_tell_and_for_nothing_where_they_do_not() -> None:
    rng, n = np.random.default_rng(0), 120
    topics = np.arange(n) % 4
    told = (rng.random((2, n)) < np.where((topics[None] < 2) == (np.arange(2)[:, None] == 0), 0.9, 0.2)).astype(float)
    noise = (rng.random((2, n)) < 0.6).astype(float)
    priors = {}
    for name, score in (("told", told), ("noise", noise)):
        data = replace(
            recorded(0, n=n, k=2), models=("a", "b"), score=score, cost=np.full((2, n), 0.001), latency=np.ones((2, n)),
            answers=None, confidence=None, similarity=similarity({"topic": [f"t{t}" for t in topics]}),
        )  # fmt: skip
        priors[name] = fit(data, np.arange(n))["router"].rule.prior
    assert priors["told"] <= 4.0 and priors["noise"] >= 32.0


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_outcomes_of_rows_that_are_reported_never_change_what_is_run_on_them(seed) -> None:
    data = recorded(seed)
    train, rows = np.arange(16), np.arange(16, 24)
    changed = data.score.copy()
    changed[:, rows] = 1 - changed[:, rows]
    other = replace(data, score=changed)
    one, two = fit(data, train), fit(other, train)
    assert {k: f.rule for k, f in one.items()} == {k: f.rule for k, f in two.items()}
    for kind, fitted in one.items():
        before, after = (apply(d, fitted.rule, train, rows) for d in (data, other))
        assert (before.second == after.second).all() and before.cost == pytest.approx(after.cost), kind
        assert before.score == pytest.approx(1 - after.score)


def test_a_router_that_knows_the_topic_is_far_ahead_and_noise_is_not() -> None:
    n = 90
    topics = np.arange(n) % 2
    score = np.stack([(topics == 0), (topics == 1), np.full(n, 0.6)]).astype(float)
    data = replace(
        recorded(0, n=n, k=3), models=("a", "b", "c"), score=score, cost=np.full((3, n), 0.001),
        latency=np.ones((3, n)), answers=None, confidence=None,
        similarity=similarity({"topic": [f"t{t}" for t in topics]}),
    )  # fmt: skip
    found = cross_fitted(data)
    assert found["router"].score.mean() == 1.0 and found[CHOSEN].score.mean() == 1.0
    assert found[SINGLE].score.mean() == pytest.approx(0.6)
    assert "cost" not in found and "predicted" not in found
    rng = np.random.default_rng(0)
    gains = []
    for seed in range(6):
        noise = replace(recorded(seed, n=60), score=(rng.random((4, 60)) < 0.5).astype(float))
        crossed = cross_fitted(noise, seed)
        gains.append(crossed[CHOSEN].utility.mean() - crossed[SINGLE].utility.mean())
    assert np.mean(gains) < 0.02, "nothing is gained where nothing can be known"


def test_groups_are_never_on_both_sides_of_a_fold(monkeypatch) -> None:
    from offramp.study.domain import cascade_choice

    seen = []
    plain = cascade_choice.fit

    def spy(data: Recorded, train):
        rest = np.setdiff1d(np.arange(data.score.shape[1]), train)
        seen.append(set(data.groups[train]) & set(data.groups[rest]))
        return plain(data, train)

    monkeypatch.setattr(cascade_choice, "fit", spy)
    cross_fitted(recorded(0, grouped=True))
    assert seen and not any(seen)


def test_cross_fitted_numbers_depend_on_the_seed_alone() -> None:
    data = recorded(5)
    one, two = cross_fitted(data, 1), cross_fitted(data, 1)
    for kind in one:
        assert all((getattr(one[kind], name) == getattr(two[kind], name)).all() for name in Outcome.__slots__)


def test_rows_are_alike_by_numbers_categories_and_words() -> None:
    words = similarity({"q": ["how do I reset my password", "reset a password please", "refund the invoice of May"]})
    assert words is not None and words[0, 1] > words[0, 2] and words.diagonal() == pytest.approx(1.0)
    kinds_ = similarity({"kind": ["a", "b"] * 5})
    assert kinds_ is not None and kinds_[0, 2] == 1.0 and kinds_[0, 1] == 0.0
    numbers = similarity({"size": [1, 2, 50]})
    assert numbers is not None and numbers[0, 1] > numbers[0, 2]
    assert similarity({"same": ["x"] * 4}) is None and similarity({}) is None
    mixed = similarity({"odd": [None, 3, "three", {"a": 1}]})
    assert mixed is not None and np.isfinite(mixed).all() and (mixed >= 0).all() and (mixed <= 1).all()


VALUES = {
    "words": st.text(alphabet="ab c", max_size=60), "numbers": st.floats(-5, 5) | st.integers(-5, 5),
    "kinds": st.sampled_from(["x", "y"]), "mixed": st.none() | st.booleans() | st.text(max_size=5) | st.integers(),
}  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_one_more_row_is_as_alike_as_where_all_rows_are_compared(data) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, unique=True))
    rows = {name: data.draw(st.lists(VALUES[name], min_size=8, max_size=8)) for name in names}
    one = {name: data.draw(VALUES[name]) for name in names}
    found, whole = AlikeRows(rows).to(one), similarity({name: [*rows[name], one[name]] for name in names})
    assert (found is None) == (whole is None)
    assert found is None or found == pytest.approx(whole[-1, :-1], abs=1e-5)


def test_a_rule_that_was_saved_sends_a_row_where_the_recorded_one_did() -> None:
    data = recorded(3, n=40)
    topics = ["t0" if data.similarity[0, i] else "other" for i in range(40)]
    data = replace(data, similarity=similarity({"topic": topics}))
    train, rows = np.arange(30), np.arange(30, 40)
    for members in ((0, 1), (0, 1, 2, 3)):
        rule = Rule(kind="router", members=members, prior=2.0)
        saved = CascadeRule(
            source="s", kind="router", members=tuple("abcd"[: len(members)]), params=({},) * len(members), compared=(),
            prior=2.0, inputs={"topic": tuple(topics[:30])}, crossed={}, holdout=None,
            utilities=tuple(tuple(data.utilities[i, train]) for i in members),
        )  # fmt: skip
        sent = [members[Decisions(saved).order_for({"topic": topics[row]})[0]] for row in rows]
        assert apply(data, rule, train, rows).score == pytest.approx(
            [data.score[m, r] for m, r in zip(sent, rows, strict=True)]
        )
