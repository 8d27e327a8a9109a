"""Garbage is collected rarely while a job runs, and as before once the last one has ended."""

import gc

import pytest

from offramp.garbage import collected_rarely


@pytest.fixture
def as_usual():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_put_back_when_the_last_of_several_ends(as_usual):
    first, second = collected_rarely(), collected_rarely()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold()[0] > 700
    assert gc.get_freeze_count() > 0
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > 700
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)
    assert gc.get_freeze_count() == 0


def test_who_collects_never_or_more_rarely_is_left_alone(as_usual):
    for threshold in [(0, 10, 10), (1_000_000, 5, 5)]:
        gc.set_threshold(*threshold)
        with collected_rarely():
            assert gc.get_threshold() == threshold
        assert gc.get_threshold() == threshold


def test_what_somebody_else_keeps_stays_kept(as_usual):
    gc.freeze()
    try:
        with collected_rarely():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
