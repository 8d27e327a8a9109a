"""Promoting from a study: what is written, what is shown, and every reason for which the gate refuses."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.errors import PromotionError, UsageError
from offramp.models.retirement.dates import Basis, Retirement, Standing, standing_of
from offramp.promote import promoting
from offramp.promote.folder import FeatureFolder
from offramp.promote.gate import GateRules, refusals
from offramp.promote.promotion import BeatenIncumbent, Comparison, LatencyProbe, PromotedModel, Promotion
from offramp.promote.running import refuse_unsafe
from offramp.space.model import ConstraintsPart, RegressionsPart
from offramp.testing.fakes import FunctionTransport
from promotion_records import SPLIT, make_promotion
from search_jobs import PRICES, answered_by, main, reply_to, rows, run_job, write_space


def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """The folder of a study of the landscape."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    run_job(write_space(tmp_path, **changes), tmp_path / "results")
    return tmp_path


def promote(folder: Path, **options: Any) -> promoting.Promoted:
    return promoting.promote(
        "latest", results=folder / "results", promotions=folder / "promotions", by="ada", **options
    )


def test_the_winner_is_written_with_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, monkeypatch)
    done = promote(folder, why="better")
    evidence = done.promotion.evidence
    assert done.promotion.feature == "landscape" and done.path.name == f"{done.promotion.version}.yaml"
    assert (done.promotion.model.name, done.promotion.instructions) == ("large", {"main": "Strict."})
    assert evidence.holdout is not None and (evidence.holdout.quality, evidence.holdout.n) == (1.0, 6)
    assert evidence.holdout.quality_low is not None and evidence.holdout.quality_low < 1.0
    assert evidence.incumbent is not None and evidence.incumbent.comparison is not None
    assert (evidence.incumbent.comparison.wins, evidence.incumbent.comparison.losses) == (5, 0)
    assert evidence.requests_matched == 6 and evidence.space_file == "space.yaml" and evidence.seed == 0
    assert evidence.price_table.startswith("litellm ") and done.promotion.made.by == "ada"
    kept = FeatureFolder(folder / "promotions", "landscape")
    assert kept.load(kept.resolve("production")) == done.promotion
    assert "127.0.0.1" not in done.path.read_text(), "no address in the file"


