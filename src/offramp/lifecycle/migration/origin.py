"""What a migration starts from: the promoted config as a candidate, its space, and what was recorded of it.

The space is the file that was named, else that of the study which the promotion came from, as it ran. Where that study
is in the storage its results serve as well: the retiring model no longer has to answer.

Invariant: nothing here makes a call or writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offramp.errors import StorageError, UsageError, problem
from offramp.ids import content_hash
from offramp.job.judges import only_judges_differ, with_judges_of
from offramp.promote.folder import FeatureFolder
from offramp.promote.promotion import Promotion
from offramp.promote.running import candidate_of
from offramp.records import Candidate, Result, ResultState, Split
from offramp.space.load import LoadedSpace, load_space, space_from_json
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow, StudyStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Results of the promoted candidate in its study, by example; empty where there are none."""

    search: Mapping[str, Result]
    holdout: Mapping[str, Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Today's config.

    Attributes:
        label: which points at the promotion.
        candidate: the promoted config; its demos are chosen again by kind, count and seed.
        space: of the file that was named, else as the study ran it, else of the space file where the promotion says.
        row: the study's record; None where it is not in the storage.
    """

    promotion: Promotion
    label: str
    candidate: Candidate
    space: LoadedSpace
    row: StudyRow | None
    recorded: Recorded


def read_origin(
    feature: str, *, label: str, promotions: Path | None, storage: str, space: Path | None = None
) -> Origin:
    """What a label of a feature points at, with its study.

    Args:
        storage: URL of where the study is; it need not exist.
        space: the space file to take, whatever the study ran with.

    Raises:
        PromotionError: the promotion's content is not the candidate that its evidence is about.
        UsageError: nothing was promoted, or its space is neither in the storage nor where the promotion says.
    """
    folder = FeatureFolder(promotions, feature)
    promotion = folder.load(folder.resolve(label))
    if promotion.cascade is not None:
        do = "Replace the model in the space file, run `offramp optimize`, and promote a cascade of the new study."
        raise UsageError(problem(feature, "is a cascade of programs, which `migrate` does not search", do=do))
    candidate = candidate_of(promotion)
    row, recorded = _study(storage, promotion)
    return Origin(
        promotion=promotion,
        label=label,
        candidate=candidate,
        space=_space(promotion, row, folder.root, space),
        row=row,
        recorded=recorded,
    )


def counted(results: Mapping[str, Result]) -> dict[str, Result]:
    """Those with a score, program errors included."""
    return {name: result for name, result in results.items() if result.state is not ResultState.INFRASTRUCTURE_ERROR}


def _study(storage: str, promotion: Promotion) -> tuple[StudyRow | None, Recorded]:
    evidence = promotion.evidence
    try:
        with open_store(storage, write_probe=False) as store:
            row = StudyStore(store).get(evidence.study)
            results = ResultStore(store)
            found = {split: results.get(evidence.study, split, evidence.candidate) for split in Split}
    except StorageError:
        return None, Recorded(search={}, holdout={})
    return row, Recorded(search=counted(found[Split.SEARCH]), holdout=counted(found[Split.HOLDOUT]))


def _space(promotion: Promotion, row: StudyRow | None, promotions: Path, given: Path | None) -> LoadedSpace:
    if given is not None and not given.is_file():
        raise UsageError(problem("--space", "there is no such file", got=str(given), do="Check the path."))
    path = given or _space_file(promotion, row, promotions)
    if path is None or not path.parent.is_dir():
        what = "the space file of its study is not where the promotion says it is"
        raise UsageError(problem(promotion.feature, what, got=str(path) if path else None, do="Name it with --space."))
    if row is None or given is not None:
        return load_space(path)
    space = space_from_json(row.space_json)
    hash_ = content_hash(row.space_json)
    ran = LoadedSpace(path=path, base=path.parent, space=space, lines={}, text_hash=hash_, trusted=True)
    return with_new_judges(ran)


def with_new_judges(ran: LoadedSpace) -> LoadedSpace:
    """The space as it ran, with the judges that its file names now, where nothing else of the metric was changed."""
    try:
        now = load_space(ran.path).space
    except UsageError:  # moved, or no longer a space file: it stays as it ran
        return ran
    if not only_judges_differ(ran.space, now):
        return ran
    space = with_judges_of(ran.space, now)
    return ran.changed(metric=space.metric, models=space.models)


def _space_file(promotion: Promotion, row: StudyRow | None, promotions: Path) -> Path | None:
    stated = row.details.space_file if row is not None else None
    if isinstance(stated, str) and Path(stated).parent.is_dir():
        return Path(stated)
    named = promotion.evidence.space_file
    if named is None:
        return None
    root = promotions.absolute().parent.resolve()
    path = (root / named).resolve()
    if not path.is_relative_to(root):  # a space file may name code to run: a promotion does not get to choose which
        do = "Name it with --space."
        raise UsageError(problem(promotion.feature, "its space file is outside this project", got=named, do=do))
    return path
