"""From the notice to the proposal: pick models, run today's config on them, search from there, compare, propose.

    read what is promoted -> its recorded results, or a run of it -> the same config on each possible successor
    -> the search on those models, from the old front -> the best of all, on the holdout, against today's config

The choice is made on the search split; the holdout only shows how good it is.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offramp.calls.transports import Transport
from offramp.errors import JobError, OfframpError, UsageError, in_a_run
from offramp.job.clock import Interrupted, Timing
from offramp.job.judges import JudgeNotFound
from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.lifecycle.migration import spaces
from offramp.lifecycle.migration.baseline import by_answers, new_judges, of_this_task, read_baseline
from offramp.lifecycle.migration.fit import ROOM, cut_by_reasoning, fitted, params_refused, with_room
from offramp.lifecycle.migration.model_choice import NotTried, choose, notice_of
from offramp.lifecycle.migration.origin import Origin, counted, read_origin
from offramp.lifecycle.migration.record import Baseline, Basis, Contender, Kind, Migration, Reference, Shown
from offramp.lifecycle.migration.runs import CapReached, Caps, Observer, Runs
from offramp.lifecycle.migration.studies import studies_of
from offramp.lifecycle.watch_report import Watched
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import Standing, load_calendar, utc_today
from offramp.promote.folder import FeatureFolder
from offramp.records import Candidate, Split
from offramp.search.api import JobResult, refuse_impossible
from offramp.space.model import ModelPart
from offramp.store.aggregates import aggregate_of, priced_by_results
from offramp.study.domain.members import Member, by_group, recommend
from offramp.study.domain.paired_comparison import compare_scores, scores_of
from offramp.study.lookup import default_storage
from offramp.study.study_report import StudyReport

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are. None: the default."""

    promotions: Path | None = None
    storage: str | None = None
    results: Path = Path("results")
    lifecycle: Path | None = None
    feeds: tuple[Path, ...] = ()
    space: Path | None = None

    @property
    def url(self) -> str:
        """The storage."""
        return self.storage or default_storage(self.results)


def run_migration(
    feature: str, *, to: Sequence[str] = (), label: str = "production", places: Places | None = None,
    caps: Caps | None = None, trials: int | None = None, seed: int | None = None,
    reference: Reference = Reference.LABELS, today: datetime.date | None = None, observer: Observer | None = None,
    say: Say = lambda text: None, transport: Transport | None = None, timing: Timing | None = None,
) -> Migration:  # fmt: skip
    """Runs the migration of a promoted feature up to its proposal.

    Args:
        to: models to try; a few that can be called by default.
        caps: money and calls for all runs together, those of the same migration before included; minutes of this one.
        trials: different candidates of the search; as the space file says by default.
        reference: what answers are judged by.
        today: the UTC date by default.
        say: called with a line on what is done now.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. timing: replaced in tests.

    Raises:
        UsageError: nothing is promoted, a model of `to` is unknown, there is none to try, or an option is not valid;
            nothing was spent.
        JobError: no candidate could be measured, or a later run cannot be run as it is.
    """
    places, caps = places or Places(), caps or Caps()
    refuse_impossible(trials=trials, seed=seed, usd=caps.usd, calls=caps.calls, minutes=caps.minutes)
    day = today or utc_today()
    origin = read_origin(feature, label=label, promotions=places.promotions, storage=places.url, space=places.space)
    calendar = load_calendar(places.lifecycle, feeds=places.feeds)
    notice = notice_of(origin, calendar, day)
    choice = choose(origin, notice, calendar, day, to)
    say(f"{feature} ({label}) runs on {origin.promotion.model.name}; trying {', '.join(choice.names)}")
    regraded: str | None = None
    runs = Runs(
        storage=places.url, results_folder=places.results, caps=caps, observer=observer, transport=transport,
        timing=timing, studies=studies_of(origin, choice.names, reference, places.results),
    )  # fmt: skip
    with in_a_run(lambda: runs.spent.has_asked()):
        if reference is Reference.ANSWERS:
            origin, baseline = by_answers(origin, places.results)
        else:
            folder = FeatureFolder(places.promotions, feature)
            alive = _answers(notice)
            regraded = new_judges(origin)
            if regraded is not None:
                say(regraded)
            if places.space is not None or regraded is not None:
                origin, alive = of_this_task(origin, alive=alive, say=say)
            baseline = read_baseline(origin, runs, folder=folder, alive=alive, say=say)
        work = _Progress(origin, runs, baseline, reference, say)
        for name in choice.names:
            work.drop_in(name)
        work.search(choice.names, trials=trials, seed=seed)
        return replace(work.migration(notice, day, choice.left_out), regraded=regraded)


