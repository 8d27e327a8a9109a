"""Everything that a job needs, checked before its first call: models, data, metric, dimensions, incumbent.

Invariant: what `prepare` returns can be run; what cannot be run ends here with a UsageError, nothing written or spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from offramp.errors import DatasetError, ModelError, SpaceError, nearest, problem
from offramp.ids import canonical_json, content_hash
from offramp.models import embedded
from offramp.models.capabilities import with_capabilities
from offramp.models.catalogue import resolve
from offramp.models.keys import missing_key
from offramp.program.module import ModuleFactory, check_forms, import_module_factory, predictors_of
from offramp.records import Candidate, DemoKind, Model
from offramp.space.check import check_space
from offramp.space.check_params import many
from offramp.space.dimensions import (
    MAIN,
    Dimension,
    Texts,
    assignments,
    candidate_of,
    cardinality,
    dimensions,
    incumbent_params,
    narrowed,
)
from offramp.space.load import LoadedSpace, instruction_texts
from offramp.space.model import LONGEST_NAME, JudgeMetric, MixMetric, ModelPart, PythonMetric, SpaceFile, model_name
from offramp.study.objectives import Objective, objectives_of
from offramp.study.regressions import check_budget
from offramp.task.load import Task, load_task
from offramp.task.metrics import build_metric

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedJob:
    """A job that can be run.

    Attributes:
        models: every model the job may call, judge and incumbent included, by name.
        searched_models: names of those that are searched.
        texts: instruction texts by predictor and variant.
        incumbent: None where the file names none.
        factory: makes one's own module; None for a task given by a signature.
        predictors: number of predictors, the least number of calls of one run.
        balance_by: column that balanced demos balance.
        joined: texts beside those of the file, by predictor and variant: proposed, or of the study it starts from.
        started_from: name of the study that this one starts from; None for a start from nothing.
    """

    loaded: LoadedSpace
    models: Mapping[str, Model]
    searched_models: tuple[str, ...]
    texts: Texts
    task: Task
    dims: tuple[Dimension, ...]
    objectives: tuple[Objective, ...]
    incumbent: Candidate | None
    factory: ModuleFactory | None
    predictors: int
    balance_by: str | None
    joined: Texts = field(default_factory=dict)
    started_from: str | None = None

    @property
    def space(self) -> SpaceFile:
        """The space file."""
        return self.loaded.space

    def candidate(self, params: Mapping[str, Any]) -> Candidate:
        """The candidate of an assignment."""
        return candidate_of(params, space=self.space, texts=self.all_texts, models=self.models, dims=self.dims)

    @property
    def all_texts(self) -> Texts:
        """Every instruction that can be chosen today: those of the file, then those that joined."""
        return {name: {**variants, **self.joined.get(name, {})} for name, variants in self.texts.items()}

    def with_joined(self, texts: Texts) -> ResolvedJob:
        """The same job with these texts beside those of the file. Its name and hash stay."""
        searched = {name: self.models[name] for name in self.searched_models}
        wider = replace(self, joined=texts)
        return replace(wider, dims=dimensions(self.space, wider.all_texts, searched))

    @property
    def filled_dims(self) -> tuple[Dimension, ...]:
        """The dimensions as they are when every text that may be proposed has joined."""
        return tuple(dim.filled for dim in self.dims)

    @property
    def incumbent_outside(self) -> bool:
        """Whether no assignment gives the incumbent, so that it is one candidate more."""
        incumbent = self.incumbent
        if incumbent is None:
            return False
        near = [narrowed(dim, incumbent.params.get(dim.name)) for dim in self.dims]
        return all(self.candidate(params).id != incumbent.id for params in assignments(near))

    def hash(self, seed: int) -> str:
        """Content hash of everything that decides what the study finds, given the models' answers.

        Budget, number of trials and concurrency are left out: a study can be continued with more of them.
        """
        part = self.space.model_dump(
            mode="json", exclude={"budget", "calls", "description", "store_text", "propose", "verify"}
        )
        search = self.space.search.model_dump(mode="json", include={"sampler", "mode", "race"})
        part["search"] = {**search, "seed": seed}
        revisions = {name: [m.route, m.revision, m.api_base] for name, m in self.models.items()}
        texts = {predictor: dict(variants) for predictor, variants in self.texts.items()}
        propose = None if self.space.propose is None else self.space.propose.model_dump(mode="json")
        more = {"propose": propose, "started_from": self.started_from, "incumbent": self._own_numbers()}
        stated = {name: value for name, value in more.items() if value is not None}
        return content_hash([part, texts, revisions, self.task.hash, *([stated] if stated else [])])

    def _own_numbers(self) -> Mapping[str, Any] | None:
        """The incumbent's params where one is not as the file has it, but as a dimension (0.0 for 0); else None.

        Earlier studies of such a file have another incumbent, and are not continued with this one.
        """
        stated = {} if self.space.incumbent is None else self.space.incumbent.params
        meant = {} if self.incumbent is None else {name: self.incumbent.params[name] for name in stated}
        return None if canonical_json(meant) == canonical_json(stated) else meant

    def study_name(self, seed: int) -> str:
        """Name of the study of this job: the space's name, and what makes it this one."""
        return f"{self.space.name}-{self.hash(seed)[:8]}"

    def summary(self) -> list[tuple[str, str]]:
        """What a person wants to see of a job before it runs."""
        splits = self.task.splits
        size = cardinality(self.filled_dims)
        searched = [dim.name for dim in self.dims if dim.searched]
        return [
            ("space", f"{self.space.name} ({self.loaded.path})"),
            ("task", f"{', '.join(self.task.fields.inputs)} -> {', '.join(self.task.fields.outputs)}"),
            ("splits", f"train {len(splits.train)}, search {len(splits.search)}, holdout {len(splits.holdout)}"),
            ("metric", self.task.metric.name),
            ("models", ", ".join(self.searched_models)),
            ("searched", ", ".join(searched) or "nothing: one candidate"),
            ("candidates", "unbounded" if size == float("inf") else f"{size:,.0f}"),
            ("race", self._race()),
            ("incumbent", self._incumbent_told()),
            ("objectives", ", ".join(f"{o.name} ({o.weight:g})" for o in self.objectives)),
        ]

    def _incumbent_told(self) -> str:
        if self.incumbent is None:
            return "none"
        return f"{self.incumbent.id}{', not in the space: one candidate more' if self.incumbent_outside else ''}"

    def _race(self) -> str:
        """When a candidate may be stopped."""
        from offramp.search.race import ends_of  # not before it is asked for: scipy takes a while
        from offramp.search.racing.behind import FEWEST

        part, examples = self.space.search.race, len(self.task.splits.search)
        if part is None:
            return "off: every candidate runs on all examples"
        ends = [str(end) for end in ends_of(examples, part.block) if end >= FEWEST]
        if not ends:
            return f"stops nobody: it would take {FEWEST} examples and more after them, and search has {examples}"
        shown = ", ".join(ends[:8]) + (", ..." if len(ends) > 8 else "")
        return f"may stop a candidate after {shown} of {examples} examples"


