"""No request to a model goes around the budget: other clients, processes, and threads that began before the run."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import aiohttp
import dspy
import httpx
import litellm
import openai
import pytest
import requests

from offramp.errors import JobError
from offramp.program.clients import grpc_request, model_request, requests_in
from offramp.program.metric_calls import metric_calls
from offramp.program.program import Outcome
from offramp.records import CallRequest
from offramp.space.model import OutputField
from offramp.task.metrics.python import CallsModel
from offramp.testing.server import ScriptedServer, ServerReply
from program_runs import make_candidate, make_fields, run

FIELDS = make_fields({"category": OutputField()})
OWN = make_candidate(module="own", instructions={}, adapter="chat")
ANSWER = "[[ ## category ## ]]\nbilling\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def outside() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: ServerReply(text="escaped")) as server:
        yield server


@pytest.fixture(autouse=True)
def vendor(outside: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    outside.requests.clear()
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, outside.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def asking(ask: Callable[[str], Any]) -> type[dspy.Module]:
    """A module that asks the candidate's model, and another in this way; it goes on without an answer."""

    class Asking(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.Predict("message -> category")

        def forward(self, message: str) -> dspy.Prediction:
            try:
                said = str(ask(os.environ["OPENAI_BASE_URL"]))
            except Exception as error:
                said = f"{type(error).__name__}"
            return dspy.Prediction(category=f"{self.sort(message=message).category} {said}")

    return Asking


def own(ask: Callable[[str], Any], **options: Any) -> tuple[Outcome, list[CallRequest]]:
    return run(ANSWER, OWN, fields=FIELDS, factory=asking(ask), **options)


MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
BODY = {"model": "gpt-4o", "messages": MESSAGES}


def by_litellm(base: str) -> Any:
    return litellm.completion(model="openai/gpt-4o", messages=MESSAGES, api_base=base).choices[0].message.content


def by_litellm_awaited(base: str) -> Any:
    return asyncio.run(litellm.acompletion(model="openai/gpt-4o", messages=MESSAGES, api_base=base))


def by_openai(base: str) -> Any:
    return openai.OpenAI(max_retries=2).chat.completions.create(model="gpt-4o", messages=MESSAGES)


def by_openai_awaited(base: str) -> Any:
    return asyncio.run(openai.AsyncOpenAI().chat.completions.create(model="gpt-4o", messages=MESSAGES))


def by_openai_streamed(base: str) -> Any:
    return list(openai.OpenAI().chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))


def by_httpx(base: str) -> Any:
    return httpx.post(f"{base}/chat/completions", json=BODY).text


def by_httpx_awaited(base: str) -> Any:
    async def post() -> str:
        async with httpx.AsyncClient() as client:
            return (await client.post(f"{base}/chat/completions", json=BODY)).text

    return asyncio.run(post())


def by_requests(base: str) -> Any:
    return requests.post(f"{base}/chat/completions", json=BODY, timeout=9).text


def by_urllib(base: str) -> Any:
    return urllib.request.urlopen(f"{base}/chat/completions", json.dumps(BODY).encode()).read()


def by_http_client(base: str) -> Any:
    connection = http.client.HTTPConnection(base.removeprefix("http://").removesuffix("/v1"))
    connection.request("POST", "/v1/chat/completions", json.dumps(BODY))
    return connection.getresponse().read()


def by_aiohttp(base: str) -> Any:
    async def post() -> str:
        async with aiohttp.ClientSession() as session, session.post(f"{base}/chat/completions", json=BODY) as reply:
            return await reply.text()

    return asyncio.run(post())


def in_a_thread(base: str) -> Any:
    found: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            found.put(by_openai(base))
        except BaseException as error:
            found.put(repr(error))

    threading.Thread(target=ask, daemon=True).start()
    return found.get(timeout=30)


def by_curl(base: str) -> Any:
    return subprocess.run(["curl", "-s", f"{base}/chat/completions", "-d", json.dumps(BODY)], capture_output=True)


def by_a_shell(base: str) -> Any:
    return os.system(f"curl -s {base}/chat/completions -d '{{}}'")


WAYS = [
    by_litellm, by_litellm_awaited, by_openai, by_openai_awaited, by_openai_streamed, by_httpx, by_httpx_awaited,
    by_requests, by_urllib, by_http_client, by_aiohttp, in_a_thread, by_curl, by_a_shell,
]  # fmt: skip


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_request_of_another_client_ends_the_run_before_it_is_sent(ask: Any, outside: ScriptedServer) -> None:
    outcome, _ = own(ask)
    assert isinstance(outcome.infrastructure_error, JobError) and outside.requests == []
    said = str(outcome.infrastructure_error)
    assert said.startswith("test_clients.py:") and "/chat/completions" in said and "no budget would count" in said


