"""What a cell takes of a cap on time: answering, and what reading a new prompt takes beyond that."""

from __future__ import annotations

import pytest

from offramp.records import Candidate, Result, ResultState, Usage
from offramp.search.live.seconds import Seconds
from program_runs import make_candidate


def candidate(model: str, text: str = "Sort it.") -> Candidate:
    return make_candidate(model=model, instructions={"main": text})


def run(of: Candidate, seconds: float, *, new: bool) -> Result:
    usage = Usage(input_tokens=500 if new else 20, cached_input_tokens=0 if new else 480)
    return Result(
        candidate=of.id, example="e", state=ResultState.SCORED, score=1.0, cost_usd=0.0, latency_s=seconds, usage=usage
    )


def test_a_candidate_takes_what_its_warm_runs_take_and_its_first_what_its_model_needs_to_read() -> None:
    known, unseen, other = candidate("near"), candidate("near", "Another text."), candidate("far")
    seconds = Seconds(["near"])
    assert not seconds.known
    for took, new in ((9.0, True), (2.0, False), (2.0, False), (2.0, False)):
        seconds.add(known, run(known, took, new=new))
    assert seconds.known
    unit, reading = seconds.each([known, unseen, other], run_s=15.0 / 4)
    assert unit == pytest.approx([2.0, 2.0, 3.75]) and reading == pytest.approx([7.0, 7.0, 0.0])


def test_runs_that_share_the_machine_take_their_part_of_the_wall_clock() -> None:
    """Two at a time: each took four seconds, and one ended every two."""
    one = candidate("near")
    seconds = Seconds(["near"])
    for took, new in ((10.0, True), (2.0, False), (2.0, False), (2.0, False)):
        seconds.add(one, run(one, took, new=new))
    unit, reading = seconds.each([one], run_s=2.0)
    assert unit == pytest.approx([1.0]) and reading == pytest.approx([4.0])


def test_a_model_elsewhere_reads_nothing_that_counts() -> None:
    far = candidate("far")
    seconds = Seconds(["near"])
    for took, new in ((4.0, True), (1.0, False), (1.0, False)):
        seconds.add(far, run(far, took, new=new))
    assert not seconds.known
    unit, reading = seconds.each([far], run_s=2.0)
    assert unit == pytest.approx([2.0]) and reading.tolist() == [0.0]
