import asyncio
import threading

import pytest
from support_calls import make_request

from offramp.store.budget import Budget
from offramp.testing.fakes import ScriptedTransport


class SlowBudget(Budget):
    """Reserves at once, and is slow to say so."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reserved, self.go_on = threading.Event(), threading.Event()

    def reserve_many(self, conn, asked):
        held = super().reserve_many(conn, asked)
        self.reserved.set()
        assert self.go_on.wait()
        return held


def test_money_reserved_for_a_request_that_is_cancelled_meanwhile_is_released(build, store):
    budget = SlowBudget(store, "p", cap_usd=1.0)
    caller = build(ScriptedTransport([]), budget=budget)

    async def scene():
        task = asyncio.create_task(caller.send(make_request()))
        await asyncio.to_thread(budget.reserved.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # an impatient caller
        asyncio.get_running_loop().call_soon(budget.go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return budget.state()

    state = asyncio.run(scene())
    assert (state.reserved_usd, state.reserved_calls, state.spent_usd, state.calls) == (0.0, 0, 0.0, 0)
