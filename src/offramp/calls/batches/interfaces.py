"""The batch interfaces of OpenAI (files and batches), Azure OpenAI (alike) and Anthropic (messages/batches).

Addresses and keys are those of the single requests, as LiteLLM writes them: nothing that a server says changes where a
key goes. What a line of a batch says is handed on as it is; `transports/litellm.py` reads it as it reads any answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from offramp.calls.failures import (
    BrokenReply,
    CallError,
    FatalCallError,
    InfrastructureError,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unreachable,
)
from offramp.calls.transports.replies import failure_for, upstream_failure
from offramp.calls.transports.wire import Rendered
from offramp.store.ledger import CallStatus

Fetch = Callable[..., Awaitable[httpx.Response]]
"""`fetch(method, url, headers, **content)`, as `LiteLLMTransport.fetch`."""

_KEYS = frozenset(
    {"authorization", "api-key", "x-api-key", "anthropic-version", "anthropic-beta", "openai-organization"}
    | {"openai-project", "user-agent"}
)
_CHAT, _MESSAGES = "/chat/completions", "/v1/messages"
_CLOCKS_S = 3600.0
"""A provider's clock may be behind ours by so much."""
_ANTHROPIC_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip


class NoBatches(FatalCallError):
    """The server has no batch interface at that address."""

    status = CallStatus.INVALID_REQUEST


class BatchMissing(InfrastructureError):
    """The provider no longer has a batch that it had: its answers are lost."""

    status = CallStatus.BROKEN_REPLY
    may_be_billed = True


