"""A judge that does not repeat itself: an unchanged feature holds, a real loss is found, and the check says what it saw."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.promote.check_report import Before, Limits, judge, report_lines
from offramp.promote.evidence import answer_hash
from offramp.promote.folder import FeatureFolder
from offramp.promote.judge_noise import REPEATS, Noise
from offramp.promote.recheck import check as check_with_any_transport
from offramp.records import CallReply, CallRequest, Evaluation, Example, Purpose, Result, ResultState
from offramp.stats import noise_of_mean, repeat_variance
from offramp.testing.fakes import FunctionTransport
from promoted_jobs import LABELS, MODELS, promoted_job, reply
from promotion_records import make_promotion
from search_jobs import answered_by, main, wire

JUDGE = {"name": "judge", "route": "openai/judge", "api_base": "http://127.0.0.1:9/v1", "searched": False,
         "price": {"input_usd": 1.0, "output_usd": 2.0}}  # fmt: skip
SPACE = {
    "metric": {
        "kind": "judge",
        "model": "judge",
        "rubric": "The label fits the message.",
        "params": {"max_tokens": 40},
    },
    "models": [*MODELS, JUDGE],
    "splits": {"train": 2, "search": 4, "holdout": 30},
    "task": {"signature": {"inputs": {"message": None}, "outputs": {"label": {"type": "str"}}}},
}


class Judged:
    """A model and its judge. The judge gives a random grade to a share of what it is asked, each time anew.

    Attributes:
        wrong: share of the cases that the model gets wrong. words: whether it words each answer anew.
        asked: requests to the judge.
    """

    def __init__(self, noise: float, *, seed: int = 0, wrong: float = 0.0, words: bool = False) -> None:
        self.random, self.noise, self.wrong, self.words = random.Random(seed), noise, wrong, words
        self.asked: list[CallRequest] = []

    def __call__(self, request: CallRequest) -> CallReply:
        found, text = reply(request) if request.purpose is not Purpose.JUDGE else None, request.messages[-1]["content"]
        number = int(re.findall(r"case (\d+)", text)[-1])
        if found is not None:
            label = found.text if number % 10 >= 10 * self.wrong else "something else"
            return replace(found, text=f"{label} ({self.random.random()})" if self.words else label)
        self.asked.append(request)
        right = LABELS[number % 3] in text.split("answer label")[1]
        grade = self.random.randint(1, 5) if self.random.random() < self.noise else 5 if right else 1
        return replace(reply(replace(request, messages=({"content": "case 0"},))), text=json.dumps({"grade": grade}))


def promoted(folder: Path, monkeypatch: pytest.MonkeyPatch, feature: Judged) -> Path:
    """The promotions folder of a feature whose holdout this judge graded."""
    import promoted_jobs

    monkeypatch.setattr(promoted_jobs, "reply", feature)
    return promoted_job(folder, monkeypatch, space=SPACE)


def check(promotions: Path, feature: Judged, **options: Any) -> Any:
    return check_with_any_transport(
        "landscape", promotions=promotions, **options, **{**wire(), "transport": FunctionTransport(feature)}
    )


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_answers_that_are_the_recorded_ones_hold_whatever_the_judge_says_of_them_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: float
) -> None:
    promotions = promoted(tmp_path, monkeypatch, Judged(noise))
    for seed in (1, 2, 3):
        report = check(promotions, Judged(noise, seed=seed))
        assert report.holds and report.losses == 0 and report.broken == ()
        assert report.judge_noise.same_answers == 30 and report.judge_noise.asked == 0
        assert report.judge_noise.graded_differently > 0
        (note,) = (note for note in report.notes if "answers are as recorded" in note)
        assert "not counted as a change" in note


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_answers_in_other_words_are_held_against_the_judges_own_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: float
) -> None:
    promotions = promoted(tmp_path, monkeypatch, Judged(noise, words=True))
    held = []
    for seed in range(1, 9):
        feature = Judged(noise, seed=seed, words=True)
        report = check(promotions, feature)
        held.append(report.holds)
        found = report.judge_noise
        assert (found.asked, found.answers, found.same_answers) == (REPEATS, 30, 0)
        assert len(feature.asked) == 30 + REPEATS and report.calls == 60 + REPEATS
        share = f"the judge disagrees with itself on {found.disagrees:.0%} of answers (asked again 40 times about 30"
        assert any(share in note for note in report.notes)
        assert all(one.asked_again is not None for one in report.broken)
        text = "\n".join(report_lines(report))
        assert ("within its noise" in text) == any(one.within_noise for one in report.broken)
    assert sum(held) >= 7


def test_a_real_loss_is_found_behind_a_judge_that_is_random_on_a_fifth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for folder, words in ((tmp_path / "same", False), (tmp_path / "anew", True)):
        promotions = promoted(folder, monkeypatch, Judged(0.2, words=words))
        report = check(promotions, Judged(0.2, seed=1, wrong=0.4, words=words))
        assert not report.holds and "beyond the judge's own noise" in report.conditions[0].text
        answered_by(monkeypatch, FunctionTransport(Judged(0.2, seed=2, wrong=0.4, words=words)))
        assert main(["check", "landscape", "--promotions", str(promotions), "--json"]) == 3
        told = json.loads(capsys.readouterr().out)
        assert told["judge_noise"]["asked"] > 0 and {"asked_again", "within_noise"} <= told["broken"][0].keys()


def test_a_cap_ends_the_repeats_and_what_was_measured_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted(tmp_path, monkeypatch, Judged(0.5, words=True))
    whole = check(promotions, Judged(0.5, words=True, seed=1), concurrency=1)
    part = check(
        promotions, Judged(0.5, words=True, seed=1), concurrency=1, budget_usd=whole.spent_usd * 80 / whole.calls
    )
    assert 0 < part.judge_noise.asked < whole.judge_noise.asked == REPEATS
    assert part.judge_noise.disagrees is not None and part.n == 30


def test_a_steady_judge_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted(tmp_path, monkeypatch, Judged(0.0, words=True))
    report = check(promotions, Judged(0.0, words=True, seed=1))
    assert (report.holds and report.judge_noise is None) or report.judge_noise.asked == 0
    worse = check(promotions, Judged(0.0, words=True, seed=1, wrong=0.2))
    assert not worse.holds and worse.judge_noise.disagrees == 0 and worse.judge_noise.allowed == 0


def test_evidence_says_which_answer_a_judge_graded_and_not_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotions = promoted(tmp_path, monkeypatch, Judged(0.0))
    folder = FeatureFolder(promotions, "landscape")
    ref = folder.load(folder.resolve()).evidence.holdout_results
    assert ref is not None
    rows = folder.rows(ref)
    assert all(len(row["answer"]) == 16 for row in rows)
    assert not any(label in json.dumps(rows) for label in LABELS)


# --------------------------------------------------------------------------------------------- the numbers alone


def graded(answers: np.ndarray, noise: float, draw: np.random.Generator) -> np.ndarray:
    """Scores of one look of the judge at these answers (0 wrong, 1 right)."""
    return np.where(draw.random(answers.shape) < noise, draw.integers(0, 5, answers.shape) / 4, answers)


def held(n: int, noise: float, *, drop: float, same: bool, times: int = 200) -> float:
    """How often a check holds, of as many with other random numbers.

    Args:
        drop: share of the answers that are wrong now and were right. same: whether the others are the recorded ones.
    """
    draw, count = np.random.default_rng(7), 0
    for _ in range(times):
        old = (draw.random(n) < 0.9).astype(float)
        new = old.copy()
        new[draw.permutation(np.flatnonzero(old))[: round(drop * n)]] = 0.0
        before, after = graded(old, noise, draw), graded(new, noise, draw)
        changed = np.flatnonzero(new != old) if same else np.arange(n)
        some = draw.permutation(changed)[:REPEATS]
        rounds = -(-REPEATS // len(some)) if len(some) else 0
        looks = [graded(new[some], noise, draw) for _ in range(rounds)]
        count += report_on(before, after, changed, some, looks).holds
    return count / times


def report_on(before: np.ndarray, after: np.ndarray, changed: np.ndarray, some: np.ndarray, looks: list) -> Any:
    told = [[float(after[i]), *(float(look[k]) for look in looks)] for k, i in enumerate(some)]
    variance, freedom = repeat_variance(told)
    results = [
        Result(
            candidate="c", example=f"e{i}", state=ResultState.SCORED, score=float(score), cost_usd=1e-5, latency_s=0.2,
            outputs={"label": f"{i} {'anew' if i in set(changed) else 'as it was'}"},
        )
        for i, score in enumerate(after)
    ]  # fmt: skip
    answers = {r.example: answer_hash(replace(r, outputs={"label": f"{i} as it was"})) for i, r in enumerate(results)}
    noise = Noise(asked=freedom, answers=len(some), disagrees=0.1, variance=variance, freedom=freedom, again={})
    return judge(
        make_promotion(), label="production", evaluation=Evaluation(candidate="c", results=tuple(results)),
        before=Before(scores={f"e{i}": float(score) for i, score in enumerate(before)}, answers=answers), noise=noise,
        examples={r.example: Example(id=r.example, content_hash=r.example, values={}, row=1) for r in results},
        limits=Limits(margin=0.05, cost_usd=None, latency_p95_s=None), spent_usd=0.0, calls=0, cached_calls=0,
    )  # fmt: skip


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("noise", [0.2, 0.5])
@pytest.mark.parametrize("n", [6, 20, 60])
def test_an_unchanged_feature_holds_nine_times_in_ten(n: int, noise: float, same: bool) -> None:
    assert held(n, noise, drop=0.0, same=same) >= 0.9


@pytest.mark.parametrize(("n", "noise", "same"), [(60, 0.2, False), (40, 0.5, True), (150, 0.5, False)])
def test_a_loss_of_thirty_points_is_found_nine_times_in_ten(n: int, noise: float, same: bool) -> None:
    assert held(n, noise, drop=0.3, same=same) <= 0.1


def test_the_variance_of_repeats_is_the_pooled_one_within_answers() -> None:
    told = [[1.0, 0.5, 0.0], [0.25, 0.25], [0.75]]
    assert repeat_variance(told) == (pytest.approx((0.5 + 0.0) / 3), 3)
    assert repeat_variance([[0.5], []]) == (0.0, 0)


def test_the_noise_of_a_mean_grows_with_the_square_root_of_what_was_graded_anew() -> None:
    whole, part = (noise_of_mean(0.1, 40, regraded=k, n=100) for k in (100, 25))
    assert part == pytest.approx(whole / 2) and whole == pytest.approx(1.6839 * np.sqrt(2 * 0.1 / 100), rel=1e-3)
    assert noise_of_mean(0.1, 0, regraded=5, n=9) == noise_of_mean(0.0, 9, regraded=5, n=9) == 0.0
    with pytest.raises(ValueError, match="regraded"):
        noise_of_mean(0.1, 4, regraded=10, n=9)
