"""Who checks the answers of a form: another declared model, or a function of the user's own; the whole cycle of both."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_forms_promoted import Script, space_of

import offramp
from offramp.cli.main import main
from offramp.errors import MetricError, UsageError
from offramp.job.resolve import resolve_job
from offramp.lifecycle.migration.origin import read_origin
from offramp.lifecycle.migration.spaces import alone, model_part, searched
from offramp.program.forms.own_check import OwnCheck
from offramp.promote import promoting, recheck
from offramp.search.api import JobResult
from offramp.space.model import ModelPart
from offramp.space.params import assignments
from offramp.testing.server import ScriptedServer
from search_jobs import LABELS, PRICES

RULES = """
LABELS = ["billing", "shipping", "returns"]

def is_right(inputs, answer):
    right = LABELS[int(inputs.message.split("case ")[1][:3]) % 3]
    return answer.label == right or "no"
"""
BEST, RETRY = {"best_of": 3, "temperature": 0.7}, {"verify_then_retry": 2}
BIG = {"input_usd": 10.0, "output_usd": 20.0}


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script()) as server:
        yield server


def checked_by(folder: Path, server: ScriptedServer, own: dict[str, Any], **program: Any) -> Path:
    (folder / "rules.py").write_text(RULES)
    params = {"max_tokens": 30, **({} if "temperature" in own else {"temperature": 0.0})}
    path = space_of(
        folder, server, own, params=params, program={"form": own, **program}, incumbent={"model": "small", "form": own}
    )  # fmt: skip
    big = {"name": "big", "route": "openai/big", "api_base": server.url, "price": BIG, "searched": False}
    return _with_model(path, {**big, "supports": ["temperature", "max_tokens"]})


def _with_model(path: Path, model: dict[str, Any]) -> Path:
    space = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**space, "models": [*space["models"], model]}, sort_keys=False))
    return path


def asked(server: ScriptedServer) -> dict[str, int]:
    names = [request.body["model"] for request in server.requests]
    return {name: names.count(name) for name in sorted(set(names))}


def optimised(path: Path, folder: Path, server: ScriptedServer) -> JobResult:
    server.requests.clear()
    found = offramp.optimize(path, results=folder / "results")
    assert found.error is None, found.error
    assert found.calls == len(server.requests)
    return found


def holdout(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        return [row[0] for row in db.execute("select distinct example from offramp_results where split = 'holdout'")]


# ------------------------------------------------------------------------------------------------ another model


@pytest.mark.parametrize("form", [BEST, RETRY], ids=["best_of", "verify_then_retry"])
def test_another_model_verifies_and_is_priced_promoted_loaded_and_checked(
    form: dict[str, Any], server: ScriptedServer, tmp_path: Path
) -> None:
    path = checked_by(tmp_path, server, form, verifier={"model": "big"})
    job = optimised(path, tmp_path, server)
    counts, verified = asked(server), sum("accepted:" in str(r.body["messages"]) for r in server.requests)
    assert counts["big"] == verified > 0
    usd = {"small": PRICES["small"], "big": BIG}
    one = {name: (10 * price["input_usd"] + 5 * price["output_usd"]) / 1e6 for name, price in usd.items()}
    assert job.spent_usd == pytest.approx(sum(n * one[name] for name, n in counts.items()))

    promoted = promoting.promote("latest", results=tmp_path / "results", promotions=tmp_path, by="ada").promotion
    assert promoted.predictor_models == {"verify": "big"} and [m.name for m in promoted.others] == ["big"]
    assert promoted.evidence.requests_matched == 5
    server.requests.clear()
    assert recheck.check("landscape", promotions=tmp_path).calls == len(server.requests)
    again = asked(server)
    assert again["big"] > 0

    server.requests.clear()
    load = offramp.load("landscape", promotions=tmp_path, api_base=server.url)
    for example in holdout(tmp_path):
        assert load(message=f"case {example[1:]}").label == LABELS[int(example[1:]) % 3]
    assert asked(server) == again

    storage = f"sqlite:///{tmp_path / 'results' / 'offramp.db'}"
    origin = read_origin("landscape", label="production", promotions=tmp_path, storage=storage)
    alone_on_it = resolve_job(alone(origin, origin.candidate, model_part(origin, "small")))
    [only] = assignments(alone_on_it.search_params)
    assert alone_on_it.candidate(only).id == origin.candidate.id
    small = model_part(origin, "small")
    assert isinstance(small, ModelPart)
    large = small.model_copy(update={"name": "large", "route": "openai/large"})
    moved = resolve_job(searched(origin, [large], incumbent=True))
    assert moved.incumbent is not None and moved.incumbent.id == origin.candidate.id


def test_a_verifier_of_the_candidates_own_model_changes_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    ids = set()
    for name, verifier in (("a", {}), ("b", {"verifier": {"model": "small"}}), ("c", {"verifier": {"model": "big"}})):
        (tmp_path / name).mkdir()
        job = resolve_job(_loaded(checked_by(tmp_path / name, server, RETRY, **verifier)))
        assert job.incumbent is not None
        ids.add(job.incumbent.id)
    assert len(ids) == 2


def test_a_verifier_that_no_longer_answers_parks_the_forms_that_ask_it(server: ScriptedServer, tmp_path: Path) -> None:
    for forms, used in (([RETRY, "predict"], {"form": ("verify_then_retry 2",)}), ([RETRY], {})):
        job = resolve_job(_loaded(checked_by(tmp_path, server, RETRY, form=forms, verifier={"model": "big"})))
        assert job.used_by("big") == used
    assert job.used_by("small") == {"model": ("small",)}


def _loaded(path: Path) -> Any:
    from offramp.space.load import load_space

    return load_space(path)


# ------------------------------------------------------------------------------------------------- a function


@pytest.mark.parametrize("form", [BEST, RETRY], ids=["best_of", "verify_then_retry"])
def test_a_function_checks_without_a_call_and_is_promoted_loaded_and_checked(
    form: dict[str, Any], server: ScriptedServer, tmp_path: Path
) -> None:
    form = {**form, "check": "rules.py:is_right"}
    path = checked_by(tmp_path, server, form)
    job = optimised(path, tmp_path, server)
    per_run = 3 if "best_of" in form else 2
    assert len(server.requests) == 10 * per_run and asked(server) == {"small": 10 * per_run}
    assert job.report.incumbent is not None and job.report.incumbent.quality == 1.0

    promoted = promoting.promote("latest", results=tmp_path / "results", promotions=tmp_path, by="ada").promotion
    assert promoted.program.form.partition(" checked by ")[2].startswith("rules.py:is_right")
    assert "verify" not in promoted.instructions and promoted.predictor_models is None
    server.requests.clear()
    assert recheck.check("landscape", promotions=tmp_path).calls == len(server.requests) == 5 * per_run

    with pytest.raises(UsageError, match=r"checked by a function of your own \(rules.py:is_right\).*check=is_right"):
        offramp.load("landscape", promotions=tmp_path, api_base=server.url)
    space: dict[str, Any] = {}
    exec(RULES, space)
    server.requests.clear()
    load = offramp.load("landscape", promotions=tmp_path, api_base=server.url, check=space["is_right"])
    for example in holdout(tmp_path):
        assert load(message=f"case {example[1:]}").label == LABELS[int(example[1:]) % 3]
    assert len(server.requests) == 5 * per_run

    (tmp_path / "rules.py").write_text(RULES.replace('"no"', '"still no"'))
    with pytest.raises(UsageError, match=r"its code has changed since it ran: rules\.py:is_right"):
        promoting.promote("latest", results=tmp_path / "results", promotions=tmp_path, by="ada")
    again = resolve_job(_loaded(path))
    assert again.study_name(0) != job.report.study, "an edited check begins a new study"


def test_forms_with_different_checks_are_different_candidates_of_one_search(
    server: ScriptedServer, tmp_path: Path
) -> None:
    forms: list[Any] = [{**RETRY, "check": "rules.py:is_right"}, {**RETRY, "check": "rules.py:later"}, RETRY]
    path = checked_by(tmp_path, server, RETRY, form=forms)
    (tmp_path / "rules.py").write_text(
        f"{RULES}\nasync def later(inputs, answer):\n    return is_right(inputs, answer) is True, 'no'\n"
    )
    job = optimised(path, tmp_path, server)
    quality = {str(m.params["form"]): (m.quality, m.cost_usd) for m in job.report.members}
    assert set(quality) == {
        "verify_then_retry 2", "verify_then_retry 2 checked by rules.py:is_right",
        "verify_then_retry 2 checked by rules.py:later",
    }  # fmt: skip
    assert {q for q, _ in quality.values()} == {1.0}
    assert {form: round(usd / quality["verify_then_retry 2"][1], 3) for form, (_, usd) in quality.items()} == {
        "verify_then_retry 2": 1, "verify_then_retry 2 checked by rules.py:is_right": 0.5,
        "verify_then_retry 2 checked by rules.py:later": 0.5,
    }  # fmt: skip


def verdict(said: Any) -> tuple[bool | None, str]:
    [found] = asyncio.run(OwnCheck("rules.py:f", lambda inputs, answer: said).checked({"m": 1}, [{"label": "x"}]))
    return found.accepted, found.objection


@pytest.mark.parametrize(
    ("said", "found"),
    [(True, (True, "")), (False, (False, "")), (np.True_, (True, "")), ("too long", (False, "too long")),
     ((False, "too long"), (False, "too long")), ((True, "fine"), (True, "fine")), ((True, None), (True, ""))],
)  # fmt: skip
def test_what_a_check_may_say(said: Any, found: tuple[bool, str]) -> None:
    assert verdict(said) == found


@pytest.mark.parametrize("said", [None, 1, 0.5, "", " ", (1, 2), ("no", "no"), [], {"ok": True}, float("nan")])
def test_anything_else_is_the_functions_bug(said: Any) -> None:
    with pytest.raises(MetricError, match=r"rules.py:f: it returned .*: expected True, False, or what is wrong"):
        verdict(said)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=6))
def test_what_is_accepted_is_chosen_first_or_by_vote_and_else_all_that_was_answered(
    rows: list[tuple[str, bool]],
) -> None:
    """Beside brute force: each answer's verdict is that of its text, whichever of equal answers is looked at."""
    import dspy

    from offramp.program.forms.best_of import BestOf
    from offramp.program.forms.self_consistency import SelfConsistency

    accepted = dict(reversed(rows))
    texts = [text for text, _ in rows]
    checked: list[str] = []

    class Given(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.left = [*texts]

        async def acall(self, **_: Any) -> dspy.Prediction:
            return dspy.Prediction(label=self.left.pop(0))

    def says(inputs: Any, answer: Any) -> bool:
        checked.append(answer.label)
        return accepted[answer.label]

    voters = [text for text in texts if accepted[text]] or texts
    right = {BestOf: voters[0], SelfConsistency: max(voters, key=voters.count)}
    for kind, chosen in right.items():
        checked.clear()
        form = kind(Given(), OwnCheck("f", says), count=len(rows), outputs=["label"])
        assert asyncio.run(form.aforward(message="m")).label == chosen, kind
        assert checked == [*dict.fromkeys(texts)], "equal answers are checked once"


# ------------------------------------------------------------------------------------------------- what is refused

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an unknown function": ({**RETRY, "check": "rules.py:is_rihgt"}, {}, "has no 'is_rihgt'. Did you mean 'is_right'?"),
    "no such file": ({**RETRY, "check": "ruels.py:is_right"}, {}, "there is no such file"),
    "no such package": ({**RETRY, "check": "no_such.place:f"}, {}, "it does not import"),
    "no path": ({**RETRY, "check": "is_right"}, {}, "program.form"),
    "one argument": ({**RETRY, "check": "rules.py:one"}, {}, "cannot be called with (inputs, answer)"),
    "it raises": ({**RETRY, "check": "rules.py:raises"}, {}, "it raised ZeroDivisionError"),
    "a name that the inputs lack": ({**RETRY, "check": "rules.py:lacks"}, {}, "the inputs has no 'text'; it has message"),
    "no verdict": ({**RETRY, "check": "rules.py:silent"}, {}, "it returned None"),
    "a verifier beside it": (
        {**RETRY, "check": "rules.py:is_right"}, {"verifier": {"model": "big"}}, "no form has a verifying call"
    ),
    "an unknown model": (RETRY, {"verifier": {"model": "bgi"}}, "program.verifier.model"),
    "a parameter that it does not take": (
        {**RETRY}, {"verifier": {"model": "big", "params": {"top_p": 0.5}}},
        "program.verifier: 'big' does not take top_p=0.5. Leave it out for that call: `program.verifier.params: {top_p: null}`",
    ),
}  # fmt: skip
MORE = """
def one(inputs): return True
def raises(inputs, answer): return 1 / 0
def lacks(inputs, answer): return inputs.text == answer.label
def silent(inputs, answer): pass
"""


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_check_is_refused_before_anything_is_sent(
    kind: str, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, program, said = REFUSED[kind]
    path = checked_by(tmp_path, server, form, **program)
    (tmp_path / "rules.py").write_text(RULES + MORE)
    server.requests.clear()
    assert main(["space", "check", str(path)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not server.requests


# ----------------------------------------------------------------------------------------------- steps, without a call


def test_steps_of_forms_are_shown_in_compare_and_the_report_without_a_call(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forms: list[Any] = [
        "predict", {**RETRY, "check": "rules.py:is_right"}, RETRY, {"best_of": 3, "temperature": 0.7},
        {"self_consistency": 3, "temperature": 0.7},
    ]  # fmt: skip
    path = checked_by(tmp_path, server, RETRY, form=forms)
    space = yaml.safe_load(path.read_text())
    space["search"]["trials"], space["incumbent"]["form"] = 6, "predict"
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    job = optimised(path, tmp_path, server)
    ids = {str(m.params["form"]).partition(" at ")[0]: m.candidate for m in job.report.members}
    where = ["--results", str(tmp_path / "results")]
    server.requests.clear()
    steps = {}
    for form, candidate in ids.items():
        capsys.readouterr()
        pair = [candidate, ids["predict" if form != "predict" else "verify_then_retry 2"]]
        assert main(["compare", "latest", *pair, "--split", "search", "--steps", "--json", "--limit", "9", *where]) == 0
        one = next(e for e in json.loads(capsys.readouterr().out)["examples"] if "steps" in e)
        steps[form] = [(s["kind"], s["name"], s["round"], s["gave"].split("\n")[0]) for s in one["steps"]["a"]["steps"]]
    wrong = steps["predict"][0][3]
    right = steps["verify_then_retry 2"][2][3]
    assert steps["predict"] == [("model", "main", None, wrong)]
    assert steps["verify_then_retry 2"] == [
        ("model", "main", 1, wrong), ("model", "verify", 2, "accepted: false"),
        ("model", "main", 3, right), ("model", "verify", 4, "accepted: true"),
    ]  # fmt: skip
    assert steps["verify_then_retry 2 checked by rules.py:is_right"] == [
        ("model", "main", 1, wrong), ("check", "rules.py:is_right", 1, "rejected: no"),
        ("model", "main", 2, right), ("check", "rules.py:is_right", 2, "accepted"),
    ]  # fmt: skip
    assert sorted(steps["self_consistency 3"]) == sorted(
        [("model", "main", 1, wrong), ("model", "main", 1, right), ("model", "main", 1, right)]
    )
    assert [step[1:3] for step in steps["best_of 3"]] == [("main", 1)] * 3 + [("verify", 2)] * 2
    pair = [ids["verify_then_retry 2"], ids["predict"]]
    assert main(["compare", "latest", *pair, "--split", "search", "--steps", "--limit", "1", *where]) == 0
    said = capsys.readouterr().out
    assert "2. model verify, round 2, 10 + 5 tokens" in said and "An earlier answer was rejected." in said
    assert main(["report", "latest", *where]) == 0
    [page] = (tmp_path / "results").glob("*.html")
    assert "round 2" in page.read_text() and "rejected: no" in page.read_text()
    assert not server.requests
