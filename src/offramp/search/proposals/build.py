"""The rounds of proposals of a job."""

from __future__ import annotations

from offramp.evaluate.evaluator import Evaluator
from offramp.ids import derived_seed
from offramp.job.resolve import ResolvedJob
from offramp.program.engine import Send
from offramp.program.grounded import Grounded
from offramp.search.known import Known
from offramp.search.outcome import Options
from offramp.search.proposals._base import Proposer
from offramp.search.proposals.data import FromData
from offramp.search.proposals.leaks import LeakCheck, golds_of
from offramp.search.proposals.reflection import FromReflection
from offramp.search.proposals.rounds import Rounds
from offramp.space.model import ProposePart, model_name
from offramp.store.engine import Store
from offramp.store.variants import Variant, VariantStore
from offramp.task.metrics import gold_columns


def make_rounds(
    job: ResolvedJob, options: Options, *, send: Send, evaluator: Evaluator, known: Known, store: Store,
    variants: tuple[Variant, ...],
) -> Rounds | None:  # fmt: skip
    """The rounds of proposals; None where the space file wants none. To be called on the ring's event loop."""
    part = job.space.propose
    if part is None:
        return None
    return Rounds(
        part=part,
        proposers=_proposers(part, job, options, send, evaluator),
        leaks=leak_check(job),
        known=known,
        store=VariantStore(store),
        store_text=job.space.store_text,
        variants=variants,
    )


def _proposers(
    part: ProposePart, job: ResolvedJob, options: Options, send: Send, evaluator: Evaluator
) -> dict[str, Proposer]:
    model, task = job.models[model_name(part.model)], job.task
    seed = derived_seed(options.seed, "proposals")
    params = {name: value for name, value in part.params.items() if value is not None}
    grounded = Grounded(model=model, params=params, send=send, fields=task.fields, factory=job.factory)
    from_data = FromData(grounded=grounded, train=task.splits.train, examples=part.examples, seed=seed)
    reflection = FromReflection(
        part=part, model=model, send=send, observe=evaluator.observe, train=task.splits.train,
        golds=golds_of(gold_columns(job.space.metric), task.fields), seed=seed,
    )  # fmt: skip
    return {from_data.kind: from_data, reflection.kind: reflection}


def leak_check(job: ResolvedJob) -> LeakCheck:
    """Looks for this job's examples in a text; what its own instructions say is not secret."""
    task = job.task
    known = [text for variants in job.texts.values() for text in variants.values()]
    return LeakCheck(task.splits, task.fields, gold_columns(job.space.metric), known)
