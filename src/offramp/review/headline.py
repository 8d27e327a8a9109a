"""The decision in a sentence: what to switch to, how much better with its interval, how much cheaper and faster.

Numbers come from the holdout where both sides were scored on it, else from the search split, and the text says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from offramp.records import Split
from offramp.study.domain.members import Member
from offramp.study.queries.example_pairs import CandidateComparison
from offramp.study.wording import limit_words, number, per_thousand, points, seconds

Words = Callable[[float | None], str]
_MONEY, _TIME = ("cheaper", "dearer"), ("faster", "slower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One objective before and after; `good` says whether the change is for the better, None where nobody can say."""

    name: str
    now: str
    before: str | None
    change: str | None
    good: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What choosing one candidate means.

    Attributes:
        title: the decision. why: the numbers behind it. caution: what is not known yet; None where all is.
        kind: `switch`, `keep` (what runs today), `choose` (nothing runs today) or `none` (nothing to recommend).
    """

    candidate: str | None
    kind: str
    title: str
    why: str
    caution: str | None
    tiles: tuple[Tile, ...] = ()


NOTHING = Verdict(
    candidate=None, kind="none", title="Nothing to recommend yet.", caution=None,
    why="No candidate has a full evaluation with every objective known.",
)  # fmt: skip


def verdict(chosen: Member | None, today: Member | None, evidence: CandidateComparison | None, label: str) -> Verdict:
    """The verdict on one member.

    Args:
        today: the incumbent; None where there is none.
        evidence: the member against the incumbent, on the split that speaks.
        label: the member in a few words.
    """
    if chosen is None:
        return NOTHING
    tiles = _tiles(chosen, today, evidence)
    if today is None:
        return Verdict(
            candidate=chosen.candidate, kind="choose", title=f"Choose {label}.", tiles=tiles,
            why=f"{_alone(chosen)}, {per_thousand(chosen.cost_usd)} per 1,000 runs, "
            f"{seconds(_latencies(chosen, None)[0])} a run. Nothing runs today to compare it with.",
            caution=_caution(chosen, None),
        )  # fmt: skip
    if chosen.candidate == today.candidate:
        return Verdict(
            candidate=chosen.candidate, kind="keep", title="Keep what runs today.", tiles=tiles,
            caution=_limits(chosen),
            why=f"At these weights nothing on the front is worth more than {label}.",
        )  # fmt: skip
    return Verdict(
        candidate=chosen.candidate, kind="switch", title=f"Switch to {label}.", tiles=tiles,
        why=_why(chosen, today, evidence), caution=_caution(chosen, evidence),
    )  # fmt: skip


def _alone(chosen: Member) -> str:
    """The quality where it speaks, with its interval."""
    held = chosen.holdout
    if held is not None and held.quality is not None:
        value, n, split, low, high = held.quality, held.n, Split.HOLDOUT, held.quality_low, held.quality_high
        return f"Quality {number(value)} on {n} {split} examples ({_interval(low, high)})"
    seen = chosen.search
    low, high = seen.quality_low, seen.quality_high
    return f"Quality {number(chosen.quality)} on {seen.n} {Split.SEARCH} examples ({_interval(low, high)})"


def _interval(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"95 % interval {low:.2f} to {high:.2f}"


def _why(chosen: Member, today: Member, evidence: CandidateComparison | None) -> str:
    parts = [_quality_words(evidence), _ratio(chosen.cost_usd, today.cost_usd, _MONEY)]
    parts.append(_ratio(*_latencies(chosen, today), _TIME))
    said = [part for part in parts if part]
    text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}" if said else "no numbers to compare"
    return f"{text[0].upper()}{text[1:]}."


def _quality_words(evidence: CandidateComparison | None) -> str | None:
    if evidence is None or evidence.whole.difference is None:
        return None
    whole, interval = evidence.whole, evidence.whole.interval
    sure = f"{interval.confidence * 100:.0f} % interval {points(interval.low)} to {points(interval.high)}"
    gain = (whole.difference or 0.0) * 100
    size = "No different" if abs(gain) < 0.05 else f"{abs(gain):.1f} points {'better' if gain > 0 else 'worse'}"
    return f"{size} on {whole.n} {evidence.split} examples ({sure})"


def _ratio(new: float | None, old: float | None, words: tuple[str, str]) -> str | None:
    if not new or not old:
        return None
    ratio = old / new if new < old else new / old
    return None if ratio < 1.05 else f"{times(ratio)} {words[0] if new < old else words[1]}"


def _latencies(chosen: Member, today: Member | None) -> tuple[float | None, float | None]:
    """Both p50 as measured apart where both were, else both as run."""
    if chosen.probe is not None and (today is None or today.probe is not None):
        return chosen.probe.p50_s, None if today is None or today.probe is None else today.probe.p50_s
    return chosen.latency_s, None if today is None else today.latency_s


def times(ratio: float) -> str:
    """A ratio above 1 with two digits that tell something."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def _caution(chosen: Member, evidence: CandidateComparison | None) -> str | None:
    said = [_limits(chosen), _unverified(chosen), _fell_off(chosen), _budget(evidence)]
    if evidence is not None and evidence.whole.n and not (evidence.whole.better or evidence.whole.worse):
        looked = f" after looking at {evidence.looked_at} candidates" if evidence.looked_at > 1 else ""
        said.insert(0, f"The difference in quality is not shown to be more than chance{looked}.")
    return " ".join(part for part in said if part) or None


