"""The gate for CI: the promoted program on its holdout again, in exact numbers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as Xml

import click
import pytest
import yaml

from offramp.calls.failures import ModelNotFound, ServerFailed
from offramp.cli.main import offramp
from offramp.errors import JobError, UsageError
from offramp.job.clock import Interrupted
from offramp.promote import promoting
from offramp.promote.check_report import Before, CheckReport, Limits, judge, junit_text
from offramp.promote.folder import FeatureFolder
from offramp.promote.recheck import check as check_with_any_transport
from offramp.records import CallReply, CallRequest, Evaluation, Example, Result, ResultState
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ScriptedServer, ServerReply
from promoted_jobs import MODELS, promoted_job, reply, right_answer
from promotion_records import make_promotion
from search_jobs import answered_by, main, rows, wire


def wired(monkeypatch: pytest.MonkeyPatch, answers: Any) -> FunctionTransport:
    transport = FunctionTransport(answers)
    answered_by(monkeypatch, transport)
    return transport


def check(feature: str, **options: Any) -> CheckReport:
    return check_with_any_transport(feature, **wire(), **options)


def worse_on(*numbers: int) -> Any:
    """A model that has become wrong on these cases."""

    def answer(request: CallRequest) -> CallReply:
        found = reply(request)
        wrong = any(f"case {n:03}" in request.messages[-1]["content"] for n in numbers)
        return replace(found, text="returns" if found.text != "returns" else "billing") if wrong else found

    return answer


def holdout_numbers(folder: Path) -> list[int]:
    ref = FeatureFolder(folder / "promotions", "landscape")
    found = ref.load(ref.resolve()).evidence.holdout_results
    assert found is not None
    return [int(row["example"][1:]) for row in ref.rows(found)]


def test_a_model_that_answers_as_before_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, demos="nearest", demo_count=2)
    wire = wired(monkeypatch, reply)
    report = check("landscape", promotions=promotions)
    assert report.holds and (report.n, report.wins, report.losses) == (6, 0, 0)
    assert (report.calls, report.cached_calls, len(wire.requests)) == (6, 0, 6)
    assert report.quality_after == report.quality_before == 1.0 and report.spent_usd > 0
    assert report.cost_usd == pytest.approx(56e-6)


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_a_check_runs_an_example_as_often_as_the_promotion_says_where_answers_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    params = {"temperature": temperature, "max_tokens": 16}
    promotions = promoted_job(tmp_path, monkeypatch, space={"replicates": 3}, params=params)
    ref = FeatureFolder(promotions, "landscape")
    evidence, sampled = ref.load(ref.resolve()).evidence, temperature > 0
    assert evidence.replicates == 3 and evidence.holdout is not None
    assert evidence.holdout.n_runs == (18 if sampled else None)
    one = worse_on(holdout_numbers(tmp_path)[0])
    wire = wired(monkeypatch, lambda request: one(request) if request.replicate == 1 else reply(request))
    report = check("landscape", promotions=promotions)
    assert Counter(request.replicate for request in wire.requests) == ({0: 6, 1: 6, 2: 6} if sampled else {0: 6})
    assert (report.n, report.losses, report.calls) == ((6, 1, 18) if sampled else (6, 0, 6))
    assert report.quality_after == pytest.approx(17 / 18 if sampled else 1.0)


def test_a_model_that_got_worse_is_exit_three_with_the_examples_that_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    broken = holdout_numbers(tmp_path)[:2]
    wired(monkeypatch, worse_on(*broken))
    command = ["check", "landscape", "--promotions", str(promotions), "--junit", str(tmp_path / "junit.xml")]
    assert main(command) == 3
    shown = capsys.readouterr().out
    assert "does not hold" in shown and "BROKEN quality: 1.000 -> 0.667 on 6 examples, 2 worse" in shown
    assert f"case {broken[0]:03}" in shown
    suite = Xml.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("9", "3")
    failed = {case.get("name") for case in suite if case.find("failure") is not None}
    assert failed == {"quality", *(f"e{n:03}" for n in broken)}
    assert main([*command, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["holds"] is False and [b["example"] for b in told["broken"]] == [f"e{n:03}" for n in broken]
    assert main([*command, "--margin", "0.9"]) == 0


def test_a_junit_file_that_cannot_be_written_is_told_before_the_check_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    wire = wired(monkeypatch, reply)
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "junit.xml"):
        assert main(["check", "landscape", "--promotions", str(promotions), "--junit", str(path)]) == 2
        assert "Name another file with --junit." in capsys.readouterr().err
    assert wire.requests == []


def test_a_metric_that_breaks_on_an_answer_of_today_fails_the_check_and_is_no_matter_of_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "m.py").write_text("def score(e, p):\n    return {e.label: 1.0}[p.label]\n")
    promotions = promoted_job(tmp_path, monkeypatch, space={"metric": {"kind": "python", "path": "m.py:score"}})
    wire = wired(monkeypatch, worse_on(holdout_numbers(tmp_path)[-1]))
    assert main(["check", "landscape", "--promotions", str(promotions)]) == 1
    assert "m.py:score: row " in (said := capsys.readouterr().err) and "it raised KeyError" in said and wire.requests


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-cost-usd", "nan", "--max-cost-usd: the limit: got nan, expected a finite number of 0 or more"),
        ("--max-p95-s", "-1", "--max-p95-s: the limit: got -1.0"),
        ("--budget-usd", "nan", "--budget-usd: the limit: got nan"),
        ("--margin", "nan", "--margin: the margin: got nan, expected a number between 0 and 1"),
        ("--api-base", "not a url", "--api-base: the address: expected an http or https address"),
        ("--api-base", "", "--api-base: is blank"),
    ],
)
def test_options_that_no_check_can_keep_are_one_message(capsys: Any, option: str, value: str, words: str) -> None:
    assert main(["check", "anything", option, value]) == 2
    assert words in capsys.readouterr().err


def test_ceilings_of_cost_and_latency_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, space={"constraints": {"cost_usd_max": 1.0}})
    wired(monkeypatch, reply)
    command = ["check", "landscape", "--promotions", str(promotions)]
    assert main(command) == 0
    assert "cost_usd: 5.6e-05; the limit is 1" in capsys.readouterr().out
    assert main([*command, "--max-cost-usd", "0.00001"]) == 3
    assert main([*command, "--max-p95-s", "0.1"]) == 3
    assert main([*command, "--max-p95-s", "0.3"]) == 0


def test_a_check_is_at_the_prices_of_the_space_file_and_says_that_they_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, space={"constraints": {"cost_usd_max": 1e-3}})
    wired(monkeypatch, reply)
    before = check("landscape", promotions=promotions)
    assert before.holds and not any("price" in note for note in before.notes)
    path = tmp_path / "space.yaml"
    space = yaml.safe_load(path.read_text())
    for model in space["models"]:
        model["price"] = {name: 100 * usd for name, usd in model["price"].items()}
    path.write_text(yaml.safe_dump(space))
    after = check("landscape", promotions=promotions)  # no cap of its own ends it
    assert after.spent_usd == pytest.approx(100 * before.spent_usd)
    assert not after.holds
    assert any("has changed since the promotion; costs here are at today's" in note for note in after.notes)
    assert main(["check", "landscape", "--promotions", str(promotions)]) == 3
    assert "cost_usd: 0.0056; the limit is 0.001" in capsys.readouterr().out


def test_answers_of_the_study_are_reused_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    wire = wired(monkeypatch, reply)
    url = f"sqlite:///{tmp_path / 'results' / 'offramp.db'}"
    for _ in range(2):
        report = check("landscape", promotions=promotions, storage=url)
        assert report.holds and (report.calls, report.cached_calls, wire.requests) == (0, 6, [])


def test_an_outage_is_no_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    wired(monkeypatch, lambda _: ServerFailed("down"))
    with pytest.raises(JobError, match="outside of the program"):
        check("landscape", promotions=promotions)
    assert main(["check", "landscape", "--promotions", str(promotions)]) == 1


def test_a_check_that_would_cost_more_than_it_should_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    wired(monkeypatch, reply)
    with pytest.raises(JobError, match="cap"):
        check("landscape", promotions=promotions, budget_usd=1e-4)


def test_a_check_has_room_for_answers_as_long_as_they_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `max_tokens` each request is reserved with more than the whole check costs."""
    dear = [{**model, "price": {"input_usd": 1.0, "output_usd": 100.0}} for model in MODELS]
    promotions = promoted_job(
        tmp_path, monkeypatch, space={"models": dear, "params": {"temperature": 0.5}}, params={"temperature": 0.5}
    )
    wire = wired(monkeypatch, reply)
    report = check("landscape", promotions=promotions)
    assert report.holds and len(wire.requests) == 6


