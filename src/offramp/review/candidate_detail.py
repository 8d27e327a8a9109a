"""One candidate in full: what of it differs from the incumbent, and the demos that its program shows.

Invariants: the unchanged and the added pieces of a diff make the new text, the unchanged and the removed the old one.
No demo is shown that the program did not show; where that cannot be known, a note says how demos are chosen.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import OfframpError
from offramp.program.demos import choose_demos, distinct
from offramp.records import Candidate, DemoKind, Example, Split
from offramp.review.comparison_view import ComparisonView
from offramp.review.escaping import as_text
from offramp.review.rows import Row
from offramp.space.load import space_from_json
from offramp.store.candidates import CandidateRow
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow
from offramp.study.domain.sent_values import as_sent
from offramp.study.queries.dataset_rows import Dataset
from offramp.task.dataset import load_examples
from offramp.task.fields import TaskFields, task_fields
from offramp.task.metrics import gold_columns, show_columns
from offramp.task.splits import split_examples

if TYPE_CHECKING:
    from offramp.job.loaded import LoadedStudy
    from offramp.job.shown_requests import ShownRequest

_COMMON_RUN, _ALIKE, _SHORT = 3, 0.4, 12
"""Prompts are alike where this share of words is in runs of so many common ones; shorter ones are always a diff."""
_LONGEST = 20_000  # characters; a longer text is shown as replaced as a whole
_PEEKED, _PEEKED_VALUE, _PEEKED_DEMOS = 1200, 160, 3
"""Characters of a prompt and of a demo's value, and demos, that are shown beside the picture."""
Demo = tuple[tuple[str, str], ...]
"""One demo: fields and their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of text; `kind` is `same`, `added` or `removed`."""

    kind: str
    text: str

    @property
    def length(self) -> int:
        """Characters."""
        return len(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a candidate beside that of the other; `other` is None where the other does not have it."""

    name: str
    value: str
    other: str | None
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """The instruction of one predictor, as a diff to the other's where there is another.

    Attributes:
        pieces: of the diff; of the text alone where they share too little for one, and stand side by side.
        before: the other's text where they do; None otherwise.
    """

    predictor: str
    pieces: tuple[Piece, ...]
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One candidate in full, as a diff to the incumbent; without an incumbent, everything is unchanged.

    Attributes:
        number: of its trial. origin: who proposed it, in words.
        demos_note: how demos are chosen, where they are not shown; None where they are, or there are none.
        request: as it is sent for the first example; None where it is not known, and where it is loaded later.
        turns: the requests of one run, of a form of several; empty for other forms, and where they are loaded later.
        has_turns: whether it is such a form.
        versus: wins and losses against the incumbent; None for the incumbent itself and where there is none.
    """

    row: Row
    number: int
    origin: str
    settings: tuple[Setting, ...]
    instructions: tuple[Instruction, ...]
    demos: tuple[Demo, ...]
    demos_note: str | None
    turns: tuple[Demo, ...]
    has_turns: bool
    versus: ComparisonView | None
    request: ShownRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """What is shown of a candidate beside the picture: the beginning of its prompts, and its first demos.

    Attributes:
        prompts: by predictor. cut: whether more of them is left out.
        demos: the first few; `demos_more` others are left out. demos_note: as in `Detail`.
    """

    id: str
    prompts: tuple[tuple[str, str], ...]
    cut: bool
    demos: tuple[Demo, ...]
    demos_more: int
    demos_note: str | None


def peek_of(candidate: Candidate, demos: Sequence[Demo], note: str | None) -> Peek:
    """The peek at a candidate whose demos are known."""
    texts = candidate.instructions.items()
    return Peek(
        id=candidate.id,
        prompts=tuple((name, text[:_PEEKED]) for name, text in texts),
        cut=any(len(text) > _PEEKED for _, text in texts),
        demos=tuple(tuple((name, value[:_PEEKED_VALUE]) for name, value in demo) for demo in demos[:_PEEKED_DEMOS]),
        demos_more=max(0, len(demos) - _PEEKED_DEMOS),
        demos_note=note,
    )


# ----------------------------------------------------------------------------------------------------- what differs


def settings_of(kept: CandidateRow, other: CandidateRow | None) -> tuple[Setting, ...]:
    """The candidate's settings, each beside that of `other`."""
    mine = _settings(kept)
    theirs = mine if other is None else _settings(other)
    return tuple(
        Setting(
            name=name,
            value=mine.get(name, "not set"),
            other=theirs.get(name),
            changed=mine.get(name) != theirs.get(name),
        )
        for name in dict.fromkeys([*mine, *theirs])
    )


def _settings(kept: CandidateRow) -> dict[str, str]:
    candidate, shown = kept.candidate, as_sent(kept.params, kept.sent)
    demos = "none"
    if candidate.demo_kind is DemoKind.OWN:
        demos = "the module's own"
    elif candidate.demo_count and candidate.demo_kind is not DemoKind.NONE:
        demos = f"{shown.get('demos.count', candidate.demo_count)} {candidate.demo_kind} (seed {candidate.demo_seed})"
    fixed: dict[str, Any] = {
        "model": candidate.model,
        "module": candidate.module,
        "adapter": shown.get("format", candidate.adapter),
        **({"tools": candidate.tools} if candidate.tools != "text" else {}),
        "constrained decoding": "yes" if candidate.constrained else "no",
        "demos": demos,
    }
    sent = {name: shown.get(name, value) for name, value in candidate.request_params.items()}
    models = {f"model of {predictor}": name for predictor, name in candidate.models.items()}
    return {name: str(value) for name, value in {**fixed, **models, **sent}.items()}


def instructions_of(candidate: Candidate, other: Candidate | None) -> tuple[Instruction, ...]:
    """The candidate's instructions, each as a diff to that of `other`."""
    before = candidate.instructions if other is None else other.instructions
    return tuple(_instruction(name, before.get(name, ""), text) for name, text in candidate.instructions.items())


def _instruction(predictor: str, before: str, text: str) -> Instruction:
    pieces = tuple(text_diff(before, text))
    if not before or not text or alike(before, text):
        return Instruction(predictor=predictor, pieces=pieces)
    return Instruction(predictor=predictor, pieces=(Piece(kind="same", text=text),), before=before)


def alike(before: str, after: str) -> bool:
    """Whether two texts share enough for a diff that can be read: few words that happen to be in both do not do."""
    old, new = before.split(), after.split()
    if before == after or max(len(old), len(new)) <= _SHORT:
        return True
    if len(before) + len(after) > _LONGEST:
        return False
    blocks = difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= _COMMON_RUN) >= _ALIKE * min(len(old), len(new))


