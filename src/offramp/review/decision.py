"""The decision in a sentence: what to switch to, how much better with its interval, how much cheaper and faster.

Numbers come from the holdout if both sides were evaluated on it, else from the search split; the text says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from offramp.records import SAME_SCORE, Split
from offramp.study.domain.members import Member
from offramp.study.proof import MOST_NAMED, Proof, Proven, against_words, costs, latencies
from offramp.study.queries.example_pairs import CandidateComparison
from offramp.study.study_report import member_notes
from offramp.study.wording import (
    CHEAPER,
    FASTER,
    between,
    interval_words,
    limit_words,
    number,
    per_thousand,
    percent,
    points,
    ratio_words,
    seconds,
)

Words = Callable[[float | None], str]
_KINDS = {Proven.KEEP: "keep", Proven.ALONE: "choose", Proven.INCOMPLETE: "none", Proven.BETTER: "switch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One objective before and after; `good` says whether the change is for the better, None where nobody can say."""

    name: str
    now: str
    before: str | None
    change: str | None
    good: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """A member of the front that is shown to be better than the incumbent: its id, in a few words, and its gain."""

    id: str
    label: str
    gain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A candidate that dominates another on the holdout: its id, and what it is called."""

    id: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What choosing one candidate means.

    Attributes:
        title: the decision. why: the numbers behind it. caution: what is not known yet; None where all is.
        kind: `switch` (shown to be better), `unproven`, `keep` (the incumbent), `choose` (there is no incumbent) or
            `none` (nothing to recommend).
        ahead: who dominates it on the holdout: ids and labels, highest utility first.
        better: who else is shown to be better than the incumbent, each with its gain.
    """

    candidate: str | None
    kind: str
    title: str
    why: str
    caution: str | None
    tiles: tuple[Tile, ...] = ()
    better: tuple[Better, ...] = ()
    ahead: tuple[Ahead, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the page's script."""
        return {name: value for name, value in asdict(self).items() if name != "candidate"}


def no_decision(caution: str | None = None) -> Decision:
    """Nothing can be recommended."""
    return Decision(
        candidate=None, kind="none", title="Nothing to recommend yet.", caution=caution,
        why="No candidate has a full evaluation with every objective known.",
    )  # fmt: skip


def decide(
    proof: Proof, incumbent: Member | None, evidence: CandidateComparison | None, label: Callable[[str], str], *,
    ahead: Sequence[Member] = (),
) -> Decision:  # fmt: skip
    """What choosing one member means.

    Args:
        proof: what the holdout says of the member.
        evidence: the member against the incumbent, on the holdout if both were evaluated there; None where unknown.
        label: a candidate in a few words, by id.
        ahead: who dominates the member on the holdout.
    """
    chosen, named = proof.member, label(proof.member.candidate)
    caution = _caution(proof, evidence)
    same = incumbent is not None and incumbent.candidate == chosen.candidate
    if proof.uncompared is not None:
        why = f"{named} is what runs today, and nothing was compared with it that could replace it."
        caution = " ".join(said for said in (_broken_limits(chosen), proof.gap) if said) or None
    elif proof.proven is Proven.KEEP:
        why = f"At these weights, no candidate on the front has a higher utility than {named}."
        caution = " ".join(said for said in (_broken_limits(chosen), proof.gap) if said) or None
    elif proof.proven is Proven.INCOMPLETE:
        why = f"{named} has the highest utility on the search split. On the holdout, {proof.gap}"
    elif same:
        why = (
            f"At these weights, no candidate on the front has a higher utility than {named}, which is what runs today."
        )
    elif incumbent is None:
        p50_s, _ = latencies(chosen, None)
        why = (
            f"{_quality_alone(chosen)}, {per_thousand(chosen.cost_usd)} per 1,000 runs, p50 {seconds(p50_s)} per run. "
            "The study has no incumbent to compare it with."
        )
    else:
        why = _changes(chosen, incumbent, evidence)
    return Decision(
        candidate=chosen.candidate,
        kind=_KINDS.get(proof.proven, "unproven"),
        title=proof.headline(named),
        why=why,
        caution=caution,
        tiles=_tiles(proof, incumbent, evidence),
        better=tuple(
            Better(id=m.candidate, label=label(m.candidate), gain=against_words(m)) for m in proof.better[:MOST_NAMED]
        ),
        ahead=tuple(Ahead(id=m.candidate, label=label(m.candidate)) for m in ahead[:MOST_NAMED]),
    )


def _quality_alone(chosen: Member) -> str:
    """The quality with its interval, on the holdout if it is known there."""
    held = chosen.holdout
    split, seen = (Split.SEARCH, chosen.ranked) if held is None or held.quality is None else (Split.HOLDOUT, held)
    ends = between(seen.quality_low, seen.quality_high)
    interval = f"95% interval {ends}" if ends else "no interval"
    return f"Quality {number(seen.quality)} on {seen.n} {split} examples ({interval})"


def _changes(chosen: Member, incumbent: Member, evidence: CandidateComparison | None) -> str:
    parts: list[str | None] = []
    if evidence is not None and evidence.whole.difference is not None:
        whole, interval = evidence.whole, evidence.whole.corrected
        after = f", corrected for {whole.looked_at} candidates" if whole.looked_at > 1 else ""
        sure = f"{interval.confidence * 100:.0f}% interval {interval_words(interval)}{after}"
        gain = whole.difference or 0.0
        size = f"{points(gain)[1:]} points {'better' if gain > 0 else 'worse'}"
        size = "No difference" if abs(gain) <= SAME_SCORE else size
        parts.append(f"{size} on {whole.n} {evidence.split} examples ({sure})")
    parts.append(ratio_words(*costs(chosen, incumbent), CHEAPER))
    parts.append(ratio_words(*latencies(chosen, incumbent), FASTER))
    said = [part for part in parts if part] or ["No numbers to compare"]
    text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{text}."


def _caution(proof: Proof, evidence: CandidateComparison | None) -> str | None:
    chosen, said = proof.member, list[str]()
    if (
        proof.proven is not Proven.INCOMPLETE
        and evidence is not None
        and evidence.whole.n
        and not (evidence.whole.better or evidence.whole.worse)
    ):
        looked = f" after correction for {evidence.looked_at} candidates" if evidence.looked_at > 1 else ""
        said.append(f"The difference in quality is not significant{looked}.")
    if (limits := _broken_limits(chosen)) is not None:
        said.append(limits)
    said += [f"{note}." for note in member_notes(chosen)]
    if proof.gap and proof.complete:
        said.append(f"On the holdout, {proof.gap}")
    if chosen.holdout is None or chosen.holdout.quality is None:
        said.append("Not evaluated on the holdout yet: the best of many on the search split looks better than it is.")
    if evidence is not None and evidence.split is Split.HOLDOUT and evidence.regressions is not None:
        check = evidence.regressions  # on the search split, this is one of the limits above
        if not check.holds:
            said.append(
                f"The regression limit is exceeded on the holdout: up to {percent(check.share_at_most, 1)} of "
                f"examples may get worse, and {percent(check.max, 1)} are allowed."
            )
    return " ".join(said) or None


def _broken_limits(chosen: Member) -> str | None:
    broken = "; ".join(limit_words(limit) for limit in chosen.breaks)
    return f"It breaks a limit of the space file: {broken}." if broken else None


def _tiles(proof: Proof, incumbent: Member | None, evidence: CandidateComparison | None) -> tuple[Tile, ...]:
    chosen = proof.member
    same = incumbent is not None and incumbent.candidate == chosen.candidate
    old = None if incumbent is None or same else incumbent
    both = old is None or (evidence is not None and evidence.split is Split.HOLDOUT)
    held = both and proof.complete and chosen.holdout is not None and chosen.holdout.quality is not None
    now = chosen.holdout.quality if held and chosen.holdout else chosen.quality
    before = None if old is None else old.holdout.quality if held and old.holdout else old.quality
    gain, name = None, "Quality, holdout" if held else "Quality, search split"
    if old is not None and evidence is not None and held is (evidence.split is Split.HOLDOUT):
        whole = evidence.whole
        now, before, gain = whole.quality_a, whole.quality_b, whole.difference
        name += f", {whole.n} examples of both" if whole.n < _most_rows(evidence.split, chosen, old) else ""
    elif now is not None and before is not None:
        gain = now - before
    change = None if gain is None else f"{points(gain)} points"
    good = None if gain is None or abs(gain) <= SAME_SCORE else gain > 0
    how = "in isolation" if chosen.probe is not None and (old is None or old.probe is not None) else "as run"
    pair = None if old is None else chosen.beside_incumbent
    some = "" if pair is None else f", {pair.n} examples of both"
    timed = "" if how == "in isolation" else some
    return (
        Tile(name=name, now=number(now), before=None if before is None else number(before), change=change, good=good),
        _less(f"Cost of 1,000 runs{some}", *costs(chosen, old), per_thousand, CHEAPER),
        _less(f"Latency p50, {how}{timed}", *latencies(chosen, old), seconds, FASTER),
    )


def _most_rows(split: Split, *sides: Member) -> int:
    """How many examples of a split the side with more of them has a score for."""
    seen = (side.search if split is Split.SEARCH else side.holdout for side in sides)
    return max((one.n for one in seen if one is not None), default=0)


def _less(name: str, now: float | None, before: float | None, words: Words, change: tuple[str, str]) -> Tile:
    """The tile of an objective of which less is better."""
    good = None if now is None or before is None or now == before else now < before
    shown = None if before is None else words(before)
    return Tile(name=name, now=words(now), before=shown, change=ratio_words(now, before, change), good=good)
