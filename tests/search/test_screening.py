"""What gives examples away and what does not."""

import pytest

from offramp.records import Example, Splits
from offramp.search.proposals.screening import RUN, TRAIN_WORDS, LeakCheck, why_dropped
from offramp.search.proposals.tidying import tidy
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


WRAPPED = [
    "Sort it.",
    ' "Sort it." ',
    "```\nSort it.\n```",
    "```text\nSort it.\n```",
    "```Sort it.```",
    "`Sort it.`",
    "~~~markdown\nSort it.\n~~~",
    '{"instruction": "Sort it."}',
    '```json\n{"instruction": "Sort it."}\n```',
    '{"new_instruction": "Sort it.", "reasoning": "It says so."}',
    '{"reasoning": "The instruction is vague.", "improved_prompt": "Sort it."}',
    "{'instruction': 'Sort it.',}",
    '{"prompt": ["Sort it."]}',
    '{"text": "Sort it."}',
    '["Sort it."]',
    'json {"instruction": "Sort it."}',
    "Here is the improved instruction:\n\nSort it.",
    "Here's an improved version of the instruction:\n```\nSort it.\n```\nIt is shorter than before.",
    'Sure! Here is a revised prompt based on the feedback:\n\n"Sort it."',
    "Certainly. Below is the new instruction, which addresses the failures:\nSort it.",
    "I have rewritten the instruction as follows:\nSort it.",
    "Improved Instruction: Sort it.",
    "**New instruction:**\nSort it.",
    "## Instruction\n\nSort it.",
    "<instruction>\nSort it.\n</instruction>",
    "[[ ## proposed_instruction ## ]]\nSort it.\n\n[[ ## completed ## ]]",
    "\u201cSort it.\u201d",
    "\u00abSort it.\u00bb",
    '"""Sort it."""',
    "**Sort it.**",
    "> Sort it.",
    "Sort it. | Score: 0.75",
]


@pytest.mark.parametrize("text", WRAPPED)
def test_what_a_model_puts_around_a_text_is_no_part_of_it(text):
    assert tidy(text) == "Sort it."


@pytest.mark.parametrize(
    "text",
    [
        '"A" or "B"',
        "'tis the season's mail: sort it",
        '{"role": "clerk", "rules": ["Sort it.", "Say why."]}',
        'Answer {"label": "billing"} and nothing else.',
        "This is a prompt injection classification task: decide which.",
        "Instructions matter: sort it.",
        'Reply like this:\n```json\n{"label": "billing"}\n```\nSay nothing else.',
        "```\nA\n```\nor\n```\nB\n```",
        "**Sort** the **mail**",
        "<b>Sort</b> it, then say <label>billing</label>",
        "Here is how to sort: read the message twice.",
    ],
)
def test_what_belongs_to_a_text_stays(text):
    assert tidy(text) == text


def dropped(text, *, others=("Vague.",), fields=("message", "label", "order_id")):
    return why_dropped(tidy(text), max_chars=999, others=list(others), leaks=check(), fields=fields)


@pytest.mark.parametrize(
    "hole",
    [
        "{{message}}", "{{ message }}", "{{{message}}}", "{{the customer's message}}", "{{#if message}}", "{{x}}",
        '{{ message | default("x") }}', "{% for m in messages %}", "<%= message %>", "{message}", "{ Message }", "{input}",
        "{message.body}", "{message[0]}", "{message!r}", "{order id}", "<<message>>", "<< ticket >>", "$message",
        "${message}", "${anything}", "#{message}", "{$message}", "%(message)s", "%message%", "[[message]]",
        "<curr_param>", "<side_info>", "[insert message here]", "<insert the customer's message here>", "[your question]",
        "\uff5b\uff5bmessage\uff5d\uff5d",
    ],
)  # fmt: skip
def test_a_text_with_a_place_that_nobody_fills_in_is_dropped(hole):
    assert "nobody fills in" in dropped(f"Sort this mail.\n\nMessage: {hole}\n\nLabel:")


@pytest.mark.parametrize(
    "text",
    [
        'Answer as JSON: {"label": "billing", "items": [{"id": 1}]}.',
        'Reply {"label": {"name": "x"}} or {}.',
        "Reply {label: billing, why: short}.",
        "Pick one of {billing, refund, other}.",
        "Write the label inside <label></label>, as in <label>billing</label>.",
        "It costs $5, or 50% of the message's price (message by message).",
        "Use [brackets] and [links](https://a.example).",
        "Read the text (the message) first, then the label.",
        "Follow [[ ## label ## ]] with the label.",
        "if (x) { return label; }",
        "Answer with the {number} of the row.",
    ],
)
def test_braces_and_signs_that_are_no_template_join(text):
    assert dropped(text) is None


def test_a_place_that_the_files_own_instructions_hold_may_be_held():
    text = "Write a letter that begins with Dear {{first_name}}."
    assert dropped(text) is not None
    assert dropped(text, others=["Write to {{first_name}}, kindly."]) is None


@pytest.mark.parametrize("text", ['{"instruction": "Sort the mail by', "{'new_instruction': 'Sort', 'why"])
def test_an_instruction_in_json_that_breaks_off_is_dropped(text):
    assert "JSON that cannot be read" in dropped(text)


def test_a_copy_is_a_copy_whatever_its_case_and_punctuation():
    assert why_dropped("sort, it", max_chars=99, others=["Sort it!"], leaks=check()) is not None
    assert why_dropped("Sort them", max_chars=99, others=["Sort it!"], leaks=check()) is None
