"""Examples of one group are run together and count as one when a candidate is raced."""

import numpy as np
import pytest

from offramp.records import Candidate, DemoKind, Evaluation, Example, Objective, Result, ResultState
from offramp.search.live.behind import StoppingRule, block_ends
from offramp.search.live.cells import shared_order
from offramp.space.model import RacePart

QUALITY = [Objective(name="quality", weight=1.0, scale=(0, 1))]


def candidate(name):
    return Candidate(
        params={"name": name}, model="m", module="predict", adapter="plain", constrained=False,
        instructions={"main": name}, demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0, request_params={},
    )  # fmt: skip


def examples(groups, each, *, named=True):
    rows = [(g, k) for g in range(groups) for k in range(each)]
    return [
        Example(id=f"e{g:03}-{k}", content_hash=f"{g}-{k}", values={}, row=i, group=f"g{g}" if named else None)
        for i, (g, k) in enumerate(rows)
    ]


def evaluation(scores, seen):
    results = tuple(
        Result(
            candidate="c", example=e.id, state=ResultState.SCORED, score=scores[e.id], cost_usd=0.0, latency_s=1.0
        )
        for e in seen
    )  # fmt: skip
    return Evaluation(candidate="c", results=results)


def blocks(rows, seed):
    """What has been run after each block; the last is nearly everything."""
    order = [rows[position] for position in shared_order(rows, seed)]
    return [order[:end] for end in block_ends(len(order))]


def test_blocks_take_groups_together_and_without_groups_the_order_is_what_it_was():
    named, plain = examples(20, 3), examples(20, 3, named=False)
    seen = [e.group for e in blocks(named, 7)[-1]]
    starts = [group for i, group in enumerate(seen) if i == 0 or seen[i - 1] != group]
    assert len(starts) == len(set(starts)), "each group in one piece"
    singles = [Example(id=e.id, content_hash=e.content_hash, values={}, row=e.row, group=e.id) for e in plain]
    ids = [[e.id for e in block] for block in blocks(plain, 7)]
    assert [[e.id for e in block] for block in blocks(singles, 7)] == ids


def test_few_questions_asked_in_many_ways_stop_nobody_whom_as_few_rows_would_not_stop():
    for named in (True, False):
        rows = examples(9, 5, named=named)
        race = StoppingRule(RacePart(), rows, 1)
        rivals = {"r": evaluation(dict.fromkeys([e.id for e in rows], 1.0), rows)}
        seen = evaluation(dict.fromkeys([e.id for e in rows], 0.0), blocks(rows, 1)[-1])
        stopped = race.stopped_by(candidate("c"), seen, QUALITY, rivals=rivals, others=rivals)
        assert stopped == (None if named else "r")


def wrong_stops(each=5, groups=24, repeats=250):
    """How often a candidate is stopped that is better than its rival on all examples; whole groups are right or wrong."""
    rng, wrong, better = np.random.default_rng(3), 0, 0
    rows = examples(groups, each)
    for repeat in range(repeats):
        race = StoppingRule(RacePart(confidence=0.95, margin=0.0), rows, repeat)
        rival, own = (rng.random(groups) < 0.5 for _ in range(2))
        scores = [{e.id: float(side[int(e.id[1:4])]) for e in rows} for side in (rival, own)]
        if own.mean() <= rival.mean():
            continue
        better += 1
        whole = evaluation(scores[0], rows)
        for block in blocks(rows, repeat):
            seen = evaluation(scores[1], block)
            if race.stopped_by(candidate(f"c{repeat}"), seen, QUALITY, rivals={"r": whole}, others={"r": whole}):
                wrong += 1
                break
    return wrong / better


def test_a_better_candidate_is_stopped_as_seldom_as_stated_though_its_examples_come_in_groups():
    assert wrong_stops() <= 0.05


@pytest.mark.parametrize("each", [2, 4])
def test_one_that_is_far_behind_is_still_stopped(each):
    rows = examples(30, each)
    race = StoppingRule(RacePart(), rows, 1)
    whole, none = ({e.id: score for e in rows} for score in (1.0, 0.0))
    block = blocks(rows, 1)[-1]
    rivals = {"r": evaluation(whole, rows)}
    assert race.stopped_by(candidate("c"), evaluation(none, block), QUALITY, rivals=rivals, others=rivals) == "r"


def test_a_group_of_which_one_run_failed_is_no_evidence():
    rows = examples(10, 3)
    race = StoppingRule(RacePart(), rows, 1)
    rivals = {"r": evaluation({e.id: 1.0 for e in rows}, rows)}
    seen = evaluation({e.id: 0.0 for e in rows}, [e for e in rows if not e.id.endswith("-1")])
    assert race.stopped_by(candidate("c"), seen, QUALITY, rivals=rivals, others=rivals) is None
