"""Promote, roll back, look back: the verbs on promotions, for the command line, the live page and programs alike."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offramp.errors import GateRefused, PromotionError, UsageError, problem
from offramp.job.loaded import LoadedStudy, load_study
from offramp.models.retirement.dates import WITHIN_DAYS, Retirement, load_calendar, utc_today
from offramp.models.retirement.replied import announced_in_replies
from offramp.promote.build_promotion import BuiltPromotion, PromotionRequest, build_promotion
from offramp.promote.cascade_promotion import build_cascade
from offramp.promote.changes import Changes, changes
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder, checked_name, default_folder
from offramp.promote.gate import GateRules, refusals, retiring
from offramp.promote.history import Move, moves
from offramp.promote.promotion import Gate, Promotion
from offramp.promote.promotion_store import PromotionStore, sealed
from offramp.scrubbing import scrubbed
from offramp.space.load import load_space
from offramp.store.candidates import CandidateState
from offramp.store.engine import Store
from offramp.study.domain.regressions import paired_counts, regressed_at_most
from offramp.study.domain.sent_values import sent_words
from offramp.study.lookup import find_candidate, full_name, open_looking
from offramp.study.queries.recorded_rules import find_rule
from offramp.study.queries.study_rows import read_holdout_scores, read_study_rows
from offramp.study.shown import Brief
from offramp.study.study_report import StudyRows, report_of

_log = logging.getLogger("offramp")


class PromotionRefused(GateRefused):
    """The gate refused. `reasons` has every reason; `changes` is what would have changed."""

    def __init__(self, built: Promotion, reasons: Sequence[str], found: Changes) -> None:
        self.promotion, self.reasons, self.changes = built, tuple(reasons), found
        listed = "\n".join(f"  - {reason}" for reason in reasons)
        do = 'Fix it, or promote anyway with --force --why "...".'
        super().__init__(f"{built.feature}: {built.evidence.candidate} was not promoted:\n{listed}\n{do}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Promoted(Brief):
    """What a promote did.

    Attributes:
        promotion: what the label points at now.
        path: of its file.
        changes: against what the label pointed at before.
        move: the line of the history; None for a dry run.
        refused: reasons for which the gate refused, where it was forced.
        notes: where its requests are not what its params say; after a rollback: which models have retired or soon do.
    """

    promotion: Promotion
    path: Path
    changes: Changes
    move: Move | None
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def in_short(self) -> str:
        """Which version a label points at, or would."""
        promotion, label = self.promotion, "nothing was written" if self.move is None else self.move.label
        forced = f"; refused by the gate: {'; '.join(self.refused)}" if self.refused else ""
        return f"{promotion.feature} {label}: {promotion.version} ({promotion.model.name}){forced}"


def promote(
    study: str = "latest", *, pick: str = "recommended", label: str = DEFAULT_LABEL, feature: str | None = None,
    fallbacks: Sequence[str] = (), cascade: str | None = None, weights: Mapping[str, float] | None = None,
    within_days: int = WITHIN_DAYS, why: str | None = None, by: str | None = None, force: bool = False,
    dry_run: bool = False, promotions: str | Path | None = None, space: str | Path | None = None,
    lifecycle: str | Path | None = None, feeds: Sequence[str | Path] = (), storage: str | None = None,
    results: str | Path = "results",
) -> Promoted:  # fmt: skip
    """Writes a candidate of a study, or a cascade, to the promotions folder and points a label at it. Makes no call.

    Args:
        study: its name, the beginning of it, or `latest`.
        pick: recommended, knee, incumbent, `trial N`, or the beginning of a candidate's id.
        label: that apps load by. feature: what the app calls it; the space's name by default.
        fallbacks: models to ask when the first gives no answer.
        cascade: in place of a candidate, a rule that `cascades` prints: `chosen`, a kind, or the beginning of its id.
        weights: of the utility that the rule is chosen by; the study's own for None.
        within_days: a model that retires within this many days is refused.
        why: the reason, for the history; needed with `force`. by: who; `OFFRAMP_BY` or the user by default.
        force: promote even if the gate refuses. dry_run: return what would change, and write nothing.
        promotions: the folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        space: where the study's space file is now, if it has moved.
        lifecycle: your own retirement notices; `lifecycle.yaml` by default, if it exists. feeds: files of retirements.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        PromotionRefused: the gate refuses, and `force` is not given; `reasons` has every reason.
        UsageError: there is no such study or candidate, its data is not what it ran on, or a notice cannot be read.
    """
    if force and not (why or "").strip():
        raise UsageError(problem("--force", "needs a reason", do='Give it with --why "...".'))
    checked_name(label, "label")
    calendar = load_calendar(None if lifecycle is None else Path(lifecycle), feeds=list(map(Path, feeds)))
    _refuse_mixed(pick, cascade, fallbacks, weights)
    with open_looking(storage, results) as store:
        name = full_name(store, study)
        rows = read_study_rows(store, name)
        report = report_of(rows, weights)
        row = None if cascade is not None else find_candidate(store, report, rows.candidates, pick, where="--pick")
        found = None if cascade is None else find_rule(store, name, cascade, weights=weights, space=space)
        opened = load_study(store, name, space)
        root = default_folder(promotions)
        calendar = replace(calendar, announced=(*calendar.announced, *announced_in_replies(store)))
        request = PromotionRequest(
            feature=feature, fallbacks=fallbacks, by=by or whoami(), root=root.absolute().parent, calendar=calendar
        )
        if found is not None:
            rule = build_cascade(store, opened, found, request, report=report)
            built, complete, scores = rule.built, rule.complete, rule.scores
        else:
            assert row is not None
            built = build_promotion(store, opened, row, request, trials=report.trials)
            complete = row.state is CandidateState.COMPLETE or "estimate" in row.origin
            scores = read_holdout_scores(store, name, (row.id,)).get(row.id, {})
        regressed = _regressed_at_most(store, rows, scores)
    rules = replace(_rules(opened, complete, built.retirements, within_days), regressed_at_most=regressed)
    reasons = refusals(built.promotion, rules)
    forced = scrubbed(why) if why and reasons and force else None
    gate = Gate(refused=reasons, forced_because=forced, unreadable_max=rules.unreadable_max)
    promotion = replace(built.promotion, evidence=replace(built.promotion.evidence, gate=gate))
    return _written(promotion, built, root, label, why=why, force=force, dry_run=dry_run)


def _written(
    promotion: Promotion, built: BuiltPromotion, root: Path, label: str, *, why: str | None, force: bool, dry_run: bool
) -> Promoted:
    reasons = promotion.evidence.gate.refused
    notes = tuple(sent_words(promotion.evidence.params, promotion.evidence.sent or {}))
    store = PromotionStore(root, promotion.feature)
    found = changes(current(store.folder, label), sealed(promotion))
    if reasons and not force:
        raise PromotionRefused(promotion, reasons, found)
    if dry_run:
        path = store.folder.version_path(sealed(promotion).version)
        return Promoted(
            promotion=sealed(promotion), path=path, changes=found, move=None, refused=reasons, notes=notes
        )  # fmt: skip
    kept, move = store.promote(promotion, built.rows, label=label, why=why)
    path = store.folder.version_path(kept.version)
    found = replace(found, after=kept.version)
    return Promoted(promotion=kept, path=path, changes=found, move=move, refused=reasons, notes=notes)


def _refuse_mixed(
    pick: str, cascade: str | None, fallbacks: Sequence[str], weights: Mapping[str, float] | None
) -> None:
    if cascade is None and weights is not None:
        what = "only a cascade is chosen by them"
        raise UsageError(problem("--weights", what, do="Add --cascade, or name a candidate with --pick."))
    if cascade is not None and pick != "recommended":
        raise UsageError(problem("--cascade", "promotes a rule, and --pick a candidate", do="Leave one of them out."))
    if cascade is not None and fallbacks:
        what = "a cascade has none: where one of its members gives no answer, another answers"
        raise UsageError(problem("--fallback", what, got=list(fallbacks), do="Leave it out."))


def _regressed_at_most(store: Store, rows: StudyRows, scores: Mapping[str, float]) -> float | None:
    """What the regression budget holds against on the holdout where examples have groups; None without these."""
    budget, incumbent = rows.scoring.constraints.regressions, rows.scoring.incumbent
    if budget is None or incumbent is None or not rows.scoring.groups:
        return None
    before = read_holdout_scores(store, rows.study.name, (incumbent,)).get(incumbent, {})
    counts = paired_counts(scores, before, rows.scoring.groups)
    return regressed_at_most(counts, budget.confidence)


def _rules(opened: LoadedStudy, complete: bool, retirements: Mapping[str, Retirement], within_days: int) -> GateRules:
    space = opened.job.space
    return GateRules(
        within_days=within_days,
        constraints=space.constraints,
        unreadable_max=_unreadable_max(opened),
        needs_price=space.objectives.cost is not None or space.constraints.cost_usd_max is not None,
        complete=complete,
        holdout_examples=len(opened.job.task.splits.holdout),
        retirements=retirements,
        today=utc_today(),
    )


def _unreadable_max(opened: LoadedStudy) -> float | None:
    """What the space file says now, as a check reads it; it does not name a study, so that it may change after one.

    Where the file is gone, cannot be read or is of another job, what it said when the study began. None for a study
    that did not count unreadable answers, unless the file states a limit by now.
    """
    recorded = json.loads(opened.row.space_json).get("constraints", {}).get("unreadable_max")
    limit = None if recorded is None else float(recorded)
    try:
        space = load_space(opened.space_file).space
    except UsageError as error:
        _log.warning("constraints.unreadable_max is taken from the study (%s)", error)
        return limit
    stated = space.constraints
    if space.name != opened.job.space.name or (limit is None and "unreadable_max" not in stated.model_fields_set):
        return limit
    return stated.unreadable_max


def current(folder: FeatureFolder, label: str) -> Promotion | None:
    """What a label points at; None where it points nowhere yet. Raises PromotionError for a file that was changed."""
    version = folder.labels().get(label)
    return None if version is None else folder.load(version)


def whoami() -> str:
    """Who promotes: `OFFRAMP_BY`, else the name of the user."""
    try:
        return os.environ.get("OFFRAMP_BY") or getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def history(feature: str, *, promotions: str | Path | None = None) -> tuple[Move, ...]:
    """Every move of a label of a feature, in order.

    Raises:
        PromotionError: nothing was promoted under that name.
    """
    folder = FeatureFolder(promotions, feature)
    if not folder.path.is_dir():
        folder.resolve()
    return moves(folder)


def rollback(
    feature: str, *, to: str | None = None, label: str = DEFAULT_LABEL, why: str | None = None, by: str | None = None,
    promotions: str | Path | None = None, lifecycle: str | Path | None = None,
) -> Promoted:  # fmt: skip
    """Points a label back at the version before it, or at `to`. A retired model is a note, and does not prevent it.

    Args:
        to: a version, or the beginning of one; the previous one for None.
        why, by, promotions, lifecycle: as for `promote`.

    Raises:
        PromotionError: there is none before, or its file is not whole.
    """
    folder = FeatureFolder(promotions, feature)
    if not folder.path.is_dir():
        folder.resolve(label)
    before = None
    with contextlib.suppress(PromotionError):  # a broken file is a reason to roll back, and not one to refuse it
        before = current(folder, label)
    promotion, move = PromotionStore(promotions, feature).rollback(to=to, label=label, by=by or whoami(), why=why)
    path = folder.version_path(promotion.version)
    notes = _notes(promotion, lifecycle)
    return Promoted(promotion=promotion, path=path, changes=changes(before, promotion), move=move, notes=notes)


def _notes(promotion: Promotion, lifecycle: str | Path | None) -> tuple[str, ...]:
    """Which models have retired or soon do; a broken file of notices is a note too, and does not prevent a rollback."""
    try:
        calendar = load_calendar(None if lifecycle is None else Path(lifecycle))
    except UsageError as error:
        return (str(error),)
    models = (promotion.model, *promotion.fallbacks, *promotion.others)
    dated = {}
    for model in models:
        own = model.own_address
        stated = model.retirement_date if own else None
        if (retirement := calendar.retirement(model.name, model.route, stated=stated, own=own)) is not None:
            dated[model.name] = retirement
    return tuple(retiring(models, dated, utc_today(), within_days=WITHIN_DAYS))


def diff(feature: str, before: str, after: str, *, promotions: str | Path | None = None) -> Changes:
    """What differs between two versions of a feature.

    Args:
        before, after: each a label, a version, or the beginning of one.

    Raises:
        PromotionError: there is no such version.
    """
    folder = FeatureFolder(promotions, feature)
    return changes(folder.load(folder.resolve(before)), folder.load(folder.resolve(after)))
