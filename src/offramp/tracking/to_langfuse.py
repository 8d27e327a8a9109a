"""A study as traces of Langfuse: one for each candidate in a session for the study, its metrics as scores.

`LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY` and `LANGFUSE_BASE_URL` say where.
"""

from __future__ import annotations

from langfuse import Langfuse, propagate_attributes
from opentelemetry.sdk.trace import TracerProvider

from offramp.tracking import TrackedStudy


def write(study: TrackedStudy) -> None:
    """Sends the traces; a trace and a score that there are get the numbers of today."""
    client = Langfuse(tracer_provider=TracerProvider())
    for one in study.candidates:
        trace = client.create_trace_id(seed=f"{study.study}:{one.candidate}")
        held = [name for name, holds in one.tags.items() if holds]
        with (
            propagate_attributes(session_id=study.study[:200], tags=[study.space, *held], trace_name=one.candidate),
            client.start_as_current_observation(
                name=one.candidate, trace_context={"trace_id": trace}, input=dict(one.params),
                output=dict(one.metrics), metadata=dict(study.tags),
            ),
        ):  # fmt: skip
            pass
        for name, value in one.metrics.items():
            client.create_score(name=name, value=value, trace_id=trace, score_id=f"{trace}-{name}", data_type="NUMERIC")
    client.flush()
