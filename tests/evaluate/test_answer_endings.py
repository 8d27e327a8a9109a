"""How answers ended is counted, shown and stored: whole jobs against a server that says what providers say."""

import json
import re

import pytest

import offramp
from offramp.models.names import is_another
from offramp.records import Ending
from offramp.search import api
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.study.queries.study_rows import read_report
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import main, write_space
from user_code import TWO_STEPS

REASONED = {
    "prompt_tokens": 30, "completion_tokens": 16, "total_tokens": 46,
    "completion_tokens_details": {"reasoning_tokens": 16},
}  # fmt: skip
CUT = ServerReply(text="", finish_reason="length", usage=REASONED)
UPSTREAM = ServerReply(
    choices=[
        {
            "index": 0,
            "message": {"role": "assistant", "content": ""},
            "finish_reason": "error",
            "error": {"code": 502},
        }
    ],
    usage=None,
)


def run(folder, script, **changes):
    with ScriptedServer(script) as server:
        small = {"splits": {"train": 2, "search": 6, "holdout": 4}, "calls": {"timeout_s": 30, "attempts": 1}}
        search = {"sampler": "random", "trials": 1, "concurrency": 2}
        path = write_space(folder, base=server.url, **{**small, "search": search, **changes})
        return api.optimize(str(path), results=str(folder / "results"))


def results_of(folder, job):
    with open_store(f"sqlite:///{folder / 'results' / 'offramp.db'}") as store:
        return [r for found in ResultStore(store).all(job.report.study, "search").values() for r in found.values()]


