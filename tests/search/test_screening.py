"""What gives examples away and what does not."""

import pytest

from offramp.records import Example, Splits
from offramp.search.proposals.screening import RUN, TRAIN_WORDS, LeakCheck, tidy, why_dropped
from offramp.space.model import OutputField
from offramp.task.fields import TaskFields

LONG = "the red lamp in my kitchen flickers whenever I open the garage door"
LABELS = OutputField(type="enum", values=["billing", "customer complaints desk"])


def example(name, message, answer):
    return Example(id=name, content_hash=name, values={"message": message, "label": answer}, row=1)


def check(output=None, *, train=(), search=(), holdout=(), known=()):
    fields = TaskFields(inputs=("message",), outputs={"label": output or OutputField()})
    splits = {"train": train, "search": search, "holdout": holdout}
    made = {
        split: tuple(example(f"{split}{i}", *pair) for i, pair in enumerate(pairs)) for split, pairs in splits.items()
    }
    return LeakCheck(Splits(**made), fields, known=known)


@pytest.mark.parametrize("split", ["search", "holdout"])
@pytest.mark.parametrize("text", [LONG, LONG.upper() + "!", f"As in '{LONG}', say billing.", LONG[:40]])
def test_a_row_of_words_of_a_hidden_example_is_a_leak(split, text):
    assert "search or holdout" in check(**{split: [(LONG, "x")]}).reason(f"Sort it. {text}")


def test_the_same_words_in_another_order_are_none():
    words = " ".join(sorted(LONG.split()))
    assert check(search=[(LONG, "x")]).reason(words) is None


def test_a_short_input_is_a_leak_with_its_answer_and_none_without():
    found = check(LABELS, search=[("my bill", "billing")])
    assert found.reason("Read what is said of my bill and sort it.") is None
    assert "quotes an input" in found.reason("my bill: billing")


@pytest.mark.parametrize("value", [None, "", 0, [], {}])
def test_an_input_without_a_word_is_no_part_of_every_text(value):
    assert check(search=[(value, "x")]).reason("Sort the message.") is None


def test_an_answer_that_nobody_writes_by_chance_is_a_leak():
    found = check(search=[("Who?", "Rosalind Elsie Franklin"), ("Where?", "Paris")])
    assert "gives an answer" in found.reason("The answer is often rosalind elsie FRANKLIN.")
    assert found.reason("Name a place such as Paris.") is None


def test_answers_inside_of_objects_and_lists_count_as_well():
    found = check(search=[("Order?", {"item": "left-handed reversible teapot"}), ("More?", ["a", "b"])])
    assert "gives an answer" in found.reason("Such as a left handed reversible teapot.")


def test_labels_and_what_the_file_itself_says_may_be_said():
    hidden = [("Any?", "customer complaints desk"), (LONG, "billing")]
    assert check(LABELS, search=hidden).reason("Answer customer complaints desk or billing.") is None
    assert check(LABELS, search=hidden, known=[f"For instance: {LONG}"]).reason(f"For instance: {LONG}") is None


def test_what_many_examples_share_gives_none_of_them_away():
    greeting = "hello dear support team I hope that this message finds you well"
    hidden = [(f"{greeting} {word}", "billing") for word in ("ant", "bee", "cat", "dog")]
    assert check(LABELS, search=hidden).reason(f"Ignore phrases such as {greeting}.") is None


def test_a_little_of_train_may_be_quoted_and_much_may_not():
    train = [(" ".join(f"w{i}x{j}" for j in range(20)), "billing") for i in range(4)]
    texts = [message for message, _ in train]
    found = check(LABELS, train=train)
    assert found.reason(f"Such as: {texts[0]}. Or {texts[1]}.") is None
    assert f"more than {TRAIN_WORDS}" in found.reason(" And ".join(texts[:3]))
    assert found.reason(" ".join(texts[0].split()[: RUN - 1])) is None


def test_a_fence_and_quotes_around_a_text_are_no_part_of_it():
    for around in ("Sort it.", ' "Sort it." ', "```\nSort it.\n```", "```text\nSort it.\n```"):
        assert tidy(around) == "Sort it."
    assert tidy('"A" or "B"') == '"A" or "B"'


def test_a_copy_is_a_copy_whatever_its_case_and_punctuation():
    assert why_dropped("sort, it", max_chars=99, others=["Sort it!"], leaks=check()) is not None
    assert why_dropped("Sort them", max_chars=99, others=["Sort it!"], leaks=check()) is None