@pytest.mark.parametrize("ask", [by_openai, by_requests, by_aiohttp])
def test_outside_of_runs_and_in_an_app_clients_are_what_they_were(ask: Any, outside: ScriptedServer) -> None:
    ask(outside.url)
    outcome, sent = own(ask, strict=False)
    assert outcome.outputs is not None and len(outside.requests) == 2 and len(sent) == 1


def nothing_of_a_model(base: str) -> Any:
    """A vector store, a search, a moderation: services that programs and their tools ask."""
    root = base.removesuffix("/v1")
    httpx.post(f"{root}/collections/docs/points/search", json={"vector": [0.1]})
    requests.post(f"{root}/v1/messages", json={"to": "ada"}, timeout=9)
    urllib.request.urlopen(f"{root}/search", b"{}").read()
    httpx.post(f"{base}/moderations", json={"input": "x"})
    subprocess.run(["true"], check=True)
    return len(multiprocessing.get_context("fork").Pool(1).map(abs, [-1, -2]))


def test_other_services_answer_as_always(outside: ScriptedServer) -> None:
    outcome, _ = own(nothing_of_a_model)
    assert outcome.outputs == {"category": "billing 2"} and len(outside.requests) == 4


MODELS = {
    "POST https://api.openai.com/v1/chat/completions": True,
    "POST https://api.openai.com/v1/responses": True,
    "POST https://api.openai.com/v1/embeddings": True,
    "POST https://api.openai.com/v1/moderations": False,
    "POST https://api.openai.com/v1/vector_stores/vs_1/search": False,
    "GET https://api.openai.com/v1/models": False,
    "POST https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2": True,
    "POST https://api.anthropic.com/v1/messages": True,
    "POST https://api.twilio.com/v1/messages": False,
    "POST https://discord.com/api/v10/channels/1/messages": False,
    "POST https://chat.googleapis.com/v1/spaces/S/messages": False,
    "POST https://gmail.googleapis.com/gmail/v1/users/me/messages/send": False,
    "POST https://generativelanguage.googleapis.com/v1beta/models/gemini-3:generateContent": True,
    "POST https://eu-aiplatform.googleapis.com/v1/p/x/models/claude:streamRawPredict": True,
    "POST https://eu-aiplatform.googleapis.com/v1/p/x/endpoints/1:predict": False,
    "POST https://bedrock-runtime.eu-west-1.amazonaws.com/model/anthropic.claude/converse": True,
    "POST https://lambda.eu-west-1.amazonaws.com/functions/f/invoke": False,
    "POST https://api.cohere.com/v2/chat": True,
    "POST https://api.cohere.com/v2/rerank": False,
    "POST https://shop.example/chat": False,
    "POST http://localhost:11434/api/generate": True,
    "POST http://localhost:6333/collections/c/points/query": False,
    "POST http://vllm.internal:8000/v1/chat/completions": True,
    "POST http://vllm.internal:8000/v1/completions": True,
    "POST https://es.internal:9200/docs/_search": False,
}


@pytest.mark.parametrize("asked", MODELS)
def test_a_request_to_a_model_is_told_from_those_to_other_services(asked: str) -> None:
    method, url = asked.split()
    assert (model_request(method, url) is not None) == MODELS[asked]
    assert (requests_in(f"curl -s '{url}' -d x") is not None) == MODELS[asked] or method == "GET"


def test_embeddings_of_another_client_are_named_and_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    def embed(base: str) -> Any:
        reply = httpx.Response(200, json={})
        client = httpx.Client(transport=httpx.MockTransport(lambda _: reply))
        return [client.post("https://api.openai.com/v1/embeddings", json={"model": "e3"}).status_code for _ in range(3)]

    outcome, _ = own(embed)
    assert outcome.outputs == {"category": "billing [200, 200, 200]"}
    assert caplog.text.count("embeddings of e3 at https://api.openai.com/v1/embeddings are not counted") == 1