def _answers(notice: Watched) -> bool:
    """Whether the retiring model can still be asked, as far as dates tell; your own files and servers can."""
    return notice.used.own or notice.standing not in (Standing.RETIRED, Standing.VANISHED)


class _Progress:
    """One migration under way."""

    def __init__(self, origin: Origin, runs: Runs, baseline: Baseline, reference: Reference, say: Say) -> None:
        self._origin, self._runs, self._say, self._groups = origin, runs, say, groups_in(origin)
        today = by_group(baseline.holdout, scores_of(baseline.results), self._groups)
        self._baseline = replace(baseline, holdout=today)
        self._reference = reference
        self._drop_ins: list[Contender] = []
        self._left_out: list[NotTried] = []
        self._raised: dict[str, spaces.Raised] = {}
        self._found: Contender | None = None
        self._trials = 0
        self._stopped: str | None = None

    def drop_in(self, name: str) -> None:
        """The promoted config on another model; if it cannot run there, the reason is kept.

        Where reasoning filled the cap that was meant for answers, it runs once more with a higher one.
        """
        self._say(f"today's config on {name}")
        what = "today's config"
        try:
            tried = self._alone(self._origin.candidate, name, Kind.DROP_IN)
            self._drop_ins.append(tried)
            model = resolve(spaces.model_part(self._origin, name), name)
            for room in ROOM:
                raised = with_room(model, self._origin.candidate.request_params, room)
                if raised is None or not cut_by_reasoning(model, (tried.search, tried.holdout)):
                    break
                what = f"today's config with {raised.words}"
                self._say(f"{what} on {name}: its reasoning counts towards that cap and cut answers")
                tried = self._alone(self._origin.candidate, name, Kind.DROP_IN, raised)
                self._drop_ins.append(tried)
                self._raised[name] = raised
        except (Interrupted, JudgeNotFound):
            raise
        except OfframpError as error:  # concerns this model only: the others are still tried
            self._left_out.append(NotTried(name=name, why=f"{what} did not run on it: {error}"))

    def search(self, names: Sequence[str], *, trials: int | None, seed: int | None) -> None:
        """Searches the old choices on the new models, starting from the old front."""
        origin = self._origin
        refusing = params_refused(origin, names)
        parts, refused = searchable(origin, names, refusing)
        dropped = {item.name for item in refused}
        self._left_out = [item for item in self._left_out if item.name not in dropped] + refused
        if not parts:
            return
        incumbent = self._baseline.basis is not Basis.PROMOTION and self._reference is Reference.LABELS
        space = spaces.searched(origin, parts, incumbent=incumbent, refusing=refusing, raised=self._raised)
        self._say(f"searching on {', '.join(names)}" + (f", from the front of {origin.row.name}" if origin.row else ""))
        source = origin.row.name if origin.row is not None else None
        try:
            result = self._runs.run(space, from_study=source, trials=trials, seed=seed)
        except CapReached as reached:
            self._stopped = f"not searched: {reached}"
            return
        if isinstance(result.error, JudgeNotFound):
            raise result.error
        self._trials, self._stopped = result.report.trials, result.report.stop_reason
        self._found = self._best_of(result)

    def _best_of(self, result: JobResult) -> Contender | None:
        """The best that the search found, apart from the incumbent, whose model retires."""
        member = best_but_incumbent(result.report)
        if member is None:
            return None
        candidate = self._runs.candidate(result.report.study, member.candidate)
        found = self._contender(Kind.SEARCHED, result.report.study, candidate, member.utility)
        if found.holdout.n:
            return found
        self._say("the best of the search, on the holdout")
        try:
            alone = self._alone(candidate, candidate.model, Kind.SEARCHED)
        except CapReached as reached:
            self._stopped = f"the best of the search was not evaluated on the holdout: {reached}"
            return None
        return replace(alone, utility=member.utility)

    def _alone(self, candidate: Candidate, model: str, kind: Kind, raised: spaces.Raised | None = None) -> Contender:
        part = spaces.model_part(self._origin, model)
        wanted = {**candidate.request_params, **({} if raised is None else {raised.param: raised.after})}
        params, rejected = fitted(resolve(part, model), wanted)
        if rejected:
            self._say(f"{model} is not sent {'; '.join(rejected)}")
        result = self._runs.run(spaces.alone(self._origin, candidate, part, params))
        (member, *_) = result.report.members or (None,)
        if member is None or member.holdout is None:
            why = result.error or JobError(f"{model} gave no result: {result.report.stop_reason}")
            if result.capped:
                raise CapReached(str(why)) from why
            raise why
        found = self._runs.candidate(result.report.study, member.candidate)
        contender = self._contender(kind, result.report.study, found, member.utility)
        return replace(contender, rejected=rejected, raised=None if raised is None else raised.words)

    def _contender(self, kind: Kind, study: str, candidate: Candidate, utility: float | None) -> Contender:
        seen = {split: counted(self._runs.results(study, candidate.id, split)) for split in Split}
        search, holdout = seen[Split.SEARCH], seen[Split.HOLDOUT]
        price = spaces.price_today(self._origin, candidate)
        whole = priced_by_results(aggregate_of(holdout.values()), price, holdout.values())
        against = compare_scores(scores_of(holdout), scores_of(self._baseline.results), groups=self._groups)
        return Contender(
            kind=kind,
            study=study,
            candidate=candidate,
            utility=utility,
            search=priced_by_results(aggregate_of(search.values()), price, search.values()),
            holdout=by_group(whole, scores_of(holdout), self._groups),
            results=holdout,
            comparison=against if against.n > 1 else None,
        )

    def migration(self, notice: Watched, today: datetime.date, left_out: Sequence[NotTried]) -> Migration:
        """The record of the whole migration. Raises JobError where nothing could be measured."""
        origin = self._origin
        contenders = [*self._drop_ins, *([self._found] if self._found is not None else [])]
        chosen = chosen_of(contenders)
        if chosen is None:
            why = "; ".join(f"{item.name}: {item.why}" for item in (*left_out, *self._left_out))
            raise JobError(f"{origin.promotion.feature}: no candidate could be measured ({why})")
        job = resolve_job(spaces.alone(origin, chosen.candidate, spaces.model_part(origin, chosen.candidate.model)))
        found = Migration(
            feature=origin.promotion.feature,
            label=origin.label,
            version=origin.promotion.version,
            before=origin.candidate,
            notice=notice,
            today=today,
            baseline=self._baseline,
            drop_ins=tuple(self._drop_ins),
            chosen=chosen,
            left_out=(*left_out, *self._left_out),
            trials=self._trials,
            stopped=self._stopped,
            metric=job.task.metric.name,
            examples=shown(job),
            reference=self._reference,
            spent=self._runs.spent,
            in_all=self._runs.in_all(),
        )
        return replace(found, chosen=chosen_of([item for item in contenders if found.complete(item)]) or chosen)