def text_diff(before: str, after: str) -> Iterator[Piece]:
    """A diff by words, with spaces and line ends among them."""
    if before == after or len(before) + len(after) > _LONGEST:
        parts = (("same", after),) if before == after else (("removed", before), ("added", after))
        yield from _pieces(*parts)
        return
    old, new = re.findall(r"\s+|[^\s]+", before), re.findall(r"\s+|[^\s]+", after)
    for kind, a, b, c, d in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from _pieces(("same", "".join(new[c:d])))
        else:
            yield from _pieces(("removed", "".join(old[a:b])), ("added", "".join(new[c:d])))


def _pieces(*parts: tuple[str, str]) -> Iterator[Piece]:
    return (Piece(kind=kind, text=text) for kind, text in parts if text)


def origin_words(kept: CandidateRow) -> str:
    """Who proposed a candidate, in words."""
    kind = str(kept.origin.get("kind", "unknown"))
    parents = ", ".join(map(str, kept.origin.get("parents", ())))
    words = {
        "incumbent": "what runs today",
        "sampler": "proposed by the sampler",
        "study": f"from the front of {kept.origin.get('study')} (there {parents})",
        "proposal": f"with an instruction that a model wrote, based on {parents}",
    }
    return words.get(kind, kind.replace("_", " "))


# ------------------------------------------------------------------------------------------------------------ demos


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What demos are chosen from: the train split in its order, the task's fields, and the column to balance by."""

    train: tuple[Example, ...]
    fields: TaskFields
    balance_by: str | None


