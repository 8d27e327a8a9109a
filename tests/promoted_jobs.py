"""Small real studies whose only candidate is the one under test, promoted; and what was sent for each example."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

from offramp.promote import promoting
from offramp.records import CallReply, CallRequest, Usage
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, rows, run_job, write_space

LABELS = ("billing", "shipping", "returns")
MODELS = [
    {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "json_schema_output": True,
     "supports": ["temperature", "max_tokens", "grammar", "response_format"],
     "price": {"input_usd": 1.0, "output_usd": 2.0}}
    for name in ("small", "large")
]  # fmt: skip


def right_answer(request: CallRequest) -> str:
    """The right label, written as the request's format wants it."""
    text = "\n".join(message["content"] for message in request.messages)
    number = int(re.findall(r"case (\d+)", request.messages[-1]["content"])[-1])
    label = LABELS[number % 3]
    if "Outputs will be a JSON object" in text or "JSON object" in request.messages[-1]["content"]:
        return json.dumps({"reasoning": "as asked", "label": label})
    if "[[ ## completed ## ]]" in text:
        return f"[[ ## reasoning ## ]]\nas asked\n\n[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]"
    return f"reasoning: as asked\nlabel: {label}" if "reasoning:" in text else label


def reply(request: CallRequest) -> CallReply:
    """As a transport gives it."""
    usage = Usage(input_tokens=50, output_tokens=3)
    return CallReply(text=right_answer(request), finish_reason="stop", usage=usage, latency_s=0.2)


def promoted_job(folder: Path, monkeypatch: Any, *, space: dict[str, Any] | None = None, **incumbent: Any) -> Path:
    """The promotions folder of a study whose incumbent is promoted as `landscape`."""
    answered_by(monkeypatch, FunctionTransport(reply))
    given = {"model": "small", "instruction": "vague", "params": {"temperature": 0.5, "max_tokens": 16}, **incumbent}
    demos = (
        {"kind": "none", "count": 0} if "demos" not in given else {"kind": given["demos"], "count": given["demo_count"]}
    )
    program = {"form": given.get("form", "predict"), "format": given.get("format", "plain"),
               "constrained": given.get("constrained", False)}  # fmt: skip
    changes: dict[str, Any] = {
        "incumbent": given, "models": MODELS, "demos": demos, "program": program,
        "search": {"sampler": "random", "trials": 1, "concurrency": 2},
        "instructions": {"vague": "Sort it:\n\n  {into} one of \"three\".\n"}, **(space or {}),
    }  # fmt: skip
    run_job(write_space(folder, **changes), folder / "results")
    promoting.promote(
        "latest", pick="incumbent", results=folder / "results", promotions=folder / "promotions", by="ada"
    )
    return folder / "promotions"


def sent(folder: Path) -> dict[str, dict[str, Any]]:
    """Every request of the study's program on its ledger, by hash: messages and params."""
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        found = db.execute("select request_hash, request_json from offramp_calls where purpose = 'program'").fetchall()
    return {name: json.loads(text) for name, text in found}


def holdout_inputs(folder: Path) -> list[dict[str, Any]]:
    """Inputs of the holdout examples."""
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        ids = {row[0] for row in db.execute("select example from offramp_results where split = 'holdout'")}
    return [{"message": row["message"]} for row in rows() if row["id"] in ids]