def test_what_changes_is_shown_against_what_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    folder = study(tmp_path, monkeypatch)
    before = promote(folder, pick="incumbent").promotion
    options = ["--results", str(folder / "results"), "--promotions", str(folder / "promotions")]
    assert main(["promote", "latest", *options]) == 0
    shown = capsys.readouterr().out
    assert f"{before.version} -> " in shown
    assert "model.name: small -> large" in shown and "instructions.main: Vague. -> Strict." in shown
    assert main(["diff", "landscape", before.version[:5], "production", *options[2:], "--json"]) == 0
    keys = {change["key"] for change in json.loads(capsys.readouterr().out)["config"]}
    assert "model.route" in keys and "program.format" not in keys
    assert main(["rollback", "landscape", *options[2:], "--why", "users complain"]) == 0
    capsys.readouterr()
    assert main(["history", "landscape", *options[2:], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [move["action"] for move in told] == ["promote", "promote", "rollback"]
    assert told[-1]["version"] == before.version and told[-1]["why"] == "users complain"


def test_a_first_promotion_shows_what_people_choose_and_not_every_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = study(tmp_path, monkeypatch)
    assert main(["promote", "--results", str(folder / "results"), "--promotions", str(folder / "promotions")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("nothing -> ") and "\n  model.name: large\n" in shown
    assert "\n  instructions.main: Strict.\n" in shown and "sent_params" not in shown and "- ->" not in shown


def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, monkeypatch)
    assert promote(folder, dry_run=True).move is None
    assert not (folder / "promotions").exists()


@pytest.mark.parametrize("pick", ["knee", "trial 0", "incumbent"])
def test_a_candidate_is_picked_by_word_number_or_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pick: str) -> None:
    folder = study(tmp_path, monkeypatch)
    try:
        found = promote(folder, pick=pick, dry_run=True, force=True, why="a look").promotion.evidence.candidate
    except promoting.PromotionRefused as refused:
        found = refused.promotion.evidence.candidate
    assert promote(folder, pick=found[:6], force=True, why="a look").promotion.evidence.candidate == found
    with pytest.raises(UsageError, match="no such candidate"):
        promote(folder, pick="zzz")


def test_a_candidate_that_the_holdout_never_saw_is_refused_and_forcing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = study(tmp_path, monkeypatch)
    options = ["--results", str(folder / "results"), "--promotions", str(folder / "promotions"), "--json"]
    from offramp.study.lookup import pareto

    report = pareto("latest", results=folder / "results")
    other = next(m for m in report.members if m.holdout is None)
    assert main(["promote", "latest", "--pick", other.candidate, *options]) == 3
    refused = json.loads(capsys.readouterr().out)["refused"]
    assert any("not evaluated on the holdout" in reason for reason in refused)
    assert not (folder / "promotions").exists()
    assert main(["promote", "latest", "--pick", other.candidate, *options, "--force"]) == 2
    capsys.readouterr()
    assert main(["promote", "latest", "--pick", other.candidate, *options, "--force", "--why", "a test"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["move"]["forced"] == refused and told["promotion"]["evidence"]["gate"]["forced_because"] == "a test"


def test_data_that_changed_since_the_study_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, monkeypatch)
    changed = [{**row, "message": row["message"].replace("case 030", "case 999")} for row in rows()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    with pytest.raises(UsageError, match="have changed since it ran"):
        promote(folder)


def test_a_space_file_that_moved_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path / "old", monkeypatch)
    for name in ("space.yaml", "rows.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
    with pytest.raises(UsageError):
        promote(folder)
    assert promote(folder, space=tmp_path / "space.yaml").promotion.evidence.space_file == "../space.yaml"
    with pytest.raises(UsageError, match=r"--space: there is no such file: got .*nope\.yaml"):
        promote(folder, space=tmp_path / "nope.yaml")


def test_the_same_without_stored_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, monkeypatch, store_text=False)
    assert promote(folder).promotion.evidence.requests_matched == 6


def test_fallbacks_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, monkeypatch)
    assert [model.name for model in promote(folder, fallbacks=["small", "small"]).promotion.fallbacks] == ["small"]
    with pytest.raises(PromotionError, match="feature: got ''"):
        promote(folder, feature="")
    with pytest.raises(UsageError, match="itself"):
        promote(folder, fallbacks=["large"])
    with pytest.raises(UsageError, match="no model has this name"):
        promote(folder, fallbacks=["nobody/knows-me"])


# ------------------------------------------------------------------------------------------------- the gate alone

TODAY = dt.date(2026, 11, 25)
RULES = GateRules(
    within_days=90, constraints=ConstraintsPart(), needs_price=True, complete=True, holdout_examples=10,
    retirements={}, today=TODAY,
)  # fmt: skip


PROBE = LatencyProbe(
    n=30, concurrency=1, measured_at="2026-11-25T07:00:00+00:00", p50_s=0.2, p50_low_s=0.19, p50_high_s=0.21, p95_s=0.3,
    p95_low_s=0.25, p95_high_s=None,
)  # fmt: skip
BUDGET = ConstraintsPart(regressions=RegressionsPart(max=0.05))


def beaten(**changes: Any) -> BeatenIncumbent:
    comparison = Comparison(
        **{"wins": 3, "losses": 1, "ties": 6, "difference": 0.2, "low": -0.1, "high": 0.5, **changes}
    )
    return BeatenIncumbent(candidate="ffff", params={}, holdout=SPLIT, comparison=comparison)


def with_evidence(**changes: Any) -> Promotion:
    base = make_promotion()
    return replace(base, evidence=replace(base.evidence, **changes))


def retires(date: str, basis: Basis = Basis.TABLE, model: str = "hosted") -> dict[str, Any]:
    return {"retirements": {model: Retirement(date=dt.date.fromisoformat(date), basis=basis, note="Switched off.")}}


@pytest.mark.parametrize(
    ("promotion", "rules", "says"),
    [
        (with_evidence(), {}, None),
        (with_evidence(), {"complete": False}, "stopped it before"),
        (with_evidence(holdout=None), {}, "not evaluated on the holdout"),
        (with_evidence(holdout=replace(SPLIT, n=0)), {}, "not evaluated on the holdout"),
        (with_evidence(holdout=replace(SPLIT, n_failed=1)), {}, "1 of 11 examples have no score (1 of them"),
        (with_evidence(holdout=replace(SPLIT, n=1)), {"holdout_examples": 21}, "20 of 21 examples have no score (0 of"),
        (with_evidence(holdout=replace(SPLIT, n=5)), {}, "its quality is 0.400 if those are lost"),
        (with_evidence(requests_matched=9), {}, "only 9 of 10 runs"),
        (with_evidence(), {"constraints": ConstraintsPart(quality_min=0.9)}, "quality is 0.8, below the limit of 0.9"),
        (with_evidence(), {"constraints": ConstraintsPart(quality_min=0.8)}, None),
        (with_evidence(), {"constraints": ConstraintsPart(cost_usd_max=1e-6)}, "above the limit"),
        (with_evidence(), {"constraints": ConstraintsPart(latency_p95_s_max=0.1)}, "latency_p95_s is 0.4"),
        (
            with_evidence(holdout=replace(SPLIT, cost_usd=None)),
            {"constraints": ConstraintsPart(cost_usd_max=1.0)},
            "cost_usd is not known",
        ),
        (with_evidence(probe=PROBE), {"constraints": ConstraintsPart(latency_p95_s_max=0.35)}, None),
        (with_evidence(probe=PROBE), {"constraints": ConstraintsPart(latency_p95_s_max=0.2)}, "latency_p95_s is 0.3"),
        (with_evidence(incumbent=beaten()), {}, None),
        (with_evidence(incumbent=beaten(difference=-0.3, low=-0.5, high=-0.1)), {}, "worse than the incumbent"),
        (with_evidence(incumbent=beaten()), {"constraints": BUDGET}, "1 of 10 examples of the holdout got worse"),
        (with_evidence(incumbent=beaten(losses=0, ties=200)), {"constraints": BUDGET}, None),
        (with_evidence(incumbent=replace(beaten(), comparison=None)), {}, "no result on the holdout to compare"),
        (with_evidence(), retires("2026-12-25"), "hosted retires in 30 days, on 2026-12-25"),
        (with_evidence(), retires("2026-11-25"), "hosted retired on 2026-11-25"),
        (with_evidence(), retires("2027-12-25"), None),
        (with_evidence(), {**retires("2026-12-25"), "within_days": 10}, None),
        (with_evidence(), retires("2026-11-24", Basis.NOTICE), "2026-11-24 (your own notice: Switched off.)"),
        (with_evidence(), retires("2026-11-24", Basis.STATED), "hosted retired on 2026-11-24"),
        (with_evidence(), retires("2026-11-24", Basis.ESTIMATE), None),
        (with_evidence(), retires("2026-11-24", model="other"), None),
        (make_promotion(fallbacks=(PromotedModel(name="f", route="openai/f"),)), retires("2026-11-26", model="f"), "f ret"),
        (make_promotion(model=PromotedModel(name="m", route="openai/m")), {}, "price of m is not known"),
        (make_promotion(model=PromotedModel(name="m", route="openai/m")), {"needs_price": False}, None),
    ],
)  # fmt: skip
def test_each_reason_is_found(promotion: Promotion, rules: dict[str, Any], says: str | None) -> None:
    found = refusals(promotion, replace(RULES, **rules))
    assert (len(found), says is None or says in found[0]) == ((0, True) if says is None else (1, True)), found


def test_all_reasons_are_told_at_once() -> None:
    bad = replace(with_evidence(holdout=None), model=PromotedModel(name="m", route="m"))
    assert len(refusals(bad, replace(RULES, complete=False, **retires("2026-11-26", model="m")))) == 4


@pytest.mark.parametrize("basis", [Basis.NOTICE, Basis.STATED, Basis.TABLE])
@pytest.mark.parametrize("days", [-400, -1, 0, 1, 89, 90, 91, 400])
def test_what_watch_calls_urgent_by_an_announced_date_is_refused_and_nothing_else(basis: Basis, days: int) -> None:
    found = Retirement(date=TODAY + dt.timedelta(days=days), basis=basis)
    urgent = standing_of(found, TODAY, 90, without=Standing.UNKNOWN).alarming
    assert bool(refusals(with_evidence(), replace(RULES, retirements={"hosted": found}))) is urgent


def notices(folder: Path, retires: dt.date, **more: Any) -> Path:
    path = folder / "lifecycle.yaml"
    path.write_text(yaml.safe_dump({"schema_version": 1, "retirements": [{"retires": str(retires), **more}]}))
    return path


def test_ones_own_notice_refuses_a_model_and_a_fallback_as_the_table_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = study(tmp_path, monkeypatch)
    soon = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    path = notices(folder, soon, model="openai/lar*", note="Team decision.")
    with pytest.raises(promoting.PromotionRefused) as refused:
        promote(folder, lifecycle=path)
    assert refused.value.reasons == (f"large retires in 30 days, on {soon} (your own notice: Team decision.)",)
    assert promote(folder, lifecycle=path, within_days=20).promotion.model.retirement_date == str(soon)
    notices(folder, soon - dt.timedelta(days=31), model="small")
    with pytest.raises(promoting.PromotionRefused, match="small retired on"):
        promote(folder, lifecycle=path, fallbacks=["small"])
    monkeypatch.chdir(folder)  # as a person would: the file is where they stand
    notices(folder, soon, model="large")
    assert main(["promote"]) == 3 and main(["promote", "--within", "29"]) == 0
    assert "your own notice" in capsys.readouterr().err


def test_a_feed_refuses_a_model_as_ones_own_notice_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path, monkeypatch)
    soon = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)).isoformat()
    models = [{"id": "small", "shutdown": soon}, {"id": "large", "shutdown": soon}]
    feed = tmp_path / "feed.json"
    feed.write_text(json.dumps({"spec": "model-eol/0.1", "publisher": "openai", "generated": "2026-11-20T00:00:00Z",
                                "models": models}))  # fmt: skip
    with pytest.raises(promoting.PromotionRefused, match=r"retires in \d+ days, on .* \(a feed\)"):
        promote(tmp_path, feeds=[feed])
    assert not (tmp_path / "promotions").exists()


