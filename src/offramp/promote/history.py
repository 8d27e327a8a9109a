"""The history of a feature: one line for every move of a label, added and never changed.

A move is three writes: what is about to happen (`.moving.json`), the label, the line. The label is the moment at which
it happens. Whoever comes next finishes or forgets what a killed process left: if the label was moved the line is added,
if not there was no move. Readers reach the same conclusion before that.

Invariant: the history, as `moves` gives it, says exactly the moves that labels made, in order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.errors import PromotionError, problem
from offramp.promote.folder import FeatureFolder
from offramp.promote.serialization import Mismatch, record_of

MOVING = ".moving.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move of a label.

    Attributes:
        id: random; tells apart two moves that say the same.
        at: UTC, ISO 8601. by: who.
        action: `promote` or `rollback`.
        version: where the label points from now on; `from_version` where it pointed before, None where nowhere.
        study, candidate: what was promoted.
        why: in the words of who did it; None where they gave none.
        forced: reasons for which the gate did not hold, where somebody promoted all the same.
    """

    id: str
    at: str
    by: str
    action: str
    label: str
    version: str
    from_version: str | None = None
    study: str
    candidate: str
    why: str | None = None
    forced: tuple[str, ...] = ()


def moves(folder: FeatureFolder) -> tuple[Move, ...]:
    """All moves in order. Raises PromotionError for a line that is not a move."""
    kept = written(folder)
    late = unfinished(folder)
    if late is None or late.id in {move.id for move in kept} or not happened(folder, late):
        return kept
    return (*kept, late)


def unfinished(folder: FeatureFolder) -> Move | None:
    """A move that a process began and may not have ended."""
    try:
        return _move(json.loads((folder.path / MOVING).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(folder.path / MOVING, error) from None
    except (ValueError, Mismatch) as error:
        raise PromotionError(problem(str(folder.path / MOVING), f"cannot be read: {error}", do="Remove it.")) from None


def _unreadable(path: Path, error: OSError) -> PromotionError:
    return PromotionError(problem(str(path), f"cannot be read: {error.strerror}", do="Restore it."))


def happened(folder: FeatureFolder, move: Move) -> bool:
    """Whether the label of a move that was begun has been moved."""
    return folder.labels().get(move.label) == move.version


def written(folder: FeatureFolder) -> tuple[Move, ...]:
    """The moves that have their line."""
    path = folder.history_path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(path, error) from None
    whole, _, torn = content.rpartition(b"\n")
    found = [_line(line, number, path) for number, line in enumerate(whole.splitlines(), start=1)]
    if torn and (late := _torn(torn)) is not None:  # the last write, but for its line end
        found.append(late)
    return tuple(found)


def _torn(text: bytes) -> Move | None:
    try:
        return _move(json.loads(text))
    except (ValueError, Mismatch):
        return None


def _line(line: bytes, number: int, path: Path) -> Move:
    try:
        return _move(json.loads(line))
    except (ValueError, Mismatch) as error:
        merging = line.startswith((b"<<<<<<< ", b"=======", b">>>>>>> "))
        do = "Resolve the merge conflict: keep the lines of both sides." if merging else "Restore the line."
        why = str(error) if isinstance(error, Mismatch) else "it is not JSON"
        raise PromotionError(problem(f"{path}:{number}", f"not a move of a label: {why}", do=do)) from None


def _move(values: Any) -> Move:
    return record_of(Move, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stay:
    """A promotion that a label was at, and the one that it replaced."""

    version: str
    before: _Stay | None


def undone_target(history: tuple[Move, ...], label: str, current: str) -> str | None:
    """The version that was there before `current` was promoted: what a rollback goes back to. None for the first.

    Each rollback goes one promotion further back, also where a version was promoted more than once.
    """
    here: _Stay | None = None
    stays: list[_Stay] = []
    for move in history:
        if move.label != label or move.version == move.from_version:
            continue
        if move.from_version is not None:  # someone may have edited the labels by hand
            here = _stay_at(move.from_version, here, stays) or _Stay(version=move.from_version, before=None)
        known = None if move.action == "promote" else _stay_at(move.version, here, stays)
        here = known or _Stay(version=move.version, before=here)
        stays.append(here)
    last = _stay_at(current, here, stays)
    return last.before.version if last is not None and last.before is not None else None


def _stay_at(version: str, here: _Stay | None, stays: list[_Stay]) -> _Stay | None:
    """The nearest promotion of a version, back from `here`; else its latest."""
    back = here
    while back is not None:
        if back.version == version:
            return back
        back = back.before
    return next((stay for stay in reversed(stays) if stay.version == version), None)