def _fell_off(chosen: Member) -> str | None:
    if chosen.on_holdout_front is not False:
        return None
    return "On the holdout another of those that were scored there is as good in everything and better in something."


def _limits(chosen: Member) -> str | None:
    broken = "; ".join(limit_words(limit) for limit in chosen.breaks)
    return f"It breaks a limit of the space file: {broken}." if broken else None


def _budget(evidence: CandidateComparison | None) -> str | None:
    """The regression budget where the evidence does not keep it; on the search split the limits say so."""
    check = None if evidence is None or evidence.split is not Split.HOLDOUT else evidence.regressions
    if check is None or check.holds:
        return None
    return (
        f"The regression budget is not kept on the holdout: up to {check.share_at_most:.1%} of examples may get worse, "
        f"and {check.max:.1%} are allowed."
    )


def _unverified(chosen: Member) -> str | None:
    if chosen.holdout is not None and chosen.holdout.quality is not None:
        return None
    return "Not scored on the holdout yet: the best of many on the search split looks better than it is."


def _tiles(chosen: Member, today: Member | None, evidence: CandidateComparison | None) -> tuple[Tile, ...]:
    same = today is not None and today.candidate == chosen.candidate
    old = None if today is None or same else today
    both = old is None or (evidence is not None and evidence.split is Split.HOLDOUT)
    held = both and chosen.holdout is not None and chosen.holdout.quality is not None
    now = chosen.holdout.quality if held and chosen.holdout else chosen.quality
    before = None if old is None else old.holdout.quality if held and old.holdout else old.quality
    change = None if before is None or now is None else f"{(now - before) * 100:+.1f} points"
    good = None if before is None or now is None or before == now else now > before
    how = "measured apart" if chosen.probe is not None and (old is None or old.probe is not None) else "as run"
    name = "Quality, holdout" if held else "Quality, search split"
    return (
        Tile(name=name, now=number(now), before=None if before is None else number(before), change=change, good=good),
        _less("Cost of 1,000 runs", chosen.cost_usd, old.cost_usd if old else None, per_thousand, _MONEY),
        _less(f"Latency of a run, {how}", *_latencies(chosen, old), seconds, _TIME),
    )


def _less(name: str, now: float | None, before: float | None, words: Words, change: tuple[str, str]) -> Tile:
    good = None if now is None or before is None or now == before else now < before
    shown = None if before is None else words(before)
    return Tile(name=name, now=words(now), before=shown, change=_ratio(now, before, change), good=good)
