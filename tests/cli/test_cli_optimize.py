"""`offramp optimize` as a person types it: what it prints, what it writes, and the code that it ends with."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
import sqlalchemy as sa

from offramp.calls.failures import ServerFailed
from offramp.calls.transports import litellm as litellm_door
from offramp.job.resolve import resolve_job
from offramp.space.load import load_space
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ScriptedServer
from search_jobs import PRICES, answered_by, command_line, main, reply_to, rows, server_reply, write_space

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(reply_to)
    answered_by(monkeypatch, transport)
    return transport


@pytest.fixture
def space(tmp_path):
    return small(tmp_path / "job")


def small(folder, **changes):
    return write_space(folder, **{"splits": {"train": 2, "search": 5, "holdout": 3}, **changes})


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; its code, stdout and stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")

    def runner(*args):
        code = main(["optimize", *map(str, args)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return runner


# ---------------------------------------------------------------------------------------------------------- text


def test_a_job_ends_with_its_front_its_verdict_and_where_to_look(run, space, transport, tmp_path):
    code, out, err = run(space)
    assert code == 0
    assert "Pareto front (search split)" in out and "incumbent" in out and "recommended" in out
    assert "Holdout: quality" in out and "Ended: all trials are done." in out
    assert "offramp pareto landscape-" in out
    assert f"trials {6}/6" in err and "spent $" in err
    [report] = (tmp_path / "here" / "results").glob("landscape-*.json")
    assert str(report.relative_to(tmp_path / "here")) in out.replace("\n", "")
    assert max(len(line) for line in out.splitlines() if "│" not in line) <= 80


def test_the_same_command_again_says_that_it_paid_nothing(run, space, transport):
    run(space)
    sent = len(transport.requests)
    code, out, _ = run(space)
    assert code == 0 and "0 calls" in out and "$0 spent" in out
    assert len(transport.requests) == sent


def test_names_with_markup_and_control_characters_are_shown_as_they_are(run, tmp_path, transport):
    texts = {"[bold]x": "Clear.", "[/]y": "Strict."}
    code, out, _ = run(small(tmp_path / "job", instructions=texts, incumbent={"model": "small", "instruction": "[/]y"}))
    assert code == 0
    assert "[bold]x" in out or "[/]y" in out


# ---------------------------------------------------------------------------------------------------------- json


def test_json_is_one_object_with_everything_that_a_program_needs(run, space, transport, tmp_path):
    code, out, err = run(space, "--trials", 4, "--seed", 0, "--json")
    found = json.loads(out)
    assert code == 0 and err == ""
    assert list(found)[:7] == [
        "study", "stop_reason", "trials", "calls", "cached_calls", "failed_calls", "spent_usd",
    ]  # fmt: skip
    assert (found["stop_reason"], found["trials"], found["error"]) == ("trials", 4, None)
    assert found["calls"] == len(transport.requests)
    assert found["incumbent"]["params"]["instruction"] == "vague"
    for member in found["front"]:
        assert {"candidate", "params", "quality", "cost_usd", "latency_s", "n", "utility"} <= set(member)
    assert found["recommended"] in found["front"]
    written = json.loads((tmp_path / "here" / "results" / f"{found['study']}.json").read_text())
    assert written == found


def test_options_go_before_the_file(run, space, transport):
    found = json.loads(run(space, "--trials", 2, "--seed", 7, "--concurrency", 1, "--json")[1])
    assert (found["trials"], found["seed"]) == (2, 7)
    capped = json.loads(run(space, "--budget-calls", 12, "--seed", 8, "--json")[1])
    assert capped["stop_reason"] == "budget_calls" and capped["study_money"]["calls"] <= 12


def test_results_and_storage_go_where_they_are_told(run, space, transport, tmp_path):
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    code, _, _ = run(space, "--trials", 1, "--storage", url, "--results", tmp_path / "out", "--json")
    assert code == 0
    assert (tmp_path / "elsewhere.db").exists() and not (tmp_path / "out" / "offramp.db").exists()
    assert list((tmp_path / "here").iterdir()) == []


# ------------------------------------------------------------------------------------- what breaks after it has paid

BREAKS = {
    "raises": ("raise KeyError('gone')", "it raised KeyError: 'gone'"),
    "returns None": ("return None", "what it returned: got None"),
    "returns NaN": ("return float('nan')", "what it returned: got nan"),
}


def breaking(folder, body):
    """A job whose metric breaks on one row of the holdout, which is none of those that are tried before a call."""
    last = resolve_job(load_space(small(folder))).task.splits.holdout[-1].id
    text = f"def score(example, pred):\n    if example.id == {last!r}:\n        {body}\n    return 1.0\n"
    (folder / "m.py").write_text(text)
    return small(folder, metric={"kind": "python", "path": "m.py:score"})


@pytest.mark.parametrize("kind", BREAKS)
def test_a_metric_that_breaks_on_a_late_row_is_a_failed_job_with_what_it_has(run, tmp_path, transport, kind):
    body, says = BREAKS[kind]
    space = breaking(tmp_path / "job", body)
    code, out, err = run(space, "--trials", 1)
    assert code == 1 and "m.py:score: row " in err and says in err and transport.requests
    assert "Report: results/landscape-" in out.replace("\n", ""), "what was paid for is kept and shown"
    sent = len(transport.requests)
    code, _, err = run(space, "--trials", 1)
    assert code == 1 and says in err and len(transport.requests) == sent


def test_a_report_that_cannot_be_written_after_the_run_is_no_matter_of_usage(run, space, transport, tmp_path):
    run(space)
    [report] = (tmp_path / "here" / "results").glob("landscape-*.json")
    report.unlink()
    (report / "in the way").mkdir(parents=True)
    code, _, err = run(space)
    assert code == 1 and "cannot be written" in err and "The study itself is kept in the storage" in err


# ------------------------------------------------------------------------------------------------------- dry run


def test_a_dry_run_says_what_to_expect_and_writes_and_sends_nothing(run, space, transport, tmp_path):
    code, out, _ = run(space, "--dry-run")
    assert code == 0
    assert "Expected: 6 candidates, 36 calls" in out and "Nothing was written or spent." in out
    assert list((tmp_path / "here").iterdir()) == [] and transport.requests == []


@pytest.mark.parametrize(
    ("race", "words"),
    [
        (None, "off: every candidate runs on all examples"),
        ({"block": 6}, "may stop a candidate after 12, 18 of 20 examples"),
        ({"block": 9}, "may stop a candidate after 18 of 20 examples"),
        ({"block": 11, "confidence": 0.9}, "may stop a candidate after 11 of 20 examples"),
    ],
)
def test_a_dry_run_says_when_a_candidate_may_be_stopped(run, tmp_path, race, words):
    space = write_space(tmp_path / "raced", search={"race": race}, splits={"train": 6, "search": 20, "holdout": 6})
    assert words in " ".join(run(space, "--dry-run")[1].split())


def test_a_dry_run_says_when_there_are_too_few_examples_to_stop_anybody(run, space):
    assert "stops nobody: it would take 10 examples" in " ".join(run(space, "--dry-run")[1].split())


def test_a_seed_beyond_32_bits_and_a_range_of_billions_are_searched(run, tmp_path, transport):
    space = write_space(tmp_path / "wide", params={"seed": {"low": 0, "high": 2**31 - 1}, "max_tokens": 16})
    code, out, _ = run(space, "--seed", 2**40, "--json", "--trials", 3)
    assert code == 0 and json.loads(out)["trials"] == 3


@pytest.fixture
def database(postgres_url):
    """The URL of an empty PostgreSQL."""
    yield postgres_url
    engine = sa.create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as conn:
        conn.execute(sa.text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()


def test_names_and_ids_as_long_as_they_may_be_are_kept_by_postgresql(run, tmp_path, monkeypatch, database):
    answered_by(monkeypatch, FunctionTransport(lambda request: "billing"))
    model, variant = "small" + "é" * 250, "v" * 255
    path = write_space(
        tmp_path / "long",
        models=[{"name": model, "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "price": PRICES["small"]}],
        incumbent={"model": model, "instruction": variant}, instructions={variant: "Vague.", "clear": "Clear."},
    )  # fmt: skip
    data = [{**row, "id": row["id"].ljust(255, "é")} for row in rows()]
    (path.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    code, out, err = run(path, "--storage", database, "--trials", 2, "--json")
    assert code == 0, err
    assert json.loads(out)["trials"] == 2


def test_a_dry_run_needs_no_key(run, tmp_path, transport):
    models = [{"name": n, "route": "openai/gpt-4.1-mini", "price": dict(p)} for n, p in PRICES.items()]
    space = small(tmp_path / "job", models=models)
    assert run(space, "--dry-run")[0] == 0
    code, _, err = run(space)
    assert code == 2 and "OPENAI_API_KEY" in err


def test_the_estimate_counts_what_the_job_does_and_knows_more_after_it(run, space, transport):
    expected = json.loads(run(space, "--dry-run", "--json")[1])["dry_run"]
    found = json.loads(run(space, "--json")[1])
    assert expected["candidates"] == found["trials"]
    decisive = {found["incumbent"]["candidate"], found["recommended"]["candidate"]}
    further = len({member["candidate"] for member in found["front"]} - decisive)
    assert expected["calls"] + further * expected["front_calls"] == found["calls"] + found["cached_calls"]
    again = json.loads(run(space, "--dry-run", "--json")[1])["dry_run"]
    assert again["basis"] == "past calls of these models"
    assert expected["cost_usd"] > 0 and again["cost_usd"] > 0
    assert again["minutes"] < expected["minutes"], "calls took 0.1 s; a guess for a remote model is 1.5 s"


# ---------------------------------------------------------------------------------------------------- exit codes


def test_a_cap_that_is_reached_is_no_failure(run, space, transport):
    code, out, _ = run(space, "--budget-calls", 20)
    assert code == 0 and "the cap on calls is reached" in " ".join(out.split())


def test_a_job_that_failed_exits_1_says_why_and_keeps_what_it_has(run, tmp_path, monkeypatch):
    down = FunctionTransport(
        lambda request: ServerFailed("the model is down") if len(down.requests) > 8 else reply_to(request)
    )
    answered_by(monkeypatch, down)
    space = small(tmp_path / "job", calls={"attempts": 1})
    code, out, err = run(space, "--json")
    found = json.loads(out)
    assert code == 1 and found["stop_reason"] == "failures"
    assert err.startswith("error: ") and "the model is down" in err and "Nothing was scored as zero" in err
    assert "Traceback" not in err
    answered_by(monkeypatch, FunctionTransport(reply_to))
    code, out, _ = run(space, "--json")
    assert code == 0 and json.loads(out)["trials"] == 6


@pytest.fixture(scope="module")
def loaded():
    """LiteLLM takes seconds to import; processes that are forked from this one have it."""
    litellm_door._litellm()


class Held:
    """The landscape, which answers so many requests and holds the next ones until it may go on."""

    def __init__(self, answered):
        self.go_on, self._left, self._lock = threading.Event(), answered, threading.Lock()

    def __call__(self, body):
        with self._lock:
            self._left -= 1
            held = self._left < 0
        if held:
            self.go_on.wait()
        return server_reply(body)


PATIENT = {"timeout_s": 3600, "deadline_s": 7200}
"""For requests that a test holds."""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 130), ("SIGKILL", -9)])
def test_a_job_that_is_stopped_in_the_middle_goes_on_and_pays_for_no_answer_twice(tmp_path, loaded, name, code):
    held = Held(answered=12)
    with ScriptedServer(held) as server:
        space = small(tmp_path / "job", base=server.url, calls=PATIENT)
        args = ["optimize", str(space), "--results", str(tmp_path / "results"), "--json"]
        first = started(args, tmp_path / "first")
        wait_for(lambda: len(server.requests) > 12)
        os.kill(first.pid, getattr(signal, name))
        held.go_on.set()
        first.join()
        assert first.exitcode == code
        told = (tmp_path / "first.err").read_text()
        assert "Traceback" not in told and ("interrupted" in told) == (code == 130)

        before = len(server.requests)
        again = started(args, tmp_path / "again")
        again.join()
        assert again.exitcode == 0, (tmp_path / "again.err").read_text()
        found = json.loads((tmp_path / "again").read_text())
        assert (found["stop_reason"], found["trials"]) == ("trials", 6)
        bodies = [json.dumps(r.body, sort_keys=True) for r in server.requests]
        twice = set(bodies[:before]) & set(bodies[before:])
        assert len(twice) <= (2 if code == -9 else 0), "only what was in flight at the kill"


def started(args, out):
    process = FORK.Process(target=command_line, args=(args, out))
    process.start()
    return process


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


def test_two_processes_do_not_run_one_study_together(tmp_path, loaded):
    held = Held(answered=2)
    with ScriptedServer(held) as server:
        space = small(tmp_path / "job", base=server.url, calls=PATIENT)
        args = ["optimize", str(space), "--results", str(tmp_path / "results"), "--json"]
        first = started(args, tmp_path / "first")
        wait_for(lambda: len(server.requests) >= 3)
        second = started(args, tmp_path / "second")
        second.join()
        assert second.exitcode == 1
        assert f"is being run by pid {first.pid}" in (tmp_path / "second.err").read_text()
        held.go_on.set()
        first.join()
        assert first.exitcode == 0


def test_a_dry_run_says_which_caps_would_stop_the_job(run, space, transport):
    code, out, _ = run(space, "--dry-run", "--budget-usd", "0.0015", "--budget-calls", 10)
    assert code == 0
    assert "stopped early by budget.usd (0.0015) and budget.calls (10)" in " ".join(out.split())
    assert "stopped" not in run(space, "--dry-run")[1]