def test_ones_own_notice_may_say_later_than_the_space_file_or_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "price": price,
         "retirement_date": "2026-01-01"} for name, price in PRICES.items()
    ]  # fmt: skip
    folder = study(tmp_path, monkeypatch, models=models)
    with pytest.raises(promoting.PromotionRefused, match="large retired on 2026-01-01"):
        promote(folder)
    later = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=400)
    done = promote(folder, lifecycle=notices(folder, later, model="large"))
    assert done.promotion.model.retirement_date == str(later)


def test_a_date_that_the_space_file_states_is_watched_after_the_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    soon = str(dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30))
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "price": price,
         "retirement_date": soon} for name, price in PRICES.items()
    ]  # fmt: skip
    folder = study(tmp_path, monkeypatch, models=models)
    promote(folder, within_days=10)
    assert main(["watch", "--promotions", str(folder / "promotions")]) == 3
    assert f"large: retires {soon} (its space file)" in capsys.readouterr().out


def test_a_rollback_to_a_model_that_has_gone_is_done_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = study(tmp_path, monkeypatch)
    promote(folder)
    promote(folder, pick="incumbent", force=True, why="a test")
    path = notices(folder, TODAY - dt.timedelta(days=1), model="large")
    options = ["--promotions", str(folder / "promotions"), "--lifecycle", str(path)]
    assert main(["rollback", "landscape", *options]) == 0
    assert "note: large retired on 2026-11-24 (your own notice)" in capsys.readouterr().out
    path.write_text("")
    assert main(["rollback", "landscape", *options, "--to", "production", "--json"]) == 2
    version = promote(folder, pick="incumbent", force=True, why="a test").promotion.version
    promote(folder)
    capsys.readouterr()
    assert main(["rollback", "landscape", *options, "--to", version, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == version and "the file is empty" in told["notes"][0]


def test_a_broken_notice_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(tmp_path, monkeypatch)
    path = notices(folder, TODAY, modle="large")
    with pytest.raises(UsageError, match=r"lifecycle.yaml.*model"):
        promote(folder, lifecycle=path)
    assert not (folder / "promotions").exists()


# ----------------------------------------------------------------------------------------------------- redirection


@pytest.mark.parametrize("route", ["http://evil/v1", "huggingface/https://evil", "openai/../x", "", "openai/m x", "/m"])
def test_a_route_that_is_an_address_is_refused(route: str) -> None:
    with pytest.raises(PromotionError, match="route"):
        refuse_unsafe(make_promotion(model=PromotedModel(name="m", route=route)))


@pytest.mark.parametrize(
    "route", ["openai/ft:gpt-4o:org::id", "bedrock/anthropic.claude-v2:1", "local/qwen2.5-coder-0.5b"]
)
def test_an_ordinary_route_is_fine(route: str) -> None:
    refuse_unsafe(make_promotion(model=PromotedModel(name="m", route=route)))


@pytest.mark.parametrize(
    "name", ["api_base", "base_url", "api_key", "extra_headers", "organization", "custom_llm_provider", "proxy",
             "aws_bedrock_runtime_endpoint", "vertex_project", "model", "client", "fallbacks", "API_BASE"],
)  # fmt: skip
def test_a_parameter_that_could_redirect_a_key_is_refused(name: str) -> None:
    with pytest.raises(PromotionError, match="where requests go"):
        refuse_unsafe(make_promotion(request_params={name: "x"}))


def test_ordinary_parameters_are_fine() -> None:
    names = ("temperature", "max_tokens", "top_p", "seed", "stop", "reasoning_effort", "response_format", "grammar",
             "json_schema", "logit_bias", "dry_base", "n_predict", "chat_template_kwargs", "service_tier")  # fmt: skip
    refuse_unsafe(make_promotion(request_params=dict.fromkeys(names, 1)))
