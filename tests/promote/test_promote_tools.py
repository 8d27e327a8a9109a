"""Promoting an agent repeats its recorded runs: its tools do not run again, and one with effects never does."""

from __future__ import annotations

import json

import pytest

from offramp.errors import UsageError
from offramp.promote import promoting
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, main
from tool_jobs import WARM, reply, study, wrong_when_warm


@pytest.mark.parametrize(
    ("effects", "sends", "module"),
    [("send_mail", True, "Agent"), ("send_mail", True, "Handles"), ("send_mail", False, "Agent")],
)
def test_no_tool_runs_again_and_the_requests_of_every_run_are_matched(
    tmp_path, monkeypatch, effects, sends, module
) -> None:
    answered_by(monkeypatch, FunctionTransport(reply))
    study(tmp_path, effects=effects, sends=sends, module=module)
    ran = (tmp_path / "ran.txt").read_text()
    assert ran.count("search") == 1, "all ask for the same word"
    assert (ran.count("send_mail") >= 20) == sends
    done = promoting.promote("latest", results=tmp_path, promotions=tmp_path / "promotions", by="ada")
    assert (tmp_path / "ran.txt").read_text() == ran
    assert done.promotion.evidence.requests_matched == 8 and done.promotion.evidence.gate.refused == ()


def test_demos_that_would_run_a_tool_with_effects_again_are_refused(tmp_path, monkeypatch) -> None:
    answered_by(monkeypatch, FunctionTransport(reply))
    study(tmp_path, effects="send_mail", sends=True, demos="demos: {kind: bootstrapped, count: 1}\n")
    ran = (tmp_path / "ran.txt").read_text()
    with pytest.raises(UsageError, match=r"send_mail has effects.*other demos"):
        promoting.promote("latest", results=tmp_path, promotions=tmp_path / "promotions", by="ada")
    assert (tmp_path / "ran.txt").read_text() == ran


def test_compare_shows_the_steps_of_both_runs_without_a_call_and_runs_no_tool(tmp_path, monkeypatch, capsys) -> None:
    answered_by(monkeypatch, FunctionTransport(wrong_when_warm))
    study(tmp_path, effects="send_mail", sends=False, demos=WARM)
    ran = (tmp_path / "ran.txt").read_text()
    answered_by(monkeypatch, FunctionTransport(lambda _: pytest.fail("a call was made")))
    compare = ["compare", "latest", "--results", str(tmp_path), "--limit", "2", "--split", "search"]
    assert main([*compare, "--steps"]) == 0
    shown = capsys.readouterr().out
    for line in ("A took 3 steps", "1. model first, 9 + 3 tokens, 0.10 s", "2. tool search", "3. model last", "gave:"):
        assert line in shown
    assert "B took 3 steps" in shown and "<b>no</b>" in shown and (tmp_path / "ran.txt").read_text() == ran
    assert main([*compare, "--steps", "--json"]) == 0
    examples = json.loads(capsys.readouterr().out)["examples"]
    assert [s["kind"] for s in examples[0]["steps"]["a"]["steps"]] == ["model", "tool", "model"]
    assert sum("steps" in example for example in examples) == 2
    assert main(["report", "latest", "--results", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert '<details class="run-steps"><summary>Steps: incumbent 3, this 3' in page and "<b>no</b>" not in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page and (tmp_path / "ran.txt").read_text() == ran
    capsys.readouterr()
    assert main([*compare, "--json"]) == 0 and "steps" not in json.loads(capsys.readouterr().out)["examples"][0]


def test_steps_beyond_a_tool_with_effects_are_said_to_be_unknown(tmp_path, monkeypatch, capsys) -> None:
    answered_by(monkeypatch, FunctionTransport(wrong_when_warm))
    study(tmp_path, effects="send_mail", sends=True, demos=WARM)
    ran = (tmp_path / "ran.txt").read_text()
    assert main(["compare", "latest", "--results", str(tmp_path), "--limit", "1", "--split", "search", "--steps"]) == 0
    assert "send_mail has effects" in capsys.readouterr().out and (tmp_path / "ran.txt").read_text() == ran
