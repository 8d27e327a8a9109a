"""A rule of a study, its members promoted, loaded as one program: it answers as the recorded rule did."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

import offramp
from offramp.errors import UsageError
from offramp.promote import promoting
from offramp.records import CallReply, CallRequest, Split
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.study import lookup
from offramp.study.domain.cascade_rule import Decisions, answer_key, compared_fields, read_rule
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, answered_by, finished_job, main, reply_to, rows

BASE = {"small": "http://127.0.0.1:9/v1", "large": "http://127.0.0.1:9/v1"}


@pytest.fixture
def study(tmp_path: Path, monkeypatch) -> Path:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    finished_job(
        tmp_path, splits={"train": 2, "search": 24, "holdout": 12},
        search={"sampler": "random", "trials": 5, "race": None},
    )  # fmt: skip
    return tmp_path


def promoted(folder: Path, members) -> list[str]:
    names = []
    for i, member in enumerate(members):
        promoting.promote(
            "latest", pick=member, feature=f"part-{i}", results=folder, promotions=folder / "promotions", by="ada",
            force=True, why="a part of a rule",
        )  # fmt: skip
        names.append(f"part-{i}")
    return names


def loaded(folder: Path, kind: str, asked: list[str] | None = None):
    save = folder / f"{kind}.json"
    offramp.cascades("latest", results=folder, save=save, kind=kind)
    rule = read_rule(save)

    def reply(request: CallRequest) -> CallReply:
        if asked is not None:
            asked.append(request.model.name)
        return reply_to(request)

    program = offramp.load_cascade(
        save, promoted(folder, rule.members), promotions=folder / "promotions", api_base=BASE,
        transport=FunctionTransport(reply),
    )  # fmt: skip
    return rule, program


@pytest.mark.parametrize("kind", ["agreement", "cost", "predicted", "pair", "router"])
def test_a_loaded_rule_asks_only_whom_it_needs_and_gives_the_answer_of_a_member(study, kind) -> None:
    asked: list[str] = []
    _, program = loaded(study, kind, asked)
    counts = set()
    for row in rows(12):
        asked.clear()
        assert program(message=row["message"]).label in LABELS
        counts.add(len(asked))
    assert counts <= {"agreement": {2, 3}, "cost": {1, 2}, "predicted": {1, 2}}.get(kind, {1})
    one = asyncio.run(program.acall(message="case 003"))
    assert one.label == program(message="case 003").label


def test_agreement_scores_on_every_row_what_the_recorded_rule_says(study) -> None:
    _, program = loaded(study, "agreement")
    parts = [
        offramp.load(f"part-{i}", promotions=study / "promotions", api_base=BASE, transport=FunctionTransport(reply_to))
        for i in range(3)
    ]
    for row in rows(20):
        one, second, third = (part(message=row["message"]).label for part in parts)
        assert program(message=row["message"]).label == (one if one == third else second)


@pytest.mark.parametrize("kind", ["agreement", "cost", "predicted", "pair", "router"])
def test_the_holdout_of_a_saved_rule_is_what_the_loaded_rule_scores_there(study, kind) -> None:
    main(["verify", "latest", "--results", str(study), "--probe", "0"])
    rule, program = loaded(study, kind)
    store = open_store(lookup.default_storage(study), write_probe=False)
    ran = [ResultStore(store).get(rule.source, Split.HOLDOUT, member) for member in rule.members]
    if not all(ran):
        assert rule.holdout is None
        return
    assert rule.holdout is not None and rule.holdout["kind"] == kind
    gold = {row["id"]: row for row in rows()}
    right = [program(message=gold[e]["message"]).label == gold[e]["label"] for e in ran[0]]
    assert rule.holdout["quality"] == pytest.approx(sum(right) / len(right))


def test_a_member_whose_file_has_changed_is_read_again_without_a_deadlock(study) -> None:
    _, program = loaded(study, "pair")
    assert program(message="case 003").label in LABELS
    for path in (study / "promotions").glob("*/*.yaml"):
        os.utime(path, ns=(1, 1))
    assert asyncio.run(asyncio.wait_for(program.acall(message="case 003"), 60)).label in LABELS
    for path in (study / "promotions").glob("*/*.yaml"):
        os.utime(path, ns=(2, 2))
    assert program(message="case 003").label in LABELS


def test_a_member_that_fails_is_a_disagreement(study) -> None:
    save = study / "rule.json"
    offramp.cascades("latest", results=study, save=save, kind="agreement")
    rule = read_rule(save)

    def reply(request: CallRequest) -> CallReply:
        plain = reply_to(request)
        first = request.messages[0]["content"].startswith(str(rule.params[0]["instruction"]).capitalize())
        broken = first and request.model.name == rule.params[0]["model"]
        return CallReply(text="neither", usage=plain.usage, finish_reason="stop", latency_s=0.1) if broken else plain

    program = offramp.load_cascade(
        save, promoted(study, rule.members), promotions=study / "promotions", api_base=BASE,
        transport=FunctionTransport(reply),
    )  # fmt: skip
    second = offramp.load("part-1", promotions=study / "promotions", api_base=BASE, transport=FunctionTransport(reply))
    assert program(message="case 004").label == second(message="case 004").label


def test_members_that_are_not_promoted_or_are_others_by_now_are_refused(study) -> None:
    save = study / "rule.json"
    offramp.cascades("latest", results=study, save=save, kind="pair")
    rule = read_rule(save)
    names = promoted(study, rule.members)
    with pytest.raises(UsageError, match="members without a feature"):
        offramp.load_cascade(save, names[:1], promotions=study / "promotions", api_base=BASE)
    others = [m.candidate for m in offramp.pareto("latest", results=study).members if m.candidate not in rule.members]
    promoting.promote(
        "latest", pick=others[0], feature=names[0], results=study, promotions=study / "promotions", by="ada",
        force=True, why="another",
    )  # fmt: skip
    with pytest.raises(UsageError, match="is not a member of this rule"):
        offramp.load_cascade(save, names, promotions=study / "promotions", api_base=BASE)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: "not json", lambda d: "[]", lambda d: json.dumps({**d, "schema_version": 9}),
        lambda d: json.dumps({k: v for k, v in d.items() if k != "members"}), lambda d: json.dumps({**d, "more": 1}),
        lambda d: json.dumps({**d, "kind": "cost"}), lambda d: json.dumps({**d, "kind": "confidence"}), lambda d: json.dumps({**d, "members": d["members"][:1]}),
        lambda d: json.dumps({**d, "utilities": d["utilities"][:1]}), lambda d: json.dumps({**d, "inputs": {}}),
        lambda d: json.dumps({**d, "utilities": [[1.0], [2.0]]}),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_rule_is_refused_in_one_message(tmp_path, change) -> None:
    rule = {
        "schema_version": 1, "source": "s", "kind": "pair", "members": ["a", "b"], "params": [{}, {}], "compared": [],
        "prior": 2.0, "inputs": {"q": ["x", "y", "z"]}, "utilities": [[1, 0, 1], [0, 1, 0]], "crossed": {},
        "holdout": None,
    }  # fmt: skip
    path = tmp_path / "rule.json"
    path.write_text(json.dumps(rule))
    decisions = Decisions(read_rule(path))
    assert decisions.order_for({"q": "y"}) == [1, 0] and decisions.order_for({"q": "x"}) == [0, 1]
    path.write_text(change(rule))
    with pytest.raises(UsageError, match="is not a rule"):
        read_rule(path)


def test_what_cannot_be_saved_is_refused(study, capsys) -> None:
    assert (
        main(["cascades", "latest", "--results", str(study), "--save", str(study / "r.json"), "--kind", "router"]) == 0
    )
    assert "Wrote" in capsys.readouterr().out
    (study / "t.csv").write_text(
        "param.model,example_id,score\n" + "".join(f"m{m},e{i},1\n" for m in "ab" for i in range(30))
    )
    assert main(["cascades", str(study / "t.csv"), "--save", str(study / "r.json")]) == 2
    assert "a table has no programs" in capsys.readouterr().err
    for more, says in (["--kind", "pair"], "without --save"), (["--save", str(study / "no" / "r.json")], "--kind"), (
        ["--save", str(study / "no" / "r.json"), "--kind", "pair"], "cannot be written",
    ):  # fmt: skip
        assert main(["cascades", "latest", "--results", str(study), *more]) == 2
        assert says in capsys.readouterr().err


def test_answers_are_compared_by_what_has_a_gold_whatever_their_case_and_spaces() -> None:
    assert compared_fields(["label"], ["reasoning", "label", "more"]) == ["label"]
    assert compared_fields([], ["reasoning", "label"]) == ["label"]
    assert answer_key({"label": " Big  Cat"}, ["label"]) == answer_key({"label": "big cat"}, ["label"])
    assert answer_key({"label": 1}, ["label"]) != answer_key({"label": "1"}, ["label"])
