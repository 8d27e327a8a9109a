"""A job pays for the same cells and says the same, however long its replies take, under every kind of cap."""

import asyncio
import random
import re
import sqlite3
from contextlib import closing

import pytest

from offramp.calls.failures import Unauthorized
from offramp.ids import derived_seed
from offramp.records import CallReply, Usage
from search_jobs import LABELS, api, essence, write_space

PRICES = {
    "small": {"input_usd": 1.0, "output_usd": 2.0},
    "mid": {"input_usd": 3.0, "output_usd": 6.0},
    "large": {"input_usd": 10.0, "output_usd": 30.0},
}
RIGHT = {"small": 400, "mid": 600, "large": 750}
CAPS = {
    "no cap": {},
    "calls": {"budget": {"calls": 400}},
    "money": {"budget": {"usd": 0.1}},
    "money for several runs of an example": {"budget": {"usd": 0.14}, "replicates": 3},
    "calls for several runs of an example": {"budget": {"calls": 500}, "replicates": 3},
}


def reply_of(request):
    """Right as often as model and instruction say, by the request alone."""
    number = int(re.findall(r"case (\d+)", request.messages[-1]["content"])[-1])
    name, start = request.model.name, request.messages[0]["content"][:7]
    right = RIGHT[name] + derived_seed(1, name, start) % 400 - 200
    drawn = derived_seed(2, name, start, str(dict(request.params)), number, request.replicate)
    read = 50 + sum(len(message["content"]) for message in request.messages) // 4
    return CallReply(
        text=LABELS[(number if drawn % 1000 < right else number + 1) % 3], finish_reason="stop",
        usage=Usage(input_tokens=read, output_tokens=3 + number % 3), latency_s=0.1,
    )  # fmt: skip


class Slow:
    """Replies after some turns of the event loop, at most `turns`, and logs what was asked."""

    def __init__(self, turns, seed=0):
        self.turns, self.random, self.sent = turns, random.Random(seed), []

    async def send(self, request, attempt=1):
        self.sent.append(request)
        for _ in range(self.random.randrange(self.turns + 1)):
            await asyncio.sleep(0)
        return reply_of(request)


def space_of(folder, **changes):
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "price": price}
        for name, price in PRICES.items()
    ]
    wanted = {
        "models": models, "instructions": {f"i{k}": f"Text {k}." for k in range(8)},
        "incumbent": {"model": "small", "instruction": "i0"}, "splits": {"train": 6, "search": 30, "holdout": 30},
        "search": {"sampler": "tpe", "trials": 30, "concurrency": 16, "wave": 24}, "verify": {"front": False},
    }  # fmt: skip
    return write_space(folder, count=80, **{**wanted, **changes})


def done(space, folder, transport, **limits):
    """What one run decided, what was paid for, and what came of it."""
    result = api.optimize(space, results=folder, transport=transport, **limits)
    with closing(sqlite3.connect(folder / "offramp.db")) as db:
        waves = db.execute("SELECT number, content FROM offramp_waves ORDER BY number").fetchall()
    return waves, sorted(request.hash + str(request.replicate) for request in transport.sent), essence(result)


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
def test_the_same_is_decided_paid_for_and_said_at_any_speed(tmp_path, caps):
    space = space_of(tmp_path, **caps)
    at_once = done(space, tmp_path / "at_once", Slow(0))
    assert len(at_once[0]) > 8
    for turns, limits in ((3, {}), (400, {"concurrency": 5})):
        slow = done(space, tmp_path / str(turns), Slow(turns, seed=turns), **limits)
        assert slow[0] == at_once[0]
        assert slow[1] == at_once[1]
        assert slow[2] == at_once[2]


@pytest.mark.parametrize("usd", [0.03, 0.06, 0.08, 0.15])
def test_a_cap_on_money_leaves_enough_for_the_holdout_of_an_expensive_winner(tmp_path, usd):
    """The most expensive model wins, which shows late: its holdout costs ten times what that of the incumbent does."""
    found = api.optimize(space_of(tmp_path, budget={"usd": usd}), results=tmp_path, transport=Slow(3))
    report = found.report
    assert report.stop_reason == "budget_usd" and found.spent_usd <= usd
    assert [m.holdout.n for m in (report.incumbent, report.recommended)] == [30, 30]


class Refused(Slow):
    """The provider no longer accepts the key from some request on, as a wave is under way."""

    def __init__(self, after):
        super().__init__(3)
        self.after = after

    async def send(self, request, attempt=1):
        if len(self.sent) >= self.after:
            raise Unauthorized("revoked")
        return await super().send(request, attempt)


@pytest.mark.parametrize("after", [440, 500, 520])
def test_what_came_back_of_a_wave_that_was_cut_off_counts(tmp_path, after):
    """A candidate whose examples were all run is complete, and an estimate is by all of its runs."""
    result = api.optimize(space_of(tmp_path), results=tmp_path, transport=Refused(after))
    with closing(sqlite3.connect(tmp_path / "offramp.db")) as db:
        rows = db.execute("SELECT candidate, score FROM offramp_results WHERE split = 'search'").fetchall()
    scores = {}
    for candidate, score in rows:
        scores.setdefault(candidate, []).append(score)
    report = result.report
    estimates = [m for m in (*report.members, *report.unfinished) if m.estimate is not None]
    assert any(len(own) == 30 for own in scores.values())
    for member in (*report.members, *report.unfinished):
        assert (member.estimate is not None) == (len(scores[member.candidate]) < 30)
    for member in estimates:
        assert member.estimate.n == len(scores[member.candidate])