GRPC_CALLS = {
    "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent": True,
    "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent": True,
    "/google.ai.generativelanguage.v1beta.GenerativeService/CountTokens": False,
    "/google.cloud.aiplatform.v1.PredictionService/GenerateContent": True,
    "/google.cloud.aiplatform.v1.PredictionService/StreamRawPredict": True,
    "/google.cloud.aiplatform.v1.PredictionService/Predict": False,
    "/xai_api.Chat/GetCompletion": True,
    "/xai_api.Chat/GetCompletionChunk": True,
    "/xai_api.Models/ListLanguageModels": False,
    "/yandex.cloud.ai.foundation_models.v1.TextGenerationService/Completion": True,
    "/gigachat.v1.ChatService/Chat": True,
    "/slack.ChatService/Send": False,
    "/generate.v2.TextGenerationService/Generate": True,
    "/vllm.grpc.engine.VllmEngine/Generate": True,
    "/qdrant.Points/Search": False,
    "/milvus.proto.milvus.MilvusService/Search": False,
    "/google.pubsub.v1.Publisher/Publish": False,
    "/helloworld.Greeter/SayHello": False,
}


@pytest.mark.parametrize("method", GRPC_CALLS)
def test_a_call_of_grpc_to_a_model_is_told_from_those_to_other_services(method: str) -> None:
    assert (grpc_request("dns:///models.example:443", method) is not None) == GRPC_CALLS[method]


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[tuple[str, list[str]]]:
    """An address where every call of gRPC is answered, and the calls that arrived."""
    grpc = pytest.importorskip("grpc", reason="an environment from before the lock had it")
    seen: list[str] = []

    class Any_(grpc.GenericRpcHandler):  # type: ignore[misc, name-defined]
        def service(self, details: Any) -> Any:
            seen.append(details.method)
            streams = "Stream" in details.method
            made = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
            return made((lambda *_: iter([b"escaped"])) if streams else (lambda *_: b"escaped"))

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Any_()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", seen
    server.stop(None)


GEMINI = "/google.ai.generativelanguage.v1beta.GenerativeService/"


def by_stub(address: str, method: str) -> Any:
    return grpc_stub(address, method)(b"hello")


def grpc_stub(address: str, method: str) -> Any:
    import grpc

    return grpc.insecure_channel(address).unary_unary(method)


def by_stub_with_call(address: str, method: str) -> Any:
    return grpc_stub(address, method).with_call(b"hello")[0]


def by_stub_later(address: str, method: str) -> Any:
    return grpc_stub(address, method).future(b"hello").result()


def by_stub_awaited(address: str, method: str) -> Any:
    import grpc.aio

    async def ask() -> Any:
        async with grpc.aio.insecure_channel(address) as channel:
            return await channel.unary_unary(method)(b"hello")

    return asyncio.run(ask())


def by_stub_streamed(address: str, method: str) -> Any:
    import grpc

    return b"".join(grpc.insecure_channel(address).unary_stream(method.replace("/Gen", "/StreamGen"))(b"hello"))


STUBS = [by_stub, by_stub_with_call, by_stub_later, by_stub_awaited, by_stub_streamed]


@pytest.mark.parametrize("ask", STUBS)
def test_a_model_behind_grpc_ends_the_run_before_it_is_asked_and_other_calls_pass(
    ask: Any, grpc_server: tuple[str, list[str]]
) -> None:
    address, seen = grpc_server
    seen.clear()
    outcome, _ = own(lambda _: ask(address, f"{GEMINI}GenerateContent"))
    said = str(outcome.infrastructure_error)
    assert said.startswith("test_clients.py:") and "GenerateContent" in said and "no budget would count" in said
    assert seen == []
    outcome, _ = own(
        lambda _: ask(address, "/qdrant.Points/StreamSearch" if ask is by_stub_streamed else "/q.P/Search")
    )
    assert outcome.outputs == {"category": "billing b'escaped'"} and len(seen) == 1


def by_pycurl(base: str, path: str, *, multi: bool = False) -> Any:
    import pycurl

    body = io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, base.removesuffix("/v1") + path)
    curl.setopt(pycurl.POSTFIELDS, json.dumps(BODY))
    curl.setopt(pycurl.WRITEDATA, body)
    if multi:
        several = pycurl.CurlMulti()
        several.add_handle(curl)
        while several.perform()[1]:
            several.select(0.05)
    else:
        curl.perform()
    return body.getvalue()


@pytest.mark.parametrize("multi", [False, True])
def test_pycurl_is_refused_before_it_asks_a_model_and_nothing_else(multi: bool, outside: ScriptedServer) -> None:
    pytest.importorskip("pycurl", reason="an environment from before the lock had it")
    outcome, _ = own(lambda base: by_pycurl(base, "/v1/chat/completions", multi=multi))
    said = str(outcome.infrastructure_error)
    assert said.startswith("test_clients.py:") and "/chat/completions" in said and outside.requests == []
    outcome, _ = own(lambda base: by_pycurl(base, "/collections/docs/points/search", multi=multi))
    assert outcome.outputs is not None and len(outside.requests) == 1
    by_pycurl(outside.url, "/v1/chat/completions", multi=multi)  # outside of runs
    assert len(outside.requests) == 2


