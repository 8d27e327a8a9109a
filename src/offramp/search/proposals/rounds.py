"""Rounds of proposals: when one is due, which candidates it starts from, and what becomes of each text.

A round comes after every so many candidates, or when the space has none left. Its texts are written at the same time,
and screened and stored in their order. A job that was killed within a round continues with the next text of that round,
and has the answers to its earlier requests in the ledger.

Invariant: when a round is due, and what it asks, depends on the study's stored history alone.
"""

from __future__ import annotations

import asyncio
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
        enough = self.state.trials >= self.part.every * (done // size + 1)
        begun = done % size > 0
        return (begun or exhausted or enough) and bool(self.state.report().front)

    async def run(self, job: ResolvedJob) -> ResolvedJob:
        """Runs one round, its texts written at the same time; returns the job with those that joined.

        Raises:
            ProposalFailed: a request failed after all attempts. JobError, FatalCallError: the job cannot continue.
        """
        size, begun = self._size(job), self._proposed()
        briefs = [self._brief(job, number) for number in range(begun, (begun // size + 1) * size)]
        writing = [asyncio.ensure_future(self._written(self._kind(job, brief), brief)) for brief in briefs]
        try:
            for brief, written in zip(briefs, writing, strict=True):
                self.state.keep_variant(self._screened(job, brief, *await written))
                job = job.with_joined(texts_of(self.state.variants))
        finally:
            for written in writing:
                written.cancel()
            await asyncio.gather(*writing, return_exceptions=True)
        return job

    def _proposed(self) -> int:
        return sum(row.round > 0 for row in self.state.variants)

    def _size(self, job: ResolvedJob) -> int:
        """Proposals in a round."""
        return self.part.count * len(job.texts)

    def _turn(self, job: ResolvedJob, number: int) -> int:
        """Which proposal for its predictor this one is."""
        return number // len(job.texts)

    def _kind(self, job: ResolvedJob, brief: Brief) -> str:
        return self.part.kinds[self._turn(job, brief.number) % len(self.part.kinds)]

    def _brief(self, job: ResolvedJob, number: int) -> Brief:
        """What the proposal with this number (of the study, from 0) is asked for."""
        predictor = list(job.texts)[number % len(job.texts)]
        parent = self._parent(predictor, self._turn(job, number) % self.part.count)
        return Brief(
            number=number, predictor=predictor, parent=parent, max_chars=self.part.max_chars,
            history=self._history(predictor),
        )  # fmt: skip

    async def _written(self, kind: str, brief: Brief) -> tuple[str | None, str | None]:
        """The tidied text (None: there is none), and why there is none."""
        try:
            return tidy(await self.proposers[kind].propose(brief)), None
        except (NothingProposed, ProgramError) as nothing:
            return None, str(nothing)
        except InfrastructureError as error:
            what = f"proposal {brief.number + 1} ({kind}) got no answer: {type(error).__name__}: {error}"
            raise ProposalFailed(f"{what}. Run the same command again to continue.") from error

    def _screened(self, job: ResolvedJob, brief: Brief, text: str | None, reason: str | None) -> Variant:
        """The record of a proposal: of a text that joins, or of why it does not."""
        if text is not None:
            others = job.all_texts[brief.predictor].values()
            fields = predictor_fields(brief.parent, brief.predictor, job.task.fields, job.factory)
            reason = why_dropped(text, max_chars=brief.max_chars, others=others, leaks=self.leaks, fields=fields)
        row = Variant(
            number=len(self.state.variants), predictor=brief.predictor, kind=self._kind(job, brief),
            round=brief.number // self._size(job) + 1, name=None, text=text, reason=reason,
            parents=(brief.parent.id,), model=model_name(self.part.model),
        )  # fmt: skip
        if reason is not None:
            return row if self.store_text else replace(row, text=None)
        return self._joined(job, row, brief.parent)

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
