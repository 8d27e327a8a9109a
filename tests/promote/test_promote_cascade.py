"""A cascade is promoted, loaded, checked, watched and rolled back like any candidate."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import offramp
from offramp.calls.failures import InfrastructureError
from offramp.errors import GateRefused, OfframpError, PromotionError, UsageError
from offramp.job.clock import Timing
from offramp.lifecycle.in_use import Role, models_in_use
from offramp.promote import promoting
from offramp.promote.exports.exporting import FORMS, export, source_of
from offramp.promote.folder import FeatureFolder
from offramp.promote.loading import load_messages
from offramp.promote.promotion import OF_ONE_PROGRAM, CascadeGain, Promotion
from offramp.promote.promotion_schema import schema_text
from offramp.promote.promotion_store import sealed
from offramp.promote.running import refuse_unsafe
from offramp.promote.serialization import values_of
from offramp.records import CallReply, CallRequest, Usage
from offramp.search import api
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, answered_by, at_once, made_once, main, write_space

KINDS = ["agreement", "cost", "confidence", "stages_cost", "stages_confidence", "predicted", "pair", "router"]
BASE = "http://127.0.0.1:9/v1"
TOPICS = {"north": "parcel", "south": "invoice"}
"""What each cheap model is right about; `large` is right about everything."""


def messages(count: int = 38) -> list[dict[str, Any]]:
    """Two kinds of messages, in turns."""
    words = "parcel lost on the way to me", "invoice wrong in the sum I paid"
    return [
        {"id": f"e{i:03}", "message": f"my {words[i % 2]} number {i:03}", "label": LABELS[i % 3]} for i in range(count)
    ]


def answer(request: CallRequest) -> CallReply:
    """Right on its topic, and on its way there a cheap model that is wrong writes much and is not sure."""
    text = request.messages[-1]["content"]
    number, name = int(text.split()[-1]), request.model.name
    right = name == "large" or TOPICS[name] in text
    usage = Usage(input_tokens=100, output_tokens=5 if right else 60 + number % 5)
    return CallReply(
        text=LABELS[(number if right else number + 1) % 3], usage=usage, finish_reason="stop",
        latency_s=0.2 if right else 0.4, logprob=-0.1 if right else -1.0 - number % 4 / 10,
    )  # fmt: skip


def make_study(folder: Path) -> Path:
    """A study of three candidates, of which the incumbent and the recommended one ran on the holdout."""
    prices = {"north": 1.0, "south": 1.1, "large": 25.0}
    models = [
        {"name": n, "route": f"openai/{n}", "api_base": BASE, "price": {"input_usd": usd, "output_usd": 2 * usd}}
        for n, usd in prices.items()
    ]
    space = write_space(
        folder, models=models, instructions={"clear": "Clear."}, params={"max_tokens": 16},
        incumbent={"model": "north", "instruction": "clear"}, splits={"train": 2, "search": 24, "holdout": 12},
        objectives={"quality": {"weight": 0.6}, "cost": {"weight": 0.4, "scale": [0.003, 0.0]}},
        search={"sampler": "grid", "trials": 6, "race": None},
    )  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in messages()))
    api.optimize(space, results=folder, transport=FunctionTransport(answer), timing=Timing(sleep=at_once))
    return folder


def make_verified(folder: Path) -> Path:
    make_study(folder)
    api.verify(
        "latest",
        results=folder,
        probe=0,
        cascade="router",
        transport=FunctionTransport(answer),
        timing=Timing(sleep=at_once),
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a study whose candidates all ran on the holdout."""
    answered_by(monkeypatch, FunctionTransport(answer))
    made_once("cascades: verified", tmp_path, make_verified)
    return tmp_path


def promote(folder: Path, kind: str, **options: Any) -> promoting.Promoted:
    given = {"feature": "triage", "by": "ada", **options}
    return promoting.promote("latest", cascade=kind, results=folder, promotions=folder / "promotions", **given)


def loaded(folder: Path, reply: Any = answer, **options: Any) -> Any:
    given = {"api_base": BASE, "transport": FunctionTransport(reply), "attempts": 1, **options}
    return offramp.load("triage", promotions=folder / "promotions", **given)