CASES = {
    "reasoning": (CUT, Ending.CUT, "6 of 6 answers cut at max_tokens 16, all of it reasoning: raise max_tokens"),
    "cut in the middle": (
        ServerReply(text="I think that", finish_reason="length"),
        Ending.CUT,
        "6 of 6 answers cut at max_tokens 16: raise max_tokens",
    ),
    "cut but readable": (
        ServerReply(text="billing", finish_reason="max_tokens"),
        Ending.CUT,
        "6 of 6 answers cut at max_tokens 16: raise max_tokens",
    ),
    "filtered": (ServerReply(text="bill", finish_reason="content_filter"), Ending.FILTERED, "filtered by the provider"),
    "filtered whole": (ServerReply(text="", finish_reason="content_filter"), Ending.FILTERED, "filtered by"),
    "refused": (
        ServerReply(message={"role": "assistant", "content": None, "refusal": "I cannot help with that."}),
        Ending.REFUSED,
        "6 of 6 answers refused by the model",
    ),
    "empty": (ServerReply(text=""), Ending.EMPTY, "6 of 6 answers empty although the model stopped by itself"),
    "unreadable": (ServerReply(text="hm, hard to say"), Ending.UNREADABLE, "6 of 6 answers unreadable"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_ending_is_counted_and_named_with_its_remedy(tmp_path, name):
    reply, ending, words = CASES[name]
    job = run(tmp_path, lambda body: reply)
    assert job.error is None
    incumbent = job.report.to_json()["incumbent"]
    counts = {e: incumbent[f"n_{e}"] for e in Ending if e is not Ending.ANSWERED}
    assert counts == {e: 6 if e is ending else 0 for e in counts}
    assert words in incumbent["notes"][0]
    assert {r.ending for r in results_of(tmp_path, job)} == {ending}


def test_a_zero_of_a_cut_answer_says_why(tmp_path):
    job = run(tmp_path, lambda body: CUT)
    assert {r.reason for r in results_of(tmp_path, job)} == {"cut at max_tokens 16, all of it reasoning"}


def test_good_answers_have_no_note(tmp_path):
    job = run(tmp_path, lambda body: ServerReply(text="billing"))
    incumbent = job.report.to_json()["incumbent"]
    assert incumbent["notes"] == [] and incumbent["n_cut"] == 0 and incumbent["other_model"] is None


def test_an_upstream_failure_has_no_score(tmp_path):
    job = run(tmp_path, lambda body: UPSTREAM)
    assert job.error is not None
    assert {(r.score, r.ending) for r in results_of(tmp_path, job)} == {(None, None)}


def test_another_model_than_asked_for_is_named(tmp_path):
    job = run(tmp_path, lambda body: ServerReply(text="billing", extra={"model": "tiny-1"}))
    incumbent = job.report.to_json()["incumbent"]
    assert (incumbent["n_other_model"], incumbent["other_model"]) == (6, "tiny-1")
    assert "6 of 6 answers given by tiny-1, which is not the model asked for (small)" in incumbent["notes"]


JUDGE_FAILS = {
    "cut": (ServerReply(text="Well, the", finish_reason="length"), "cut at max_tokens 50: raise it"),
    "cut after its grade": (
        ServerReply(text='{"grade": 5, "why": "bec', finish_reason="length"),
        "cut at max_tokens 50",
    ),
    "all reasoning": (CUT, "cut at max_tokens 50: raise it"),
    "filtered": (ServerReply(text="", finish_reason="content_filter"), "the judge's answer was filtered"),
    "filtered in part": (ServerReply(text='{"grade": 1}', finish_reason="content_filter"), "was filtered"),
    "refused": (
        ServerReply(message={"role": "assistant", "content": None, "refusal": "I cannot."}),
        "the judge refused to grade",
    ),
    "empty": (ServerReply(text=""), "the judge's answer was empty"),
    "unreadable": (ServerReply(text="a fine answer"), "could not be read"),
    "too long": (
        ServerReply(status=400, text="maximum context length is 9 tokens"),
        "does not fit into its context",
    ),
}


@pytest.mark.parametrize("name", JUDGE_FAILS)
def test_a_judge_without_an_answer_is_counted_by_its_reason_and_scores_nothing(tmp_path, name):
    fails, words = JUDGE_FAILS[name]

    def script(body):
        asked = str(body["messages"][-1]["content"])
        if "begin answer" not in asked:
            return ServerReply(text="billing")
        return fails if re.search(r"case [0-9]*[02468]\b", asked) else ServerReply(text='{"grade": 5}')

    judge = {
        "kind": "judge", "model": "small", "rubric": "The label fits.", "params": {"max_tokens": 50},
    }  # fmt: skip
    job = run(tmp_path, script, metric=judge, calls={"timeout_s": 30, "attempts": 1, "max_failed_share": 1.0})
    incumbent = job.report.to_json()["incumbent"]
    failed = [r for r in results_of(tmp_path, job) if r.score is None]
    assert failed and len({r.reason for r in failed}) == 1
    assert {r.score for r in results_of(tmp_path, job)} == {None, 1.0} and incumbent["quality"] == 1.0
    assert list(incumbent["failures"].values()) == [len(failed)] and words in next(iter(incumbent["failures"]))
    (note,) = (note for note in incumbent["notes"] if note.startswith(f"{len(failed)} of 6 runs have no score: "))
    assert words in note
    with open_store(f"sqlite:///{tmp_path / 'results' / 'offramp.db'}") as store:
        assert read_report(store, job.report.study).to_json()["incumbent"] == incumbent


@pytest.mark.parametrize(
    ("asked", "answered", "another"),
    [
        ("openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4", "gpt-4-0613", False),
        ("anthropic/claude-sonnet-latest", "claude-sonnet-4-5-20250929", False),
        ("bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku-20241022", False),
        ("openrouter/openai/gpt-4o:free", "openai/gpt-4o", False),
        ("gemini/gemini-2.0-flash", "gemini-2.0-flash-001", False),
        ("azure/my-deployment", "gpt-4o-2024-08-06", False),
        ("openai/gpt-4o", "gpt-4o-mini-2024-07-18", True),
        ("openai/gpt-4o-2024-05-13", "gpt-4o-2024-08-06", True),
        ("openai/gpt-5", "gpt-4.1", True),
        ("anthropic/claude-opus-4-1", "claude-sonnet-4-5-20250929", True),
    ],
)
def test_a_snapshot_is_the_model_and_another_name_is_not(asked, answered, another):
    assert is_another(asked, answered) is another


ROWS = ("e004", "e013")
REJECTED = {
    "empty block": (ServerReply(status=400, text="messages: text content blocks must be non-empty"), "non-empty"),
    "unprocessable": (ServerReply(status=422, text="Input should be a valid string"), "valid string"),
    "filtered": (ServerReply(status=400, text="blocked by the content management policy"), "filtered by the provider"),
    "too large": (ServerReply(status=413, text="Request Entity Too Large"), "prompts too long for the model"),
    "too long": (ServerReply(status=400, text="the maximum context length is 9 tokens"), "prompts too long"),
    "with ids of its own": (None, "must not be blank"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rows_that_a_provider_rejects_are_named_and_counted_as_one_kind(tmp_path, name, capsys, caplog):
    reply, words = REJECTED[name]

    def script(body):
        number = body["messages"][-1]["content"].split()[1]
        if f"e{number}" not in ROWS:
            return ServerReply(text="billing")
        own = f"messages.{int(number)}.content must not be blank (req_{number}abcdef0, 2026-11-28T10:{number[1:]}:00Z)"
        return reply or ServerReply(status=400, text=own)

    job = run(tmp_path, script, splits={"train": 2, "search": 30, "holdout": 4})
    incumbent = job.report.to_json()["incumbent"]
    (note,) = incumbent["notes"]
    assert job.error is None and note.startswith("2 of 30 ") and words in note and "(e004, e013)" in note
    assert list(incumbent["examples"].values()) == [list(ROWS)]
    unscored = [r for r in results_of(tmp_path, job) if r.score is None]
    if unscored:
        assert list(incumbent["failures"].values()) == [2] and not any("e004" in key for key in incumbent["failures"])
        assert sorted(re.search(r"row (\d+) \((\w+)\)", r.reason).groups() for r in unscored) == [
            ("14", "e013"),
            ("5", "e004"),
        ]
        assert len([r for r in caplog.messages if "row 5 (e004)" in r]) == 1
    with open_store(f"sqlite:///{tmp_path / 'results' / 'offramp.db'}") as store:
        assert read_report(store, job.report.study).to_json()["incumbent"] == incumbent


def test_compare_says_it_of_both_sides(tmp_path, capsys):
    def script(body):
        strict = body["messages"][0]["content"].startswith("Strict.")
        return ServerReply(text="billing", finish_reason="length" if strict else "stop")

    grid = {"sampler": "grid", "trials": 12, "concurrency": 2, "race": None}
    with ScriptedServer(script) as server:
        path = write_space(
            tmp_path, base=server.url, splits={"train": 2, "search": 6, "holdout": 4}, search=grid,
            params={"max_tokens": 16}, models=[{"name": "small", "route": "openai/small", "api_base": server.url,
            "price": {"input_usd": 1.0, "output_usd": 2.0}}], calls={"timeout_s": 30, "attempts": 1},
        )  # fmt: skip
        job = offramp.optimize(str(path), results=str(tmp_path / "results"))
    strict = next(m.candidate for m in job.report.members if m.params["instruction"] == "strict")
    arguments = [
        "compare",
        job.report.study,
        strict,
        "incumbent",
        "--results",
        str(tmp_path / "results"),
        "--split",
        "search",
    ]
    assert main(arguments) == 0
    assert "A: 6 of 6 answers cut at max_tokens 16: raise max_tokens" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == ["A: 6 of 6 answers cut at max_tokens 16: raise max_tokens"]


@pytest.mark.parametrize("cut", [("gist",), ("sort",), ("gist", "sort")])
def test_a_run_of_two_predictors_is_cut_once_whichever_of_them_was(tmp_path, cut):
    def script(body):
        step = "gist" if "case " in body["messages"][-1]["content"] else "sort"
        text = "about billing" if step == "gist" else "billing"
        ended = "length" if step in cut else "stop"
        return ServerReply(text=text, finish_reason=ended)

    (tmp_path / "steps.py").write_text(TWO_STEPS)
    job = run(
        tmp_path, script, task={"module": "steps.py:TwoSteps", "inputs": ["message"], "outputs": ["label"]},
        instructions={"gist": {"vague": "Vague."}, "sort": {"vague": "Vague."}}, incumbent={"model": "small"},
        program={"format": "plain"},
    )  # fmt: skip
    assert job.error is None
    incumbent = job.report.to_json()["incumbent"]
    assert (incumbent["n"], incumbent["n_cut"]) == (6, 6)
    assert "6 of 6 answers cut at max_tokens 16: raise max_tokens" in incumbent["notes"]