# ------------------------------------------------------------------------------------------------ processes


def asked_in_a_process(base: str) -> Any:
    try:
        return by_httpx(base)
    except Exception:
        return "fallback"


def asked_through_dspy(base: str) -> Any:
    return dspy.LM("openai/gpt-4o", api_base=base, cache=False)("hello")


def in_a_pool_of_processes(ask: Any, base: str) -> Any:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map(ask, [base])


def in_an_executor(ask: Any, base: str) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return list(pool.map(ask, [base]))


def in_a_new_process(ask: Any, base: str) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.starmap(urllib.request.urlopen, [(f"{base}/chat/completions", b"{}")])


PAIRS = [
    (within, ask)
    for within in (in_a_pool_of_processes, in_an_executor)
    for ask in (asked_in_a_process, asked_through_dspy)
]


@pytest.mark.parametrize(("within", "ask"), [*PAIRS, (in_a_new_process, None)])
def test_a_model_is_not_asked_from_a_process_of_the_programs_own(
    within: Any, ask: Any, outside: ScriptedServer
) -> None:
    outcome, _ = own(lambda base: within(ask, base))
    assert "from a process of its own" in str(outcome.infrastructure_error) and outside.requests == []


def test_an_interpreter_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    outcome, _ = own(lambda base: [subprocess.run([sys.executable, "-c", ""]).returncode for _ in range(2)])
    assert outcome.outputs == {"category": "billing [0, 0]"}
    assert caplog.text.count("a model that this process asks is not counted") == 1


# ------------------------------------------------------------------------------ threads that began before the run


class Worker:
    """A thread with a queue, as a module of an app may have one."""

    def __init__(self, ask: Callable[[str], Any]) -> None:
        self.asked: queue.Queue[Any] = queue.Queue()
        self.ask = ask
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while True:
            text, answer = self.asked.get()
            answer.put(self.ask(text))

    def __call__(self, text: str) -> Any:
        answer: queue.Queue[Any] = queue.Queue()
        self.asked.put((text, answer))
        return answer.get()


SORT = dspy.Predict("message -> category")


@pytest.mark.parametrize(
    "ask",
    [
        lambda base: SORT(message=base).category,
        lambda base: dspy.LM("openai/gpt-4o", api_base=base, cache=False)("hello"),
        by_httpx,
        by_openai,
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_began_before_the_run_is_refused_and_the_run_does_not_hang(
    ask: Any, outside: ScriptedServer
) -> None:
    outcome, _ = own(Worker(ask))
    assert "from a thread that it began before the run" in str(outcome.infrastructure_error)
    assert str(outcome.infrastructure_error).startswith("test_clients.py:") and outside.requests == []


def test_threads_of_others_ask_what_they_like_while_a_run_is_under_way(outside: ScriptedServer) -> None:
    """A server in the same process, say, whose code is not the module's."""
    source = """
import dspy

def serve(base, go, done, said):
    go.wait()
    said.append(dspy.LM("openai/gpt-4o", api_base=base, cache=False)("hello")[0])
    done.set()
"""
    scope: dict[str, Any] = {}
    exec(compile(source, "server_of_an_app.py", "exec"), scope)
    go, done, said = threading.Event(), threading.Event(), []
    threading.Thread(target=scope["serve"], args=(outside.url, go, done, said), daemon=True).start()

    def meanwhile(base: str) -> Any:
        go.set()
        return done.wait(30)

    outcome, _ = own(meanwhile)
    assert outcome.outputs == {"category": "billing True"} and said == ["escaped"]


@pytest.mark.parametrize("ask", [by_openai, by_requests])
@pytest.mark.parametrize("caught", [False, True])
def test_a_metric_that_asks_a_model_by_another_client_is_refused(
    ask: Any, caught: bool, outside: ScriptedServer
) -> None:
    async def graded() -> None:
        async with metric_calls("own.py:metric", None, {}, None):
            try:
                ask(outside.url)
            except BaseException:
                if not caught:
                    raise

    with pytest.raises(
        CallsModel, match=r"own\.py:metric: it asks .*/chat/completions by a client of its own.*`model:"
    ):
        asyncio.run(graded())
    assert outside.requests == []