def prepare(loaded: LoadedSpace, *, to_run: bool = False, stored: bool = False) -> ResolvedJob:
    """Checks a loaded space against its data and models.

    Args:
        to_run: also ask for keys and model files, which a check on another machine need not have.
        stored: a study has run on it, so that the file itself is taken as it is: it passed the checks of its day.

    Raises:
        UsageError: (one of its kinds) with where, what, and what to do.
    """
    if not stored:
        check_space(loaded)
    space, where = loaded.space, str(loaded.path)
    models, searched = _models(loaded)
    texts = instruction_texts(loaded)
    task = load_task(space, base=loaded.base, models=models, where=where)
    factory = import_module_factory(space.task.module, loaded.base, where) if space.task.module else None
    predictors = _predictors(factory, texts, where)
    if factory is None:
        check_forms(_forms(space), task.fields, loaded.where("task"))
    dims = dimensions(space, texts, {name: models[name] for name in searched})
    chosen = incumbent_params(space, texts, dims)
    prepared = ResolvedJob(
        loaded=loaded,
        models=models,
        searched_models=searched,
        texts=texts,
        task=task,
        dims=dims,
        objectives=objectives_of(space),
        incumbent=None if chosen is None else _incumbent(chosen, space, texts, models, dims),
        factory=factory,
        predictors=predictors,
        balance_by=_balance_by(space, task, where),
    )
    _try_metrics(prepared)
    _check_params(prepared)
    check_prices(prepared, usd=space.budget.usd)
    _check_scales(prepared)
    check_budget(space, task.splits, prepared.incumbent, loaded.where("constraints.regressions"))
    _check_demos(prepared)
    _check_propose(prepared)
    if not stored:
        _check_race(prepared)
        _check_ids(prepared)
    if to_run:
        check_runnable(prepared)
    return prepared


