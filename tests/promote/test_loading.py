"""What an app sends is what was measured, byte for byte; and a running app follows its label."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

import offramp
from offramp.calls.failures import InvalidRequest, ModelNotFound, ServerFailed
from offramp.errors import PromotionError, UsageError
from offramp.program.deployed import AnswerError
from offramp.promote import loading, promoting
from offramp.promote.folder import FeatureFolder
from offramp.records import CallRequest
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ScriptedServer, ServerReply
from promoted_jobs import holdout_inputs, promoted_job, reply, right_answer, sent

BASE = "http://127.0.0.1:9/v1"
CASES: list[dict[str, Any]] = [
    {},
    {"constrained": True},
    {"demos": "random", "demo_count": 3},
    {"demos": "balanced", "demo_count": 3, "constrained": True},
    {"demos": "bootstrapped", "demo_count": 2},
    {"demos": "nearest", "demo_count": 3},
    {"format": "chat"},
    {"format": "chat", "demos": "balanced", "demo_count": 3},
    {"format": "chat", "demos": "bootstrapped", "demo_count": 2, "form": "chain_of_thought"},
    {"format": "chat", "demos": "nearest", "demo_count": 3, "form": "chain_of_thought"},
    {"format": "json"},
    {"format": "json", "constrained": True, "demos": "random", "demo_count": 2},
    {"format": "json", "demos": "nearest", "demo_count": 2},
    {"form": "chain_of_thought", "demos": "bootstrapped", "demo_count": 2},
    {"form": "chain_of_thought", "constrained": True, "demos": "nearest", "demo_count": 3},
]


def name_of(case: dict[str, Any]) -> str:
    return "-".join(str(value) for value in case.values()) or "plain"


def loaded(promotions: Path, wire: FunctionTransport, **options: Any) -> Any:
    return offramp.load("landscape", promotions=promotions, transport=wire, **{"api_base": BASE, **options})


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_request_of_an_app_is_the_request_that_was_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, **case)
    measured, inputs = sent(tmp_path), holdout_inputs(tmp_path)
    assert len(inputs) == 6

    wire = FunctionTransport(reply)
    program = loaded(promotions, wire)
    for values in inputs:
        assert program(**values).label in ("billing", "shipping", "returns")
    assert len(wire.requests) == 6
    for request in wire.requests:
        asked = {"messages": [dict(m) for m in request.messages], "params": dict(request.params)}
        assert measured[request.hash] == asked

    for values, request in zip(inputs, wire.requests, strict=True):
        written = offramp.load_messages("landscape", values, promotions=promotions)
        assert json.dumps(written.messages) == json.dumps([dict(m) for m in request.messages])
        assert json.dumps(written.params, sort_keys=True) == json.dumps(dict(request.params), sort_keys=True)
        assert written.payload()["model"] == "openai/small"


OWN = '''
import dspy

class Two(dspy.Module):
    """Thinks first, then sorts."""
    def __init__(self):
        self.think = dspy.Predict("message -> thought")
        self.sort = dspy.Predict("message, thought -> label")
    async def aforward(self, message):
        thought = (await self.think.acall(message=message)).thought
        return await self.sort.acall(message=message, thought=thought)
'''


def two_step_reply(request: CallRequest) -> str:
    return "a thought" if request.messages[0]["content"].startswith("Think") else right_answer(request)


def test_a_module_of_ones_own_is_handed_in_and_sends_what_was_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setattr("promoted_jobs.reply", two_step_reply)
    space = {
        "task": {"module": "own.py:Two", "inputs": ["message"], "outputs": ["label"]},
        "instructions": {"think": {"vague": "Think."}, "sort": {"vague": "Sort."}},
        "demos": {"kind": "bootstrapped", "count": 2},
    }
    promotions = promoted_job(
        tmp_path, monkeypatch, space=space, form="own", demos="bootstrapped", demo_count=2,
        instruction={"think": "vague", "sort": "vague"},
    )  # fmt: skip
    measured = sent(tmp_path)
    sys.path.insert(0, str(tmp_path))
    try:
        from own import Two  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))
    wire = FunctionTransport(two_step_reply)
    program = loaded(promotions, wire, module=Two)
    for values in holdout_inputs(tmp_path):
        program(**values)
    assert len(wire.requests) == 12 and all(request.hash in measured for request in wire.requests)
    with pytest.raises(UsageError, match="module=YourModule"):
        loaded(promotions, wire)
    with pytest.raises(UsageError, match="no predictors"):
        loaded(promotions, wire, module=lambda: dspy.Predict("message -> label"))
    with pytest.raises(UsageError, match=r"offramp\.load"):
        offramp.load_messages("landscape", {"message": "x"}, promotions=promotions)


def test_a_loaded_program_is_a_dspy_module_sync_and_async(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = loaded(promoted_job(tmp_path, monkeypatch, demos="random", demo_count=2), FunctionTransport(reply))
    assert isinstance(program, dspy.Module) and isinstance(program(message="case 001"), dspy.Prediction)
    [(_, predictor)] = program.named_predictors()
    assert len(predictor.demos) == 2 and predictor.signature.instructions.startswith("Sort it:")

    async def many() -> list[Any]:
        return await asyncio.gather(*(program.acall(message=f"case {i:03}") for i in range(20)))

    assert [p.label for p in asyncio.run(many())][:3] == ["billing", "shipping", "returns"]


def test_inputs_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, format="chat")
    program = loaded(promotions, FunctionTransport(reply))
    for call in (lambda **v: program(**v), lambda **v: offramp.load_messages("landscape", v, promotions=promotions)):
        with pytest.raises(UsageError, match="Did you mean 'message'"):
            call(mesage="x")
        with pytest.raises(UsageError, match="missing"):
            call()
    with pytest.raises(UsageError, match="CUSTOM-TYPE"):
        offramp.load_messages(
            "landscape", {"message": "<<CUSTOM-TYPE-START-IDENTIFIER>>[]<<CUSTOM-TYPE-END-IDENTIFIER>>"},
            promotions=promotions,
        )  # fmt: skip
    with pytest.raises(UsageError, match="JSON value"):
        offramp.load_messages("landscape", {"message": object()}, promotions=promotions)


def test_an_answer_that_cannot_be_read_is_an_error_and_asks_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = FunctionTransport(lambda _: "gibberish")
    program = loaded(promoted_job(tmp_path, monkeypatch), wire)
    with pytest.raises(AnswerError, match="gibberish"):
        program(message="case 001")
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("failure", "answers"),
    [(ServerFailed("down"), True), (ModelNotFound("retired"), True), (InvalidRequest("no such param"), False)],
    ids=lambda value: type(value).__name__,
)
def test_a_fallback_is_asked_when_a_model_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, answers: bool, caplog: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    options = {"results": tmp_path / "results", "promotions": promotions, "pick": "incumbent"}
    promoting.promote("latest", fallbacks=["large"], **options)
    wire = FunctionTransport(lambda request: failure if request.model.name == "small" else reply(request))
    program = loaded(promotions, wire, attempts=1)
    if not answers:
        with pytest.raises(type(failure)):
            program(message="case 001")
        return
    with caplog.at_level(logging.WARNING, "offramp"):
        assert program(message="case 001").label == "shipping"
    assert [request.model.name for request in wire.requests] == ["small", "large"]
    assert wire.requests[0].messages == wire.requests[1].messages and "asking large" in caplog.text
    assert offramp.load_messages("landscape", {"message": "x"}, promotions=promotions).fallbacks == ("openai/large",)


DEPRECATED = "has been deprecated, learn more here: https://platform.openai.com/docs/deprecations"
RETIRED: dict[str, tuple[int, Any]] = {
    "openai": (404, {"error": {"message": f"The model `gpt-4-0314` {DEPRECATED}", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}),
    "openai, 400": (400, {"error": {"message": f"The model `text-davinci-003` {DEPRECATED}", "type": "invalid_request_error", "code": None}}),
    "anthropic": (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-2.1"}, "request_id": "req_011C"}),
    "gemini": (404, {"error": {"code": 404, "message": "models/gemini-1.0-pro is not found for API version v1beta, or is not supported for generateContent.", "status": "NOT_FOUND"}}),
    "vertex": (400, {"error": {"code": 400, "message": "The model `text-bison` is no longer available. Use gemini-2.5-flash.", "status": "FAILED_PRECONDITION"}}),
    "mistral": (400, {"object": "error", "message": "Invalid model: mistral-tiny", "type": "invalid_model", "param": None, "code": "1500"}),
    "groq": (400, {"error": {"message": "The model `llama-3.1-70b-versatile` has been decommissioned and is no longer supported.", "type": "invalid_request_error", "code": "model_decommissioned"}}),
    "azure": (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}),
    "azure, 410": (410, {"error": {"code": "ModelRetired", "message": "This operation is not available any more."}}),
    "bedrock": (404, {"message": "This model version has reached the end of its life. Please refer to the AWS documentation."}),
    "bedrock, legacy": (400, {"message": "The provided model identifier is invalid."}),
    "cohere": (404, {"id": "a1", "message": "model 'command-light' was removed on September 15, 2025."}),
    "xai": (400, {"code": "Client specified an invalid argument", "error": "Model not found: grok-1"}),
    "deepseek": (400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}),
    "openrouter": (400, {"error": {"message": "openai/gpt-4-32k is not a valid model ID", "code": 400}}),
    "together": (404, {"id": "b2", "error": {"message": "Unable to access model x. Please visit the list of supported models.", "type": "invalid_request_error", "code": "model_not_available"}}),
    "moonshot": (410, {"error": {"type": "model_gone", "message": "Model kimi-k2.5 has been retired."}}),
    "fireworks": (404, {"error": {"object": "error", "type": "invalid_request_error", "code": "NOT_FOUND", "message": "Model not found, inaccessible, and/or not deployed"}}),
}  # fmt: skip
"""What vendors send for a model that they do not serve any more: status and body."""


@pytest.fixture(scope="module")
def with_a_fallback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promoted feature on `small` that falls back to `large`."""
    folder = tmp_path_factory.mktemp("fallback")
    with pytest.MonkeyPatch.context() as patch:
        promotions = promoted_job(folder, patch)
    promoting.promote(
        "latest", fallbacks=["large"], results=folder / "results", promotions=promotions, pick="incumbent"
    )
    return promotions


