"""A scripted, OpenAI-compatible server on loopback: the real client on one side, any misbehaviour on the other.

    with ScriptedServer(lambda body: ServerReply(text="yes")) as server:
        model = Model(name="m", route="openai/m", api_base=server.url)

The script gets each request's JSON body and says what to do. It may be called from several threads at once.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from offramp.testing.batches import ScriptedBatches


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    """What the server does with one request.

    Attributes:
        text: content of the only choice.
        status: HTTP status; from 400 on the body is an error with `text` as message and `code` as code.
        usage: the reply's usage, as is; None leaves it out.
        message: replaces the choice's message.
        choices: replaces the choices.
        extra: more keys of the body, such as `timings`; `model` is the one that was asked for unless it is here.
        headers: more headers, such as Retry-After.
        body: replaces the whole body; need not be JSON.
        delay_s: waits before answering.
        hang: answers only when the server is closed.
        reset: resets the connection instead of answering.
    """

    text: str = "ok"
    status: int = 200
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    )
    message: Mapping[str, Any] | None = None
    choices: list[Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_s: float = 0.0
    hang: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """One request as it came in. Header names are lower case."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


Script = Callable[[dict[str, Any]], ServerReply]


class ScriptedServer:
    """The server; listens within `with`.

    Args:
        script: what to do with each request, or a sequence of replies whose last one repeats.
        batches: the server's batch interface, whose lines are answered by the script too; None for none.

    Attributes:
        requests: what came in, in order.
    """

    def __init__(self, script: Script | Iterable[ServerReply], batches: ScriptedBatches | None = None) -> None:
        self.batches = batches
        self._script = script if callable(script) else _in_order(list(script))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self.requests: list[ServerRequest] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def root(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The `api_base` of a model that it serves."""
        return f"{self.root}/v1"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def line(self, asked: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body for one line of a batch."""
        reply = self._script(dict(asked))
        return reply.status, _payload(reply, asked)

    def reply(self, request: ServerRequest) -> ServerReply:
        """Log the request, ask the script, and wait as it says."""
        with self._lock:
            self.requests.append(request)
        reply = self._script(dict(request.body))
        if reply.hang:
            self._closing.wait()
        elif reply.delay_s:
            self._closing.wait(reply.delay_s)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


def _in_order(replies: list[ServerReply]) -> Script:
    lock = threading.Lock()

    def script(_: dict[str, Any]) -> ServerReply:
        with lock:
            return replies.pop(0) if len(replies) > 1 else replies[0]

    return script


def _handler(owner: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if owner.batches is not None:
                found = owner.batches.reply(self.command, self.path, headers, raw, owner.line)
                if found is not None:
                    self._send(*found, {})
                    return
            if self.command == "GET":
                self._send(404, b'{"error": {"message": "not found"}}', {})
                return
            asked = json.loads(raw)
            reply = owner.reply(ServerRequest(path=self.path, headers=headers, body=asked))
            if reply.reset:
                self._reset()
            elif not reply.hang:
                self._answer(reply, asked)

        def _answer(self, reply: ServerReply, asked: Mapping[str, Any]) -> None:
            self._send(reply.status, _payload(reply, asked), reply.headers)

        def _send(self, status: int, payload: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def _reset(self) -> None:
            """Close with RST: linger 0."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on stderr."""

    return Handler


def _payload(reply: ServerReply, asked: Mapping[str, Any]) -> bytes:
    if reply.body is not None:
        return reply.body
    if reply.status >= 400:
        error = {"message": reply.text, "type": reply.code or "error", "code": reply.code}
        return json.dumps({"error": error}).encode()
    message = reply.message or {"role": "assistant", "content": reply.text}
    choices = reply.choices
    if choices is None:
        choices = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
    body: dict[str, Any] = {
        "id": "r",
        "object": "chat.completion",
        "created": 0,
        "model": asked.get("model", "scripted"),
        "choices": choices,
    }
    if reply.usage is not None:
        body["usage"] = dict(reply.usage)
    return json.dumps({**body, **reply.extra}).encode()
