"""A job that can be run: what a space file comes to once models, data and params are resolved.

Invariant: it is made by `resolve_job` alone, which refuses what cannot be run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from offramp.ids import canonical_json, content_hash
from offramp.program.module import ModuleFactory
from offramp.program.own_models import held_models
from offramp.records import Candidate, Model, Objective
from offramp.space.forms import spec_of
from offramp.space.load import LoadedSpace
from offramp.space.model import OWN, SpaceFile, spelled
from offramp.space.params import (
    SearchParam,
    Texts,
    assignments,
    candidate_of,
    model_param,
    narrowed,
    params_of,
    predictor_models,
)
from offramp.store.studies import ParkedModel
from offramp.task.task import Task


def _without_new_defaults(task: dict[str, Any]) -> None:
    """Leaves out what had no key before inputs could be media and tools be named, so that studies keep their names."""
    if task["tools"] is None:
        del task["tools"]
    for part in (task["signature"], task):
        inputs = part.get("inputs") if isinstance(part, dict) else None
        for given in inputs.values() if isinstance(inputs, dict) else ():
            if given is not None and given["type"] == "text":
                del given["type"]


def _without_metric_models(metric: dict[str, Any]) -> None:
    """Leaves out what a `python` metric had no keys for before it could ask a model."""
    for part in metric.get("parts", []):
        _without_metric_models(part)
    if metric["kind"] == "python" and metric["model"] is None:
        del metric["model"], metric["params"]


def _spelled(form: Any) -> Any:
    """One form, a list of them or None, as candidates spell them."""
    return [spelled(each) for each in form] if isinstance(form, list) else form and spelled(form)


def with_own(texts: Texts, own: Mapping[str, str]) -> Texts:
    """The texts with the module's own of each predictor, whether it is searched or not."""
    return {name: {OWN: own[name], **variants} if name in own else variants for name, variants in texts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedJob:
    """A job that can be run.

    Attributes:
        models: every model the job may call, judge and incumbent included, by name.
        searched_models: names of those that are searched.
        texts: instruction texts by predictor and variant.
        incumbent: None where the file names none.
        factory: makes the user's own module; None for a task given by a signature.
        module: a `dspy.Module` that it made, to read, since making one may take long; None without.
        predictors: number of predictors, the least number of calls of one run.
        balance_by: column that balanced demos balance.
        own_texts: the instructions of the user's own module, by predictor; empty for a task given by a signature.
        joined: texts beside those of the file, by predictor and variant: proposed, or of the study it starts from.
        code: content hash by name of what the user's own module is made of, or of the functions that check answers.
        started_from: name of the study that this one starts from; None for a start from nothing.
        parked: models that no longer answer: no candidate that uses one is proposed.
    """

    loaded: LoadedSpace
    models: Mapping[str, Model]
    searched_models: tuple[str, ...]
    texts: Texts
    task: Task
    search_params: tuple[SearchParam, ...]
    objectives: tuple[Objective, ...]
    incumbent: Candidate | None
    factory: ModuleFactory | None
    predictors: int
    balance_by: str | None
    own_texts: Mapping[str, str] = field(default_factory=dict)
    joined: Texts = field(default_factory=dict)
    module: Any = None
    code: Mapping[str, str] = field(default_factory=dict)
    started_from: str | None = None
    parked: tuple[ParkedModel, ...] = ()

    @property
    def space(self) -> SpaceFile:
        """The space file."""
        return self.loaded.space

    def candidate(self, params: Mapping[str, Any]) -> Candidate:
        """The candidate of an assignment."""
        texts = with_own(self.all_texts, self.own_texts)
        return candidate_of(params, space=self.space, texts=texts, models=self.models, search_params=self.search_params)

    def requests_per_run(self, module: str) -> int:
        """The requests of one run of a candidate of that module; the most, where it depends on the answers."""
        return spec_of(module).requests if spec_of(module).several else self.predictors

    @property
    def predictor_models(self) -> dict[str, str]:
        """Models that single predictors may run on, each with the param that chooses it."""
        return {name: model_param(p) for p, names in predictor_models(self.space).items() for name in names}

    @property
    def verifier_model(self) -> str | None:
        """The model that verifies answers in place of the candidate's own; None where none does."""
        verifier = self.space.program.verifier
        return None if verifier is None else verifier.model

    @property
    def all_texts(self) -> Texts:
        """Every instruction that can be chosen today: those of the file, then those that joined."""
        return {name: {**variants, **self.joined.get(name, {})} for name, variants in self.texts.items()}

    def with_joined(self, texts: Texts) -> ResolvedJob:
        """The same job with these texts beside those of the file. Its name and hash stay."""
        searched = {name: self.models[name] for name in self.searched_models}
        wider = replace(self, joined=texts)
        params = params_of(self.space, wider.all_texts, searched)
        return replace(wider, search_params=_without(params, self.parked))

    def without_model(self, parked: ParkedModel) -> ResolvedJob:
        """The same job, no candidate of which uses this model. Its name and hash stay."""
        return replace(self, parked=(*self.parked, parked), search_params=_without(self.search_params, [parked]))

    def is_parked(self, params: Mapping[str, Any]) -> bool:
        """Whether a candidate with these params uses a model that no longer answers."""
        return any(one.is_used(params) for one in self.parked)

    def used_by(self, model: str) -> dict[str, tuple[str, ...]]:
        """Params whose values have a candidate use a model; empty where it is not searched, or all candidates use it.

        All do where the module asks it by itself, other than as the model of a predictor that is searched.
        """
        incumbent = None if self.incumbent is None else self.incumbent.model
        found: dict[str, tuple[str, ...]] = {"model": (model,)} if model in {*self.searched_models, incumbent} else {}
        searched = predictor_models(self.space)
        held, others = ({}, set()) if self.module is None else held_models(self.module, self.models)
        if model in others or any(name not in searched for name, own in held.items() if own == model):
            return {}
        if model == self.verifier_model:
            forms = tuple(name for name in self.space.forms if spec_of(name).verifies)
            if set(forms) == set(self.space.forms):
                return {}
            found["form"] = forms
        for name, models in searched.items():
            own = (OWN,) if held.get(name) == model else ()
            if values := (*own, *(each for each in models if each == model)):
                found[model_param(name)] = values
        return found

    @property
    def filled_params(self) -> tuple[SearchParam, ...]:
        """The params once every text that may be proposed has joined."""
        return tuple(param.filled for param in self.search_params)

    @property
    def incumbent_outside(self) -> bool:
        """Whether no assignment gives the incumbent, so that it is one candidate more."""
        incumbent = self.incumbent
        if incumbent is None:
            return False
        near = [narrowed(param, incumbent.params.get(param.name)) for param in self.search_params]
        return all(self.candidate(params).id != incumbent.id for params in assignments(near))

    def hash(self, seed: int) -> str:
        """Content hash of everything that decides what the study finds, given the models' answers.

        Budget, number of trials and concurrency are left out: a study can be continued with more of them.
        """
        part = self.space.model_dump(
            mode="json", exclude={"budget", "calls", "description", "store_text", "propose", "verify", "tracking"}
        )
        part["program"]["format"] = (
            self.space.program.format or self.space.adapters[0]
        )  # as before it could be left open
        part["program"]["form"] = _spelled(self.space.program.form)
        if self.space.incumbent is not None:
            part["incumbent"]["form"] = _spelled(self.space.incumbent.form)
        if part["program"]["verifier"] is None:
            del part["program"]["verifier"]
        elif part["program"]["verifier"]["model"] is None:  # as before it could be another
            del part["program"]["verifier"]["model"]
        for place in (part["program"], part["incumbent"] or {}):  # as before there were these
            if not place.get("models", True):
                del place["models"]
            if place.get("tools", "") is None:
                del place["tools"]
        part["demos"]["kind"] = self.space.demos.kind or self.space.demo_kinds[0]
        _without_new_defaults(part["task"])
        if not part["program"]["strict"]:  # as before answers could be read strictly
            del part["program"]["strict"]
        _without_metric_models(part["metric"])
        del part["constraints"]["unreadable_max"]  # for promotions and checks alone
        if part["replicates"] == 1:  # as before examples could be run several times
            del part["replicates"]
        if part["dataset"]["group"] is None:  # as before there were groups
            del part["dataset"]["group"]
        search = self.space.search.model_dump(mode="json", include={"sampler", "mode", "race"})
        part["search"] = {**search, "seed": seed}
        revisions = {name: [m.route, m.revision, m.api_base] for name, m in self.models.items()}
        texts = {predictor: dict(variants) for predictor, variants in self.texts.items()}
        propose = None if self.space.propose is None else self.space.propose.model_dump(mode="json")
        code = sorted(set(self.code.values())) or None
        more = {
            "propose": propose, "started_from": self.started_from, "incumbent": self._own_numbers(), "code": code
        }  # fmt: skip
        stated = {name: value for name, value in more.items() if value is not None}
        return content_hash([part, texts, revisions, self.task.hash, *([stated] if stated else [])])

    def _own_numbers(self) -> Mapping[str, Any] | None:
        """The incumbent's params where one is not as the file spells it, but as its param does (0.0 for 0); else None.

        Earlier studies of such a file have another incumbent, and are not continued with this one.
        """
        stated = {} if self.space.incumbent is None else self.space.incumbent.params
        meant = {} if self.incumbent is None else {name: self.incumbent.params[name] for name in stated}
        return None if canonical_json(meant) == canonical_json(stated) else meant

    def study_name(self, seed: int) -> str:
        """Name of the study of this job: the space's name, and what makes it this one."""
        return f"{self.space.name}-{self.hash(seed)[:8]}"


def _without(params: Sequence[SearchParam], parked: Sequence[ParkedModel]) -> tuple[SearchParam, ...]:
    for one in parked:
        used_by = one.used_by or {"model": (one.model,)}
        params = [param.without(used_by.get(param.name, ())) for param in params]
    return tuple(params)
