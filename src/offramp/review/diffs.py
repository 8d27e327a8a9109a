"""What a candidate is, and what of it differs from another: params, instructions word by word, demos.

Invariant: the unchanged and the added pieces of a diff make the new text, the unchanged and the removed the old one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from offramp.records import Candidate, DemoKind

_LONGEST = 20_000  # characters; beyond, a text is shown as replaced as a whole


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
    """The instruction of one predictor, as a diff to the other's where there is another."""

    predictor: str
    pieces: tuple[Piece, ...]

    @property
    def changed(self) -> bool:
        """Whether it differs at all."""
        return any(piece.kind != "same" for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDiff:
    """A candidate in full, set against another (the incumbent); without one, everything is unchanged."""

    settings: tuple[Setting, ...]
    instructions: tuple[Instruction, ...]


def diff(candidate: Candidate, other: Candidate | None) -> CandidateDiff:
    """The candidate as settings and instructions, with what differs from `other`."""
    mine, theirs = _settings(candidate), {} if other is None else _settings(other)
    names = list(dict.fromkeys([*mine, *theirs]))
    settings = tuple(_setting(name, mine, theirs if other is not None else mine) for name in names)
    return CandidateDiff(settings=settings, instructions=tuple(_instructions(candidate, other)))


def _setting(name: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> Setting:
    value, before = mine.get(name, "not set"), theirs.get(name)
    return Setting(name=name, value=value, other=before, changed=mine.get(name) != before)


def _settings(candidate: Candidate) -> dict[str, str]:
    demos = "none" if not candidate.demo_count or candidate.demo_kind is DemoKind.NONE else _demos(candidate)
    fixed: dict[str, Any] = {
        "model": candidate.model,
        "program": candidate.module,
        "format": candidate.adapter,
        "constrained decoding": "yes" if candidate.constrained else "no",
        "demos": demos,
    }
    return {name: str(value) for name, value in {**fixed, **candidate.request_params}.items()}


def _demos(candidate: Candidate) -> str:
    return f"{candidate.demo_count} {candidate.demo_kind} (seed {candidate.demo_seed})"


def _instructions(candidate: Candidate, other: Candidate | None) -> Iterator[Instruction]:
    for predictor, text in candidate.instructions.items():
        before = text if other is None else other.instructions.get(predictor, "")
        yield Instruction(predictor=predictor, pieces=tuple(text_diff(before, text)))


def text_diff(before: str, after: str) -> list[Piece]:
    """A diff by words, with spaces and line ends among them."""
    if before == after:
        return [Piece(kind="same", text=after)]
    if len(before) + len(after) > _LONGEST:
        return _pieces(("removed", before), ("added", after))
    old, new = _words(before), _words(after)
    found: list[Piece] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            found += _pieces(("same", "".join(new[c:d])))
        else:
            found += _pieces(("removed", "".join(old[a:b])), ("added", "".join(new[c:d])))
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|[^\s]+", text)


def _pieces(*parts: tuple[str, str]) -> list[Piece]:
    return [Piece(kind=kind, text=text) for kind, text in parts if text]