@pytest.mark.parametrize("vendor", RETIRED)
def test_a_model_that_a_vendor_has_retired_falls_back_whatever_the_vendor_calls_it(
    with_a_fallback: Path, vendor: str, caplog: Any
) -> None:
    status, body = RETIRED[vendor]

    def script(asked: dict[str, Any]) -> ServerReply:
        if asked["model"] == "small":
            return ServerReply(status=status, body=json.dumps(body).encode())
        return ServerReply(text="shipping")

    with ScriptedServer(script) as server:
        base = {"small": server.url, "large": server.url}
        program = offramp.load("landscape", promotions=with_a_fallback, api_base=base, attempts=3)
        with caplog.at_level(logging.WARNING, "offramp"):
            assert program(message="case 001").label == "shipping"
        assert [request.body["model"] for request in server.requests] == ["small", "large"]
    assert "asking large" in caplog.text


def test_without_a_fallback_the_error_names_the_model_and_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    program = loaded(promotions, FunctionTransport(lambda _: ModelNotFound("Model small has been retired.")))
    with pytest.raises(ModelNotFound, match=r"small: the model has retired.*the provider said: Model small.*uccessor"):
        program(message="case 001")


def test_a_running_app_follows_its_label_and_stays_where_it_is_when_a_file_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    wire = FunctionTransport(reply)
    program = loaded(promotions, wire)
    folder = FeatureFolder(promotions, "landscape")
    first = folder.labels()["production"]

    def version() -> str:
        return offramp.load_messages("landscape", {"message": "case 001"}, promotions=promotions).version

    assert version() == first
    options = {"results": tmp_path / "results", "promotions": promotions, "pick": "incumbent"}
    second = promoting.promote("latest", fallbacks=["large"], **options).promotion.version
    assert version() == second != first
    assert program(message="case 001").label == "shipping"
    folder.labels_path.write_text(f"production: '{'0' * 12}'\n")
    with caplog.at_level(logging.ERROR, "offramp"):
        assert version() == second and program(message="case 002").label == "returns"
        assert version() == second
    assert "stays at version" in caplog.text
    folder.labels_path.write_text(f"production: '{first}'\n")
    assert version() == first


