"""Programs that ask several models, through the whole cycle against a real server: search, promote, load, check.

What the server was sent is what the study counted, and what it costs is at the price of the model that answered.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dspy
import pytest

import offramp
from offramp.errors import JobError
from offramp.lifecycle.in_use import models_in_use
from offramp.program.module import import_module_factory
from offramp.promote import promoting, recheck
from offramp.search import api
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import LABELS, PRICES, write_space

MODULE = '''
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import offramp

LARGE = dspy.LM("openai/large", api_base="{base}", api_key="sk-none", temperature=0.9, max_tokens=50)
dspy.configure(lm=LARGE)


class Base(dspy.Module):
    """Sorts with the candidate's model, and asks a second time in the way that a subclass says."""

    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("message -> label")
        self.verify = dspy.ChainOfThought("message, guess -> label")
        self.more()

    def more(self):
        pass

    def forward(self, message):
        guess = self.sort(message=message).label
        return dspy.Prediction(label=self.second(message, guess))

    def second(self, message, guess):
        return self.verify(message=message, guess=guess).label


class Named(Base):
    def more(self):
        self.large = offramp.lm("large", default="openai/elsewhere", temperature=0.9, max_tokens=50)

    def second(self, message, guess):
        with dspy.context(lm=self.large):
            return self.verify(message=message, guess=guess).label


class Context(Base):
    def second(self, message, guess):
        with dspy.context(lm=LARGE, adapter=dspy.JSONAdapter()):
            return self.verify(message=message, guess=guess).label


class Raw(Base):
    def more(self):
        self.large = LARGE

    def second(self, message, guess):
        return self.large(f"message: {{message}} [[ ## label ## ]]")[0].split("\\n")[1]


class SetLm(Base):
    def more(self):
        self.verify.set_lm(LARGE)


class Saved(Base):
    def more(self):
        other = Base.__new__(Base)
        dspy.Module.__init__(other)
        other.sort, other.verify = dspy.Predict("message -> label"), dspy.ChainOfThought("message, guess -> label")
        other.verify.set_lm(LARGE)
        self.load_state(other.dump_state())


class Threads(Base):
    def second(self, message, guess):
        with ThreadPoolExecutor(2) as pool:
            votes = [pool.submit(self.verify, message=message, guess=guess, lm=LARGE) for _ in range(2)]
            return [vote.result().label for vote in votes][0]


class Async(Base):
    async def aforward(self, message):
        guess = (await self.sort.acall(message=message)).label
        votes = await asyncio.gather(*(self.verify.acall(message=message, guess=guess, lm=LARGE) for _ in range(2)))
        return dspy.Prediction(label=votes[0].label)


class Sampled(Base):
    def second(self, message, guess):
        return self.verify(message=message, guess=guess, lm=LARGE, config={{"n": 3, "temperature": 0.9}}).label


class Hidden(Base):
    def second(self, message, guess):
        return dspy.LM("openai/" + "hidden")(message)[0]


class HiddenInAThread(Base):
    def second(self, message, guess):
        thread = threading.Thread(target=Hidden.second, args=(self, message, guess))
        thread.start()
        thread.join()
        return guess


class HiddenAndSwallowed(Base):
    def second(self, message, guess):
        try:
            return Hidden.second(self, message, guess)
        except:
            return guess


class Free(Base):
    def forward(self, message):
        return dspy.Prediction(label=["billing", "shipping", "returns"][int(message.split()[1]) % 3])


class FreeAfterAWhile(Free):
    async def aforward(self, message):
        await asyncio.sleep(0)
        return self.forward(message)


class Searched(Base):
    """Its second predictor runs on what the space file says."""
