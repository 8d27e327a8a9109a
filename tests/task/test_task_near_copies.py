"""Near copies across splits are found, exactly those that reach the threshold, and said before money is spent."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.job.resolve import resolve_job
from offramp.search.estimate import job_summary
from offramp.space.load import load_space
from offramp.task.near_copies import ALIKE, GRAM, near_copies, normal_text

SENTENCES = [
    "My parcel has not arrived although it was due last Tuesday",
    "The invoice of March shows an amount that I never agreed to",
    "How can I change the address of my delivery before it leaves",
    "The app crashes as soon as I open the settings on my phone",
    "Please cancel my subscription at the end of this month",
]


def grams(text):
    text = normal_text(text).ljust(GRAM)
    return {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}


def brute_force(texts, groups, least=ALIKE):
    found = {}
    for i, a in enumerate(texts):
        for j in range(i + 1, len(texts)):
            if groups[i] != groups[j]:
                one, other = grams(a), grams(texts[j])
                if (alike := len(one & other) / len(one | other)) >= least:
                    found[i, j] = alike
    return found


def varied(rng, text):
    words = text.split()
    if rng.random() < 0.7:
        words[rng.randrange(len(words))] = rng.choice(["really", "yesterday", "now", "again"])
    return rng.choice([str.lower, str.upper, str])(" ".join(words)) + rng.choice(["", ".", "!", " ?"])


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_what_is_found_is_what_brute_force_finds(seed):
    rng = random.Random(seed)
    texts = [varied(rng, rng.choice(SENTENCES)) for _ in range(20)]
    groups = [rng.randrange(3) for _ in texts]
    found, wanted = {(p.a, p.b): p.alike for p in near_copies(texts, groups)}, brute_force(texts, groups)
    assert found.keys() <= wanted.keys()
    assert all(found[pair] == pytest.approx(wanted[pair]) for pair in found)
    assert {pair for pair, alike in wanted.items() if alike >= 0.9} <= found.keys()


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""], ["a", "b"], ["\ud800x", "y"]])
def test_odd_texts_are_no_trouble(texts):
    near_copies(texts, list(range(len(texts))))


def write(folder, rows, more=""):
    (folder / "d.csv").write_text("text,label,q\n" + "".join(f'"{text}",{label},{q}\n' for text, label, q in rows))
    (folder / "s.yaml").write_text(
        "schema_version: 1\nname: copies\n"
        "task: {signature: \"text -> label: Literal['a', 'b', 'c']\"}\n"
        f"dataset: {{path: d.csv{more}}}\nmetric: {{kind: exact, field: label}}\n"
        "models: [local/smollm2-135m]\ninstructions: {today: Label it.}\nparams: {max_tokens: 8}\n"
        "objectives: {cost: null, latency: null}\n"
    )
    return resolve_job(load_space(folder / "s.yaml"))


def paraphrases():
    openings = ("Hello, ", "Good morning, ", "Dear team, ")
    numbers = random.Random(0).sample(range(10**9, 10**10), 20)
    return [
        (f"{o}{SENTENCES[k % 5]} and the reference that you sent me is {n}", "ab"[k % 2], k)
        for k, n in enumerate(numbers)
        for o in openings
    ]


def test_paraphrases_across_splits_are_a_warning_that_names_rows_and_the_line_that_fixes_it(tmp_path):
    summary = job_summary(write(tmp_path, paraphrases()))
    warnings = [text for name, text in summary if name == "warning"]
    assert any(
        "nearly equal inputs in two splits: row " in text and "dataset.group" in text and "s.yaml:" in text
        for text in warnings
    )
    assert any("no example has the label 'c'" in text for text in warnings)


def test_with_the_groups_named_there_is_nothing_to_warn_of_and_no_group_is_split(tmp_path):
    job = write(tmp_path, [row for row in paraphrases() if row[2] % 5 == 0], ", group: q")
    assert not any(
        "nearly equal" in text for name, text in job_summary(job) if name == "warning" and "group" not in text
    )
    homes = {}
    for split in ("train", "search", "holdout"):
        for example in getattr(job.task.splits, split):
            assert homes.setdefault(example.group, split) == split