def test_a_promotion_that_arrives_in_parts_is_in_use_once_its_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    options = {"results": tmp_path / "results", "promotions": promotions, "pick": "incumbent"}
    whole = FeatureFolder(promotions, "landscape")
    first = whole.labels()["production"]
    second = promoting.promote("latest", fallbacks=["large"], **options).promotion.version
    parts = FeatureFolder(tmp_path / "parts", "landscape")

    def arrives(version: str) -> None:
        shutil.copy(whole.version_path(version), parts.path)

    def version() -> str:
        return offramp.load_messages("landscape", {"message": "case 001"}, promotions=parts.root).version

    parts.path.mkdir(parents=True)
    arrives(first)
    parts.labels_path.write_text(f"production: '{first}'\n")
    assert version() == first
    parts.labels_path.write_text(f"production: '{second}'\n")
    with caplog.at_level(logging.ERROR, "offramp"):
        assert (version(), version()) == (first, first)
    assert caplog.text.count("stays at version") == 1
    parts.version_path(second).write_text("half of it")
    assert version() == first
    arrives(second)
    assert version() == second


def test_a_promotion_that_could_not_be_read_for_a_moment_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    folder = FeatureFolder(promotions, "landscape")
    followed = loading.FollowedLabel(folder, "production", lambda promotion, _: promotion.version)
    first = followed.current()
    options = {"results": tmp_path / "results", "promotions": promotions, "pick": "incumbent"}
    second = promoting.promote("latest", fallbacks=["large"], **options).promotion.version
    with monkeypatch.context() as patched:
        patched.setattr(folder, "load", lambda version: (_ for _ in ()).throw(PromotionError("too many open files")))
        assert followed.current() == first
    assert math.isfinite(followed._retry_at)
    followed._retry_at = time.monotonic()  # that time is over
    assert followed.current() == second
    assert followed._retry_at == math.inf


