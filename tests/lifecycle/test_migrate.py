"""A migration on a landscape whose best is known: small leaves, large is better with the instruction `strict`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import offramp
from offramp.calls.failures import ModelNotFound
from offramp.errors import JobError, PromotionError, SpaceError, StorageError
from offramp.lifecycle.migration import spaces
from offramp.lifecycle.migration.migrating import Places, run_migration
from offramp.lifecycle.migration.origin import read_origin
from offramp.lifecycle.migration.proposal import fenced, migration_json, page
from offramp.lifecycle.migration.record import Basis, Kind, Migration, Reference
from offramp.lifecycle.migration.runs import Caps
from offramp.models.retirement.dates import Standing
from offramp.promote import promoting
from offramp.promote.folder import FeatureFolder
from offramp.promote.promotion_store import PromotionStore, sealed
from offramp.records import CallRequest, ResultState, Split
from offramp.space.model import ProposePart
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.testing.fakes import FunctionTransport
from search_jobs import PRICES, answered_by, made_once, main, reply_to, run_job, wire, write_space

SEARCH, HOLDOUT = 10, 6


class Counted:
    """The landscape, counting requests by model; a model that is gone gives no answer but an error of the test."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.gone: set[str] = set()
        self.stop_at: int | None = None

    def __call__(self, request: CallRequest) -> Any:
        name = request.model.name
        assert name not in self.gone, f"{name} was asked after it had gone"
        self.calls[name] += 1
        if self.calls[name] == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return reply_to(request)


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    answered_by(monkeypatch, FunctionTransport(counted))
    return counted


def promoted(tmp_path: Path, **changes: Any) -> Places:
    """A study of both models, of which the incumbent (small, vague) is promoted: what runs today, with evidence."""

    def make(folder: Path) -> None:
        study = run_job(
            write_space(folder, **changes), folder / "results", transport=FunctionTransport(reply_to)
        ).report.study
        promoting.promote(
            study, pick="incumbent", promotions=folder / "promotions", results=folder / "results", within_days=0,
            force=True, why="what runs today",
        )  # fmt: skip

    made_once(f"migrate {json.dumps(changes)}", tmp_path, make)
    return Places(promotions=tmp_path / "promotions", results=tmp_path / "results")


def migrated(places: Places, **more: Any) -> Migration:
    return run_migration("landscape", places=places, **{"trials": 6, **wire(), **more})


def to_large(tmp_path: Path) -> tuple[Places, Migration]:
    """`promoted` and its finished migration to large, in which small gives no answer; made once by this process."""

    def make(folder: Path) -> Migration:
        gone = Counted()
        gone.gone.add("small")
        return migrated(promoted(folder), to=["large"], transport=FunctionTransport(gone))

    found = made_once("migrated", tmp_path, make)
    return Places(promotions=tmp_path / "promotions", results=tmp_path / "results"), found


def test_the_proposal_is_the_best_of_the_new_model_and_the_old_one_is_never_asked_again(tmp_path: Path) -> None:
    _, found = to_large(tmp_path)
    assert found.baseline.basis is Basis.RECORDED
    assert (found.chosen.candidate.model, found.chosen.candidate.instructions["main"]) == ("large", "Strict.")
    assert found.chosen.holdout.quality == 1.0 and found.chosen.comparison is not None
    assert found.chosen.comparison.n == HOLDOUT and found.chosen.comparison.losses == 0


def test_the_drop_in_is_the_promoted_config_and_nothing_else_is_changed(tmp_path: Path) -> None:
    (drop_in,) = to_large(tmp_path)[1].drop_ins
    assert drop_in.kind is Kind.DROP_IN and drop_in.candidate.model == "large"
    assert drop_in.candidate.instructions == {"main": "Vague."} and drop_in.search.n == SEARCH
    assert drop_in.holdout.n == HOLDOUT