def test_another_dataset_is_not_what_the_evidence_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    changed = [{**row, "label": "billing"} if row["id"] == "e001" else row for row in rows()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    with pytest.raises(UsageError, match="are not those that the evidence is of"):
        check("landscape", promotions=promotions)


def test_a_space_file_outside_of_the_project_has_to_be_named_by_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offramp.promote import promoting

    promoted_job(tmp_path / "job", monkeypatch)
    inside = tmp_path / "project" / "promotions"
    wired(monkeypatch, reply)
    promoting.promote("latest", pick="incumbent", results=tmp_path / "job" / "results", promotions=inside)
    with pytest.raises(UsageError, match="outside of this project"):
        check("landscape", promotions=inside)
    assert check("landscape", promotions=inside, space=tmp_path / "job" / "space.yaml").holds


# ------------------------------------------------------------------------------------------------ the judgement alone


def judged(before: list[float], after: list[float | None], *, margin: float = 0.05) -> Any:
    results = [
        Result(
            candidate="c", example=f"e{i:03}", state=ResultState.INFRASTRUCTURE_ERROR if score is None else ResultState.SCORED,
            score=score, cost_usd=None if score is None else 1e-5, latency_s=None if score is None else 0.2,
        )
        for i, score in enumerate(after)
    ]  # fmt: skip
    examples = {
        r.example: Example(id=r.example, content_hash=r.example, values={"message": "<x>\x00"}, row=1) for r in results
    }
    return judge(
        make_promotion(), label="production", evaluation=Evaluation(candidate="c", results=tuple(results)),
        before=Before(scores={f"e{i:03}": score for i, score in enumerate(before)}), examples=examples,
        limits=Limits(margin=margin, cost_usd=None, latency_p95_s=None), spent_usd=0.0, calls=0, cached_calls=0,
    )  # fmt: skip


def test_noise_that_evens_out_on_many_examples_holds_and_on_few_it_does_not() -> None:
    many = judged([1.0, 0.0] * 200, [0.0, 1.0] + [1.0, 0.0] * 199)
    few = judged([1.0, 0.0] * 5, [0.0, 1.0] + [1.0, 0.0] * 4)
    assert (many.wins, many.losses, many.holds) == (1, 1, True)
    assert (few.wins, few.losses, few.holds) == (1, 1, False)


@pytest.mark.parametrize(("before", "after"), [(1, 21), (21, 19), (15, 21)])
def test_evidence_or_answers_on_a_part_of_the_holdout_prove_nothing(before: int, after: int) -> None:
    """One promoted example that is right again said "none worse: holds"."""
    found = judged([1.0] * before, [1.0] * after + [None] * (21 - after))
    assert not found.holds and found.losses == 0
    quality = next(each for each in found.conditions if each.name == "quality")
    assert not quality.holds and f"only {min(before, after)} of 21 examples of the holdout" in quality.text


def test_one_of_21_may_lack_a_score() -> None:
    assert judged([1.0] * 20, [1.0] * 21).holds and judged([1.0] * 21, [1.0] * 20 + [None]).holds


def test_a_real_loss_does_not_hold_on_however_many_examples() -> None:
    assert not judged([1.0] * 400, [0.0] * 40 + [1.0] * 360).holds
    assert judged([1.0] * 400, [0.0] * 4 + [1.0] * 396).holds


def test_runs_without_a_score_count_apart() -> None:
    assert judged([1.0] * 40, [None] * 2 + [1.0] * 38).holds
    assert not judged([1.0] * 40, [None] * 3 + [1.0] * 37).holds
    assert not judged([1.0] * 3, [None] * 3).holds


def test_junit_escapes_what_a_stranger_wrote() -> None:
    root = Xml.fromstring(junit_text(judged([1.0] * 4, [0.0] * 4)))
    texts = [failure.text for failure in root.iter("failure") if failure.text]
    assert len(texts) == 4 and all("<x>" in text for text in texts)


# ---------------------------------------------------------------------------------------------------- as a test


INSTALLED = any(entry.name == "offramp" for entry in entry_points(group="pytest11"))
USAGE = {"prompt_tokens": 50, "completion_tokens": 3}
PLUGIN = () if INSTALLED else ("-p", "offramp.testing.pytest_plugin")


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH")])
        ),
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("right", [True, False])
def test_the_gate_is_a_pytest_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool) -> None:
    promotions = promoted_job(tmp_path / "job", monkeypatch)
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_own.py").write_text(f"""
def test_triage(offramp_check):
    offramp_check("landscape", promotions={str(promotions)!r})