def read_pool(row: StudyRow, dataset: Dataset) -> Pool | None:
    """The pool of a study; None if its data is no longer what the study ran on."""
    if dataset.missing is not None:
        return None
    try:
        space, base = space_from_json(row.space_json), Path(row.details.space_file or "").parent
        fields, gold = task_fields(space.task, ""), gold_columns(space.metric)
        nullable = gold | show_columns(space.metric)
        examples = load_examples(space.dataset, fields, gold, base, seed=space.splits.seed, nullable=nullable)
        where = space.dataset.path or str(space.dataset.hub)
        train = split_examples(examples, space.splits, where, inputs=fields.inputs).train
    except (OfframpError, OSError, KeyError):
        return None
    enums = [name for name, output in fields.outputs.items() if output.type == "enum"]
    return Pool(train=train, fields=fields, balance_by=space.demos.balance_by or next(iter(enums), None))


def chosen_demos(candidate: Candidate, pool: Pool | None) -> tuple[tuple[Demo, ...], str | None]:
    """The demos of a candidate, or a note on how they are chosen; neither for a candidate without demos."""
    kind, count = candidate.demo_kind, candidate.demo_count
    if kind is DemoKind.OWN:
        return (), "Those that the module has itself."
    if kind is DemoKind.NONE or not count:
        return (), None
    if kind is DemoKind.NEAREST:
        size = "" if pool is None else f"{len(distinct(pool.train))} "
        return (), (
            f"For each input, the {count} of the {size}train examples whose inputs are most similar (cosine of TF-IDF "
            "over sequences of 3 to 5 characters within words), the most similar last; never the example itself."
        )
    if kind is DemoKind.BOOTSTRAPPED:
        return (), f"Up to {count} of its own answers on train examples that the metric approved of."
    if pool is None:
        return (), f"{count} train examples ({kind}, seed {candidate.demo_seed}); the dataset is not here to show them."
    fields = [*pool.fields.inputs, *pool.fields.outputs]
    chosen = choose_demos(kind, count, candidate.demo_seed, pool.train, pool.balance_by)
    shown = (tuple((f, as_text(example.values[f])) for f in fields if f in example.values) for example in chosen)
    return tuple(shown), None


async def bootstrapped_demos(store: Store, loaded: LoadedStudy, candidate: Candidate) -> tuple[Demo, ...]:
    """The bootstrapped demos of a candidate, made again from the ledger, which has every answer they were made from.

    No model is asked. The program itself runs, so this loads its libraries: seconds, the first time.

    Returns:
        The demos, with the predictor's name where there are several; empty where an answer is missing.
    """
    from offramp.job.session import open_session

    job = loaded.job
    async with open_session(job, store=store, study=loaded.row.name) as session:
        found = await session.evaluator.demos(candidate)
    if session.recorded.unknown or not job.space.store_text:
        return ()
    several = len(found) > 1
    return tuple(
        (*([("predictor", name)] if several else []), *((field, as_text(value)) for field, value in row.items()))
        for name, rows in found.items()
        for row in rows
    )


async def turns_of_a_run(store: Store, loaded: LoadedStudy, candidate: Candidate) -> tuple[Demo, ...]:
    """What one run of a form of several requests asked and was answered, request by request, from the ledger.

    The run is that of its first example of the search split. No model is asked; as for `bootstrapped_demos`, the
    program itself runs.

    Returns:
        One row for each request; empty where an answer is missing.
    """
    from offramp.job.session import open_session

    job = loaded.job
    known = ResultStore(store).get(loaded.row.name, Split.SEARCH, candidate.id)
    example = next((e for e in job.task.splits.search if e.id in known and known[e.id].score is not None), None)
    if example is None or not job.space.store_text:
        return ()
    async with open_session(job, store=store, study=loaded.row.name) as session:
        program = await session.evaluator.program(candidate)
        outcome = await program.run(example)
        if session.recorded.unknown:
            return ()
    found, before = [], ""
    for exchange in outcome.exchanges:
        first, last = (as_text(exchange.request.messages[i]["content"]) for i in (0, -1))
        asked = () if first == before else (("instruction", first), ("input", last))
        asker = ("request", f"{exchange.predictor}, step {exchange.step}")
        found.append((asker, *asked, ("answer", exchange.reply.text)))
        before = first
    return tuple(found)