def test_the_same_migration_again_makes_no_call(tmp_path: Path, landscape: Counted) -> None:
    places, first = to_large(tmp_path)
    again = migrated(places, to=["large"])
    assert not landscape.calls and again.spent.calls == 0
    assert again.chosen.candidate == first.chosen.candidate and again.chosen.study == first.chosen.study


def test_what_is_known_from_the_old_study_is_not_paid_for_again(tmp_path: Path, landscape: Counted) -> None:
    places = promoted(tmp_path, search={"sampler": "grid", "trials": 12, "concurrency": 2})
    before = Counter(landscape.calls)
    migrated(places, to=["large"], trials=3)
    assert landscape.calls["small"] == before["small"]
    assert landscape.calls["large"] - before["large"] <= HOLDOUT * 3


def test_without_its_storage_a_model_that_answers_is_measured_again(tmp_path: Path, landscape: Counted) -> None:
    places = promoted(tmp_path)
    fresh = Places(promotions=places.promotions, results=tmp_path / "other")
    found = migrated(fresh, to=["large"])
    assert found.baseline.basis is Basis.MEASURED and found.baseline.holdout.n == HOLDOUT
    assert found.chosen.candidate.model == "large"


def test_without_its_storage_and_gone_the_scores_beside_the_promotion_serve(
    tmp_path: Path, landscape: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    places = promoted(tmp_path, models=HOSTED)
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nretirements:\n  - {model: gpt-4o, retires: 2026-01-01}\n")
    landscape.gone.add("small")
    monkeypatch.delenv("OPENAI_API_KEY")
    fresh = Places(promotions=places.promotions, results=tmp_path / "other", lifecycle=own)
    found = migrated(fresh, to=["large"])
    assert found.baseline.basis is Basis.PROMOTION and found.chosen.comparison is not None
    assert found.chosen.comparison.n == HOLDOUT


def test_without_its_storage_a_model_that_answers_no_more_although_no_date_says_so_has_the_scores_beside_the_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_small(request: CallRequest) -> Any:
        return ModelNotFound("model_gone") if request.model.name == "small" else reply_to(request)

    places = promoted(tmp_path)
    answered_by(monkeypatch, FunctionTransport(without_small))
    found = migrated(Places(promotions=places.promotions, results=tmp_path / "other"), to=["large"])
    assert (found.baseline.basis, found.chosen.candidate.model) == (Basis.PROMOTION, "large")


def test_a_successor_that_its_provider_does_not_have_is_left_out_and_the_message_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_large(request: CallRequest) -> Any:
        return ModelNotFound("The model `large` does not exist") if request.model.name == "large" else reply_to(request)

    places = promoted(tmp_path)
    answered_by(monkeypatch, FunctionTransport(without_large))
    with pytest.raises(JobError, match=r"large .*is unknown to its provider.*does not exist"):
        migrated(places, to=["large"])


def test_a_model_that_vanished_and_has_no_key_any_more_takes_part_by_its_records(
    tmp_path: Path, landscape: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has lost the name, the key is gone: the incumbent of the new study is there all the same."""
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    places = promoted(tmp_path, models=[{**HOSTED[0], "route": "openai/gpt-4-0314"}, HOSTED[1]])
    monkeypatch.delenv("OPENAI_API_KEY")
    landscape.gone.add("small")
    found = migrated(places, to=["large"])
    assert found.notice.standing is Standing.VANISHED and found.baseline.basis is Basis.RECORDED
    report = offramp.pareto(found.chosen.study, results=places.results)
    assert report.incumbent is not None and report.incumbent.params["model"] == "small"


def test_the_function_of_the_package_is_the_verb_of_the_command_line(tmp_path: Path, landscape: Counted) -> None:
    places, _ = to_large(tmp_path)
    found = offramp.migrate(
        "landscape", to=["large"], trials=6, promotions=places.promotions, results=places.results, **wire()
    )
    assert found.chosen.candidate.model == "large"
    assert [row.used.feature for row in offramp.watch(promotions=places.promotions).rows] == ["landscape"]


def test_ctrl_c_ends_the_migration_with_130_and_the_same_command_goes_on(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    places = promoted(tmp_path)
    landscape.stop_at = landscape.calls["large"] + 5
    assert command(places, tmp_path, "--to", "large") == 130
    assert not (tmp_path / "proposal.md").exists()
    landscape.stop_at = None
    assert command(places, tmp_path, "--to", "large") == 0


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_of_a_stranger_closes_its_fence(text: str) -> None:
    block = fenced(text)
    fence = block.split("text\n", 1)[0]
    inside = block[len(fence) + len("text\n") : -len(fence) - 1]
    assert inside == text and fence not in inside and set(fence) == {"`"}


def test_caps_hold_for_all_runs_together(tmp_path: Path, landscape: Counted) -> None:
    places = promoted(tmp_path, search={"sampler": "random", "trials": 1, "concurrency": 2})
    before = landscape.calls.get("large", 0)
    found = migrated(places, to=["large"], caps=Caps(calls=SEARCH + HOLDOUT + 5))
    assert landscape.calls["large"] - before <= SEARCH + HOLDOUT + 5
    assert found.chosen.kind is Kind.DROP_IN


def test_a_worse_proposal_ends_with_3_and_is_written_all_the_same(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    places = promoted(tmp_path, incumbent={"model": "large", "instruction": "strict"}, count=120,
                      splits={"train": 6, "search": 20, "holdout": 60})  # fmt: skip
    code = command(places, tmp_path, "--to", "small")
    assert code == 3
    text = (tmp_path / "proposal.md").read_text()
    assert "WORSE than what runs today" in text and "### Worse" in text
    assert "WORSE" in capsys.readouterr().out


def test_a_lower_proposal_that_is_not_shown_to_be_worse_ends_with_0_and_both_pages_say_so(
    tmp_path: Path, landscape: Counted
) -> None:
    """The rule of the gate of `promote`; the page called this "not worse"."""
    places = promoted(tmp_path, incumbent={"model": "large", "instruction": "strict"},
                      splits={"train": 6, "search": 20, "holdout": 3})  # fmt: skip
    assert command(places, tmp_path, "--to", "small") == 0
    text = (tmp_path / "proposal.md").read_text()
    assert "not shown to be as good as what runs today: -" in text
    page = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()
    assert "Exit code 0: a proposal was written and is not shown to be worse than what runs today." in page


def command(places: Places, tmp_path: Path, *more: str) -> int:
    args = ["--promotions", str(places.promotions), "--results", str(places.results), "--trials", "6"]
    return main(["migrate", "landscape", *args, "--out", str(tmp_path / "proposal.md"), *more])


def test_what_cannot_be_done_after_runs_were_paid_for_is_no_matter_of_usage(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = promoted(tmp_path)
    (tmp_path / "file").write_text("")
    assert command(places, tmp_path, "--to", "large", "--out", str(tmp_path / "file" / "proposal.md")) == 1
    assert "what was measured is kept in the storage" in capsys.readouterr().err and landscape.calls["large"]

    made = [spaces.searched]  # for the look at what can be searched, and not for the search

    def broken(*args: Any, **options: Any) -> Any:
        if not made:
            raise SpaceError("params: no value is left")
        return made.pop()(*args, **options)

    monkeypatch.setattr(spaces, "searched", broken)
    assert command(places, tmp_path, "--to", "large") == 1
    assert "params: no value is left" in capsys.readouterr().err


def test_the_proposal_says_what_changes_and_its_promote_command_works(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    places, _ = to_large(tmp_path)
    assert command(places, tmp_path, "--to", "large", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    text = (tmp_path / "proposal.md").read_text()
    for part in ("# landscape: from small to large", "## Holdout", "## Is a drop-in enough?", "## How certain this is",
                 "was not called again", "Strict.", "expected: {\"label\":", "offramp rollback landscape"):  # fmt: skip
        assert part in text
    promote = next(line for line in text.splitlines() if line.startswith("$ offramp promote"))
    assert found["proposed"]["candidate"] in promote
    assert main(promote.split()[2:]) in (0, 3)


def test_the_story_takes_a_proposal_that_is_better_on_the_holdout_and_no_other(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check of scripts/story.sh, on the JSON of a migration that really ran."""
    script = (Path(__file__).parents[2] / "scripts" / "story.sh").read_text()
    check = script.split("<<'CHECK'\n")[1].split("\nCHECK\n")[0]
    assert command(to_large(tmp_path)[0], tmp_path, "--to", "large", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for quality, code in ((found["proposed"]["holdout"]["quality"], 0), (found["today"]["holdout"]["quality"], 1)):
        found["proposed"]["holdout"]["quality"] = quality
        (tmp_path / "migration.json").write_text(json.dumps(found))
        done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "0.167 today" in done.stdout and "+83.3 points" in done.stdout and "5 better, 0 worse" in done.stdout


def test_without_labels_the_recorded_answers_serve_and_the_proposal_says_so(tmp_path: Path, landscape: Counted) -> None:
    """Small and vague is right on few; who agrees with it most is as wrong as it is."""
    places = promoted(tmp_path)
    landscape.gone.add("small")
    assert command(places, tmp_path, "--to", "large", "--reference", "answers") == 0
    text = (tmp_path / "proposal.md").read_text()
    assert "its answers agree with today's to" in text and "as there are no labels" in text
    assert "get a different answer" in text and "WORSE" not in text
    found = migrated(places, to=["large"], reference=Reference.ANSWERS)
    assert found.chosen.candidate.instructions["main"] == "Vague." and found.baseline.holdout.quality == 1.0


def test_without_labels_and_without_recorded_answers_there_is_nothing_to_judge_by(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    places = promoted(tmp_path)
    fresh = Places(promotions=places.promotions, results=tmp_path / "other")
    assert command(fresh, tmp_path, "--to", "large", "--reference", "answers") == 2
    assert "no recorded answers" in capsys.readouterr().err


def test_a_parameter_that_a_new_model_does_not_take_is_left_out_there(tmp_path: Path, landscape: Counted) -> None:
    """The promoted config is dropped in without it, which is said; the search goes on without it too."""
    models = [{**part, "supports": ["max_tokens"]} if part["name"] == "large" else part for part in OWN]
    when = {"choices": [0.0, 0.5], "when": {"model": ["small"]}}
    params = {"temperature": when, "max_tokens": 16}
    incumbent = {"model": "small", "instruction": "vague", "params": {"temperature": 0.5}}
    found = migrated(promoted(tmp_path, models=models, params=params, incumbent=incumbent), to=["large"])
    (drop_in,) = found.drop_ins
    assert drop_in.rejected == ("temperature=0.5 (the model has no such parameter)",)
    assert "temperature" not in drop_in.candidate.request_params
    assert "temperature" not in found.chosen.candidate.request_params
    assert migration_json(found)["drop_ins"][0]["not_sent"] == list(drop_in.rejected)
    assert "was not sent them: temperature=0.5" in page(found, promote_command="promote it")


def test_without_a_name_the_other_models_of_the_space_are_tried(tmp_path: Path, landscape: Counted) -> None:
    found = migrated(to_large(tmp_path)[0])
    assert [item.candidate.model for item in found.drop_ins] == ["large"]


def test_the_model_that_leaves_is_no_successor(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(promoted(tmp_path), tmp_path, "--to", "small") == 2
    assert "is the model that retires" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trials", "0"], "--trials: got 0, expected a number above 0"),
        (["--seed", "-1"], "--seed: got -1"),
        (["--minutes", "-1"], "--minutes: got -1.0"),
        (["--budget-usd", "nan"], "--budget-usd: got nan"),
        (["--space", "nope.yaml"], "--space: there is no such file: got 'nope.yaml'. Check the path."),
        (["--to", "larg"], "--to: no model has this name: got 'larg'"),
        (["--label", "prodution"], "Did you mean 'production'"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_call(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    places = promoted(tmp_path, search={"sampler": "random", "trials": 1, "concurrency": 2})
    before = Counter(landscape.calls)
    assert command(places, tmp_path, "--to", "large", *options) == 2
    assert says in capsys.readouterr().err and landscape.calls == before


def test_a_model_that_cannot_be_called_is_named_with_the_reason(tmp_path: Path, landscape: Counted) -> None:
    found = migrated(promoted(tmp_path), to=["large", "openai/gpt-4o"])
    (left,) = {item.name for item in found.left_out}
    assert left == "openai/gpt-4o" and any("OPENAI_API_KEY" in item.why for item in found.left_out)


HOSTED = [
    {"name": "small", "route": "openai/gpt-4o", "price": {"input_usd": 1.0, "output_usd": 2.0}},
    {"name": "large", "route": "openai/large", "api_base": "http://127.0.0.1:9/v1",
     "price": {"input_usd": 10.0, "output_usd": 30.0}},
]  # fmt: skip
OWN = [
    {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "price": price}
    for name, price in PRICES.items()
]


def test_a_promotion_whose_content_is_another_candidate_than_its_evidence_is_not_migrated(
    tmp_path: Path, landscape: Counted
) -> None:
    """A hand that edits the content and seals it again would have been migrated with the other's numbers."""
    places = promoted(tmp_path)
    (path,) = (places.promotions / "landscape").glob("[0-9a-f]*.yaml")
    promotion = FeatureFolder(places.promotions, "landscape").load(path.stem)
    edited = sealed(replace(promotion, instructions={"main": "Something else."}))
    PromotionStore(places.promotions, "landscape").promote(edited, (), label="production", why=None)
    with pytest.raises(PromotionError, match="its evidence is about"):
        migrated(places)


def test_a_config_alone_asks_for_no_proposals_though_its_space_does(tmp_path: Path, landscape: Counted) -> None:
    """A space with `propose` ended its migration after the search was paid for: one trial has no round of proposals."""
    places = promoted(tmp_path)
    origin = read_origin("landscape", label="production", promotions=places.promotions, storage=places.url)
    wanted = replace(origin, space=origin.space.changed(propose=ProposePart(model="large")))
    alone = spaces.alone(wanted, wanted.candidate, "large")
    assert alone.space.propose is None and alone.space.search.trials == 1


def test_a_space_file_that_is_named_counts_although_the_study_is_stored(tmp_path: Path, landscape: Counted) -> None:
    """Another model at another address; the task is the same, so that what was recorded still serves."""
    places = promoted(tmp_path)
    models = [*OWN, {**OWN[1], "name": "third"}]
    edited = write_space(tmp_path / "edited", models=models, description="Edited since.")
    found = migrated(replace(places, space=edited), to=["large"])
    assert found.baseline.basis is Basis.RECORDED and found.chosen.candidate.model == "large"
    origin = read_origin(
        "landscape", label="production", promotions=places.promotions, storage=places.url, space=edited
    )  # fmt: skip
    assert [part.name for part in origin.space.space.models if not isinstance(part, str)] == ["small", "large", "third"]
    assert origin.space.path == edited and origin.row is not None


@pytest.mark.parametrize("risen", [("small",), ("large",), ("small", "large")])
def test_costs_of_recorded_runs_are_at_the_prices_of_today(
    tmp_path: Path, landscape: Counted, risen: tuple[str, ...]
) -> None:
    places = promoted(tmp_path)
    before = migrated(places, to=["large"])
    prices = {name: {k: 10 * usd if name in risen else usd for k, usd in own.items()} for name, own in PRICES.items()}
    models = [{**part, "price": prices[part["name"]]} for part in OWN]
    found = migrated(replace(places, space=write_space(tmp_path / "edited", models=models)), to=["large"])
    small, large = (10.0 if name in risen else 1.0 for name in ("small", "large"))
    assert found.baseline.holdout.cost_usd == pytest.approx(small * before.baseline.holdout.cost_usd)
    assert found.baseline.search.cost_usd == pytest.approx(small * before.baseline.search.cost_usd)
    for now, then in zip(found.drop_ins, before.drop_ins, strict=True):
        assert now.holdout.cost_usd == pytest.approx(large * then.holdout.cost_usd)


def test_rows_that_the_old_model_did_not_answer_are_named_where_its_answers_are_the_reference(tmp_path: Path) -> None:
    def silent(request: CallRequest) -> Any:
        found = reply_to(request)
        return replace(found, text="") if int(request.messages[-1]["content"].split()[1]) % 4 == 0 else found

    study = run_job(write_space(tmp_path), tmp_path / "results", transport=FunctionTransport(silent)).report.study
    promoting.promote(
        study, pick="incumbent", promotions=tmp_path / "promotions", results=tmp_path / "results", within_days=0,
        force=True, why="what runs today",
    )  # fmt: skip
    places = Places(promotions=tmp_path / "promotions", results=tmp_path / "results")
    found = migrated(places, to=["large"], reference=Reference.ANSWERS, transport=FunctionTransport(silent))
    lacking = found.baseline.unanswered
    assert lacking and all(int(name[1:]) % 4 == 0 for name in lacking)
    assert len(lacking) + found.baseline.holdout.n == HOLDOUT
    assert f"{len(lacking)} of {HOLDOUT} examples of the holdout have no recorded answer" in page(
        found, promote_command="x"
    )
    assert migration_json(found)["today"]["unanswered"] == list(lacking)


@pytest.mark.parametrize(
    "task",
    [
        {"metric": {"kind": "contains", "field": "label", "values_from": "label"}},
        {"splits": {"train": 6, "search": 8, "holdout": 6}},
    ],
)
def test_a_space_file_of_another_task_is_not_compared_with_what_was_recorded(
    tmp_path: Path, landscape: Counted, task: dict[str, Any]
) -> None:
    places = promoted(tmp_path)
    edited = write_space(tmp_path / "edited", **task)
    found = migrated(replace(places, space=edited), to=["large"])
    assert found.baseline.basis is Basis.MEASURED
    if "metric" in task:
        assert not landscape.calls["small"], "its answers are on record and are graded again"


def test_another_task_is_refused_where_the_retiring_model_cannot_be_asked_again(
    tmp_path: Path, landscape: Counted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    places = promoted(tmp_path, models=HOSTED)
    landscape.gone.add("small")
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nretirements:\n  - {model: gpt-4o, retires: 2026-01-01}\n")
    metric = {"kind": "contains", "field": "label", "values_from": "label"}
    options = ["--to", "large", "--lifecycle", str(own)]
    edited = ["--space", str(write_space(tmp_path / "edited", models=HOSTED, metric=metric))]
    assert command(places, tmp_path, *options, *edited) == 0, "its answers are on record"
    assert command(replace(places, results=tmp_path / "other"), tmp_path, *options, *edited) == 2
    told = capsys.readouterr().err
    assert "edited/space.yaml: its data, splits, metric or fields are not those that small was measured on" in told


@pytest.mark.parametrize("more", [1, 3])
def test_a_holdout_that_a_cap_cut_short_proposes_nothing_and_ends_with_3(
    tmp_path: Path, landscape: Counted, capsys: pytest.CaptureFixture[str], more: int
) -> None:
    places = promoted(tmp_path, search={"sampler": "random", "trials": 1, "concurrency": 1})
    assert command(places, tmp_path, "--to", "large", "--budget-calls", str(SEARCH + more)) == 3
    out = capsys.readouterr().out
    text = (tmp_path / "proposal.md").read_text()
    for shown in (text, out):
        assert "Nothing to propose: the holdout is incomplete." in shown and f"only {more} of {HOLDOUT}" in shown
    assert "offramp promote" not in text and "(proposed)" not in text and "Proposed:" not in out


def test_a_recorded_holdout_of_todays_config_that_is_incomplete_proposes_nothing(
    tmp_path: Path, landscape: Counted
) -> None:
    places = promoted(tmp_path)
    origin = read_origin("landscape", label="production", promotions=places.promotions, storage=places.url)
    with open_store(places.url) as store:
        known = ResultStore(store).get(origin.row.name, Split.HOLDOUT, origin.candidate.id)
        lost = [replace(r, state=ResultState.INFRASTRUCTURE_ERROR, score=None) for r in list(known.values())[2:]]
        ResultStore(store).put(origin.row.name, Split.HOLDOUT, lost)
    found = migrated(places, to=["large"])
    told = migration_json(found)
    assert not told["complete"] and "only 2 of 6 examples" in told["verdict"]
    assert "offramp promote" not in page(found, promote_command="offramp promote X")


def test_the_same_command_again_has_only_what_is_left_of_its_caps(tmp_path: Path, landscape: Counted) -> None:
    """Each command spent the caps again: 260 calls under a cap of 150."""
    places = promoted(tmp_path, search={"sampler": "random", "trials": 1, "concurrency": 2})
    cap = SEARCH + HOLDOUT + 5
    first = migrated(places, to=["large"], caps=Caps(calls=SEARCH + 2))
    assert landscape.calls["large"] == first.spent.calls == SEARCH + 2
    second = migrated(places, to=["large"], caps=Caps(calls=cap))
    assert landscape.calls["large"] <= cap
    assert second.in_all.calls == landscape.calls["large"] == first.spent.calls + second.spent.calls
    text = page(second, promote_command="x")
    assert f"The migration took {second.in_all.calls} calls and " in text
    assert f"this one took {second.spent.calls} calls (" in text
    asked = Counter(landscape.calls)
    for calls in (cap, SEARCH):
        again = migrated(places, to=["large"], caps=Caps(calls=calls))
        assert landscape.calls == asked and again.spent.calls == 0
        assert again.chosen.candidate == second.chosen.candidate and again.in_all.calls == second.in_all.calls
    assert "spent_in_all" in migration_json(again)


def test_money_counts_for_the_same_migration_and_not_for_another(tmp_path: Path, landscape: Counted) -> None:
    places = promoted(tmp_path, search={"sampler": "random", "trials": 2, "concurrency": 2})
    first = migrated(places, to=["large"], trials=2)
    assert first.in_all == first.spent and first.in_all.usd > 0
    asked = Counter(landscape.calls)
    again = migrated(places, to=["large"], trials=6, caps=Caps(usd=first.in_all.usd))
    assert landscape.calls == asked and again.in_all.usd == pytest.approx(first.in_all.usd)
    other = migrated(places, to=["large"], trials=2, reference=Reference.ANSWERS)
    assert other.in_all.calls == other.spent.calls


def test_a_cap_on_minutes_is_that_of_one_command(tmp_path: Path) -> None:
    places, first = to_large(tmp_path)
    minutes = max(first.spent.elapsed_s / 60, 0.1)
    assert migrated(places, to=["large"], caps=Caps(minutes=minutes + 1)).chosen.candidate == first.chosen.candidate


def test_a_broken_list_of_studies_is_one_message(tmp_path: Path) -> None:
    places, _ = to_large(tmp_path)
    [kept] = (places.results / "migrations").glob("landscape-*.json")
    kept.write_text("{")
    with pytest.raises(StorageError, match=r"cannot be read: it is not JSON\. Remove it"):
        migrated(places, to=["large"])
    kept.unlink()
    assert migrated(places, to=["large"]).spent.calls == 0
