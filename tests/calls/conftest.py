"""A caller over a real storage, with a clock that only sleeping moves."""

from __future__ import annotations

import random

import pytest
from support_batches import KEY, answer
from support_calls import FakeTime

from offramp.calls.batches import collector
from offramp.calls.caller import open_caller
from offramp.space.model import CallsPart
from offramp.store.budget import Budget
from offramp.store.engine import open_store
from offramp.testing.batches import ScriptedBatches
from offramp.testing.server import ScriptedServer


@pytest.fixture
def time_():
    return FakeTime()


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/offramp.db") as opened:
        yield opened


@pytest.fixture
def build(store, time_):
    """Callers on one storage; keyword arguments change how they are opened."""

    def build(transport, *, cap_usd=None, cap_calls=None, attempts=3, budget_id="p", calls=None, **changes):
        part = CallsPart(**{"attempts": attempts, "timeout_s": 30.0, **(calls or {})})
        options = {
            "store": store,
            "study": "s",
            "store_text": True,
            "budget": Budget(store, budget_id, cap_usd=cap_usd, cap_calls=cap_calls),
            "concurrency": 4,
            "calls": part,
            "servers": None,
            "rng": random.Random(0),
            "transport": transport,
            "sleep": time_.sleep,
            "clock": time_,
        }
        return open_caller(**{**options, **changes})

    return build


@pytest.fixture
def batch_key(monkeypatch):
    """The key of the scripted provider; a failing interface is given up soon."""
    monkeypatch.setenv("SCRIPTED_API_KEY", KEY)
    monkeypatch.setattr(collector, "MOST_FAILED", 2)


@pytest.fixture
def batches():
    return ScriptedBatches()


@pytest.fixture
def server(batches):
    with ScriptedServer(answer, batches) as server:
        yield server


@pytest.fixture
def opened(store, time_):
    """A caller on the storage whose sleeping takes no time."""

    def opened(*, batch=True, cap_usd=None, cap_calls=None, check=lambda: None, sleep=None, timed=False):
        return open_caller(
            store=store, study="s", store_text=True, budget=Budget(store, "p", cap_usd=cap_usd, cap_calls=cap_calls),
            concurrency=2, calls=CallsPart(timeout_s=30.0, attempts=4), servers=None, rng=random.Random(0),
            sleep=sleep or time_.sleep, clock=time_, batch=batch, check=check, timed=timed,
        )  # fmt: skip

    return opened
