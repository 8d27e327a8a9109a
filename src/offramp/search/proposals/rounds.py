"""Rounds of proposals: when one is due, which candidates it starts from, and what becomes of each text.

A round comes after every so many candidates, or when the space has none left. Each text is screened and stored as soon
as it arrives. A job that was killed within a round continues with the next text of that round, and has the answers to
its earlier requests in the ledger.

Invariant: when a round is due, and what it asks, depends on the study's stored history alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from offramp.calls.failures import InfrastructureError, ProgramError
from offramp.evaluate.evaluator import Evaluator
from offramp.ids import derived_seed
from offramp.job.check_values import proposer_params
from offramp.job.resolved import ResolvedJob
from offramp.program.engine import Send
from offramp.program.grounded import Grounded, predictor_fields
from offramp.records import Candidate
from offramp.search.fitting import fitted
from offramp.search.outcome import Options
from offramp.search.proposals._base import Brief, NothingProposed, ProposalFailed, Proposer
from offramp.search.proposals.data import FromData
from offramp.search.proposals.reflection import FromReflection
from offramp.search.proposals.screening import LeakCheck, answer_columns, leak_check, why_dropped
from offramp.search.proposals.tidying import tidy
from offramp.search.state import StudyState
from offramp.space.model import ProposePart, model_name
from offramp.space.params import instruction_param, proposal_names
from offramp.store.candidates import Variant, texts_of
from offramp.task.metrics import gold_columns

HISTORY = 5
"""A proposer is shown this many tried instructions with their quality."""
SUMMARY_REQUESTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposerEffort:
    """Requests to the proposer model (`written`), and runs on train examples that it is shown (`observed`)."""

    written: int = 0
    observed: int = 0


def proposer_effort(job: ResolvedJob, options: Options) -> ProposerEffort:
    """What the rounds that fit into the trials take: a reflection runs one batch of examples."""
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


def make_rounds(
    job: ResolvedJob, options: Options, *, send: Send, evaluator: Evaluator, state: StudyState
) -> Rounds | None:  # fmt: skip
    """The rounds of proposals; None where the space file wants none. Call it on the event loop that sends requests."""
    part = job.space.propose
    if part is None:
        return None
    model, train = job.models[model_name(part.model)], job.task.splits.train
    seed = derived_seed(options.seed, "proposals")
    params = proposer_params(job)
    grounded = Grounded(model=model, params=params, send=send, fields=job.task.fields, factory=job.factory)
    from_data = FromData(grounded=grounded, train=train, examples=part.examples, seed=seed)
    from_reflection = FromReflection(
        part=part.model_copy(update={"params": params}), model=model, send=send, observe=evaluator.observe, train=train,
        answers=answer_columns(job.task.fields, gold_columns(job.space.metric)), seed=seed,
    )  # fmt: skip
    return Rounds(
        part=part,
        proposers={from_data.kind: from_data, from_reflection.kind: from_reflection},
        leaks=leak_check(job),
        state=state,
        store_text=job.space.store_text,
    )


@dataclass(slots=True, kw_only=True)
class Rounds:
    """The rounds of one study.

    Attributes:
        proposers: by kind.
        state: its variants are every text so far, including those from a study that this one started from.
    """

    part: ProposePart
    proposers: Mapping[str, Proposer]
    leaks: LeakCheck
    state: StudyState
    store_text: bool

    def due(self, job: ResolvedJob, *, exhausted: bool) -> bool:
        """Whether a round begins, or continues, before the next candidate."""
        done, size = self._proposed(), self._size(job)
        if done >= self.part.rounds * size:
            return False
        enough = len(self.state.tried) >= self.part.every * (done // size + 1)
        begun = done % size > 0
        return (begun or exhausted or enough) and bool(self.state.report().front)

    async def run(self, job: ResolvedJob) -> ResolvedJob:
        """Runs one round; returns the job with the texts that joined.

        Raises:
            ProposalFailed: a request failed after all attempts. JobError, FatalCallError: the job cannot continue.
        """
        size = self._size(job)
        last = (self._proposed() // size + 1) * size
        while self._proposed() < last:
            row = await self._propose(job, self._proposed(), size)
            self.state.keep_variant(row)
            job = job.with_joined(texts_of(self.state.variants))
        return job

    def _proposed(self) -> int:
        return sum(row.round > 0 for row in self.state.variants)

    def _size(self, job: ResolvedJob) -> int:
        """Proposals in a round."""
        return self.part.count * len(job.texts)

    async def _propose(self, job: ResolvedJob, number: int, size: int) -> Variant:
        """The proposal with this number (of the study, from 0), screened."""
        predictors = list(job.texts)
        predictor = predictors[number % len(predictors)]
        turn = number // len(predictors)  # among those of this predictor
        kind = self.part.kinds[turn % len(self.part.kinds)]
        parent = self._parent(predictor, turn % self.part.count)
        brief = Brief(
            number=number, predictor=predictor, parent=parent, max_chars=self.part.max_chars,
            history=self._history(predictor),
        )  # fmt: skip
        text, reason = await self._written(job, self.proposers[kind], brief)
        row = Variant(
            number=len(self.state.variants), predictor=predictor, kind=kind, round=number // size + 1, name=None,
            text=text, reason=reason, parents=(parent.id,), model=model_name(self.part.model),
        )  # fmt: skip
        if reason is not None:
            return row if self.store_text else replace(row, text=None)
        return self._joined(job, row, parent)

    async def _written(self, job: ResolvedJob, proposer: Proposer, brief: Brief) -> tuple[str | None, str | None]:
        """The text (None: there is none), and why it is dropped (None: it joins)."""
        try:
            text = tidy(await proposer.propose(brief))
        except (NothingProposed, ProgramError) as nothing:
            return None, str(nothing)
        except InfrastructureError as error:
            what = f"proposal {brief.number + 1} ({proposer.kind}) got no answer: {type(error).__name__}: {error}"
            raise ProposalFailed(f"{what}. Run the same command again to continue.") from error
        others = job.all_texts[brief.predictor].values()
        fields = predictor_fields(brief.parent, brief.predictor, job.task.fields, job.factory)
        return text, why_dropped(text, max_chars=brief.max_chars, others=others, leaks=self.leaks, fields=fields)

    def _joined(self, job: ResolvedJob, row: Variant, parent: Candidate) -> Variant:
        """The row under the next free name, and with the parent's other params to be tried first."""
        taken = {other.name for other in self.state.variants if other.predictor == row.predictor}
        name = next(name for name in proposal_names(job.space) if name not in taken)
        named = replace(row, name=name)
        wider = job.with_joined(texts_of((*self.state.variants, named)))
        return replace(named, params=dict(fitted(parent, wider, **{instruction_param(row.predictor): name})))

    def _parent(self, predictor: str, turn: int) -> Candidate:
        """A member of the front: highest utility first, each instruction once, the next one at each turn."""
        front = sorted(self.state.report().front, key=lambda m: (-(m.utility or 0.0), -(m.quality or 0.0), m.candidate))
        candidates = [self.state.candidates[member.candidate] for member in front]
        first_with = {c.instructions[predictor]: c for c in reversed(candidates)}
        distinct = [c for c in candidates if first_with[c.instructions[predictor]] is c]
        return distinct[turn % len(distinct)]

    def _history(self, predictor: str) -> tuple[tuple[str, float], ...]:
        """The instructions that were tried with their best quality: the `HISTORY` best, the best last."""
        best: dict[str, float] = {}
        for member in self.state.report().members:
            text = self.state.candidates[member.candidate].instructions[predictor]
            best[text] = max(best.get(text, 0.0), member.quality or 0.0)
        return tuple(sorted(best.items(), key=lambda item: (item[1], item[0]))[-HISTORY:])
