"""Pages of candidates of several requests: the form, its verifying instruction, and what one run asked and was answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from offramp.records import CallReply, CallRequest, Usage
from offramp.review.report_file import report
from offramp.review.study_source import StudySource
from offramp.store.engine import open_store
from offramp.study import lookup
from offramp.study.wording import short_params
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, answered_by, run_job, write_space

FORMS = [{"verify_then_retry": 1}, {"best_of": 2, "temperature": 0.7}, "predict"]


def reply_to(request: CallRequest) -> CallReply:
    """Wrong at first, right once it is objected to; the verifying call knows."""
    system, user = (str(request.messages[i]["content"]) for i in (0, -1))
    right = LABELS[int(re.findall(r"case (\d+)", user)[-1]) % 3]
    said = right if "rejected" in system else LABELS[(LABELS.index(right) + 1) % 3]
    if "accepted:" in system:
        accepted = f"label: {right}" in user
        said = f"accepted: {str(accepted).lower()}\nobjection: {'null' if accepted else 'not <b>that</b> one'}"
    return CallReply(text=said, finish_reason="stop", usage=Usage(input_tokens=9, output_tokens=2), latency_s=0.1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("forms")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        space = write_space(
            folder, incumbent={"model": "small", "form": "predict"}, program={"form": FORMS},
            instructions={"clear": "Clear."}, params={"temperature": 0.0, "max_tokens": 40},
            models=[{"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1", "price": {"input_usd": 1.0, "output_usd": 2.0}}],
            search={"sampler": "grid", "trials": 3, "race": None},
        )  # fmt: skip
        result = run_job(space, folder / "results")
    assert result.error is None
    return folder / "results", result.report.study


def test_the_report_shows_the_form_its_verifying_instruction_and_the_requests_of_a_run(
    study: tuple[Path, str], tmp_path: Path
) -> None:
    folder, name = study
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        source = StudySource(store, name)
        by_form = {str(kept.params["form"]): kept.id for kept in source.candidates}
        turns = source.turns(by_form["verify_then_retry 1"])
        assert [dict(turn)["request"] for turn in turns] == ["main, step 1", "verify, step 2", "main, step 3"]
        assert [dict(turn)["answer"].split("\n")[0] for turn in turns][1] == "accepted: false"
        assert "Objection: not <b>that</b> one" in dict(turns[2])["instruction"]
        both = [dict(turn) for turn in source.turns(by_form["best_of 2 at temperature 0.7"])]
        assert [turn["request"] for turn in both] == ["main, step 1", "main, step 1", "verify, step 2"]
        assert "instruction" in both[0] and "instruction" not in both[1], "the same request again"
        assert source.turns(by_form["predict"]) == () and source.turns("none") == ()
    html = report(name, results=folder, out=tmp_path / "r.html").read_text()
    block = html.split(f'data-turns="{by_form["verify_then_retry 1"]}">')[1].split("</div>\n<")[0]
    assert "Objection: not &lt;b&gt;that&lt;/b&gt; one" in block and "<b>that</b>" not in html
    assert "The task:" in html and "verify_then_retry 1" in html


def test_answers_that_are_gone_are_not_shown(study: tuple[Path, str], tmp_path: Path) -> None:
    folder, name = study
    (tmp_path / "offramp.db").write_bytes((folder / "offramp.db").read_bytes())
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        with store.transaction() as conn:
            conn.execute(text("delete from offramp_calls"))
        source = StudySource(store, name)
        assert all(source.turns(kept.id) == () for kept in source.candidates)


def test_a_label_says_the_temperature_once() -> None:
    params = {"model": "small", "form": "best_of 2 at temperature 0.7", "format": "plain", "temperature": 0.7}
    assert short_params(params) == "small, best_of 2, plain, temperature=0.7"