""")
    answer = right_answer if right else lambda request: "billing"
    script = lambda body: ServerReply(text=answer(SimpleNamespace(messages=body["messages"])), usage=USAGE)  # noqa: E731
    with ScriptedServer(script) as server:
        space = tmp_path / "job" / "space.yaml"
        space.write_text(space.read_text().replace("http://127.0.0.1:9/v1", server.url))
        done = run_pytest(suite, *PLUGIN, "--offramp-check", "landscape", "--offramp-promotions", str(promotions))
    assert done.returncode == (0 if right else 1), done.stdout + done.stderr
    assert ("2 passed" if right else "2 failed") in done.stdout
    assert right or "BROKEN quality" in done.stdout


def test_the_plugin_imports_nothing_until_a_check_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_light():\n"
        "    heavy = ('dspy', 'litellm', 'optuna', 'pydantic', 'yaml', 'sqlalchemy', 'offramp.promote')\n"
        "    assert [m for m in heavy if m in sys.modules] == []\n"
    )
    done = run_pytest(tmp_path, *PLUGIN, "-p", "no:hypothesispytest")
    assert done.returncode == 0, done.stdout


def test_the_workflow_of_the_docs_is_yaml_and_names_commands_and_options_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "promotion.md").read_text()
    workflow = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    runs = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    lines = [line for line in (*runs, *page.splitlines()) if line.lstrip("$ ").startswith("offramp ")]
    assert len(lines) > 8
    for line in lines:
        name, *words = shlex.split(line.lstrip("$ ").split("#")[0])[1:]
        command = offramp.get_command(click.Context(offramp), name)
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


class Interrupting(FunctionTransport):
    """Answers, and sends this process Ctrl-C with the second request."""

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        found = await super().send(request, attempt)
        if len(self.requests) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return found


def test_ctrl_c_stops_a_check_after_what_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ran on to its end, or ended in a traceback."""
    promotions = promoted_job(tmp_path, monkeypatch)
    transport = Interrupting(reply)
    with pytest.raises(Interrupted):
        check_with_any_transport("landscape", promotions=promotions, transport=transport, concurrency=1)
    assert len(transport.requests) == 2


