"""`offramp watch` over what a feature depends on beside its model: judges, proposers, fallbacks, bases of tuned models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import promoted_jobs
from offramp.cli.main import main
from offramp.models.names import tuned_base
from offramp.promote.dependencies import dependencies_of
from offramp.promote.folder import FeatureFolder
from offramp.promote.promotion import Dependency, PromotedModel
from offramp.promote.promotion_store import PromotionStore, sealed
from offramp.promote.serialization import values_of
from offramp.records import CallReply, CallRequest, Purpose, Usage
from offramp.space.load import load_space
from promotion_records import make_promotion
from search_jobs import write_space

TODAY = "2026-11-28"
JUDGE = {"kind": "judge", "model": "openai/gpt-4o", "rubric": "Right or wrong?", "points": 5}
WRITER = {"model": "openai/gpt-4.1-mini", "rounds": 1, "count": 1, "every": 1}
OWN = PromotedModel(name="local/smollm2-135m", route="local/smollm2-135m")


def watch(folder: Path, capsys: Any, *more: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = main(["watch", "--promotions", str(folder / "promotions"), "--today", TODAY, "--json", *more])
    return code, json.loads(capsys.readouterr().out)["models"]


def roles(rows: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(row["role"], row["model"], row["standing"]) for row in rows}


def promote(folder: Path, **changes: Any) -> None:
    made = make_promotion(model=OWN, **changes)
    PromotionStore(folder / "promotions", "triage").promote(made, [], label="production")


def judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study with a judge and a proposer, and its promotion."""
    plain = promoted_jobs.reply

    def reply(request: CallRequest) -> CallReply:
        if request.purpose is Purpose.PROGRAM:
            return plain(request)
        text = '{"grade": 5, "why": "right"}' if request.purpose is Purpose.JUDGE else "Sort it well."
        return CallReply(text=text, finish_reason="stop", usage=Usage(input_tokens=9, output_tokens=3), latency_s=0.1)

    monkeypatch.setattr(promoted_jobs, "reply", reply)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    search = {"sampler": "random", "trials": 2, "concurrency": 2}
    promoted_jobs.promoted_job(folder, monkeypatch, space={"metric": JUDGE, "propose": WRITER, "search": search})


def test_judge_and_proposer_are_recorded_and_found_again_in_the_study_or_the_space_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(tmp_path, monkeypatch)
    found = FeatureFolder(tmp_path / "promotions", "landscape")
    recorded = found.load(found.resolve("production"))
    assert recorded.dependencies is not None
    told = [(item.role, item.model.route, item.model.own_address) for item in recorded.dependencies]
    assert told == [("judge", "openai/gpt-4o", False), ("proposer", "openai/gpt-4.1-mini", False)]
    expected = {("judge", "openai/gpt-4o", "soon"), ("proposer", "openai/gpt-4.1-mini", "soon")}
    assert expected < roles(watch(tmp_path, capsys)[1])

    PromotionStore(tmp_path / "promotions", "landscape").promote(
        replace(recorded, dependencies=None), [], label="production"
    )
    storage = ["--storage", f"sqlite:///{tmp_path}/results/offramp.db"]
    (tmp_path / "space.yaml").rename(tmp_path / "moved.yaml")
    assert expected < roles(watch(tmp_path, capsys, *storage)[1])
    monkeypatch.chdir(tmp_path)
    assert expected < roles(watch(tmp_path, capsys)[1]), "the storage of the results folder is the default"

    (tmp_path / "results").rename(tmp_path / "away")
    assert not expected & roles(watch(tmp_path, capsys)[1])
    main(["watch", "--promotions", str(tmp_path / "promotions"), "--today", TODAY])
    assert "its judge and proposer are not known" in capsys.readouterr().out
    (tmp_path / "moved.yaml").rename(tmp_path / "space.yaml")
    assert expected < roles(watch(tmp_path, capsys)[1])


def test_a_judge_that_retires_in_47_days_is_an_alarm_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = PromotedModel(name="openai/gpt-4o", route="openai/gpt-4o")
    promote(tmp_path, dependencies=(Dependency(role="judge", model=judge),))
    arguments = ["watch", "--promotions", str(tmp_path / "promotions"), "--today", TODAY]
    ics = tmp_path / "retirements.ics"
    assert main([*arguments, "--ics", str(ics)]) == 3
    out = capsys.readouterr().out
    assert "47 d  triage (production)  openai/gpt-4o, judge of triage: retires 2027-01-14" in out
    assert "next: name another judge under `metric` in space.yaml" in out
    assert "1 of 2 models of promoted features need" in out
    assert "judge" in ics.read_text() and main([*arguments, "--within", "40d"]) == 0


@pytest.mark.parametrize(
    ("route", "own", "standing"),
    [
        ("openai/gpt-4-32k", False, "vanished"),
        ("openai/gpt-4-0613", False, "retired"),
        ("openai/gpt-6-luna", False, "no date"),
    ],
)
def test_a_judge_stands_as_any_other_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], route: str, own: bool, standing: str
) -> None:
    model = PromotedModel(name=route, route=route, own_address=own)
    promote(tmp_path, dependencies=(Dependency(role="judge", model=model),))
    code, rows = watch(tmp_path, capsys)
    assert ("judge", route, standing) in roles(rows)
    assert code == (3 if standing in ("vanished", "retired") else 0)