def _models(loaded: LoadedSpace) -> tuple[dict[str, Model], tuple[str, ...]]:
    space, where = loaded.space, str(loaded.path)
    found: dict[str, Model] = {}
    for index, part in enumerate(space.models):
        model = with_capabilities(resolve(part, loaded.where(f"models.{index}")))
        found[model.name] = model
    known_only = {part.name for part in space.models if isinstance(part, ModelPart) and not part.searched}
    searched = tuple(name for name in found if name not in known_only)
    if not searched:
        do = "Set `searched: true` for one, or name another."
        raise SpaceError(problem(loaded.where("models"), "no model is left to search", do=do))
    others = [("metric.model", part.model) for part in _parts(space.metric, JudgeMetric)]
    if space.incumbent is not None:
        others.append(("incumbent.model", space.incumbent.model))
    for key, name in others:
        if name not in found:
            found[name] = with_capabilities(resolve(name, f"{where}: {key}"))
    if space.propose is not None and model_name(space.propose.model) not in found:
        writer = with_capabilities(resolve(space.propose.model, loaded.where("propose.model")))
        found[writer.name] = writer
    return found, searched


def _parts(metric: Any, kind: type[Part]) -> Iterator[Part]:
    """The parts of one kind, however deep in a mix."""
    if isinstance(metric, kind):
        yield metric
    elif isinstance(metric, MixMetric):
        for part in metric.parts:
            yield from _parts(part, kind)


def _predictors(factory: ModuleFactory | None, texts: Texts, where: str) -> int:
    names = list(predictors_of(factory())) if factory is not None else [MAIN]
    for predictor in texts:
        if predictor not in names:
            do = nearest(predictor, names) or f"Its predictors are {names}."
            raise SpaceError(
                problem(where, "instructions", got=predictor, expected="a predictor of the program", do=do)
            )
    return len(names)


def _forms(space: SpaceFile) -> set[str]:
    incumbent = space.incumbent.form if space.incumbent is not None else None
    return {*many(space.program.form), *([incumbent] if incumbent else [])}


def _incumbent(
    chosen: Mapping[str, Any], space: SpaceFile, texts: Texts, models: Mapping[str, Model], dims: Any
) -> Candidate:
    candidate = candidate_of(chosen, space=space, texts=texts, models=models, dims=dims)
    extra = space.incumbent.params if space.incumbent is not None else {}
    known = {**candidate.request_params, **{name: chosen[name] for name in extra if chosen[name] is not None}}
    return Candidate(**{**_fields(candidate), "request_params": known})


def _fields(candidate: Candidate) -> dict[str, Any]:
    return {name: getattr(candidate, name) for name in candidate.__dataclass_fields__}


