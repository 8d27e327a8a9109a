import asyncio

import pytest
from support_calls import FakeTime, make_model

from offramp.calls.failures import DeadlineExceeded, RateLimited, ServerFailed
from offramp.calls.limiter import Limiter
from offramp.calls.retries import Deadline

ONE, TWO = make_model(route="openai/a"), make_model(route="anthropic/b")


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 10))


def made(most, time_=None, **changes):
    time_ = time_ or FakeTime()
    return Limiter(most, clock=time_, sleep=time_.sleep, **changes)


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


class Watch:
    """How many are inside at once, and in which order they came."""

    def __init__(self, limiter):
        self.limiter, self.inside, self.most, self.order = limiter, 0, 0, []

    async def visit(self, name, model=ONE):
        async with self.limiter.slot(model):
            self.inside += 1
            self.most, self.order = max(self.most, self.inside), [*self.order, name]
            await settle()
            self.inside -= 1


def test_never_more_in_flight_than_slots_and_all_get_one_in_order():
    async def scene():
        watch = Watch(made(3))
        await asyncio.gather(*(watch.visit(n) for n in range(20)))
        return watch

    watch = run(scene())
    assert watch.most == 3 and watch.order == list(range(20))


def test_the_slots_of_all_providers_together_are_limited():
    async def scene():
        watch = Watch(made(2))
        await asyncio.gather(*(watch.visit(n, model) for n in range(5) for model in (ONE, TWO)))
        return watch

    assert run(scene()).most == 2


def test_local_models_share_the_slots_of_the_machine():
    async def scene():
        watch = Watch(made(8, local_slots=1))
        models = [make_model(name=n, route=f"local/{n}") for n in ("x", "y", "x")]
        await asyncio.gather(*(watch.visit(n, model) for n, model in enumerate(models)))
        return watch

    assert run(scene()).most == 1


async def limited(limiter, model=ONE, after=None):
    with pytest.raises(RateLimited):
        async with limiter.slot(model):
            raise RateLimited("x", retry_after_s=after)


def test_a_429_halves_the_limit_and_successes_bring_it_back():
    async def scene():
        limiter = made(8)
        await limited(limiter)
        halved = limiter.limit(ONE)
        for _ in range(60):
            async with limiter.slot(ONE):
                pass
        return halved, limiter.limit(ONE), limiter.limit(TWO)

    assert run(scene()) == (4.0, 8.0, 8.0)


def test_many_429_that_left_together_halve_the_limit_once():
    async def scene():
        time_ = FakeTime()
        limiter = made(8, time_)

        async def burst():
            with pytest.raises(RateLimited):
                async with limiter.slot(ONE):
                    await settle()
                    time_.now += 1
                    raise RateLimited("x")

        await asyncio.gather(*(burst() for _ in range(8)))
        return limiter.limit(ONE)

    assert run(scene()) == 4.0


def test_the_limit_never_falls_below_one():
    async def scene():
        limiter = made(2)
        for _ in range(6):
            await limited(limiter)
        async with limiter.slot(ONE):
            return limiter.limit(ONE)

    assert run(scene()) == 1.0


def test_a_closed_provider_lets_the_others_pass_and_opens_in_time():
    async def scene():
        time_ = FakeTime()
        limiter = made(2, time_)
        await limited(limiter, after=30.0)
        async with limiter.slot(TWO) as slot:
            assert slot.queue_s == 0.0 and time_.now == 1000.0
        async with limiter.slot(ONE) as slot:
            return slot.queue_s

    assert run(scene()) == 30.0


def test_who_waited_for_a_slot_when_the_provider_closed_still_gets_in():
    async def scene():
        limiter = made(1)
        watch = Watch(limiter)
        leave = asyncio.Event()

        async def holder():
            with pytest.raises(RateLimited):
                async with limiter.slot(ONE):
                    await leave.wait()
                    raise RateLimited("x", retry_after_s=5.0)

        tasks = [asyncio.create_task(holder())]
        await settle()
        tasks += [asyncio.create_task(watch.visit(n)) for n in range(3)]
        await settle()
        leave.set()
        await asyncio.gather(*tasks)
        return watch.order

    assert sorted(run(scene())) == [0, 1, 2]


def test_a_server_error_with_retry_after_closes_the_provider_without_halving():
    async def scene():
        time_ = FakeTime()
        limiter = made(4, time_)
        with pytest.raises(ServerFailed):
            async with limiter.slot(ONE):
                raise ServerFailed("x", retry_after_s=3.0)
        async with limiter.slot(ONE) as slot:
            return slot.queue_s, limiter.limit(ONE)

    assert run(scene()) == (3.0, 4.0)


def test_who_goes_away_while_waiting_or_inside_leaves_no_slot_taken():
    async def scene():
        limiter = made(1)
        inside = asyncio.create_task(Watch(limiter).visit("in"))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(Watch(limiter).visit(n)) for n in range(3)]
        await asyncio.sleep(0)
        for task in (waiting[0], inside, waiting[2]):
            task.cancel()
        await asyncio.gather(inside, *waiting, return_exceptions=True)
        async with limiter.slot(ONE) as slot:
            return slot.queue_s

    assert run(scene()) == 0.0


def test_one_limiter_serves_event_loops_one_after_another():
    limiter = made(1)
    for _ in range(3):
        run(Watch(limiter).visit("x"))


def test_keys_are_limited_apart_and_not_kept(monkeypatch):
    monkeypatch.setenv("A_API_KEY", "first-secret-key")
    monkeypatch.setenv("B_API_KEY", "second-secret-key")

    async def scene():
        limiter = made(8)
        await limited(limiter, make_model(api_key_env="A_API_KEY"))
        limits = [limiter.limit(make_model(api_key_env=name)) for name in ("A_API_KEY", "B_API_KEY")]
        return limits, repr(limiter._buckets)

    limits, kept = run(scene())
    assert limits == [4.0, 8.0] and "secret" not in kept


def test_a_deadline_runs_down_except_while_paused():
    time_ = FakeTime()
    deadline = Deadline(10.0, time_)
    time_.now += 4
    with deadline.paused():
        time_.now += 100
    assert deadline.remaining_s == 6.0
    deadline.check(5.9)
    with pytest.raises(DeadlineExceeded, match=r"10 s.*slow"):
        deadline.check(6.0, "slow")
