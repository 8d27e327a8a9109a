"""Caps on the command line: the same ones are refused by every command, and no message promises what does not happen."""

import pytest

from offramp.store.budget import BudgetExceeded
from search_jobs import main


@pytest.mark.parametrize("command", [("check", "any"), ("verify", "any"), ("optimize", "any.yaml")])
def test_a_budget_of_nothing_is_refused(command, capsys, tmp_path, monkeypatch):
    """`check` took it, and ended with "run the same command again: it resumes"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "any.yaml").write_text("{}")
    assert main([*command, "--budget-usd", "0"]) == 2


def test_check_says_of_a_budget_of_nothing_what_it_may_be(capsys):
    assert main(["check", "any", "--budget-usd", "0"]) == 2
    assert "--budget-usd: got 0.0, expected a number above 0" in capsys.readouterr().err


def test_a_cap_without_room_promises_no_resume():
    error = BudgetExceeded(which="usd", cap=0.001, spent=0, reserved=0, asked=0.01)
    assert str(error).endswith("Raise the cap and run the same command again.")