def _balance_by(space: SpaceFile, task: Task, where: str) -> str | None:
    enums = [name for name, output in task.fields.outputs.items() if output.type == "enum"]
    column = space.demos.balance_by or next(iter(enums), None)
    kinds = space.demos.kind if isinstance(space.demos.kind, list) else [space.demos.kind]
    if "balanced" in kinds:
        columns = set(task.splits.search[0].values)
        if column is None or column not in columns:
            do = nearest(column or "", columns) or "Name a column of the dataset in `demos.balance_by`."
            raise SpaceError(problem(where, "demos.balance_by", got=column, expected="a column to balance", do=do))
    return column


def _check_params(prepared: ResolvedJob) -> None:
    """A searched or fixed request parameter that a model does not take is refused before the first call."""
    for dim in prepared.dims:
        if dim.group != "request" or set(dim.choices) == {None}:
            continue
        names = [n for n in prepared.searched_models if dim.applies({**_any(dim), "model": n})]
        refusing = [n for n in names if not _takes(prepared.models[n], dim.name)]
        if refusing:
            taking = [n for n in prepared.searched_models if n not in refusing]
            known = {name for n in refusing for name in prepared.models[n].supported_params or ()}
            do = f"Add `when: {{model: {taking}}}`" if taking else "Remove it"
            do = f"{nearest(dim.name, known)} {do}".strip()
            raise SpaceError(
                problem(
                    prepared.loaded.where(f"params.{dim.name}"), f"params.{dim.name} is not taken by {refusing}",
                    do=f"{do}, or list it under the model's `supports` if it does take it.",
                )
            )  # fmt: skip
    if prepared.incumbent is not None:
        model = prepared.models[prepared.incumbent.model]
        for name in prepared.incumbent.request_params:
            if not _takes(model, name):
                where = prepared.loaded.where(f"incumbent.params.{name}")
                raise SpaceError(
                    problem(where, f"incumbent.params.{name} is not taken by {model.name!r}", do="Remove it.")
                )


def _try_metrics(prepared: ResolvedJob) -> None:
    """Calls one's own metric functions with gold answers as predictions: a wrong return shows before a call is paid."""
    task, outputs = prepared.task, prepared.task.fields.outputs
    for part in _parts(prepared.space.metric, PythonMetric):
        metric = build_metric(part, fields=task.fields, base=prepared.loaded.base, models=prepared.models)
        for example in (*task.splits.train[:1], *task.splits.search[:2]):
            if all(name in example.values for name in outputs):
                asyncio.run(metric.score(example, {name: example.values[name] for name in outputs}, None))


def _check_propose(prepared: ResolvedJob) -> None:
    part = prepared.space.propose
    if part is None:
        return
    where, model = prepared.loaded.where("propose"), prepared.models[model_name(part.model)]
    if not prepared.task.splits.train:
        do = "Give the train split examples, or leave `propose` out."
        raise SpaceError(problem(where, "propose: instructions are written from a train split", do=do))
    refused = [name for name, value in part.params.items() if value is not None and not _takes(model, name)]
    if refused:
        do = "Remove it, or list it under the model's `supports`."
        raise SpaceError(problem(where, f"propose.params.{refused[0]} is not taken by {model.name!r}", do=do))


def _check_race(prepared: ResolvedJob) -> None:
    """A first block of all examples would turn racing off."""
    race, examples = prepared.space.search.race, len(prepared.task.splits.search)
    if race is not None and race.block is not None and race.block >= examples:
        expected = f"less than {examples}, the size of the search split"
        do = "Lower it, or write `race: null` to run every candidate on all examples."
        where = prepared.loaded.where("search.race.block")
        raise SpaceError(problem(where, "search.race.block", got=race.block, expected=expected, do=do))


def _check_ids(prepared: ResolvedJob) -> None:
    """Ids that every storage keeps as they are: PostgreSQL neither cuts nor takes longer ones."""
    part, splits = prepared.space.dataset, prepared.task.splits
    for example in (*splits.train, *splits.search, *splits.holdout):
        if len(example.id) > LONGEST_NAME:
            where, do = f"{part.path or part.hub}: row {example.row}", "Leave `dataset.id` out to go by content."
            expected = f"at most {LONGEST_NAME}, as a storage keeps them"
            raise DatasetError(problem(where, "characters of the id", got=len(example.id), expected=expected, do=do))