@pytest.mark.parametrize(("route", "own"), [("openai/qwen3", True), ("ollama/qwen3", False), ("local/x", False)])
def test_a_judge_of_ones_own_is_listed_once_a_notice_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], route: str, own: bool
) -> None:
    promote(
        tmp_path,
        dependencies=(Dependency(role="judge", model=PromotedModel(name=route, route=route, own_address=own)),),
    )
    assert roles(watch(tmp_path, capsys)[1]) == {("model", OWN.name, "own")}
    notice = tmp_path / "own.yaml"
    notice.write_text(f"schema_version: 1\nretirements:\n  - {{model: {route}, retires: 2026-12-10}}\n")
    code, rows = watch(tmp_path, capsys, "--lifecycle", str(notice))
    assert code == 3 and ("judge", route, "soon") in roles(rows)


def test_every_judge_of_a_mix_counts_with_its_address_and_one_that_has_gone_keeps_its_name(tmp_path: Path) -> None:
    graded = {**JUDGE, "model": "own-judge"}
    mix = {"kind": "mix", "parts": [JUDGE, graded, {**JUDGE, "model": "openai/gone-9000"}, {**JUDGE, "points": 3}]}
    own = {"name": "own-judge", "route": "openai/qwen3", "api_base": "http://127.0.0.1:9/v1", "searched": False}
    path = write_space(tmp_path, metric=mix, models=["openai/gpt-6-luna", own])
    told = [(item.role, item.model.route, item.model.own_address) for item in dependencies_of(load_space(path).space)]
    assert told == [
        ("judge", "openai/gpt-4o", False),
        ("judge", "openai/qwen3", True),
        ("judge", "openai/gone-9000", False),
    ]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ft:gpt-4o-mini-2024-07-18:org::id", "gpt-4o-mini-2024-07-18"),
        ("openai/ft:gpt-4o-mini-2024-07-18:org:sorter:id:ckpt-step-100", "openai/gpt-4o-mini-2024-07-18"),
        ("mistral/ft:open-mistral-7b:587a6b29:20240514:7e773925", "mistral/open-mistral-7b"),
        ("openai/gpt-4o-mini", None),
        ("openai/ft:gpt-4o", None),
        ("anthropic.claude-v2:1", None),
    ],
)
def test_a_tuned_model_s_name_names_its_base(name: str, base: str | None) -> None:
    assert tuned_base(name) == base


@pytest.mark.parametrize("notice", [None, "gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:*"])
def test_a_tuned_model_retires_with_its_base_and_the_base_has_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], notice: str | None
) -> None:
    tuned = PromotedModel(
        name="ft:gpt-4o-mini-2024-07-18:org::id", route="openai/ft:gpt-4o-mini-2024-07-18:org::id", price={}
    )
    promote(tmp_path, fallbacks=(tuned,))
    own = tmp_path / "own.yaml"
    own.write_text(f"schema_version: 1\nretirements:\n  - {{model: '{notice or 'other'}', retires: 2026-12-10}}\n")
    code, rows = watch(tmp_path, capsys, "--lifecycle", str(own))
    dates = {row["role"]: (row["model"], row["retires"]) for row in rows if row["role"] != "model"}
    of_tuned = "2027-01-14" if notice is None else "2026-12-10"
    of_base = "2026-12-10" if notice == "gpt-4o-mini-2024-07-18" else "2027-01-14"
    assert code == 3 and dates == {"fallback": (tuned.name, of_tuned), "base": ("gpt-4o-mini-2024-07-18", of_base)}
    main(["watch", "--promotions", str(tmp_path / "promotions"), "--today", TODAY, "--lifecycle", str(own)])
    assert "gpt-4o-mini-2024-07-18, base of ft:gpt-4o-mini-2024-07-18:org::id" in capsys.readouterr().out


def test_what_earlier_versions_promoted_keeps_its_version() -> None:
    old = make_promotion()
    assert old.dependencies is None and "dependencies" not in values_of(old)
    assert sealed(replace(old, dependencies=())).version != sealed(old).version, "recorded and empty is another content"


def test_a_storage_that_was_named_and_is_not_there_is_an_error_and_the_default_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(tmp_path)
    arguments = ["watch", "--promotions", str(tmp_path / "promotions"), "--today", TODAY]
    assert main([*arguments, "--storage", f"sqlite:///{tmp_path}/none.db"]) == 2
    assert "no storage there" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "offramp.db").write_text("not a database")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 0
    assert "Note: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "code", "standing"),
    [
        (PromotedModel(name="old", route="openai/gpt-4-0314"), 3, "vanished"),
        (PromotedModel(name="large", route="openai/large", own_address=True), 0, "own"),
    ],
)
def test_another_model_that_the_program_asks_is_watched_like_one_that_answers(
    other: PromotedModel, code: int, standing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(tmp_path, others=(other,), predictor_models={"verify": other.name})
    found, rows = watch(tmp_path, capsys)
    assert found == code and ("program", other.name, standing) in roles(rows)
    main(["watch", "--promotions", str(tmp_path / "promotions"), "--today", TODAY])
    assert f"{other.name}, asked by the program as well" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stated", "standing"), [({}, "vanished"), ({"price": {"input_usd": 1.0, "output_usd": 2.0}}, "no date")]
)
def test_a_model_that_its_space_gives_no_price_was_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stated: dict[str, Any], standing: str
) -> None:
    """A deployment with a price of its own was called vanished."""
    write_space(tmp_path, models=[{"name": "azure/ours", **stated}])
    used = PromotedModel(name="azure/ours", route="azure/ours", price={"input_usd": 1.0, "output_usd": 2.0})
    promote(tmp_path, fallbacks=(used,), dependencies=())
    code, rows = watch(tmp_path, capsys)
    assert ("fallback", "azure/ours", standing) in roles(rows) and code == (3 if standing == "vanished" else 0)
