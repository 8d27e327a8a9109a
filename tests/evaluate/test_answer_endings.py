"""How answers ended is counted, shown and stored: whole jobs against a server that says what providers say."""

import pytest

import offramp
from offramp.models.names import is_another
from offramp.records import Ending
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import write_space

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
        return offramp.optimize(str(path), results=str(folder / "results"))


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
