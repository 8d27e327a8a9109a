"""The loop: incumbent first, then ask, evaluate, tell until a limit. Candidates are raced: see `race.py`.

Invariant: after every ask, exactly one tell follows on every way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from offramp.errors import OfframpError
from offramp.evaluate.evaluator import Evaluator
from offramp.job.clock import Clock
from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate, Evaluation, Split
from offramp.search.known import Known
from offramp.search.leads import Leads
from offramp.search.optuna_study import Asked, OptunaStudy
from offramp.search.outcome import Options
from offramp.search.proposals.rounds import Rounds
from offramp.search.race import Racing
from offramp.search.unseen import Assignment, Unseen
from offramp.search.warm.start import add_prior

DUPLICATES = 3
"""After so many proposals in a row that are known already, an unseen one is drawn at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a search works with.

    Attributes:
        keep_back: leaves enough of the caps for the verdict; called before every trial.
        leads: what is tried before the sampler proposes, and where candidates come from.
        rounds: of proposed instructions; None where the space file wants none.
    """

    job: ResolvedJob
    options: Options
    known: Known
    study: OptunaStudy
    evaluator: Evaluator
    clock: Clock
    keep_back: Callable[[], None]
    leads: Leads
    rounds: Rounds | None = None


class Loop:
    """One run of the search."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._p, self._known, self._study = parts.job, parts.known, parts.study
        self._unseen = Unseen(self._p.dims, self._p.candidate, parts.options.seed)
        part, examples = self._p.space.search.race, self._p.task.splits.search
        self._race = None if part is None else Racing(part, examples, parts.options.seed)

    async def run(self) -> str:
        """Searches to an end; the word for why it ended. A cap or a fault is raised."""
        self._known.recall(self._study)
        await self._incumbent_first()
        self._add_prior()
        self._parts.keep_back()
        await self._mend()
        while True:
            if len(self._known.tried) >= self._parts.options.trials:
                return "trials"
            exhausted = not self._unseen.left(self._known.tried)
            due = self._parts.rounds is not None and self._parts.rounds.due(self._p, exhausted=exhausted)
            if exhausted and not due:
                return "space_exhausted"
            self._parts.clock.check()
            self._parts.keep_back()
            if due:
                await self._propose()
            elif not await self._next_trial():
                return "space_exhausted"

    async def _propose(self) -> None:
        """A round of proposals; the search goes on with what joined."""
        rounds = self._parts.rounds
        if rounds is None:
            return
        self._known.begin_proposals()
        self._p = await rounds.run(self._p)
        self._known.adopt(self._p)
        self._study.adopt(self._p.dims)
        self._parts.leads.learn(rounds.variants)
        self._unseen = Unseen(self._p.dims, self._p.candidate, self._parts.options.seed)

    async def _incumbent_first(self) -> None:
        incumbent = self._p.incumbent
        if incumbent is None or incumbent.id in self._known.finished:
            self._known.fix_scales(None if incumbent is None else self._known.finished[incumbent.id])
            return
        evaluation = await self._in_full(incumbent)
        self._known.values(incumbent, evaluation)
        self._known.fix_scales(evaluation)
        told = self._known.told(incumbent, evaluation)
        self._known.keep(
            incumbent, evaluation, self._study.next_number(), origin=self._parts.leads.origin(incumbent, incumbent=True)
        )
        self._study.add_incumbent(incumbent.params, *told)

    def _add_prior(self) -> None:
        """Trials of the study that this one starts from, once the scales are fixed that a utility needs."""
        space, leads = self._p.space, self._parts.leads
        single = space.search.mode == "utility"
        add_prior(self._study, leads.warm, self._known.objectives, space.constraints, single=single)

    async def _mend(self) -> None:
        """Runs again the examples of finished candidates that an earlier run got no answer for.

        What optuna was told stays: it is the history that later proposals came from. Reports read the results.
        """
        broken = {name for name, evaluation in self._known.finished.items() if evaluation.n < len(evaluation.results)}
        for trial in self._study.finished() if broken else ():
            if trial.duplicate_of is None and trial.candidate in broken:
                self._parts.clock.check()
                candidate = self._known.candidate(trial.candidate, trial.params)
                examples = self._p.task.splits.search
                evaluation = await self._parts.evaluator.evaluate(candidate, examples, split=Split.SEARCH)
                self._known.finished[candidate.id] = evaluation
                self._known.refresh(Split.SEARCH, candidate.id)

    async def _next_trial(self) -> bool:
        """Proposals until one is new; False when none is left. Whose turn it is depends on the stored history alone."""
        while True:
            self._parts.clock.check()
            if not self._queue_unseen():
                return False
            asked = self._study.ask()
            with self._told_on_error(asked):
                candidate = self._p.candidate(asked.params)
                if candidate.id not in self._known.tried:
                    await self._run_trial(asked, candidate)
                    return True
                self._tell_duplicate(asked, candidate)

    async def _run_trial(self, asked: Asked, candidate: Candidate) -> None:
        evaluation, stopped_by = await self._raced(candidate)
        origin = self._parts.leads.origin(candidate)
        if stopped_by is not None:
            reason = f"{stopped_by} is ahead of it in every objective"
            self._known.keep(candidate, evaluation, asked.number, origin=origin, stopped_because=reason)
            self._study.tell_stopped(asked.number, stopped_attributes(candidate, evaluation, reason))
            return
        told = self._known.told(candidate, evaluation)
        self._known.keep(candidate, evaluation, asked.number, origin=origin)
        self._study.tell(asked.number, *told)

    @contextmanager
    def _told_on_error(self, asked: Asked) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            with suppress(OfframpError):  # a storage that fails; the next run takes the trial back
                self._study.tell_failed(asked.number, f"{type(error).__name__}: {error}")
            raise

    def _tell_duplicate(self, asked: Asked, candidate: Candidate) -> None:
        first = self._known.first_trial[candidate.id]
        if candidate.id in self._known.stopped:
            attributes = stopped_attributes(candidate, self._known.stopped[candidate.id], f"as trial {first}")
            self._study.tell_stopped(asked.number, {**attributes, "duplicate_of": first})
            return
        values, attributes, missed = self._known.told(candidate, self._known.finished[candidate.id])
        self._study.tell(asked.number, values, {**attributes, "duplicate_of": first}, missed)

    def _queue_unseen(self) -> bool:
        """Queues what goes before the sampler, or what it would not find; False when nothing is left."""
        lead = self._parts.leads.next(self._p, self._known.tried)
        if lead is not None:
            unseen: Assignment | None = lead
        elif self._p.space.search.sampler == "grid":
            unseen = self._unseen.in_turn(self._known.tried)
        elif self._study.duplicates_in_a_row() >= DUPLICATES:
            unseen = self._unseen.at_random(self._known.tried)
        else:
            return True
        if unseen is not None:
            self._study.queue(unseen)
        return unseen is not None

    async def _in_full(self, candidate: Candidate) -> Evaluation:
        examples = self._p.task.splits.search
        self._known.begin(candidate, examples)
        self._known.reuse(candidate, Split.SEARCH)
        return await self._parts.evaluator.evaluate(candidate, examples, split=Split.SEARCH)

    async def _raced(self, candidate: Candidate) -> tuple[Evaluation, str | None]:
        """As far as it is worth running; with the rival that stopped it, or None for a complete evaluation."""
        if self._race is None:
            return await self._in_full(candidate), None
        examples = self._p.task.splits.search
        self._known.begin(candidate, examples)
        self._known.reuse(candidate, Split.SEARCH)
        rivals = self._known.rivals()
        evaluation = Evaluation(candidate=candidate.id, results=())
        for block in self._race.blocks():
            evaluation = await self._parts.evaluator.evaluate(candidate, block, split=Split.SEARCH)
            if len(block) < len(examples):
                stopped_by = self._race.stopped_by(
                    candidate, evaluation, self._known.objectives, rivals=rivals, others=self._known.finished
                )
                if stopped_by is not None:
                    return evaluation, stopped_by
        return evaluation, None


def stopped_attributes(candidate: Candidate, evaluation: Evaluation, reason: str) -> dict[str, object]:
    """What optuna keeps of a raced-out trial: no value, since those of some examples are no values of the study."""
    return {
        "candidate": candidate.id,
        "params": dict(candidate.params),
        "n": evaluation.n,
        "n_failed": len(evaluation.results) - evaluation.n,
        "stopped_because": reason,
    }
