"""Requests and a clock for the tests of calls."""

from __future__ import annotations

import asyncio

from offramp.records import CallRequest, Model, Price

PRICE = Price(input_usd=1.0, cached_input_usd=0.1, cache_write_usd=1.25, output_usd=10.0)


class FakeTime:
    """A clock that sleeping moves at once."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += max(0.0, seconds)
        await asyncio.sleep(0)


def make_model(**changes):
    return Model(**{"name": "m", "route": "openai/scripted-1", "price": PRICE, **changes})


def make_request(text="hello there", model=None, params=None, **changes):
    message = ({"role": "user", "content": text},)
    params = {"max_tokens": 20} if params is None else params
    return CallRequest(model=model or make_model(), messages=message, params=params, **changes)
