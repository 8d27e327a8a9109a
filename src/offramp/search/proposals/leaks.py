"""Whether a text gives examples away: inputs or answers of search and holdout, or more of train than a rule needs.

Texts are compared as words, whatever their case and punctuation. What the space file's own instructions say, and what
many examples share, is nobody's secret. Labels of an enum are known to all.

Invariant: a text that repeats a long input of the search or holdout split in a row of words never passes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from offramp.records import Example, Splits
from offramp.task.fields import TaskFields

RUN = 7
"""So many words in a row are a quotation."""
TRAIN_WORDS = 40
"""So many words of train examples may be quoted in all."""
LONG_WORDS, LONG_CHARS = 3, 16
"""An input of so many words or characters is not written by chance; a shorter one counts with its answer alone."""
NEAR = 8
"""Words after a short input in which its answer tells what it was quoted for."""
LONG_GOLD_WORDS, LONG_GOLD_CHARS = 3, 12
SHARED = 3
"""What so many examples have in common gives none of them away."""

Words = tuple[str, ...]


def words_of(value: Any) -> Words:
    """The words of a text, or of the texts inside of a value, in lower case."""
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


class LeakCheck:
    """Looks for examples of these splits in a text.

    Args:
        golds: columns with answers.
        known: texts that anybody may repeat: those of the space file.
    """

    def __init__(
        self, splits: Splits, fields: TaskFields, golds: Iterable[str] = (), known: Iterable[str] = ()
    ) -> None:
        self._inputs, self._golds = fields.inputs, tuple(dict.fromkeys([*fields.outputs, *golds]))
        self._known = [words_of(text) for text in known]
        self._labels = {words_of(label) for output in fields.outputs.values() for label in output.values or ()}
        self._hidden = (*splits.search, *splits.holdout)
        everyone = (*splits.train, *self._hidden)
        runs = Counter(run for example in everyone for run in set(self._runs(example)))
        shared = {run for run, n in runs.items() if n >= SHARED} | {run for text in self._known for run in _runs(text)}
        self._hidden_runs = {run for example in self._hidden for run in self._runs(example)} - shared
        self._train_runs = {run for example in splits.train for run in self._runs(example)} - shared
        self._answers = self._telling_answers()

    def reason(self, text: str) -> str | None:
        """What the text gives away, without repeating it; None where it gives nothing away."""
        words = words_of(text)
        if any(run in self._hidden_runs for run in _runs(words)):
            return f"it quotes {RUN} words or more of an example of the search or holdout split"
        if any(self._quotes(words, example) for example in self._hidden):
            return "it quotes an input of the search or holdout split"
        if any(_holds(words, answer) for answer in self._answers):
            return "it gives an answer of the search or holdout split"
        quoted = _covered(words, self._train_runs)
        return f"it quotes {quoted} words of train examples, more than {TRAIN_WORDS}" if quoted > TRAIN_WORDS else None

    def _runs(self, example: Example) -> Iterator[Words]:
        for name in self._inputs:
            yield from _runs(words_of(example.values.get(name)))

    def _quotes(self, words: Words, example: Example) -> bool:
        return any(self._quotes_input(words, words_of(example.values.get(name)), example) for name in self._inputs)

    def _quotes_input(self, words: Words, given: Words, example: Example) -> bool:
        if not given or any(_holds(known, given) for known in self._known):
            return False
        if len(given) >= LONG_WORDS or len(" ".join(given)) >= LONG_CHARS:
            return _holds(words, given)
        answers = [words_of(example.values.get(name)) for name in self._golds]
        after = [words[place : place + len(given) + NEAR] for place in _places(words, given)]
        return any(answer and _holds(part, answer) for part in after for answer in answers)

    def _telling_answers(self) -> frozenset[Words]:
        """Answers that nobody writes by chance, and that are not what several examples have."""
        found = Counter(
            answer for e in self._hidden for answer in {words_of(e.values.get(name)) for name in self._golds}
        )
        long = {a for a in found if len(a) >= LONG_GOLD_WORDS or len(" ".join(a)) >= LONG_GOLD_CHARS}
        own = {a for a in long if any(_holds(known, a) for known in self._known)}
        return frozenset(a for a in long - own - self._labels if found[a] < SHARED)


def repeats(text: str, other: str) -> bool:
    """Whether a text has a run of words of another one."""
    known = set(_runs(words_of(other)))
    return any(run in known for run in _runs(words_of(text)))


def _runs(words: Words) -> Iterator[Words]:
    return (words[i : i + RUN] for i in range(len(words) - RUN + 1))


def _places(words: Words, part: Words) -> list[int]:
    return [i for i in range(len(words) - len(part) + 1) if words[i : i + len(part)] == part]


def _holds(words: Words, part: Words) -> bool:
    return bool(_places(words, part))


def _covered(words: Words, runs: Iterable[Words]) -> int:
    """How many words of a text are part of one of these runs."""
    known: set[int] = set()
    for i, run in enumerate(_runs(words)):
        if run in runs:
            known.update(range(i, i + RUN))
    return len(known)


def golds_of(columns: Iterable[str], fields: TaskFields) -> Sequence[str]:
    """Columns with answers: those that the metric compares, and the outputs."""
    return tuple(dict.fromkeys([*fields.outputs, *columns]))
