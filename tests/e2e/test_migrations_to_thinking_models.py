"""`offramp migrate` without options onto models that think, through LiteLLM, each vendor in its own dialect.

A cap of 50 tokens, meant for a label, is filled by reasoning. The proposal has to be right about quality, cost (computed
here from the prices of the installed table) and answers that were cut.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from offramp.cli.main import main
from offramp.models.capabilities import quiet_litellm
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import LABELS, write_space

READ, LABEL = 100, 4
"""Tokens of every prompt, and of every label."""
HOLDOUT = 30
TODAY, NEXT = 7, 9
"""Of ten examples, how many are right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A model that retires, its successor, and how its provider answers."""

    provider: str
    before: str
    after: str
    environment: Mapping[str, str]

    def reply(self, model: str, label: str, written: int, reasoning: int, cut: bool) -> ServerReply:
        """In the vendor's dialect."""
        if self.provider == "openai":
            details = {"completion_tokens_details": {"reasoning_tokens": reasoning}}
            usage = {"prompt_tokens": READ, "completion_tokens": written, "total_tokens": READ + written, **details}
            return ServerReply(text="" if cut else label, finish_reason="length" if cut else "stop", usage=usage)
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "hm", "signature": "x"}] if reasoning else []
        body = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None,
            "content": content if cut else [*content, {"type": "text", "text": label}],
            "stop_reason": "max_tokens" if cut else "end_turn",
            "usage": {"input_tokens": READ, "output_tokens": written},
        }  # fmt: skip
        return ServerReply(body=json.dumps(body).encode())


OPENAI = Vendor(
    provider="openai", before="gpt-4o-mini", after="gpt-6-luna",
    environment={"OPENAI_API_KEY": "unused", "OPENAI_API_BASE": "{url}", "OPENAI_BASE_URL": "{url}"},
)  # fmt: skip
ANTHROPIC = Vendor(
    provider="anthropic", before="claude-sonnet-4-5", after="claude-sonnet-5-5",
    environment={"ANTHROPIC_API_KEY": "unused", "ANTHROPIC_API_BASE": "{root}"},
)  # fmt: skip


def provider_of(vendor: Vendor, reasoning: Callable[[int], int]) -> Callable[[dict[str, Any]], ServerReply]:
    """The provider: models other than today's think, and refuse a temperature as the real ones do."""

    def script(body: dict[str, Any]) -> ServerReply:
        old = vendor.before in body["model"]
        number = int(re.findall(r"case (\d+)", json.dumps(body["messages"][-1]))[-1])
        if not old and body.get("temperature") not in (None, 1):
            return ServerReply(
                status=400, text="temperature is not supported with this model", code="unsupported_value"
            )
        cap = body.get("max_completion_tokens") or body["max_tokens"]
        thought = 0 if old else reasoning(number)
        cut = thought + LABEL > cap
        label = LABELS[(number + (number % 10 >= (TODAY if old else NEXT))) % 3]
        return vendor.reply(body["model"], label, min(thought + LABEL, cap), min(thought, cap), cut)

    return script


def migrated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], vendor: Vendor,
    reasoning: Callable[[int], int],
) -> tuple[int, dict[str, Any], str]:  # fmt: skip
    """Exit code, JSON and page of the proposal of a feature whose study and promotion are made first."""
    monkeypatch.chdir(folder)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer(provider_of(vendor, reasoning)) as server:
        for name, value in vendor.environment.items():
            monkeypatch.setenv(name, value.format(url=server.url, root=server.root))
        model = f"{vendor.provider}/{vendor.before}"
        space = write_space(
            folder, count=70, models=[model], incumbent={"model": model, "instruction": "vague"},
            instructions={"vague": "Vague."}, params={"temperature": 0.0, "max_tokens": 50},
            splits={"train": 6, "search": 20, "holdout": HOLDOUT},
            objectives={"quality": {}, "cost": None, "latency": None},
            search={"sampler": "random", "trials": 1, "concurrency": 4},
        )  # fmt: skip
        assert main(["optimize", str(space)]) == 0
        assert main(["promote", "latest", "--pick", "incumbent", "--force", "--why", "today"]) == 0
        capsys.readouterr()
        code = main(["migrate", "landscape", "--json"])
    (page,) = (folder / "proposals").iterdir()
    return code, json.loads(capsys.readouterr().out), page.read_text()


def holdout(folder: Path) -> list[int]:
    """Numbers of the examples of the holdout."""
    with sqlite3.connect(folder / "results" / "offramp.db") as db:
        ids = db.execute("select distinct example from offramp_results where split = 'holdout'")
        return [int(row[0].removeprefix("e")) for row in ids]


def usd(model: str, written: float) -> float:
    """Of one run, by the installed table."""
    row = quiet_litellm().model_cost[model]
    return float(READ * row["input_cost_per_token"] + written * row["output_cost_per_token"])


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("vendor", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    ("reasoning", "cap"),
    [(lambda n: 300, 4146), (lambda n: 300 if n % 4 == 0 else 10, 4146), (lambda n: 5000, 16434)],
    ids=["all-cut", "some-cut", "thinks-much"],
)
def test_a_thinking_successor_is_tried_with_room_and_proposed_with_right_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], vendor: Vendor,
    reasoning: Callable[[int], int], cap: int,
) -> None:  # fmt: skip
    code, found, page = migrated(tmp_path, monkeypatch, capsys, vendor, reasoning)
    numbers = holdout(tmp_path)
    assert code == 0
    assert found["proposed"]["model"] == f"{vendor.provider}/{vendor.after}"
    assert found["proposed"]["params"]["max_tokens"] == cap
    assert found["proposed"]["raised"] == f"max_tokens raised from 50 to {cap}"
    new, old = found["proposed"]["holdout"], found["today"]["holdout"]
    assert old["quality"] == pytest.approx(mean([float(n % 10 < TODAY) for n in numbers]))
    assert new["quality"] == pytest.approx(mean([float(n % 10 < NEXT) for n in numbers]))
    assert old["cost_usd"] == pytest.approx(usd(vendor.before, LABEL))
    assert new["cost_usd"] == pytest.approx(usd(vendor.after, mean([reasoning(n) + LABEL for n in numbers])))
    assert new["n_cut"] == 0
    first = found["drop_ins"][0]
    cut = [n for n in numbers if reasoning(n) + LABEL > 50]
    assert (first["raised"], first["holdout"]["n_cut"], first["holdout"]["n_cut_reasoning"]) == (
        None,
        len(cut),
        len(cut),
    )
    assert first["holdout"]["cost_usd"] == pytest.approx(
        usd(vendor.after, mean([min(reasoning(n) + LABEL, 50) for n in numbers]))
    )
    assert f"{len(cut)} of {HOLDOUT} answers cut at max_tokens 50, all of it reasoning: raise max_tokens" in page
    assert "temperature=0.0" in page and f"| max_tokens | 50 | {cap} |" in page