'''
PER_RUN = {"Threads": 2, "Async": 2, "Sampled": 3}
"""Requests of one run to the large model, where it is not one."""
SHAPES = ["Named", "Context", "Raw", "SetLm", "Saved", "Threads", "Async", "Sampled"]


def reply(body: dict[str, Any]) -> ServerReply:
    text = "\n".join(str(message["content"]) for message in body["messages"])
    number = int(text.rsplit("case ", 1)[1][:3])
    lost = body["model"] == "small" and "reasoning" in text  # it cannot verify
    label = LABELS[(number + lost) % 3]
    if "JSON object" in text:
        return ServerReply(text=json.dumps({"reasoning": "so", "label": label}))
    said = "[[ ## reasoning ## ]]\nso\n\n" if "reasoning" in text else ""
    return ServerReply(text=f"{said}[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(reply) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server.requests.clear()
    monkeypatch.setenv("OPENAI_API_BASE", server.url)  # a call that escapes arrives there as well
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    yield
    dspy.configure(lm=None)


def space_of(folder: Path, server: ScriptedServer, name: str, **changes: Any) -> Path:
    models = [
        {"name": model, "route": f"openai/{model}", "api_base": server.url, "price": price, "searched": model == "small",
         "supports": ["temperature", "max_tokens"]}
        for model, price in PRICES.items()
    ]  # fmt: skip
    given: dict[str, Any] = {
        "task": {"module": f"own.py:{name}", "inputs": ["message"], "outputs": ["label"]},
        "instructions": None, "incumbent": {"model": "small"}, "models": models, "params": {"temperature": {"choices": [0.0, 0.5]}},
        "splits": {"train": 2, "search": 5, "holdout": 5}, **changes,
    }  # fmt: skip
    path = write_space(folder, base=server.url, count=12, **given)
    (folder / "own.py").write_text(MODULE.format(base=server.url))
    return path


def asked(server: ScriptedServer) -> Counter[str]:
    return Counter(request.body["model"] for request in server.requests)


def counted(folder: Path) -> Counter[str]:
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        return Counter(row[0].removeprefix("openai/") for row in db.execute("select model from offramp_calls"))


def usd(requests: Counter[str]) -> float:
    """The bill: each reply read 10 tokens and wrote 5."""
    return sum(n * (10 * PRICES[m]["input_usd"] + 5 * PRICES[m]["output_usd"]) / 1e6 for m, n in requests.items())


@pytest.mark.parametrize("name", SHAPES)
def test_a_program_of_two_models_is_searched_promoted_loaded_and_checked(
    name: str, server: ScriptedServer, tmp_path: Path
) -> None:
    path = space_of(tmp_path, server, name)
    job = offramp.optimize(path, results=tmp_path / "results")
    assert job.error is None
    sent, large = asked(server), PER_RUN.get(name, 1)
    assert counted(tmp_path) == sent and sent["large"] == 10 * large and sent["small"] > 0
    assert job.spent_usd == pytest.approx(usd(sent))
    for member in job.report.members:
        assert member.cost_usd == pytest.approx(usd(Counter(small=1, large=large)))
    hot = [request.body for request in server.requests if request.body["model"] == "large"]
    assert {body.get("temperature") for body in hot} == {0.9}

    promoting.promote(
        "latest", results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada", force=True, why="small"
    )
    assert [(used.role, used.name) for used in models_in_use(tmp_path / "promotions")] == [
        ("model", "small"), ("program", "large"),
    ]  # fmt: skip
    server.requests.clear()
    report = recheck.check("landscape", promotions=tmp_path / "promotions")
    assert report.calls == len(server.requests) == 5 * (1 + large)
    assert report.spent_usd == pytest.approx(usd(asked(server)))
    checked = {json.dumps(dict(request.body), sort_keys=True) for request in server.requests}

    server.requests.clear()
    load = offramp.load(
        "landscape",
        promotions=tmp_path / "promotions",
        module=import_module_factory(f"own.py:{name}", tmp_path, "test"),
        api_base=server.url,
    )
    with sqlite3.connect(tmp_path / "results" / "offramp.db") as db:
        ids = sorted(
            row[0] for row in db.execute("select distinct example from offramp_results where split = 'holdout'")
        )
    for example in ids:
        assert load(message=f"case {example[1:]}").label == LABELS[int(example[1:]) % 3]
    assert {json.dumps(dict(request.body), sort_keys=True) for request in server.requests} == checked
    assert asked(server) == Counter(small=5, large=5 * large)


def test_the_model_of_a_predictor_is_searched_promoted_loaded_and_checked(
    server: ScriptedServer, tmp_path: Path
) -> None:
    path = space_of(
        tmp_path, server, "Searched", program={"models": {"verify.predict": ["own", "large"]}}, params={"temperature": 0.0},
        search={"sampler": "grid", "trials": 4, "concurrency": 2, "race": None},
    )  # fmt: skip
    job = offramp.optimize(path, results=tmp_path / "results")
    assert job.error is None and counted(tmp_path) == asked(server)
    costs = {str(member.params["model.verify.predict"]): member.cost_usd for member in job.report.members}
    assert costs == {
        "own": pytest.approx(usd(Counter(small=2))), "large": pytest.approx(usd(Counter(small=1, large=1))),
    }  # fmt: skip
    assert job.spent_usd == pytest.approx(usd(asked(server)))
    chosen = next(m.candidate for m in job.report.members if m.params["model.verify.predict"] == "large")
    promoted = promoting.promote(
        "latest", pick=chosen, results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada", force=True,
        why="large",
    )  # fmt: skip
    assert promoted.promotion.predictor_models == {"verify.predict": "large"}
    assert [(used.role, used.name) for used in models_in_use(tmp_path / "promotions")] == [
        ("model", "small"), ("program", "large"),
    ]  # fmt: skip
    server.requests.clear()
    report = recheck.check("landscape", promotions=tmp_path / "promotions")
    assert report.calls == len(server.requests) and asked(server) == Counter(small=5, large=5)
    assert {request.body.get("temperature") for request in server.requests} == {0.0}
    server.requests.clear()
    module = import_module_factory("own.py:Searched", tmp_path, "test")
    load = offramp.load("landscape", promotions=tmp_path / "promotions", module=module, api_base=server.url)
    assert load(message="case 004").label == LABELS[1] and asked(server) == Counter(small=1, large=1)

    load.save(tmp_path / "state.json")  # plain DSPy sends the same
    through_offramp = [dict(request.body) for request in server.requests]
    server.requests.clear()
    plain = module()
    plain.load(tmp_path / "state.json")
    plain.verify.predict.lm.cache = False
    with dspy.context(lm=dspy.LM("openai/small", cache=False, temperature=0.0), adapter=dspy.ChatAdapter()):
        assert plain(message="case 004").label == LABELS[1]
    assert asked(server) == Counter(small=1, large=1)
    assert [dict(request.body) for request in server.requests] == through_offramp


@pytest.mark.parametrize(
    ("name", "models"), [("Searched", {"verify.predict": ["own", "large"]}), ("SetLm", {}), ("Saved", {})]
)
def test_a_saved_program_asks_each_predictors_model_at_its_own_server_and_holds_no_key(
    name: str, models: dict[str, list[str]], server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("HOUSE_KEY", "sk-house-123456")
    path = space_of(
        tmp_path, server, name, params={"temperature": 0.0}, search={"sampler": "grid", "trials": 2, "race": None},
        **({"program": {"models": models}} if models else {}),
    )  # fmt: skip
    members = offramp.optimize(path, results=tmp_path / "results").report.members
    chosen = next((m.candidate for m in members if m.params.get("model.verify.predict") == "large"), "incumbent")
    promoting.promote(
        "latest", pick=chosen, results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada", force=True,
        why="large",
    )  # fmt: skip
    server.requests.clear()
    module = import_module_factory(f"own.py:{name}", tmp_path, "test")
    load = offramp.load(
        "landscape", promotions=tmp_path / "promotions", module=module, api_base=server.url, api_key_env="HOUSE_KEY"
    )
    assert load(message="case 004").label == LABELS[1] and asked(server) == Counter(small=1, large=1)
    through_offramp = [dict(request.body) for request in server.requests]
    load.save(tmp_path / "state.json")
    assert f"({urlsplit(server.url).netloc})" in caplog.text and "allow_unsafe_lm_state=True" in caplog.text
    assert "sk-" not in (tmp_path / "state.json").read_text()

    server.requests.clear()
    plain = module()
    plain.load(tmp_path / "state.json", allow_unsafe_lm_state=True)
    plain.verify.predict.lm.cache = False
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")  # the vendor, which is not to see any of it
    small = dspy.LM("openai/small", api_base=server.url, cache=False, temperature=0.0)
    with dspy.context(lm=small, adapter=dspy.ChatAdapter()):
        assert plain(message="case 004").label == LABELS[1]
    assert [dict(request.body) for request in server.requests] == through_offramp


@pytest.mark.parametrize("name", ["Hidden", "HiddenInAThread", "HiddenAndSwallowed"])
def test_a_call_that_only_shows_when_it_runs_ends_the_job_and_was_not_sent(
    name: str, server: ScriptedServer, tmp_path: Path
) -> None:
    job = api.optimize(space_of(tmp_path, server, name), results=tmp_path / "results")
    assert isinstance(job.error, JobError) and "openai/hidden, which `models` does not declare" in str(job.error)
    assert counted(tmp_path) == asked(server) and set(asked(server)) == {"small"} and asked(server)["small"] <= 2
    assert job.report.members == ()


@pytest.mark.parametrize("name", ["Free", "FreeAfterAWhile"])
def test_answers_without_requests_are_never_a_success(name: str, server: ScriptedServer, tmp_path: Path) -> None:
    job = api.optimize(space_of(tmp_path, server, name), results=tmp_path / "results")
    assert isinstance(job.error, JobError) and "without a request" in str(job.error)
    assert all(member.quality is None or member.n < 5 for member in job.report.members)


@pytest.mark.parametrize("name", ["Named", "SetLm"])
def test_a_promotion_lists_the_other_models_where_no_texts_are_stored(
    name: str, server: ScriptedServer, tmp_path: Path
) -> None:
    path = space_of(tmp_path, server, name, store_text=False, search={"sampler": "random", "trials": 1})
    assert offramp.optimize(path, results=tmp_path / "results").error is None
    promoting.promote(
        "latest", pick="incumbent", results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada",
        force=True, why="small",
    )  # fmt: skip
    used = [(used.role, used.name) for used in models_in_use(tmp_path / "promotions")]
    assert used == [("model", "small"), ("program", "large")]
    server.requests.clear()
    module = import_module_factory(f"own.py:{name}", tmp_path, "test")
    load = offramp.load("landscape", promotions=tmp_path / "promotions", module=module, api_base=server.url)
    assert load(message="case 004").label == LABELS[1] and asked(server) == Counter(small=1, large=1)


@pytest.mark.parametrize("name", ["Named", "Searched"])
def test_a_migration_keeps_the_other_models_of_a_program(
    name: str, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [
        {"name": model, "route": f"openai/{model}", "api_base": server.url, "price": {"input_usd": 1.0, "output_usd": 2.0},
         "searched": model == "small", "supports": ["temperature", "max_tokens"]}
        for model in ("small", "large", "medium")
    ]  # fmt: skip
    changes: dict[str, Any] = {"models": models, "params": {"temperature": 0.0}}
    if name == "Searched":
        changes["program"] = {"models": {"verify.predict": "large"}}
        changes["incumbent"] = {"model": "small", "models": {"verify.predict": "large"}}
    path = space_of(tmp_path, server, name, search={"sampler": "random", "trials": 1}, **changes)
    assert offramp.optimize(path, results=tmp_path / "results").error is None
    promoting.promote(
        "latest", pick="incumbent", results=tmp_path / "results", promotions=tmp_path / "promotions", by="ada",
        force=True, why="small",
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    server.requests.clear()
    migration = offramp.migrate("landscape", to=["medium"], usd=1.0, trials=1)
    for contender in (*migration.drop_ins, migration.chosen):
        assert contender.candidate.model == "medium"
        assert contender.candidate.models == ({"verify.predict": "large"} if name == "Searched" else {})
    assert set(asked(server)) == {"medium"}  # the large model's answers are known
