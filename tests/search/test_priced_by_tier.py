"""Jobs whose requests name a service tier or have long prompts, and a job that no cap has room for."""

import pytest

from offramp.errors import UsageError
from offramp.job.reserving import one_calls
from offramp.job.resolve import resolve_job
from offramp.models.table import load_table
from offramp.records import CallReply, Usage
from offramp.space.load import load_space
from offramp.store.engine import open_store
from offramp.study.queries.spending import spending
from offramp.study.queries.study_rows import read_study_rows
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, main, run_job, write_space

MODEL = "openai/gpt-5.4"


def tiered_space(folder, **changes):
    return write_space(
        folder,
        **{
            "models": [MODEL], "incumbent": {"model": MODEL, "instruction": "clear"}, "instructions": {"clear": "Clear."},
            "params": {"service_tier": {"choices": ["default", "flex"]}, "max_tokens": 16},
            "objectives": {"quality": {"weight": 0.7}, "cost": {"scale": [0.01, 0.0]}, "latency": None}, **changes,
        },
    )  # fmt: skip


@pytest.fixture
def sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    read = {"tokens": 1000}

    def reply(request):
        usage = Usage(input_tokens=read["tokens"] - 400, cached_input_tokens=400, output_tokens=10)
        return CallReply(text="billing", finish_reason="stop", usage=usage, latency_s=0.1)

    answered_by(monkeypatch, FunctionTransport(reply))
    return read


@pytest.mark.parametrize("tokens", [1000, 300_000])
def test_candidates_and_bills_are_priced_at_their_tier_and_step(tmp_path, sent, tokens):
    sent["tokens"] = tokens
    result = run_job(tiered_space(tmp_path), tmp_path)
    price = load_table().find(MODEL).price
    usage = Usage(input_tokens=tokens - 400, cached_input_tokens=400, output_tokens=10)
    by_tier = {name: price.for_tier(name).reply_usd(usage) for name in ("default", "flex")}
    assert by_tier["flex"] == pytest.approx(by_tier["default"] / 2, rel=0.01)
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        rows = read_study_rows(store, result.report.study)
        tiers = {row.id: row.candidate.request_params.get("service_tier", "default") for row in rows.candidates}
        assert set(tiers.values()) == set(by_tier)
        for name, tier in tiers.items():
            assert rows.search[name].cost_usd == pytest.approx(by_tier[tier])
        money = spending(store, rows)
    assert money.physical_usd == pytest.approx(result.spent_usd)
    assert money.budget.spent_usd == pytest.approx(result.spent_usd, abs=1e-6)
    assert 0 < result.spent_usd < money.calls * by_tier["default"]


def test_a_budget_without_room_for_one_call_is_refused_before_anything_is_written(tmp_path, sent, capsys):
    path = tiered_space(tmp_path, params={"temperature": 1.0}, budget={"usd": 1})
    with pytest.raises(UsageError, match="Set max_tokens"):
        run_job(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert main(["space", "check", str(path)]) == 2
    assert main(["optimize", str(path), "--dry-run", "--results", str(tmp_path / "out")]) == 2
    capsys.readouterr()
    assert main(["optimize", str(path), "--dry-run", "--budget-usd", "9", "--results", str(tmp_path / "out")]) == 0
    assert "max_tokens is not set" in " ".join(capsys.readouterr().out.split())


def test_a_job_that_could_do_nothing_exits_with_1(tmp_path, sent, capsys):
    path = tiered_space(tmp_path)
    least = max(call.usd[0] for call in one_calls(resolve_job(load_space(path))))
    arguments = ["optimize", str(path), "--budget-usd", f"{least * 1.001}", "--results", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "ended before its first call: budget.usd has no room" in " ".join(capsys.readouterr().err.split())