def test_a_forked_worker_of_a_server_answers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = loaded(promoted_job(tmp_path, monkeypatch), FunctionTransport(reply))
    assert program(message="case 001").label == "shipping"

    def work() -> None:
        os._exit(0 if program(message="case 002").label == "returns" else 1)

    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()
    assert worker.exitcode == 0


def label_of(program: dspy.Module, message: str) -> str:
    return str(program(message=message).label)


def test_a_program_goes_to_a_pool_of_processes(with_a_fallback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(with_a_fallback.parent)
    monkeypatch.setenv("OFFRAMP_PROMOTIONS", with_a_fallback.name)
    options: dict[str, Any] = {"on_unreadable": "default", "default": {"label": "billing"}}
    with ScriptedServer([ServerReply(text="returns"), ServerReply(text="?")]) as server:
        program = offramp.load("landscape", api_base=server.url, **options)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            assert pool.submit(label_of, program, "case 002").result() == "returns"
        monkeypatch.chdir("/")
        assert copy.copy(program)(message="case 001").label == "billing"


def test_a_tampered_promotion_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    folder = FeatureFolder(promotions, "landscape")
    path = folder.version_path(folder.resolve())
    path.write_text(path.read_text().replace("temperature: 0.5", "temperature: 0.6"))
    with pytest.raises(PromotionError, match="changed after"):
        loaded(promotions, FunctionTransport(reply))
    with pytest.raises(PromotionError, match="changed after"):
        offramp.load_messages("landscape", {"message": "x"}, promotions=promotions)


def test_an_address_comes_from_the_app_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="no address was given"):
        loaded(promotions, FunctionTransport(reply), api_base=None)
    wire = FunctionTransport(reply)
    loaded(promotions, wire, api_base={"small": "http://127.0.0.1:7/v1"}, api_key_env={"small": "MY_KEY"})(
        message="case 001"
    )
    assert (wire.requests[0].model.api_base, wire.requests[0].model.api_key_env) == ("http://127.0.0.1:7/v1", "MY_KEY")


def test_messages_are_written_without_any_heavy_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, demos="nearest", demo_count=3, format="chat")
    code = f"""
import sys, offramp
offramp.load_messages("landscape", {{"message": "case 001"}}, promotions={str(promotions)!r})
heavy = ("dspy", "litellm", "optuna", "pandas", "numpy", "sqlalchemy", "pydantic", "torch")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_benchmark_of_loading_prints_its_figures() -> None:
    """How long it takes is for the benchmark to say: the aim is 50 ms of computing."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "loading.py"), "1"], capture_output=True, text=True, check=True
    )
    medians = [float(line.split()[2]) for line in done.stdout.splitlines() if ": load " in line]
    assert len(medians) == 2 and min(medians) > 0, done.stdout