def groups_in(origin: Origin) -> Mapping[str, str]:
    """The group of each example, where the dataset has groups."""
    if origin.space.space.dataset.group is None:
        return {}
    part = spaces.leaving_part(origin, searched=True)
    return resolve_job(spaces.alone(origin, origin.candidate, part)).task.groups


def chosen_of(contenders: Sequence[Contender]) -> Contender | None:
    """The best by utility on the search split; among equals the first, as a drop-in changes least.

    One that gave no whole answer is only chosen where there is no other, however cheap it is.
    """
    known = [item for item in contenders if item.utility is not None and item.holdout.n]
    known = [item for item in known if item.search.n_cut is None or item.search.n_cut < item.search.n] or known
    return max(known, key=lambda item: round(item.utility or 0.0, 9), default=None)


def best_but_incumbent(report: StudyReport) -> Member | None:
    """The member to recommend if it may not be the incumbent: of the front, else of all that keep the constraints."""
    others = [member for member in report.members if not member.incumbent and not report.is_parked(member)]
    front = [member for member in report.front if not member.incumbent]
    return recommend(front) or recommend([m for m in others if m.feasible]) or recommend(others)


def searchable(
    origin: Origin, names: Sequence[str], refusing: Mapping[str, frozenset[str]]
) -> tuple[list[str | ModelPart], list[NotTried]]:
    """The models on which the old choices can be searched, and those on which they cannot, with the reason."""
    parts: list[str | ModelPart] = []
    refused: list[NotTried] = []
    for name in names:
        part = spaces.model_part(origin, name)
        try:
            resolve_job(spaces.searched(origin, [part], incumbent=False, refusing=refusing), to_run=True)
        except UsageError as error:
            refused.append(NotTried(name=name, why=str(error)))
        else:
            parts.append(part)
    return parts, refused


def shown(job: ResolvedJob) -> Mapping[str, Shown]:
    """The holdout for people, by id."""
    fields = job.task.fields
    return {
        example.id: Shown(
            inputs={name: example.values.get(name) for name in fields.inputs},
            gold={name: example.values[name] for name in fields.outputs if name in example.values},
        )
        for example in job.task.splits.holdout
    }
