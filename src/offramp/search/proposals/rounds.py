"""Rounds of proposals: when one is due, whom it asks, and what becomes of each text.

A round comes after every so many candidates, or when the space has none left. Each text is decided on and stored as
soon as it is there; a job that was killed within a round goes on with the next text of that round, and has the answers
to what it had asked in the ledger.

Invariant: when a round is due, whom it asks and what it shows depends only on the study's stored history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from offramp.calls.failures import InfrastructureError, ProgramError
from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate
from offramp.search.known import Known
from offramp.search.proposals._base import Brief, NothingProposed, ProposalFailed, Proposer
from offramp.search.proposals.leaks import LeakCheck
from offramp.search.proposals.screen import tidy, why_dropped
from offramp.search.warm.fit import fitted
from offramp.space.dimensions import instruction_param, proposal_names
from offramp.space.model import ProposePart, model_name
from offramp.store.variants import Variant, VariantStore, texts_of

HISTORY = 5
"""Texts that a proposer is shown with what they came to."""


@dataclass(slots=True, kw_only=True)
class Rounds:
    """The rounds of one study.

    Attributes:
        proposers: by kind.
        variants: every row so far, those of a study that this one started from among them.
    """

    part: ProposePart
    proposers: Mapping[str, Proposer]
    leaks: LeakCheck
    known: Known
    store: VariantStore
    store_text: bool
    variants: tuple[Variant, ...] = field(default=())

    def due(self, job: ResolvedJob, *, exhausted: bool) -> bool:
        """Whether a round begins, or goes on, before the next candidate."""
        done, size = self._made(), self._size(job)
        if done >= self.part.rounds * size:
            return False
        enough = len(self.known.tried) >= self.part.every * (done // size + 1)
        begun = done % size > 0
        return (begun or exhausted or enough) and bool(self.known.report().front)

    async def run(self, job: ResolvedJob) -> ResolvedJob:
        """One round; the job with the texts that joined.

        Raises:
            ProposalFailed: a request failed after all attempts. JobError, FatalCallError: the job cannot go on.
        """
        size = self._size(job)
        last = (self._made() // size + 1) * size
        while self._made() < last:
            row = await self._one(job, self._made(), size)
            self.store.put(self.known.name, row)
            self.variants = (*self.variants, row)
            job = job.with_joined(texts_of(self.variants))
        return job

    def _made(self) -> int:
        return sum(row.round > 0 for row in self.variants)

    def _size(self, job: ResolvedJob) -> int:
        return self.part.count * len(job.texts)

    async def _one(self, job: ResolvedJob, number: int, size: int) -> Variant:
        """The proposal of this number (of the study, from 0), decided on."""
        predictors = list(job.texts)
        predictor = predictors[number % len(predictors)]
        place = number // len(predictors)  # among those of this predictor
        kind = self.part.kinds[place % len(self.part.kinds)]
        parent = self._parent(job, predictor, place % self.part.count)
        brief = Brief(
            number=number, predictor=predictor, parent=parent, max_chars=self.part.max_chars,
            history=self._history(job, predictor),
        )  # fmt: skip
        text, reason = await self._screened(job, self.proposers[kind], brief)
        row = Variant(
            number=len(self.variants), predictor=predictor, kind=kind, round=number // size + 1, name=None, text=text,
            reason=reason, parents=(parent.id,), model=model_name(self.part.model),
        )  # fmt: skip
        return self._joined(job, row, parent) if reason is None else self._kept(row)

    async def _screened(self, job: ResolvedJob, proposer: Proposer, brief: Brief) -> tuple[str | None, str | None]:
        """The text, and why it is dropped (None: it joins)."""
        try:
            text = tidy(await proposer.propose(brief))
        except (NothingProposed, ProgramError) as nothing:
            return None, str(nothing)
        except InfrastructureError as error:
            what = f"proposal {brief.number + 1} ({proposer.kind}) got no answer: {type(error).__name__}: {error}"
            raise ProposalFailed(f"{what}. Run the same command again to go on.") from error
        others = job.all_texts[brief.predictor].values()
        return text, why_dropped(text, max_chars=brief.max_chars, others=others, leaks=self.leaks)

    def _joined(self, job: ResolvedJob, row: Variant, parent: Candidate) -> Variant:
        """The row under the next free name, with the parent's other params to be tried first."""
        taken = {known.name for known in self.variants if known.predictor == row.predictor}
        name = next(name for name in proposal_names(job.space) if name not in taken)
        named = replace(row, name=name)
        wider = job.with_joined(texts_of((*self.variants, named)))
        return replace(named, params=dict(fitted(parent, wider, **{instruction_param(row.predictor): name})))

    def _kept(self, row: Variant) -> Variant:
        return row if self.store_text else replace(row, text=None)

    def _parent(self, job: ResolvedJob, predictor: str, turn: int) -> Candidate:
        """A member of the front, the best by utility first, each text once; `turn` goes round."""
        front = sorted(self.known.report().front, key=lambda m: (-(m.utility or 0.0), -(m.quality or 0.0), m.candidate))
        candidates = [self.known.candidate(member.candidate, member.params) for member in front]
        by_text = {c.instructions[predictor]: c for c in reversed(candidates)}
        distinct = [c for c in candidates if by_text[c.instructions[predictor]] is c]
        return distinct[turn % len(distinct)]

    def _history(self, job: ResolvedJob, predictor: str) -> tuple[tuple[str, float], ...]:
        """The texts that were tried with the best quality that each came to; the best ones, the best last."""
        best: dict[str, float] = {}
        for member in self.known.report().members:
            text = self.known.candidate(member.candidate, member.params).instructions[predictor]
            best[text] = max(best.get(text, 0.0), member.quality or 0.0)
        return tuple(sorted(best.items(), key=lambda item: (item[1], item[0]))[-HISTORY:])