def test_the_address_of_a_fallback_on_ones_own_server_is_found_in_the_space_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    promoting.promote(
        "latest", pick="incumbent", results=tmp_path / "results", promotions=promotions, by="ada", fallbacks=["large"]
    )
    wire = wired(monkeypatch, reply)
    assert check("landscape", promotions=promotions).holds
    elsewhere = "http://127.0.0.1:8/v1"
    for given in (elsewhere, {"small": elsewhere}):
        assert check("landscape", promotions=promotions, api_base=given).holds
        assert {request.model.api_base for request in wire.requests[-6:]} == {elsewhere}


def test_a_key_that_the_space_file_names_goes_to_its_own_address_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", "secret")
    models = [{**model, "api_key_env": "OWN_KEY"} for model in MODELS]
    promotions = promoted_job(tmp_path, monkeypatch, space={"models": models})
    wire = wired(monkeypatch, reply)
    check("landscape", promotions=promotions)
    assert {request.model.api_key_env for request in wire.requests} == {"OWN_KEY"}
    check("landscape", promotions=promotions, api_base={"small": "http://127.0.0.1:8/v1"})
    assert {request.model.api_key_env for request in wire.requests[-6:]} == {None}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("model_gone: it was switched off", "has retired"),
        ("The model `m` does not exist", "is unknown to its provider"),
    ],
)
def test_a_promoted_model_that_its_provider_no_longer_has_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, said: str, state: str
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    wired(monkeypatch, lambda request: ModelNotFound(said))
    assert main(["check", "landscape", "--promotions", str(promotions)]) == 1
    err = capsys.readouterr().err
    assert f"the model {state}" in err and said in err and "Traceback" not in err and "uccessor" in err
