"""Which results of another study can be given a cost at today's prices.

A result keeps the tokens of its candidate's own model, and everything else that it cost as one sum of USD. Where a
price that is in this sum has changed, the cost is not known: the candidate is run again, and the ledger answers for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from offramp.job.resolved import ResolvedJob
from offramp.program.own_models import held_models
from offramp.records import BATCH, Candidate, Price, Replicate, Result, price_of
from offramp.store.studies import StudyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChanges:
    """What has another price in this job than in the study that it starts from.

    Attributes:
        old, new: prices by model name, of the study and of the job.
        changed: names of the models whose prices differ, service tiers and steps included.
        own: whether the program is a module of the user's own, which may ask models that cannot be seen before it runs.
        held: the model that a predictor of that module holds, by predictor.
        by_itself: models that it asks in other ways, as far as that can be seen.
    """

    old: Mapping[str, Price | None]
    new: Mapping[str, Price | None]
    changed: frozenset[str]
    own: bool
    held: Mapping[str, str]
    by_itself: frozenset[str]

    def models_of(self, candidate: Candidate) -> frozenset[str]:
        """The models that a candidate asks, as far as that can be seen."""
        held = (model for predictor, model in self.held.items() if predictor not in candidate.models)
        return frozenset({candidate.model, *candidate.models.values(), *held}) | self.by_itself

    def cost_is_known(self, candidate: Candidate, results: Iterable[Result]) -> bool:
        """Whether the cost of each of these results of the candidate can be told at the new prices."""
        if not self.changed:
            return True
        if (self.models_of(candidate) - {candidate.model}) & self.changed:
            return False
        return all(self._is_known(candidate, run) for result in results for run in (result, *result.runs))

    def _is_known(self, candidate: Candidate, run: Result | Replicate) -> bool:
        rest = run.others_usd != 0
        if self.own and rest and self.changed - {candidate.model}:
            return False
        if candidate.model not in self.changed:
            return True
        old, new = self.old.get(candidate.model), self.new[candidate.model]
        tiers, tiers_now = (set(price.tier_names) - {BATCH} if price is not None else set() for price in (old, new))
        if tiers_now - tiers or (rest and (tiers or tiers_now)):  # another tier may have served it than was asked for
            return False
        asked = price_of(candidate, self.new)
        several = run.calls + run.cached_calls > 1
        return asked is None or not several or len(asked.up_to(run.usage.prompt_tokens)) == 1


def price_changes(study: StudyRow, job: ResolvedJob) -> PriceChanges:
    """The changes since `study` began. Of a study whose prices were not kept, every price counts as changed."""
    old, new = study.details.prices, {name: model.price for name, model in job.models.items()}
    held, by_itself = ({}, set[str]()) if job.module is None else held_models(job.module, job.models)
    changed = (name for name, price in new.items() if (name in old or not old) and old.get(name) != price)
    return PriceChanges(
        old=old, new=new, changed=frozenset(changed), own=job.module is not None, held=held,
        by_itself=frozenset(by_itself),
    )  # fmt: skip
