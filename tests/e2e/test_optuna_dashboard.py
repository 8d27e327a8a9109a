"""The real optuna-dashboard opens a study of ours, with names that people know from the space file."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

pytest.importorskip("optuna_dashboard")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        search = {"sampler": "tpe", "trials": 5, "concurrency": 2}
        constraints = {"cost_usd_max": 0.01}
        return folder, run_job(write_space(folder, search=search, constraints=constraints), folder).report


@pytest.fixture(scope="module")
def fetch(job):
    """GET of the dashboard's JSON, served by the real package on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = str(Path(sys.executable).parent / "optuna-dashboard")
    storage = f"sqlite:///{job[0] / 'offramp.db'}"
    args = [command, storage, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref", "--quiet"]
    server = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    base = f"http://127.0.0.1:{port}"
    try:
        _wait(server, f"{base}/api/meta")
        yield lambda path: json.loads(_get(f"{base}{path}"))
    finally:
        server.terminate()
        server.wait()


def _get(url):
    with urllib.request.urlopen(url) as reply:
        return reply.read()


def _wait(server, url):
    while True:
        assert server.poll() is None, server.stdout.read().decode()
        with contextlib.suppress(OSError):
            _get(url)
            return
        time.sleep(0.1)


def study_of(fetch, job):
    [found] = [s for s in fetch("/api/studies")["study_summaries"] if s["study_name"] == job[1].study]
    return found, fetch(f"/api/studies/{found['study_id']}")


def test_the_study_is_listed_under_its_space_s_name(fetch, job):
    found, _ = study_of(fetch, job)
    assert found["study_name"].startswith("landscape-")
    assert [d.lower() for d in found["directions"]] == ["maximize", "minimize"]


def test_objectives_params_and_candidates_have_our_names(fetch, job):
    _, study = study_of(fetch, job)
    assert study["objective_names"] == ["quality", "cost"] or study["metric_names"] == ["quality", "cost"]
    searched = {p["name"] for trial in study["trials"] for p in trial["params"]}
    assert {"model", "instruction", "temperature"} <= searched
    attributes = [{a["key"]: a["value"] for a in trial["user_attrs"]} for trial in study["trials"]]
    told = {json.loads(a["candidate"]) if a["candidate"].startswith('"') else a["candidate"] for a in attributes}
    assert {m.candidate for m in job[1].members} == told


def test_values_are_those_of_the_report(fetch, job):
    _, study = study_of(fetch, job)
    members = {m.candidate: m for m in job[1].members}
    for trial in study["trials"]:
        name = next(a["value"] for a in trial["user_attrs"] if a["key"] == "candidate").strip('"')
        assert [float(v) for v in trial["values"]] == pytest.approx([members[name].quality, members[name].cost_usd])


def test_importances_are_worked_out_from_it(fetch, job):
    found, _ = study_of(fetch, job)
    importances = fetch(f"/api/studies/{found['study_id']}/param_importances?evaluator=ped_anova")
    assert len(importances["param_importances"]) == 2
