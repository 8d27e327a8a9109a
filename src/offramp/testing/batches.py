"""The batch interfaces of OpenAI, Azure OpenAI and Anthropic for the scripted server.

A batch ends at the `looks`-th look at it. Its lines are answered when it is submitted, by the server's script.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Line = Callable[[dict[str, Any]], tuple[int, bytes]]
"""From the body of a request to the status and body of its answer."""


@dataclass(slots=True)
class ScriptedBatch:
    """One batch. `lines`: `(custom_id, body)` as they came; `looks`: until it has ended; `left`: what it gives then."""

    id: str
    lines: Sequence[tuple[str, Mapping[str, Any]]]
    looks: int
    metadata: Mapping[str, Any]
    created: dt.datetime
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ScriptedBatches:
    """All batches of one server.

    Attributes:
        looks: looks until a batch has ended.
        expire: which lines expire, by `(number of the batch from 0, position)`.
        drop: which lines are left out of the results, likewise.
        refuse: status and body in place of a batch, by the number of the attempt to submit one from 0; None for none.
        garble: changes what any request to the interface gets: from `(method, path, status, body)` to status and body.
        batches: those that were submitted, in order.
        seen: method, path and headers of every request.
    """

    looks: int = 1
    expire: Callable[[int, int], bool] = lambda *_: False
    drop: Callable[[int, int], bool] = lambda *_: False
    refuse: Callable[[int], tuple[int, bytes] | None] = lambda _: None
    garble: Callable[[str, str, int, bytes], tuple[int, bytes]] = lambda method, path, status, body: (status, body)
    batches: list[ScriptedBatch] = field(default_factory=list)
    seen: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    tries: int = 0
    _files: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def reply(
        self, method: str, path: str, headers: Mapping[str, str], raw: bytes, line: Line
    ) -> tuple[int, bytes] | None:
        """Status and body; None for a request that is not for this interface."""
        at = path.split("?", 1)[0]
        with self._lock:
            found = self._reply(method, at, headers, raw, line)
            if found is None:
                return None
            self.seen.append((method, path, headers))
            return self.garble(method, at, *found)

    def _reply(
        self, method: str, at: str, headers: Mapping[str, str], raw: bytes, line: Line
    ) -> tuple[int, bytes] | None:
        anthropic = "/messages/batches" in at
        if method == "POST" and at.endswith("/files"):
            name = f"file-{len(self._files)}"
            self._files[name] = _file_in(raw, headers["content-type"])
            return 200, _json({"id": name, "object": "file", "purpose": "batch"})
        if method == "POST" and at.endswith("/batches"):
            return self._submit(json.loads(raw), line, anthropic=anthropic)
        if method == "GET" and at.endswith("/batches"):
            return 200, _json({"data": [self._shown(one, anthropic=anthropic) for one in reversed(self.batches)]})
        if found := re.search(r"/files/([^/]+)/content$", at):
            return 200, self._files[found[1]]
        if found := re.search(r"/batches/([^/]+?)(/results)?$", at):
            batch = next((one for one in self.batches if one.id == found[1]), None)
            if batch is None:
                return 404, _json({"error": {"message": f"no batch {found[1]}"}})
            if found[2]:
                return 200, "\n".join(self._results(batch, anthropic=True)).encode()
            batch.looks -= 1
            return 200, _json(self._shown(batch, anthropic=anthropic))
        return None

    def _submit(self, asked: Mapping[str, Any], line: Line, *, anthropic: bool) -> tuple[int, bytes]:
        refused = self.refuse(self.tries)
        self.tries += 1
        if refused is not None:
            return refused
        number = len(self.batches)
        if anthropic:
            lines = [(one["custom_id"], one["params"]) for one in asked["requests"]]
        else:
            texts = self._files[asked["input_file_id"]].decode().splitlines()
            lines = [(one["custom_id"], one["body"]) for one in map(json.loads, texts)]
        batch = ScriptedBatch(
            f"batch-{number}", lines, self.looks, asked.get("metadata") or {}, dt.datetime.now(dt.UTC)
        )  # fmt: skip
        batch.expired = {name for i, (name, _) in enumerate(lines) if self.expire(number, i)}
        dropped = {name for i, (name, _) in enumerate(lines) if self.drop(number, i)}
        for name, body in lines:
            if name not in batch.expired | dropped:
                batch.answers[name] = line(dict(body))
        self.batches.append(batch)
        if not anthropic:
            results = self._results(batch, anthropic=False)
            random.Random(number).shuffle(results)  # the order of results is not that of requests
            failed = [one for one in results if json.loads(one)["error"] or _status(one) >= 400]
            self._files[f"out-{batch.id}"] = "\n".join(one for one in results if one not in failed).encode()
            self._files[f"err-{batch.id}"] = "\n".join(failed).encode()
        return 200, _json(self._shown(batch, anthropic=anthropic))

    def _shown(self, batch: ScriptedBatch, *, anthropic: bool) -> dict[str, Any]:
        ended = batch.looks <= 0
        if anthropic:
            count = {"processing": 0 if ended else len(batch.lines), "succeeded": len(batch.lines) if ended else 0}
            return {
                "id": batch.id, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
                "request_counts": count, "created_at": batch.created.isoformat(),
                "results_url": "http://127.0.0.1:9/elsewhere",
            }  # fmt: skip
        status = "in_progress" if not ended else "expired" if batch.expired else "completed"
        files = {"output_file_id": f"out-{batch.id}", "error_file_id": f"err-{batch.id}"} if ended else {}
        return {"id": batch.id, "object": "batch", "status": status, "metadata": dict(batch.metadata), **files}

    def _results(self, batch: ScriptedBatch, *, anthropic: bool) -> list[str]:
        found: list[dict[str, Any]] = []
        for name, (status, body) in reversed(batch.answers.items()):
            answer = json.loads(body)
            if anthropic:
                result = (
                    {"type": "succeeded", "message": answer} if status < 400 else {"type": "errored", "error": answer}
                )
                found.append({"custom_id": name, "result": result})
            else:
                response: dict[str, Any] = {"status_code": status, "request_id": "r", "body": answer}
                found.append({"custom_id": name, "response": response, "error": None})
        for name in batch.expired:
            error = {"code": "batch_expired", "message": "The batch expired before this request was answered."}
            expired: dict[str, Any] = (
                {"result": {"type": "expired"}} if anthropic else {"response": None, "error": error}
            )
            found.append({"custom_id": name, **expired})
        return [json.dumps(one) for one in found]


def _status(line: str) -> int:
    response = json.loads(line)["response"]
    return int(response["status_code"]) if response else 0


def _file_in(raw: bytes, content_type: str) -> bytes:
    """The file of a multipart form."""
    boundary = content_type.split("boundary=", 1)[1].strip('"').encode()
    part = next(part for part in raw.split(b"--" + boundary) if b'name="file"' in part)
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