def holdout_of(done: promoting.Promoted, folder: Path) -> dict[str, float]:
    ref = done.promotion.evidence.holdout_results
    assert ref is not None
    return {row["example"]: row["score"] for row in FeatureFolder(folder / "promotions", "triage").rows(ref)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_promoted_rule_does_on_the_holdout_what_its_evidence_says(folder, kind) -> None:
    done = promote(folder, kind, force=True, why="whether it pays does not matter here")
    promotion, asked = done.promotion, []

    def reply(request: CallRequest) -> CallReply:
        asked.append(request.model.name)
        return answer(request)

    program, known = loaded(folder, reply), {row["id"]: row for row in messages()}
    scores, counts = holdout_of(done, folder), []
    spent = 0.0
    prices = {part.model.name: part.model.price for part in promotion.parts}
    for example, score in scores.items():
        asked.clear()
        assert (program(message=known[example]["message"]).label == known[example]["label"]) == bool(score)
        counts.append(list(asked))
        for name in asked:
            usage = answer_usage(name, known[example]["message"])
            spent += (usage[0] * prices[name]["input_usd"] + usage[1] * prices[name]["output_usd"]) / 1e6
    evidence = promotion.evidence
    assert len(scores) == 12 == evidence.holdout.n
    assert evidence.holdout.quality == pytest.approx(sum(scores.values()) / 12)
    assert evidence.holdout.cost_usd == pytest.approx(spent / 12)
    shares = [member.share for member in promotion.cascade.members]
    for place, part in enumerate(promotion.parts):
        assert shares[place] == pytest.approx(sum(part.model.name in names for names in counts) / 12)
    assert evidence.requests_matched == 12 and evidence.incumbent.comparison is not None
    kept = FeatureFolder(folder / "promotions", "triage")
    assert kept.load(kept.resolve("production")) == promotion
    jsonschema.validate(values_of(promotion), json.loads(schema_text()))
    assert promotion.cascade.holdout.n == 12 and promotion.cascade.crossed.n == 24
    assert "127.0.0.1" not in done.path.read_text()
    assert asyncio.run(program.acall(message=messages()[0]["message"])).label in LABELS


def answer_usage(name: str, message: str) -> tuple[int, int]:
    right = name == "large" or TOPICS[name] in message
    return 100, 5 if right else 60 + int(message.split()[-1]) % 5


def test_a_rule_is_promoted_from_the_command_line_and_a_running_app_follows_it_there_and_back(folder, capsys) -> None:
    at = ["--results", str(folder), "--promotions", str(folder / "promotions"), "--feature", "triage"]
    assert main(["promote", "latest", "--pick", "incumbent", *at]) == 0
    program = loaded(folder)
    parcel, invoice = messages()[0], messages()[1]
    assert program(**{"message": parcel["message"]}).label == parcel["label"]
    assert program(**{"message": invoice["message"]}).label != invoice["label"]
    assert main(["cascades", "latest", "--results", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "--cascade KIND" in shown
    rule = next(word for line in shown.splitlines() if " pair " in line for word in line.split(", ") if "pair" in word)
    assert main(["promote", "latest", "--cascade", rule.split()[1][:8], *at]) == 0
    shown = capsys.readouterr().out
    assert "cascade.kind: - -> pair" in shown and "(north / south)" in shown and "pair cascade on the holdout" in shown
    for row in (parcel, invoice):
        assert program(message=row["message"]).label == row["label"]
    assert {name.partition(".")[0] for name, _ in program.named_predictors()} == {"member_1", "member_2"}
    assert main(["history", "triage", "--promotions", str(folder / "promotions"), "--json"]) == 0
    moves = json.loads(capsys.readouterr().out)
    assert rule.split()[1] == moves[-1]["candidate"] and not moves[-1].get("forced")
    assert main(["rollback", "triage", "--promotions", str(folder / "promotions")]) == 0
    assert program(message=invoice["message"]).label != invoice["label"]
    assert main(["rollback", "triage", "--promotions", str(folder / "promotions"), "--to", moves[-1]["version"]]) == 0
    assert program(message=invoice["message"]).label == invoice["label"]


def test_check_runs_the_rule_again_and_names_what_a_member_broke(folder, capsys, monkeypatch) -> None:
    promote(folder, "pair")
    check = ["check", "triage", "--results", str(folder), "--promotions", str(folder / "promotions")]
    assert main([*check, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["holds"] and report["n"] == 12 and report["calls"] == 12

    def worse(request: CallRequest) -> CallReply:
        reply = answer(request)
        return CallReply(text="billing", usage=reply.usage, finish_reason="stop", latency_s=0.2) if request.model.name == "south" else reply  # fmt: skip

    answered_by(monkeypatch, FunctionTransport(worse))
    assert main([*check, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["broken"] and all("invoice" in broken["inputs"]["message"] for broken in report["broken"])

    def down(request: CallRequest) -> CallReply:
        if request.model.name == "south":
            raise InfrastructureError("503")
        return answer(request)

    answered_by(monkeypatch, FunctionTransport(down))
    assert main([*check, "--json"]) != 0, "a member that is down is no success of another"


def test_a_rule_whose_members_did_not_run_on_the_holdout_is_refused_until_they_are_verified(
    tmp_path, monkeypatch, capsys
) -> None:
    answered_by(monkeypatch, FunctionTransport(answer))
    made_once("cascades: searched", tmp_path, make_study)
    with pytest.raises(GateRefused, match="verify STUDY --cascade pair"):
        promote(tmp_path, "pair")
    assert not (tmp_path / "promotions" / "triage" / "labels.yaml").exists()
    assert main(["verify", "latest", "--results", str(tmp_path), "--cascade", "pair", "--probe", "0", "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)["verification"]["candidates"]
    done = promote(tmp_path, "pair")
    assert {member.candidate for member in done.promotion.cascade.members} <= set(verified)
    assert done.promotion.evidence.gate.refused == () and done.promotion.cascade.holdout.difference > 0


def test_a_rule_that_does_not_pay_on_the_holdout_is_refused_with_what_to_promote_in_its_place(folder) -> None:
    with pytest.raises(GateRefused, match="not ahead of the best single candidate on the holdout") as refused:
        promote(folder, "agreement")
    assert "--pick" in str(refused.value)
    done = promote(folder, "agreement", force=True, why="to see")
    assert done.refused and done.promotion.evidence.gate.forced_because == "to see"


def test_every_model_of_a_rule_is_watched_with_the_tokens_of_its_share(folder, capsys) -> None:
    done = promote(folder, "router")
    used = {one.name: one for one in models_in_use(folder / "promotions")}
    assert [one.role for one in used.values()] == [Role.MODEL, *[Role.PROGRAM] * (len(used) - 1)]
    assert set(used) == {part.model.name for part in done.promotion.parts}
    for part, member in zip(done.promotion.parts, done.promotion.cascade.members, strict=True):
        whole = part.evidence.holdout.tokens["input_tokens"]
        found = used[part.model.name].usage_1k
        assert found.input_tokens == pytest.approx(1000 * whole * member.share, abs=1)
        assert used[part.model.name].request_params == {"max_tokens": 16}
    (folder / "lifecycle.yaml").write_text(
        yaml.safe_dump(
            {"schema_version": 1, "retirements": [{"model": "south", "retires": "2020-01-01", "note": "gone"}]}
        )
    )
    watch = ["watch", "--promotions", str(folder / "promotions"), "--lifecycle", str(folder / "lifecycle.yaml")]
    assert main([*watch, "--json"]) == 3
    assert "south" in capsys.readouterr().out
    with pytest.raises(GateRefused, match="south retired on 2020-01-01"):
        promote(folder, "router", lifecycle=folder / "lifecycle.yaml")


def test_other_tools_cannot_run_a_rule_and_every_export_says_what_to_do(folder) -> None:
    promote(folder, "pair")
    for form in FORMS:
        with pytest.raises(UsageError, match=r"cascade of programs.*promote and export its members"):
            export(source_of("triage", promotions=folder / "promotions"), form)


def test_what_needs_one_program_refuses_a_rule(folder) -> None:
    promote(folder, "pair")
    with pytest.raises(UsageError, match=r"it is a cascade.*offramp\.load"):
        load_messages("triage", {"message": "x"}, promotions=folder / "promotions")
    with pytest.raises(UsageError, match="DSPy cannot save"):
        loaded(folder).save(str(folder / "state.json"))
    assert main(["migrate", "triage", "--promotions", str(folder / "promotions"), "--results", str(folder)]) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cascade": "no"}, "no such rule"), ({"cascade": ""}, "no such rule"),
        ({"cascade": "single"}, "no such rule"), ({"cascade": "pair", "pick": "incumbent"}, "Leave one of them out"),
        ({"cascade": "pair", "fallbacks": ["large"]}, "another answers"), ({"weights": {"quality": 1.0}}, "--cascade"),
        ({"cascade": "pair", "weights": {"speed": 1.0}}, "unknown objective"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused_before_anything_is_written(folder, options, says) -> None:
    with pytest.raises(OfframpError, match=says):
        promoting.promote("latest", results=folder, promotions=folder / "promotions", **options)
    assert not (folder / "promotions").exists()


def test_other_weights_choose_other_rules_and_are_part_of_their_names(folder) -> None:
    own, cheap = (
        offramp.cascades("latest", results=folder),
        offramp.cascades("latest", results=folder, weights={"cost": 1.0}),
    )
    assert own.best["pair"].id != cheap.best["pair"].id
    done = promote(folder, cheap.best["pair"].id[:6], weights={"cost": 1.0}, force=True, why="to see")
    assert (
        done.promotion.cascade.weights == {"cost": 1.0} and done.promotion.evidence.candidate == cheap.best["pair"].id
    )
    with pytest.raises(UsageError, match="give the same --weights"):
        promote(folder, cheap.best["pair"].id)


@pytest.mark.parametrize("kind", ["cost", "agreement", "router"])
def test_where_one_member_gives_no_answer_another_answers(folder, kind, caplog) -> None:
    promote(folder, kind, force=True, why="to see")
    down: list[str] = []

    def reply(request: CallRequest) -> CallReply:
        if request.model.name in down:
            raise InfrastructureError("503")
        return answer(request)

    program = loaded(folder, reply)
    for name in ("north", "south", "large"):
        down[:] = [name]
        with caplog.at_level(logging.WARNING, "offramp"):
            for row in messages(4):
                assert program(message=row["message"]).label in LABELS

    def none(_: CallRequest) -> CallReply:
        raise InfrastructureError("503")

    with pytest.raises(OfframpError, match="503"):
        loaded(folder, none)(message="my parcel number 001")


def test_a_member_that_could_send_a_key_elsewhere_is_refused(folder) -> None:
    promotion = promote(folder, "pair").promotion
    for place, one in enumerate(promotion.cascade.members):
        for bad in (
            replace(one, model=replace(one.model, route="http://elsewhere/v1")),
            replace(one, request_params={"api_base": "http://elsewhere"}),
        ):  # fmt: skip
            members = list(promotion.cascade.members)
            members[place] = bad
            whole = sealed(replace(promotion, cascade=replace(promotion.cascade, members=tuple(members))))
            with pytest.raises(PromotionError, match=r"route|may decide where requests go"):
                refuse_unsafe(whole)


def test_a_member_has_every_key_of_a_promotion_that_is_of_one_program() -> None:
    whole = {"schema_version", "feature", "version", "sha256", "fallbacks", "dependencies", "rendering"}
    whole |= {"rendering_refused", "evidence", "made", "cascade"}
    keys = {field.name for field in fields(Promotion)}
    assert keys - whole == set(OF_ONE_PROGRAM), "say of a new key whether each member of a cascade has its own"


def test_a_rule_without_its_rows_is_not_loaded_and_a_rollback_to_it_is_refused(folder) -> None:
    done = promote(folder, "pair")
    kept = FeatureFolder(folder / "promotions", "triage")
    assert done.promotion.cascade.rows is not None and isinstance(done.promotion.cascade.holdout, CascadeGain)
    kept.data_path(done.promotion.cascade.rows).unlink()
    with pytest.raises(PromotionError, match="missing"):
        loaded(folder)
    promoting.promote(
        "latest", pick="incumbent", feature="triage", results=folder, promotions=folder / "promotions", by="a"
    )
    with pytest.raises(PromotionError, match="missing"):
        promoting.rollback("triage", promotions=folder / "promotions")
