"""A study of texts that are out to break whoever shows them: in the data, in the instructions and in the answers."""

from __future__ import annotations

import json
from pathlib import Path

from offramp.records import CallReply, CallRequest, Usage
from search_jobs import write_space

HOSTILE = (
    "</script><script>window.pwned = 1</script>",
    '<img src=x onerror="window.pwned = 1">',
    '" onmouseover="window.pwned = 1" x="',
    "abc \u202ekcabtfel\u202c def",
    "{{ 1234 * 4321 }} {% raw %}",
    "line\u2028separator <!-- <b>bold</b>",
    "\u05e9\u05dc\u05d5\u05dd '; DROP TABLE x; --",
)
"""Texts of strangers."""


def hostile_space(folder: Path) -> Path:
    """A job whose rows, slices and instructions are hostile."""
    path = write_space(
        folder,
        task={"signature": {"inputs": {"message": None}, "outputs": {"label": None}}},
        splits={"train": 6, "search": 14, "holdout": 7},
        instructions={
            "vague": "Vague. " + HOSTILE[0],
            "clear": "Clear. " + HOSTILE[3],
            "strict": "Strict. " + HOSTILE[1],
        },
        params={"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 64},
        search={"sampler": "random", "trials": 4, "concurrency": 2},
    )
    rows = [
        {
            "id": f"e{i:03}",
            "message": f"case {i:03} {HOSTILE[i % 7]}",
            "label": HOSTILE[(i + 1) % 7],
            "kind": HOSTILE[i % 3],
        }
        for i in range(40)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def hostile_reply(request: CallRequest) -> CallReply:
    """Right for the large model on even cases, hostile always."""
    last = request.messages[-1]["content"]
    number = int(last.split("case ", 1)[1][:3])
    right = request.model.name == "large" or number % 3 == 0
    text = HOSTILE[(number + (1 if right else 2)) % 7]
    return CallReply(text=text, finish_reason="stop", usage=Usage(input_tokens=50, output_tokens=9), latency_s=0.2)
