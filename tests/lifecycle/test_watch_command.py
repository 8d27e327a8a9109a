"""`offramp watch` over promotions and over files: what is printed and with which code it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import icalendar
import pytest

from offramp.cli.main import main
from offramp.promote.promotion import PromotedModel
from offramp.promote.promotion_store import PromotionStore
from promotion_records import SPLIT, make_promotion

LOCAL = PromotedModel(name="local/smollm2-135m", route="local/smollm2-135m", price={"compute_usd_per_hour": 0.1})
HOSTED = PromotedModel(name="gpt-4o", route="openai/gpt-4o", price={"input_usd": 1.0, "output_usd": 2.0})
NOTICE = "schema_version: 1\nretirements:\n  - {model: local/smollm2-135m, retires: 2026-11-30, note: by mail}\n"


def promote(root: Path, model: PromotedModel, label: str = "production", **changes: Any) -> None:
    changes = {"fallbacks": (), **changes}
    PromotionStore(root, "triage").promote(make_promotion(model=model, **changes), [], label=label)


def watch(tmp_path: Path, *more: str) -> int:
    promotions = ["--promotions", str(tmp_path / "promotions")]
    return main(["watch", *promotions, "--today", "2026-11-25", *more])


def own(tmp_path: Path) -> list[str]:
    (tmp_path / "own.yaml").write_text(NOTICE)
    return ["--lifecycle", str(tmp_path / "own.yaml")]


def test_nothing_promoted_is_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch"]) == 0
    assert "--scan" in capsys.readouterr().out


def test_a_named_folder_that_is_not_there_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(tmp_path) == 2
    monkeypatch.setenv("OFFRAMP_PROMOTIONS", str(tmp_path / "misspelt"))
    assert main(["watch"]) == 2
    told = capsys.readouterr().err
    assert "misspelt: there is no such folder. Name the folder of promotions with --promotions." in told


def test_a_labels_file_that_was_lost_is_no_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promote(tmp_path / "promotions", LOCAL)
    labels = tmp_path / "promotions" / "triage" / "labels.yaml"
    for lose in (lambda: labels.write_text("# nothing\n"), labels.unlink):
        lose()
        assert watch(tmp_path) == 2
        assert "triage/labels.yaml: no label points at the versions here. Restore it" in capsys.readouterr().err


def test_folders_that_hold_no_feature_are_passed_over_and_a_bad_name_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(tmp_path / "promotions", LOCAL)
    (tmp_path / "promotions" / "notes and such").mkdir()
    hidden = tmp_path / "promotions" / ".checkpoints"
    hidden.mkdir()
    (hidden / "labels.yaml").write_text("")
    assert watch(tmp_path) == 0
    (tmp_path / "promotions" / "notes and such" / "labels.yaml").write_text("")
    assert watch(tmp_path) == 2
    told = capsys.readouterr().err
    assert "promotions: feature: got 'notes and such'" in told and "Take 'notes-and-such'." in told


@pytest.mark.parametrize("date", ["9999-12-31", "0001-01-01"])
def test_a_date_as_far_as_dates_go_is_watched(tmp_path: Path, date: str) -> None:
    promote(tmp_path / "promotions", LOCAL)
    (tmp_path / "own.yaml").write_text(NOTICE.replace("2026-11-30", date))
    more = ["--lifecycle", str(tmp_path / "own.yaml"), "--within", "99999w", "--ics", str(tmp_path / "x.ics")]
    assert watch(tmp_path, *more) == (3 if date < "2026" else 0)


def test_a_model_of_one_s_own_is_well_until_one_s_own_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(tmp_path / "promotions", LOCAL)
    assert watch(tmp_path) == 0
    assert "runs here, no notice" in capsys.readouterr().out
    assert watch(tmp_path, *own(tmp_path)) == 3
    out = capsys.readouterr().out
    assert "5 d  triage (production)  local/smollm2-135m: retires 2026-11-30 (your own notice)" in out
    assert "by mail" in out and "next: offramp migrate triage" in out and "local/qwen2.5-coder-0.5b" in out


def test_the_window_decides_and_takes_days_and_weeks(tmp_path: Path) -> None:
    promote(tmp_path / "promotions", LOCAL)
    notice = own(tmp_path)
    assert [watch(tmp_path, *notice, "--within", text) for text in ("4d", "5", "1w", "0d")] == [0, 3, 3, 0]
    assert watch(tmp_path, "--within", "soon") == 2


def test_labels_fallbacks_and_prices_are_all_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "promotions"
    promote(root, LOCAL)
    promote(root, LOCAL, "staging", fallbacks=(HOSTED,))
    assert watch(tmp_path, "--json", "--within", "3650d") == 3
    report = json.loads(capsys.readouterr().out)
    told = {(m["label"], m["route"], m["fallback"]) for m in report["models"]}
    staging = {("staging", "local/smollm2-135m", False), ("staging", "openai/gpt-4o", True)}
    assert told == {("production", "local/smollm2-135m", False), *staging}
    first = report["models"][0]
    assert first["route"] == "openai/gpt-4o" and first["next"] == "offramp migrate triage --label staging"
    tokens = SPLIT.tokens
    assert first["cost"]["then_usd_1k"] == pytest.approx((tokens["input_tokens"] + 2 * tokens["output_tokens"]) / 1000)
    assert first["cost"]["ratio"] == pytest.approx(first["cost"]["now_usd_1k"] / first["cost"]["then_usd_1k"])
    assert first["successors"] and report["alarming"] == 1


def test_a_calendar_is_written_beside_the_report(tmp_path: Path) -> None:
    promote(tmp_path / "promotions", LOCAL)
    path = tmp_path / "retirements.ics"
    assert watch(tmp_path, *own(tmp_path), "--ics", str(path)) == 3
    assert len(icalendar.Calendar.from_ical(path.read_bytes()).walk("VEVENT")) == 1


def test_a_promotion_that_was_changed_is_an_error_and_not_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(tmp_path / "promotions", LOCAL)
    (path,) = [path for path in (tmp_path / "promotions" / "triage").glob("*.yaml") if path.name != "labels.yaml"]
    path.write_text(path.read_text().replace("one word", "two words"))
    assert watch(tmp_path) == 2
    assert "changed after the promotion" in capsys.readouterr().err


def test_a_scan_needs_no_promotion_and_ends_by_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "a.yaml").write_text("model: local/smollm2-135m\n")
    assert watch(tmp_path, "--scan", str(app)) == 0
    assert watch(tmp_path, "--scan", str(app), *own(tmp_path)) == 3
    assert "a.yaml:1" in capsys.readouterr().out
    assert watch(tmp_path, "--scan", str(app), "--json", *own(tmp_path)) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["models"][0]["places"] == [{"file": "a.yaml", "line": 1, "column": 8}]
    assert watch(tmp_path, "--scan", str(app), "--ics", str(tmp_path / "c.ics")) == 2


def test_control_characters_of_a_file_name_are_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a\x1b[2J.py").write_text('M = "gpt-4o"\n')
    watch(tmp_path, "--scan", str(tmp_path / "app"))
    assert "\x1b" not in capsys.readouterr().out


def test_tokens_that_were_not_measured_give_no_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = replace(SPLIT, tokens={})
    evidence = replace(make_promotion().evidence, holdout=bare, search=bare)
    promote(tmp_path / "promotions", HOSTED, evidence=evidence)
    watch(tmp_path, "--json")
    assert json.loads(capsys.readouterr().out)["models"][0]["cost"]["ratio"] is None
