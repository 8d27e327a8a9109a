from dataclasses import replace

import pytest
import sqlalchemy as sa

from offramp.errors import JobError, StorageError
from offramp.records import Objective, Price
from offramp.store import tables
from offramp.store.owners import Owner, current_owner
from offramp.store.studies import (
    FirstCandidate,
    PriorTrial,
    RunUnderWay,
    StudyDetails,
    StudyRow,
    StudyStatus,
    StudyStore,
    WarmStart,
    change_stamp,
)

ROW = StudyRow(name="support-1", space_name="support", space_json="{}", space_hash="a", task_hash="b", seed=0)
DETAILS = StudyDetails(
    prices={"m": Price(input_usd=1.0, output_usd=2.0), "n": None},
    texts={"main": {"vague": "Vague."}},
    models={"m": ("openai/m", None, "http://127.0.0.1:9/v1")},
    dataset_hash="d",
    splits_hash="s",
    metric_hash="m",
    space_file="space.yaml",
    examples={"search": 10},
    versions={"offramp": "0.1"},
    objectives=(Objective(name="cost", weight=0.3, scale=(2.0, 0.0)),),
    incumbent="c",
    warm=WarmStart(
        study="old", storage="sqlite:///old.db", same_task=True, notes=("n",),
        first=(FirstCandidate(params={"t": 0.5}, candidate="c", parent="p", same=False),),
        prior=(PriorTrial(candidate="q", params={}, quality=0.5, cost_usd=None, latencies_s={"p50": 1.0}),),
        reused={"c": 3},
    ),
)  # fmt: skip
OTHER = Owner(host="far", pid=7, token="x|y|z")


class Clock:
    def __init__(self):
        self.now = 1_900_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def studies(store, clock):
    return StudyStore(store, clock=clock)


def test_a_study_is_created_once_and_then_found(studies, clock):
    first = studies.create_or_get(ROW)
    clock.now += 5
    again = studies.create_or_get(
        StudyRow(name="support-1", space_name="x", space_json="", space_hash="", task_hash="", seed=9)
    )
    assert again == first == studies.get("support-1")
    assert first.created_at == first.updated_at and first.status is StudyStatus.RUNNING and first.seed == 0


def test_details_are_stored_under_the_keys_that_earlier_versions_wrote(studies, store):
    studies.create_or_get(replace(ROW, details=DETAILS))
    with store.reading() as conn:
        stored = conn.execute(sa.select(tables.studies.c.extra)).scalar_one()
    assert stored == {
        "prices": {
            "m": {
                "input_usd": 1.0, "cached_input_usd": None, "cache_write_usd": None, "output_usd": 2.0,
                "reasoning_usd": None, "compute_usd_per_hour": None,
            },
            "n": None,
        },
        "texts": {"main": {"vague": "Vague."}},
        "models": {"m": ["openai/m", None, "http://127.0.0.1:9/v1"]},
        "task": {"dataset": "d", "splits": "s", "metric": "m"},
        "space_file": "space.yaml",
        "examples": {"search": 10},
        "versions": {"offramp": "0.1"},
        "objectives": [{"name": "cost", "weight": 0.3, "statistic": "p50", "scale": [2.0, 0.0]}],
        "incumbent": "c",
        "warm": {
            "study": "old", "storage": "sqlite:///old.db", "same_task": True, "notes": ["n"],
            "first": [{"params": {"t": 0.5}, "candidate": "c", "parent": "p", "same": False}],
            "prior": [{"candidate": "q", "params": {}, "quality": 0.5, "cost_usd": None, "latency_s": {"p50": 1.0}}],
            "cells": {"c": 3},
        },
    }  # fmt: skip
    assert studies.get(ROW.name).details == DETAILS


def test_a_study_of_which_an_earlier_version_kept_less_can_be_read(studies, store):
    studies.create_or_get(ROW)
    with store.transaction() as conn:
        conn.execute(tables.studies.update().values(extra={"prices": {"m": None}}))
    assert studies.get(ROW.name).details == StudyDetails(prices={"m": None})
    assert StudyDetails().to_json() == {}


def test_an_update_changes_fields_and_moves_the_date(studies, clock):
    made = studies.create_or_get(ROW)
    clock.now += 5
    studies.update("support-1", status="finished", summary_json="[1]", details=DETAILS, stop_reason="cap")
    done = studies.get("support-1")
    assert (done.status, done.summary_json, done.details, done.stop_reason) == (
        "finished",
        "[1]",
        DETAILS,
        "cap",
    )
    assert done.created_at == made.created_at < done.updated_at


def test_how_far_a_run_is_changes_nothing_that_a_page_is_renewed_for(studies, store, clock):
    """A page that is open renewed its whole content every five seconds of a run."""
    made = studies.create_or_get(ROW)
    stamp = change_stamp(store, "support-1")
    clock.now += 5
    run = RunUnderWay(at="2026-11-29T10:00:00+00:00", share=0.5, remaining_s=9.0, most_s=None)
    studies.keep_run("support-1", replace(made.details, run=run))
    assert studies.get("support-1").details.run == run and change_stamp(store, "support-1") == stamp


def test_a_field_that_never_changes_or_does_not_exist_is_refused(studies):
    studies.create_or_get(ROW)
    for field in ("name", "colour"):
        with pytest.raises(TypeError, match=field):
            studies.update("support-1", **{field: "x"})


def test_a_misspelt_study_names_the_nearest(studies):
    studies.create_or_get(ROW)
    for ask in (studies.get, studies.update):
        with pytest.raises(StorageError, match=r"Did you mean 'support-1'\?"):
            ask("suport-1")


def test_the_newest_study_is_listed_first(studies, clock):
    for name in ("b", "a", "c"):
        clock.now += 1
        studies.create_or_get(StudyRow(name=name, space_name="", space_json="", space_hash="", task_hash="", seed=0))
    assert [row.name for row in studies.list()] == ["c", "a", "b"]


def test_a_leased_study_is_run_by_nobody_else(studies):
    studies.acquire_lease("s", OTHER)
    with pytest.raises(JobError, match="study s is being run by pid 7 on host far"):
        studies.acquire_lease("s", current_owner())
    studies.acquire_lease("t", current_owner())


def test_one_process_does_not_run_a_study_twice(studies):
    studies.acquire_lease("s", current_owner())
    with pytest.raises(JobError, match="is being run by pid"):
        studies.acquire_lease("s", current_owner())


def test_an_expired_lease_is_taken_over_and_its_holder_is_told(studies, clock):
    lost = studies.acquire_lease("s", OTHER, ttl_s=60)
    clock.now += 61
    kept = studies.acquire_lease("s", current_owner())
    with pytest.raises(JobError, match="took it over"):
        studies.renew(lost)
    studies.release(lost)
    studies.renew(kept)


def test_a_renewed_lease_lasts(studies, clock):
    held = studies.acquire_lease("s", OTHER, ttl_s=60)
    clock.now += 50
    studies.renew(held, 60)
    clock.now += 50
    with pytest.raises(JobError):
        studies.acquire_lease("s", current_owner())


def test_the_lease_of_a_dead_process_on_this_host_is_free_at_once(studies):
    me = current_owner()
    boot, namespace, _ = me.token.split("|")
    studies.acquire_lease("s", Owner(host=me.host, pid=me.pid, token=f"{boot}|{namespace}|1"))
    assert studies.acquire_lease("s", me).study == "s"


def test_a_released_lease_is_free(studies):
    studies.release(studies.acquire_lease("s", OTHER))
    studies.acquire_lease("s", current_owner())
