"""The path of one call keeps nothing of it."""

import asyncio
import gc
import tracemalloc

from support_calls import make_request

from offramp.records import CallReply, Usage


class Answers:
    """Answers at once and remembers nothing."""

    async def send(self, request, attempt=1):
        return CallReply(text="yes", finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=1), latency_s=0.1)


def test_memory_stays_flat_over_many_calls(build):
    caller = build(Answers(), cap_usd=1000.0)
    numbers = iter(range(10**6))

    async def ask(count):
        await asyncio.gather(*(caller.send(make_request(f"hello {next(numbers)}")) for _ in range(count)))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async def go():
        tracemalloc.start()
        try:
            for _ in range(4):
                before = await ask(25)
            for _ in range(5):
                after = await ask(25)
        finally:
            tracemalloc.stop()
        return after - before

    assert asyncio.run(go()) < 125 * 250, "a stored request and its answer would be more than a kilobyte"