class Unclear(Exception):
    """Whether the provider took a batch is not known. `error`: what came instead of an answer."""

    def __init__(self, error: CallError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Answered:
    """What a single request would have got: a status and the body of the reply."""

    status: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request without an answer. `left`: whether the provider began to work on it."""

    error: CallError
    left: bool = True


Outcome = Answered | Unanswered


@dataclass(frozen=True, slots=True)
class Ended:
    """A batch that has ended: outcomes by line, and `other` for lines that it says nothing of."""

    lines: Mapping[str, Outcome]
    other: Unanswered


@dataclass(frozen=True, slots=True)
class Found:
    """What a provider calls a batch; None where it certainly does not have it."""

    remote: str | None


class Interface(Protocol):
    """One provider's batches. Each method raises a CallError where the provider gives no usable answer."""

    async def submit(self, batch: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        """The provider's name of a batch of `(id, body)`. Raises Unclear where it may have been taken all the same."""
        ...

    async def find(self, batch: str, count: int, written_at: float, others: set[str]) -> Found | None:
        """A batch that may have been taken: written at that Unix time, with so many lines. None: not to be told yet.

        Args:
            others: what the provider calls batches that are not it; those that turn out not to be it are added.
        """
        ...

    async def look(self, remote: str) -> Ended | None:
        """What came of a batch; None while it runs. Raises BatchMissing where the provider does not have it."""
        ...


def interface_of(rendered: Rendered, fetch: Fetch) -> Interface:
    """The batch interface behind the address of a single request."""
    headers = {name: value for name, value in rendered.headers.items() if name in _KEYS}
    url = httpx.URL(rendered.url)
    if url.path.endswith(_MESSAGES):
        return AnthropicBatches(_Server(fetch, headers), f"{rendered.url}/batches")
    base, deployments, _ = url.path.removesuffix(_CHAT).partition("/deployments/")
    line = _CHAT if deployments else f"/v1{_CHAT}"
    return OpenAIBatches(_Server(fetch, headers), url.copy_with(path=base), line)


def group_of_rendered(rendered: Rendered) -> tuple[object, ...]:
    """What is alike in all requests that may share a batch."""
    return (rendered.url, *sorted((n, v) for n, v in rendered.headers.items() if n in _KEYS))


@dataclass(frozen=True, slots=True)
class _Server:
    """Requests with one key."""

    fetch: Fetch
    headers: Mapping[str, str]

    async def json(self, method: str, url: str, **content: Any) -> dict[str, Any]:
        response = await self.ok(method, url, **content)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BrokenReply(f"the reply to {method} {_shown(url)} is not a JSON object")
        return found

    async def ok(self, method: str, url: str, **content: Any) -> httpx.Response:
        response = await self.fetch(method, url, self.headers, **content)
        if response.status_code in (404, 405, 501) and method == "POST":
            do = "Leave `calls.batch` out, or state a model whose provider has batches."
            raise NoBatches(f"there is no batch interface at {_shown(url)} (status {response.status_code}). {do}")
        if response.status_code == 404:
            raise BatchMissing(f"the provider has nothing at {_shown(url)}: {_said(response)}")
        if response.status_code != 200:
            raise failure_for(response.status_code, _said(response))
        return response


@dataclass(frozen=True, slots=True)
class OpenAIBatches:
    """OpenAI's. `base`: address that `/files` and `/batches` follow, with its query. `line`: address in each line."""

    server: _Server
    base: httpx.URL
    line: str

    async def submit(self, batch: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        """See `Interface`."""
        asked = ({"custom_id": name, "method": "POST", "url": self.line, "body": body} for name, body in lines)
        content = "".join(json.dumps(one, ensure_ascii=True, allow_nan=False) + "\n" for one in asked).encode()
        file = ("file", (f"{batch}.jsonl", content, "application/jsonl"))
        uploaded = await self.server.json("POST", self._at("files"), data={"purpose": "batch"}, files=[file])
        body = {
            "input_file_id": _name(uploaded, "id"), "endpoint": self.line, "completion_window": "24h",
            "metadata": {"offramp": batch},
        }  # fmt: skip
        return await _created(self.server, self._at("batches"), body)

    async def find(self, batch: str, count: int, written_at: float, others: set[str]) -> Found | None:
        """By our own name of it, which the provider keeps. See `Interface`."""
        async for one in _listed(self.server, self._at("batches", limit="100"), "after", written_at - _CLOCKS_S):
            metadata = one.get("metadata")
            if isinstance(metadata, dict) and metadata.get("offramp") == batch:
                return Found(_name(one, "id"))
        return Found(None)

    async def look(self, remote: str) -> Ended | None:
        """See `Interface`."""
        found = await self.server.json("GET", self._at(f"batches/{quote(remote, safe='')}"))
        status = found.get("status")
        if status not in ("completed", "failed", "expired", "cancelled"):
            if status not in ("validating", "in_progress", "finalizing", "cancelling"):
                raise BrokenReply(f"the batch has the status {status!r}")
            return None
        lines: dict[str, Outcome] = {}
        for name in ("output_file_id", "error_file_id"):
            file = found.get(name)
            if isinstance(file, str) and file:
                text = (await self.server.ok("GET", self._at(f"files/{quote(file, safe='')}/content"))).text
                for line in _json_lines(text):
                    lines.setdefault(str(line.get("custom_id")), _openai_outcome(line))
        return Ended(lines, _openai_other(status, found))

    def _at(self, path: str, **query: str) -> str:
        url = self.base.copy_with(path=f"{self.base.path.rstrip('/')}/{path}")
        return str(url.copy_merge_params(query) if query else url)


@dataclass(frozen=True, slots=True)
class AnthropicBatches:
    """Anthropic's. `url`: of all batches."""

    server: _Server
    url: str

    async def submit(self, batch: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        """See `Interface`."""
        asked = [{"custom_id": name, "params": dict(body)} for name, body in lines]
        return await _created(self.server, self.url, {"requests": asked})

    async def find(self, batch: str, count: int, written_at: float, others: set[str]) -> Found | None:
        """By the names of its lines, which are known once it has ended. See `Interface`.

        One of that time and size that no longer says whose lines it had is taken for it: its answers are lost anyway.
        """
        running, lost = False, None
        async for one in _listed(self.server, f"{self.url}?limit=100", "after_id", written_at - _CLOCKS_S):
            name = _name(one, "id")
            if name in others or _requests(one) not in (count, -1):
                continue
            try:
                ended = await self.look(name)
            except BatchMissing as missing:
                ended = Ended({}, Unanswered(missing))
            if ended is None:
                running = True
            elif not ended.lines:
                lost = name
            elif any(line.rpartition("-")[0] == batch for line in ended.lines):
                return Found(name)
            else:
                others.add(name)
        return None if running else Found(lost)

    async def look(self, remote: str) -> Ended | None:
        """See `Interface`. Its `results_url` is not followed: it may be anywhere."""
        at = f"{self.url}/{quote(remote, safe='')}"
        status = (await self.server.json("GET", at)).get("processing_status")
        if status != "ended":
            if status not in ("in_progress", "canceling"):
                raise BrokenReply(f"the batch has the processing_status {status!r}")
            return None
        text = (await self.server.ok("GET", f"{at}/results")).text
        lines: dict[str, Outcome] = {}
        for line in _json_lines(text):
            lines.setdefault(str(line.get("custom_id")), _anthropic_outcome(line.get("result")))
        return Ended(lines, Unanswered(BrokenReply("the batch has ended without a line for this request")))


async def _listed(server: _Server, url: str, after: str, since: float) -> AsyncIterator[dict[str, Any]]:
    """The batches that were made since that Unix time. `after`: the parameter that asks for more."""
    page = url
    while True:
        listed = await server.json("GET", page)
        found = listed.get("data")
        if not isinstance(found, list):
            raise BrokenReply("the list of batches has no 'data'")
        batches = _dicts(found)
        times = [_unix(one.get("created_at")) for one in batches]
        for one, made in zip(batches, times, strict=True):
            if made >= since:
                yield one
        falling = not times or times[0] >= times[-1]  # the next page is older still
        if listed.get("has_more") is not True or (falling and all(made < since for made in times)):
            return
        following = str(httpx.URL(url).copy_merge_params({after: _name(batches[-1], "id")}))
        if following == page:
            raise BrokenReply("the list of batches does not go on")
        page = following


async def _created(server: _Server, url: str, body: Mapping[str, Any]) -> str:
    """What the provider calls a batch that it was just given."""
    try:
        return _name(await server.json("POST", url, json=body), "id")
    except Unreachable as error:
        if error.sent:
            raise Unclear(error) from error
        raise
    except (TimedOut, BrokenReply, ServerFailed) as error:
        raise Unclear(error) from error


# ------------------------------------------------------------------------------------------------------ lines


def _openai_outcome(line: Mapping[str, Any]) -> Outcome:
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict) and isinstance(response.get("body"), dict):
        status = response.get("status_code")
        return Answered(status if type(status) is int else 0, json.dumps(response["body"]).encode())
    if isinstance(error, dict):
        code = str(error.get("code") or "")
        if code in ("batch_expired", "batch_cancelled"):
            return Unanswered(ServerFailed(f"{error.get('message') or code} [{code}]"))
        return Unanswered(upstream_failure(error, 0.0))
    return Unanswered(BrokenReply("the line of the batch has neither a response nor an error"))


def _openai_other(status: str, found: Mapping[str, Any]) -> Unanswered:
    """What a batch that ended like that means for lines that it has no word on."""
    if status == "failed":
        errors = found.get("errors")
        said = _dicts(errors.get("data") if isinstance(errors, dict) else None)
        text = "; ".join(f"{one.get('message')} [{one.get('code')}]" for one in said[:3]) or "it does not say why"
        limited = any(str(one.get("code")).endswith("limit_exceeded") for one in said)
        text = f"the provider refused the batch: {text}"
        return Unanswered(RateLimited(text) if limited else failure_for(400, text), left=False)
    if status == "completed":
        return Unanswered(BrokenReply("the batch has ended without a line for this request"))
    return Unanswered(ServerFailed(f"the batch was {status} before this request was answered"))


def _anthropic_outcome(result: Any) -> Outcome:
    kind = result.get("type") if isinstance(result, dict) else None
    if kind == "succeeded" and isinstance(result.get("message"), dict):
        return Answered(200, json.dumps(result["message"]).encode())
    if kind == "errored":
        error = result.get("error")
        inner = error.get("error") if isinstance(error, dict) and isinstance(error.get("error"), dict) else error
        said = inner if isinstance(inner, dict) else {"type": "api_error", "message": str(inner)}
        status = _ANTHROPIC_STATUS.get(str(said.get("type")), 500)
        return Answered(status, json.dumps({"type": "error", "error": said}).encode())
    if kind in ("expired", "canceled"):
        return Unanswered(ServerFailed(f"the batch was {kind} before this request was answered"))
    return Unanswered(BrokenReply(f"the line of the batch has the type {kind!r}"))


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines."""
    for line in text.split("\n"):
        try:
            found = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _name(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise BrokenReply(f"the reply has no {key!r}")
    return value


def _requests(one: Mapping[str, Any]) -> int:
    counts = one.get("request_counts")
    return sum(n for n in counts.values() if type(n) is int) if isinstance(counts, dict) else -1


def _unix(said: Any) -> float:
    """A time as a number or in ISO 8601; infinity for what is neither, which may be any time."""
    try:
        return float(said) if type(said) in (int, float) else datetime.fromisoformat(str(said)).timestamp()
    except (ValueError, OverflowError):
        return math.inf


def _said(response: httpx.Response) -> str:
    try:
        body = response.json()
        error = body.get("error", body) if isinstance(body, dict) else body
        said = [str(error[key]) for key in ("message", "code", "type") if error.get(key)]
        return " ".join(said) or response.text[:500]
    except (ValueError, AttributeError, TypeError):
        return response.text[:500]


def _shown(url: str) -> str:
    """An address without its query."""
    return url.split("?", 1)[0]
