"""Splits are disjoint, deterministic, proportional, and do not leak."""

from collections import Counter
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import DatasetError
from offramp.ids import content_hash
from offramp.records import Example, Split
from offramp.space.model import SplitsPart
from offramp.task.splits import _together, controlled_rounding, largest_remainder, split_examples, splits_hash


def _example(i, **values):
    content = {"text": values.get("text", f"t{i}"), "label": values.get("label", "x")}
    return Example(
        id=f"e{i}", content_hash=content_hash(content), values=MappingProxyType({**values, **content}), row=i + 1
    )


def _examples(labels):
    return [_example(i, label=label) for i, label in enumerate(labels)]


def _split(examples, **part):
    return split_examples(examples, SplitsPart(**part), "d.jsonl", inputs=["text"])


def _ids(splits):
    return {split: [e.id for e in splits.of(split)] for split in Split}


labels = st.lists(st.sampled_from("aaabbc"), min_size=12, max_size=80)


@given(labels, st.integers(0, 2**32), st.booleans(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_splits_are_disjoint_complete_and_independent_of_file_order(values, seed, stratified, rnd):
    examples = _examples(values)
    part = {"seed": seed, "stratify": "label" if stratified else None}
    splits = _split(examples, **part)
    ids = _ids(splits)
    everything = [id_ for split in Split for id_ in ids[split]]
    assert sorted(everything) == sorted(e.id for e in examples)
    shuffled = list(examples)
    rnd.shuffle(shuffled)
    assert _ids(_split(shuffled, **part)) == ids
    assert splits_hash(_split(shuffled, **part)) == splits_hash(splits)


@given(labels, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_stratified_splits_keep_each_stratum_within_one_row(values, seed):
    splits = _split(_examples(values), stratify="label", seed=seed)
    sizes = {split: len(splits.of(split)) for split in Split}
    for split in Split:
        counts = Counter(e.values["label"] for e in splits.of(split))
        for label, n in Counter(values).items():
            assert abs(counts[label] - n * sizes[split] / len(values)) < 1
    assert [sizes[split] for split in Split] == largest_remainder([0.3, 0.35, 0.35], len(values))


@given(labels)
@settings(max_examples=30, deadline=None)
def test_every_prefix_of_a_stratified_split_has_about_its_proportions(values):
    search = _split(_examples(values), stratify="label").search
    totals = Counter(e.values["label"] for e in search)
    for k in range(1, len(search) + 1):
        prefix = Counter(e.values["label"] for e in search[:k])
        assert all(abs(prefix[label] - n * k / len(search)) <= len(totals) for label, n in totals.items())


def test_another_seed_gives_another_deal_and_seed_0_is_a_seed():
    examples = _examples("a" * 40)
    assert len({str(_ids(_split(examples, seed=seed))) for seed in range(5)}) == 5


def test_counts_come_first_and_shares_are_of_the_rest():
    splits = _split(_examples("a" * 50), train=10, search=0.5, holdout=0.25)
    assert [len(splits.of(split)) for split in Split] == [10, 20, 10]


def test_no_train_rows_are_fine_but_a_search_of_one_row_is_not():
    assert _split(_examples("a" * 10), train=0, search=0.5, holdout=0.5).train == ()
    with pytest.raises(DatasetError, match=r"splits.search: number of rows \(of 10\): got 1, expected 2 or more"):
        _split(_examples("a" * 10), train=0, search=1, holdout=5)
    with pytest.raises(DatasetError, match=r"splits.holdout: number of rows \(of 10\): got 0"):
        _split(_examples("a" * 10), train=5, search=5, holdout=0)


def test_counts_that_ask_for_more_than_there_is_are_refused():
    with pytest.raises(DatasetError, match=r"the sum of the counts: got 12, expected at most 10, the number of rows"):
        _split(_examples("a" * 10), train=2, search=5, holdout=5)


@given(st.lists(st.integers(0, 9), min_size=20, max_size=60), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_copies_and_equal_inputs_stay_in_one_split(texts, seed):
    examples = [_example(i, text=f"t{text % 10 if i < 12 else i}", label="ab"[i % 2]) for i, text in enumerate(texts)]
    splits = _split(examples, stratify="label", seed=seed)
    homes = {}
    for split in Split:
        for example in splits.of(split):
            assert homes.setdefault(example.values["text"], split) is split
    assert sum(len(splits.of(split)) for split in Split) == len(examples)


@pytest.mark.parametrize(
    "other", ["where is it", "Where  is it?", " WHERE IS IT ", "where is it.", "where\u200b is it!"]
)
def test_inputs_that_differ_in_case_space_or_a_full_stop_stay_in_one_split(other):
    for seed in range(8):
        rows = [_example(i, text=f"question {i}") for i in range(30)]
        examples = [*rows, _example(30, text="Where is it?"), _example(31, text=other)]
        splits = _split(examples, seed=seed)
        homes = {example.id: split for split in Split for example in splits.of(split)}
        assert homes["e30"] is homes["e31"]


def test_rows_of_one_group_stay_in_one_split_and_chains_of_copies_join_groups():
    for seed in range(8):
        examples = [replace(_example(i, text=f"question {i}"), group=f"g{i // 3}") for i in range(60)]
        examples[0] = replace(_example(0, text="Question 59."), group="g0")
        splits = _split(examples, seed=seed)
        homes = {example.id: split for split in Split for example in splits.of(split)}
        for i in range(0, 60, 3):
            assert len({homes[f"e{i + k}"] for k in range(3)}) == 1
        assert homes["e0"] is homes["e59"]


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_without_copies_and_groups_the_splits_are_those_of_earlier_versions(seed):
    """The order of dealing comes from the content of a row's inputs, as it always has."""
    examples = [_example(i, text=f"t{i}") for i in range(40)]
    keys = {e.id: content_hash({"text": e.values["text"]}) for e in examples}
    assert _together(examples, keys, ["text"]) == keys
    assert splits_hash(_split(examples, seed=seed)) == splits_hash(
        split_examples([replace(e, group=e.id) for e in examples], SplitsPart(seed=seed), "d.jsonl", inputs=["text"])
    )


def test_a_group_that_the_data_puts_into_two_splits_is_refused_with_both_rows():
    rows = [{"text": f"t{i}", "part": "abc"[i % 3]} for i in range(12)]
    examples = [replace(_example(i, **row), group="q1" if i < 2 else f"q{i}") for i, row in enumerate(rows)]
    with pytest.raises(DatasetError, match=r"'q1' is in two splits: row 1 \(train\) and row 2 \(search\)"):
        _split(examples, column="part", train=["a"], search=["b"], holdout=["c"])


def _by_column(rows, **lists):
    return _split([_example(i, **row) for i, row in enumerate(rows)], column="part", **lists)


LISTS = {"train": ["tr"], "search": ["dev", "val"], "holdout": ["1"]}
PARTS = ["tr", "dev", "val", 1, "1"]


def test_the_datas_own_splits_are_kept_and_numbers_match_their_text():
    ids = _ids(_by_column([{"part": part} for part in PARTS], **LISTS))
    assert {split: set(ids[split]) for split in Split} == {
        Split.TRAIN: {"e0"},
        Split.SEARCH: {"e1", "e2"},
        Split.HOLDOUT: {"e3", "e4"},
    }


def test_split_values_that_do_not_fit_the_data_are_named_with_the_nearest():
    with pytest.raises(DatasetError, match=r"no split lists: 'vall' \(row 6\). Did you mean 'val'"):
        _by_column([{"part": part} for part in [*PARTS, "vall"]], **LISTS)
    with pytest.raises(DatasetError, match=r"no row has this value in 'part': got 'vaal'. Did you mean 'val'"):
        _by_column([{"part": part} for part in PARTS], **{**LISTS, "train": ["tr", "vaal"]})
    with pytest.raises(DatasetError, match=r"listed under train and search"):
        _by_column([{"part": part} for part in PARTS], **{**LISTS, "train": ["tr", "dev"]})
    with pytest.raises(DatasetError, match=r"row 1 has no column: got 'part'. Did you mean 'parts'"):
        _by_column([{"parts": part} for part in PARTS], **LISTS)


def test_copies_across_the_datas_own_splits_name_both_rows():
    rows = [{"part": part} for part in PARTS]
    with pytest.raises(DatasetError, match=r"two splits: row 1 \(train\) and row 6 \(search\). Drop"):
        _by_column([*rows, {"part": "dev", "text": "t0"}], **LISTS)
    with pytest.raises(DatasetError, match=r"row 1 \(train\) and row 6 \(search, equal inputs with different gold\)"):
        _by_column([*rows, {"part": "dev", "text": "t0", "label": "other"}], **LISTS)


def test_at_most_five_pairs_of_copies_are_shown():
    rows = [{"part": "tr", "text": str(i)} for i in range(8)] + [{"part": "dev", "text": str(i)} for i in range(8)]
    with pytest.raises(DatasetError) as caught:
        _by_column([*rows, {"part": "1", "text": "z"}, {"part": "val", "text": "y"}], **LISTS)
    assert str(caught.value).count("(train)") == 5 and "and 3 more" in str(caught.value)


def test_a_stratify_column_that_is_not_there_names_the_nearest():
    with pytest.raises(DatasetError, match=r"splits.stratify: row 1 has no column: got 'lable'. Did you mean 'label'"):
        _split(_examples("a" * 10), stratify="lable")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.data())
def test_controlled_rounding_keeps_all_totals_and_moves_no_entry_by_one(rows, data):
    n = sum(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), min_size=3, max_size=3)))
    columns = [b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    table = controlled_rounding(rows, columns)
    assert [sum(line) for line in table] == rows
    assert [sum(line[j] for line in table) for j in range(4)] == columns
    assert all(abs(table[i][j] * n - rows[i] * columns[j]) < max(n, 1) for i in range(len(rows)) for j in range(4))


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), st.integers(0, 500))
def test_largest_remainder_gives_the_total_within_one_of_each_quota(weights, total):
    dealt = largest_remainder(weights, total)
    assert sum(dealt) == total
    assert all(abs(x - w / sum(weights) * total) < 1 + 1e-6 for x, w in zip(dealt, weights, strict=True))


def test_a_third_each_is_dealt_in_order_whatever_the_rounding_error():
    assert largest_remainder([0.1, 0.2, 0.3, 0.4], 10) == [1, 2, 3, 4]
    assert largest_remainder([1 / 3, 1 / 3, 1 / 3], 10) == [4, 3, 3]