def _any(dim: Dimension) -> dict[str, Any]:
    return {name: values[0] for name, values in dim.when.items()}


def _takes(model: Model, param: str) -> bool:
    return model.supported_params is None or param in model.supported_params


def check_prices(prepared: ResolvedJob, *, usd: float | None) -> None:
    """Raises ModelError where a price is not known that a cap in USD, an objective or a constraint needs."""
    space = prepared.space
    needs = {
        "the cost objective (`objectives.cost: null`)": space.objectives.cost is not None,
        "the cap in USD": usd is not None,
        "constraints.cost_usd_max": space.constraints.cost_usd_max is not None,
    }
    why = [name for name, needed in needs.items() if needed]
    for model in prepared.models.values():
        if why and (model.price is None or not model.price.known):
            do = f"State `price` for it under `models`, or drop {' and '.join(why)}."
            raise ModelError(problem(str(prepared.loaded.path), f"the price of {model.name!r} is not known", do=do))


def _check_scales(prepared: ResolvedJob) -> None:
    open_scales = [o.name for o in prepared.objectives if o.scale is None]
    if open_scales and prepared.incumbent is None:
        name = open_scales[0]
        raise SpaceError(
            problem(
                str(prepared.loaded.path), f"objectives.{name}.scale is taken from the incumbent, and there is none",
                do=f"State `scale: [worst, best]` for {' and '.join(open_scales)}, or name an incumbent.",
            )
        )  # fmt: skip


def _check_demos(prepared: ResolvedJob) -> None:
    kinds = {str(k) for dim in prepared.dims if dim.name == "demos" for k in dim.choices} - {"none"}
    if prepared.incumbent is not None and prepared.incumbent.demo_kind is not DemoKind.NONE:
        kinds.add(prepared.incumbent.demo_kind.value)
    if kinds and not prepared.task.splits.train:
        do = "Give the train split examples, or set `demos.kind: none`."
        raise SpaceError(problem(str(prepared.loaded.path), f"demos of kind {sorted(kinds)} need a train split", do=do))
    _check_demo_counts(prepared)


def _check_demo_counts(prepared: ResolvedJob) -> None:
    """A count beyond the train split would be another count under a wrong name."""
    size = len(prepared.task.splits.train)
    counts = [value for dim in prepared.dims if dim.name == "demos.count" for value in (*dim.choices, dim.high)]
    most = max((int(value) for value in counts if value is not None), default=0)
    if most > size:
        where = prepared.loaded.where("demos.count")
        raise SpaceError(
            problem(where, "demos.count", got=most, expected=f"at most {size}, the size of the train split")
        )


def _check_file(model: Model) -> None:
    """A file that is missing, or is not the pinned one, is found before anything is written."""
    if not embedded.is_pulled(model.route):
        raise ModelError(problem(model.name, "its file is not here", do=f"Run `offramp models pull {model.route}`."))
    embedded.path(model.route)


def check_runnable(prepared: ResolvedJob) -> None:
    """Raises ModelError where a model's file or key is missing on this machine."""
    for model in prepared.models.values():
        if model.name in _leaving(prepared):
            continue
        if model.local:
            _check_file(model)
        variable = missing_key(model)
        if variable is not None:
            do = f"Set it: export {variable}=..."
            raise ModelError(
                problem(model.name, f"its key is missing: environment variable {variable} is not set", do=do)
            )


def _leaving(prepared: ResolvedJob) -> set[str]:
    """The incumbent's model where the file states it and does not search it: it may be gone, its results kept."""
    judges = {part.model for part in _parts(prepared.space.metric, JudgeMetric)}
    stated = {part.name for part in prepared.space.models if isinstance(part, ModelPart) and not part.searched}
    incumbent = prepared.incumbent
    return set() if incumbent is None else ({incumbent.model} & stated) - judges
