"""Promotions without a study, for the tests of files, labels and history."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from offramp.promote.promotion import (
    FORMAT_VERSION,
    Evidence,
    Gate,
    Made,
    MessagePart,
    MessageTemplate,
    PromotedDemos,
    PromotedModel,
    PromotedProgram,
    Promotion,
    Rendering,
    SplitEvidence,
)

SPLIT = SplitEvidence(
    n=10, n_fault=0, n_failed=0, quality=0.8, quality_low=0.5, quality_high=0.95, cost_usd=1e-5, latency_p50_s=0.2,
    latency_p95_s=0.4, tokens={"input_tokens": 50.0, "output_tokens": 3.5},
)  # fmt: skip


def make_promotion(*, text: str = "Sort the message.\nAnswer with one word.", **changes: Any) -> Promotion:
    """A promotion of a hosted model; not sealed."""
    evidence = Evidence(
        study="landscape-1234abcd", space="landscape", space_file="space.yaml", space_hash="a" * 64, task_hash="b" * 64,
        dataset_hash="c" * 64, splits_hash="d" * 64, metric="exact label", seed=0, candidate="0123456789ab",
        params={"model": "hosted", "temperature": 0.0}, trials=6, price_table="litellm 1.0 sha256:abc",
        requests_matched=10, search=SPLIT, holdout=SPLIT, gate=Gate(),
    )  # fmt: skip
    rendering = Rendering(
        messages=(
            MessageTemplate(role="system", content=(MessagePart(text=text),)),
            MessageTemplate(role="user", content=(MessagePart(input="message"),)),
        ),
        params={"temperature": 0.0},
    )
    made = Promotion(
        schema_version=FORMAT_VERSION,
        feature="triage",
        version="",
        sha256="",
        model=PromotedModel(name="hosted", route="openai/hosted", price={"input_usd": 1.0, "output_usd": 2.0}),
        request_params={"temperature": 0.0},
        program=PromotedProgram(
            form="predict", format="plain", constrained=False, inputs={"message": None},
            outputs={"label": {"type": "enum", "values": ["a", "b"]}},
        ),
        instructions={"main": text},
        demos=PromotedDemos(kind="none", values={}),
        rendering=rendering,
        evidence=evidence,
        made=Made(by="ada", at="2026-11-25T07:00:00+00:00", offramp="0.1.0", dspy="3.4.1"),
    )  # fmt: skip
    return replace(made, **changes)
