"""What is dropped of what was proposed, and why: nothing new, too long, a template, or a text that gives examples away.

A text must not contain inputs or answers of search and holdout, nor more of train than a rule needs. Texts are compared
as words, whatever their case and punctuation. What the space file's own instructions say, and what many examples share,
is not secret; nor are the labels of an enum.

Invariant: a text that repeats a long input of the search or holdout split word for word never passes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from offramp.job.resolved import ResolvedJob
from offramp.records import Example, Splits
from offramp.search.proposals.tidying import holes, is_broken_json
from offramp.task.fields import TaskFields
from offramp.task.metrics import gold_columns

RUN = 7
"""This many consecutive words are a quotation."""
TRAIN_WORDS = 40
"""This many words of train examples may be quoted in all."""
LONG_WORDS, LONG_CHARS = 3, 16
"""An input with this many words or characters is not written by chance; a shorter one counts only with its answer."""
NEAR = 8
"""How many words after a short input its answer makes the two a quotation."""
LONG_ANSWER_WORDS, LONG_ANSWER_CHARS = 3, 12
SHARED = 3
"""What this many examples have in common gives none of them away."""

Words = tuple[str, ...]


def why_dropped(
    text: str, *, max_chars: int, others: Collection[str], leaks: LeakCheck, fields: Iterable[str] = ()
) -> str | None:
    """Why a tidied text does not join; None for one that does.

    Args:
        others: the instructions that this predictor already has.
        fields: of the predictor and the task: a place that is held for one of them is never filled in.
    """
    if not words_of(text):
        return "it is empty"
    if is_broken_json(text):
        return "it is inside of JSON that cannot be read"
    if len(text) > max_chars:
        return f"it has {len(text)} characters, more than {max_chars}"
    said = set().union(*(holes(other, fields) for other in others))
    if found := [hole for hole in holes(text, fields) if hole not in said]:
        return f"it holds a place for a value that nobody fills in: {found[0]}"
    if any(words_of(other) == words_of(text) for other in others):
        return "it says what another instruction says"
    return leaks.reason(text)


def leak_check(job: ResolvedJob) -> LeakCheck:
    """Looks for this job's examples in a text; what the space file's instructions say is not secret."""
    known = [text for variants in job.texts.values() for text in variants.values()]
    return LeakCheck(job.task.splits, job.task.fields, gold_columns(job.space.metric), known)


def answer_columns(fields: TaskFields, gold: Iterable[str]) -> tuple[str, ...]:
    """Columns that hold answers: the outputs, and the `gold` ones that the metric compares with."""
    return tuple(dict.fromkeys([*fields.outputs, *gold]))


class LeakCheck:
    """Looks for examples of these splits in a text.

    Args:
        gold: columns that the metric compares with.
        known: texts that may be repeated: those of the space file.
    """

    def __init__(self, splits: Splits, fields: TaskFields, gold: Iterable[str] = (), known: Iterable[str] = ()) -> None:
        self._inputs, self._answer_columns = fields.inputs, answer_columns(fields, gold)
        self._known = [words_of(text) for text in known]
        self._hidden = (*splits.search, *splits.holdout)
        runs = Counter(run for example in (*splits.train, *self._hidden) for run in set(self._input_runs(example)))
        shared = {run for run, n in runs.items() if n >= SHARED} | {run for text in self._known for run in _runs(text)}
        self._hidden_runs = {run for example in self._hidden for run in self._input_runs(example)} - shared
        self._train_runs = {run for example in splits.train for run in self._input_runs(example)} - shared
        labels = {words_of(label) for output in fields.outputs.values() for label in output.values or ()}
        self._telling_answers = self._find_telling_answers() - labels

    def reason(self, text: str) -> str | None:
        """What the text gives away, without repeating it; None where it gives nothing away."""
        words = words_of(text)
        if any(run in self._hidden_runs for run in _runs(words)):
            return f"it quotes {RUN} or more consecutive words of an example in the search or holdout split"
        if any(
            self._quotes(words, words_of(example.values.get(name)), example)
            for example in self._hidden
            for name in self._inputs
        ):
            return "it quotes an input of the search or holdout split"
        if any(_contains(words, answer) for answer in self._telling_answers):
            return "it gives an answer of the search or holdout split"
        quoted: set[int] = set()
        for i, run in enumerate(_runs(words)):
            if run in self._train_runs:
                quoted.update(range(i, i + RUN))
        if len(quoted) > TRAIN_WORDS:
            return f"it quotes {len(quoted)} words of train examples, more than {TRAIN_WORDS}"
        return None

    def _input_runs(self, example: Example) -> Iterator[Words]:
        for name in self._inputs:
            yield from _runs(words_of(example.values.get(name)))

    def _quotes(self, words: Words, value: Words, example: Example) -> bool:
        """Whether a text contains an input of an example: a long one at all, a short one followed by its answer."""
        if not value or any(_contains(known, value) for known in self._known):
            return False
        if len(value) >= LONG_WORDS or len(" ".join(value)) >= LONG_CHARS:
            return _contains(words, value)
        answers = [words_of(example.values.get(name)) for name in self._answer_columns]
        following = [words[place : place + len(value) + NEAR] for place in _places(words, value)]
        return any(answer and _contains(part, answer) for part in following for answer in answers)

    def _find_telling_answers(self) -> frozenset[Words]:
        """Answers of hidden examples that nobody writes by chance, and that few examples have."""
        count = Counter(
            answer for e in self._hidden for answer in {words_of(e.values.get(name)) for name in self._answer_columns}
        )
        return frozenset(
            answer
            for answer, examples in count.items()
            if examples < SHARED
            and (len(answer) >= LONG_ANSWER_WORDS or len(" ".join(answer)) >= LONG_ANSWER_CHARS)
            and not any(_contains(known, answer) for known in self._known)
        )


def words_of(value: Any) -> Words:
    """The words of a text, or of the texts inside a value, in lower case."""
    return tuple(re.findall(r"\w+", " ".join(_texts(value)).casefold()))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)


def repeats(text: str, other: str) -> bool:
    """Whether a text has a run of words of another one."""
    known = set(_runs(words_of(other)))
    return any(run in known for run in _runs(words_of(text)))


def _runs(words: Words) -> Iterator[Words]:
    return (words[i : i + RUN] for i in range(len(words) - RUN + 1))


def _places(words: Words, part: Words) -> list[int]:
    return [i for i in range(len(words) - len(part) + 1) if words[i : i + len(part)] == part]


def _contains(words: Words, part: Words) -> bool:
    return bool(_places(words, part))
