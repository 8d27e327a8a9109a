"""What the proposals of a job take, before any is made."""

from __future__ import annotations

from dataclasses import dataclass

from offramp.job.resolve import ResolvedJob
from offramp.search.outcome import Options

SUMMARY_REQUESTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposerEffort:
    """Requests to the proposer (`written`), and runs on train examples that it is shown (`observed`)."""

    written: int = 0
    observed: int = 0


def proposer_effort(job: ResolvedJob, options: Options) -> ProposerEffort:
    """Of the rounds that fit into the trials: a reflection runs one batch of examples, the summary asks three times."""
    part = job.space.propose
    if part is None:
        return ProposerEffort()
    texts = min(part.rounds, options.trials // part.every) * part.count
    kinds = [part.kinds[i % len(part.kinds)] for i in range(texts)]
    predictors, batch = len(job.texts), min(part.examples, len(job.task.splits.train))
    return ProposerEffort(
        written=texts * predictors + (SUMMARY_REQUESTS if "data" in kinds else 0),
        observed=kinds.count("reflection") * predictors * batch,
    )
