"""`offramp.Optimizer`: the search as an optimizer of DSPy, for a program, a metric and examples that are in memory."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import dspy
import yaml
from dspy.teleprompt import Teleprompter

from offramp.errors import JobError, StorageError, UsageError, in_a_run, nearest, problem
from offramp.job.loaded import load_study
from offramp.job.session import open_session
from offramp.models.catalogue import resolve
from offramp.program import live_program
from offramp.program.live_program import LiveProgram, described_inputs, objects_of, outputs_of, rows_of, without_models
from offramp.program.module import predictors_of
from offramp.space.load import load_space
from offramp.store.candidates import CandidateStore
from offramp.store.engine import open_store
from offramp.study.lookup import default_storage, find_candidate
from offramp.study.queries.study_rows import read_study_rows
from offramp.study.study_report import report_of
from offramp.verbs.calling import OptionError, apart
from offramp.verbs.studies import optimize

if TYPE_CHECKING:
    from offramp.calls.transports import Transport
    from offramp.records import Model
    from offramp.search.api import JobResult, Observer
    from offramp.study.study_report import StudyReport

_log = logging.getLogger("offramp")
_OTHERS = frozenset(
    {
        "requires_permission_to_run", "num_trials", "max_bootstrapped_demos", "max_labeled_demos", "minibatch",
        "minibatch_size", "minibatch_full_eval_steps", "program_aware_proposer", "data_aware_proposer",
        "provide_traceback", "view_data_batch_size", "tip_aware_proposer", "fewshot_aware_proposer", "eval_kwargs",
        "seed", "prompt_model", "task_model", "metric_threshold",
    }
)  # fmt: skip
"""What `compile` of DSPy's own optimizers takes: it has no effect here, so that one line is all that changes."""
_FORMATS = {"ChatAdapter": "chat", "JSONAdapter": "json", "XMLAdapter": "xml"}
_PARAMS = ("temperature", "max_tokens", "top_p")
AnyModel: TypeAlias = str | dspy.LM | Mapping[str, Any]


class Optimizer(Teleprompter):  # type: ignore[misc]
    """Searches models, instructions and demos of a DSPy program for the best trade of quality, cost and latency.

    Args:
        metric: as DSPy's metrics: `(example, pred, trace=None)`, returning a number in [0, 1], a boolean, or GEPA's
            `dspy.Prediction(score=..., feedback=...)`.
        models: names that LiteLLM knows, `dspy.LM` objects, or mappings with the keys of a space file's `models`. The
            first is what runs today. The model that DSPy is configured with for None.
        budget: cap in USD; none for None. calls, minutes: further caps.
        trials: different candidates to evaluate, the program as it is included.
        prompt_model: writes instructions; the first of `models` for None.
        rounds: of new instructions; 0 for none. instructions: texts of your own to try, by predictor.
        demos: numbers of bootstrapped demos to try beside those that the program has; `()` for none.
        params: request parameters in the form of a space file, such as `{"temperature": {"choices": [0, 1]}}`; those of
            the first `dspy.LM` for None.
        objectives: as in a space file, such as `{"latency": None}`; cost is left out where a price is not known.
        outputs: names of what the program gives; read from its predictors and the examples for None.
        metric_model: that the metric asks, where it asks one.
        name: of the study; the class of the program for None.
        seed: of every draw. concurrency: requests in flight at the same time.
        results: folder for what is written. storage: SQLAlchemy URL; `<results>/offramp.db` by default.
        pick: which candidate is returned: recommended, knee, or another way to choose (docs/deciding.md).
        progress: None shows it in a notebook and on a terminal, False never, True also elsewhere.
        transport: what sends requests; LiteLLM and llama.cpp by route for None. observer: as for `optimize`.

    Attributes:
        study: of the last `compile`: front, verdict, plot, `to_frame()`. run: the same with what the run took.
    """

    def __init__(
        self, metric: Callable[..., Any], *, models: Sequence[AnyModel] | None = None, budget: float | None = None,
        calls: int | None = None, minutes: float | None = None, trials: int = 20,
        prompt_model: AnyModel | None = None, rounds: int = 2,
        instructions: Mapping[str, Sequence[str]] | None = None, demos: Sequence[int] = (2, 4),
        params: Mapping[str, Any] | None = None, objectives: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None, metric_model: AnyModel | None = None, name: str | None = None,
        seed: int = 0, concurrency: int = 8, results: str | Path = "results", storage: str | None = None,
        pick: str = "recommended", progress: bool | None = None, transport: Transport | None = None,
        observer: Observer | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        given: object = metric
        if not callable(given):
            expected = "a function (example, prediction)"
            raise UsageError(problem("offramp.Optimizer", "metric", got=type(given).__name__, expected=expected))
        self.metric, self.models, self.budget, self.calls, self.minutes = metric, models, budget, calls, minutes
        self.trials, self.prompt_model, self.rounds, self.demos = trials, prompt_model, rounds, tuple(demos)
        self.instructions, self.params, self.objectives = instructions, params, objectives
        self.outputs, self.metric_model, self.name, self.seed = outputs, metric_model, name, seed
        self.concurrency, self.results, self.storage, self.pick = concurrency, Path(results), storage, pick
        self.progress, self.transport, self.observer = progress, transport, observer
        self.study: StudyReport | None = None
        self.run: JobResult | None = None

    def compile(
        self, student: dspy.Module, *, trainset: Sequence[dspy.Example], teacher: dspy.Module | None = None,
        valset: Sequence[dspy.Example] | None = None, testset: Sequence[dspy.Example] | None = None, **others: Any,
    ) -> dspy.Module:  # fmt: skip
        """The program with the instructions, demos and model that were chosen; it has the study as `study`.

        The same call again continues its study and pays for nothing that it already has. The program that is given is
        not changed.

        Args:
            trainset: examples with `with_inputs`; for demos and new instructions. Without a valset, for all.
            valset: to choose by, and to prove the choice on: one half each.
            testset: to prove the choice on; the valset is then for choosing alone.
            teacher, others: of DSPy's own optimizers; they have no effect.

        Raises:
            UsageError: it cannot be run as given; nothing was spent.
            OfframpError: the search failed; `error.result` has what was kept.
        """
        _refuse_unknown(others, teacher)
        program, held = without_models(student)
        given = [held or dspy.settings.lm] if self.models is None else list(self.models)
        if not given or given[0] is None:
            do = "Pass models=[...], or call dspy.configure(lm=...)."
            raise UsageError(problem("offramp.Optimizer", "no model to run on", do=do))
        splits = _splits(trainset, valset, testset)
        live = LiveProgram(
            program=program, metric=self.metric, rows=tuple(rows_of(splits)), objects=objects_of(splits)
        )  # fmt: skip
        folder = self.results / f"{self._name(student)}-{live.key}"
        with _keys_in_environment([*given, self.prompt_model, self.metric_model]) as parts:
            space = self._space(student, live, [*trainset, *(valset or ()), *(testset or ())], given, parts)
            try:
                live.write(folder)
                (folder / live_program.SPACE).write_text(yaml.safe_dump(space, sort_keys=False, allow_unicode=True))
            except OSError as error:
                raise StorageError(problem(str(folder), f"cannot be written: {error.strerror}")) from error
            loaded = replace(load_space(folder / live_program.SPACE), trusted=True)
            self.run = optimize(
                loaded, storage=self.storage, results=self.results, progress=self.progress, seed=self.seed,
                transport=self.transport, observer=self.observer,
            )  # fmt: skip
            self.study, took = self.run.report, self.run
            with in_a_run(lambda: took.calls + took.cached_calls):
                compiled, model, params = apart(lambda: self._chosen(folder))
        _set_model(compiled, model, params, given)
        compiled.study, compiled._compiled = self.study, True
        _log.info("%s", self.study.headline())
        return compiled

    def _name(self, student: dspy.Module) -> str:
        return self.name or type(student).__name__.lower()

    def _space(
        self, student: dspy.Module, live: LiveProgram, examples: Sequence[dspy.Example], given: Sequence[AnyModel],
        parts: Callable[[AnyModel], dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        """The job as a space file."""
        inputs, labels = _fields(examples)
        models = [parts(model) for model in given]
        priced = all(_price(part) for part in models)
        objectives = dict(self.objectives or {})
        if not priced:
            objectives.setdefault("cost", None)
            _log.warning(
                "note: a price is not known, so cost is not searched: pass models=[{'name': ..., 'price': ...}]"
            )
        space: dict[str, Any] = {
            "schema_version": 1,
            "name": self._name(student),
            "task": {
                "module": f"{live_program.MODULE}:program",
                "inputs": described_inputs(examples, inputs),
                "outputs": list(self.outputs or outputs_of(student, labels)),
            },
            "dataset": {"path": live_program.ROWS, "id": live_program.ID},
            "splits": _split_part(live.rows),
            "metric": {"kind": "python", "path": f"{live_program.MODULE}:metric"},
            "models": models,
            "incumbent": {"model": models[0]["name"]},
            "program": {"format": _FORMATS.get(type(dspy.settings.adapter).__name__, "chat")},
            "instructions": self._texts(student),
            "objectives": objectives,
            "budget": {"usd": self.budget, "calls": self.calls, "minutes": self.minutes},
            "search": {"trials": self.trials, "seed": self.seed, "concurrency": self.concurrency},
        }
        if params := _params(given[0]) if self.params is None else dict(self.params):
            space["params"] = params
        if self.demos:
            space["demos"] = {"kind": ["own", "bootstrapped"], "count": list(self.demos)}
        if self.rounds:
            writer = models[0]["name"] if self.prompt_model is None else parts(self.prompt_model)
            space["propose"] = {"model": writer, "rounds": self.rounds}
        if self.metric_model is not None:
            asked = parts(self.metric_model)
            space["metric"]["model"] = asked["name"]
            if asked["name"] not in {model["name"] for model in models}:
                models.append({**asked, "searched": False})
        return space

    def _texts(self, student: dspy.Module) -> dict[str, Any]:
        """The program's own instruction of each predictor, and those that were given."""
        names = list(predictors_of(student))
        for name in self.instructions or {}:
            if name not in names:
                do = nearest(name, names) or f"Its predictors are {names}."
                raise UsageError(problem("offramp.Optimizer", "instructions", got=name, do=do))
        given = self.instructions or {}
        return {
            name: {"own": None, **{f"given-{i}": text for i, text in enumerate(given.get(name, ()), start=1)}}
            for name in names
        }

    def _chosen(self, folder: Path) -> tuple[dspy.Module, Model, Mapping[str, Any]]:
        """The module of the chosen candidate as DSPy runs it, its model and the parameters of its requests."""
        assert self.study is not None
        with open_store(self.storage or default_storage(self.results), write_probe=False) as store:
            rows = read_study_rows(store, self.study.study)
            row = find_candidate(store, report_of(rows), rows.candidates, self.pick, where="pick")
            (kept,) = CandidateStore(store).all(self.study.study, only=[row.id])
            opened = load_study(store, self.study.study, folder / live_program.SPACE)

            async def made() -> dspy.Module:
                async with open_session(opened.job, store=store, study=opened.row.name) as session:
                    module = (await session.evaluator.program(kept.candidate)).for_dspy()
                    if session.recorded.unknown:
                        raise JobError(f"{opened.row.name}: an answer that its demos were made from is not kept")
                    return module

            candidate = kept.candidate
            return asyncio.run(made()), opened.job.models[candidate.model], candidate.request_params


# --------------------------------------------------------------------------------------------------- what is given


def _refuse_unknown(others: Mapping[str, Any], teacher: object) -> None:
    known = ("trainset", "valset", "testset", "teacher", *_OTHERS)
    for name in others:
        if name not in _OTHERS:
            raise OptionError(problem("Optimizer.compile", "no such option", got=name, do=nearest(name, known) or None))
    without = [*others, *(["teacher"] if teacher is not None else [])]
    if without := [name for name in without if name != "requires_permission_to_run"]:
        _log.warning("note: %s has no effect on offramp.Optimizer", ", ".join(without))


def _splits(
    trainset: Sequence[dspy.Example], valset: Sequence[dspy.Example] | None, testset: Sequence[dspy.Example] | None
) -> dict[str, Sequence[dspy.Example]]:
    """Examples by split; those of `all` are divided by shares."""
    if not trainset:
        raise UsageError(problem("Optimizer.compile", "trainset has no example"))
    if testset:
        if not valset:
            raise UsageError(problem("Optimizer.compile", "a testset needs a valset", do="Pass one to choose by."))
        return {"train": trainset, "search": valset, "holdout": testset}
    if not valset:
        return {"all": trainset}
    if len(valset) < 2:
        raise UsageError(problem("Optimizer.compile", "valset", got=len(valset), expected="2 examples or more"))
    return {"train": trainset, "search": valset[::2], "holdout": valset[1::2]}


def _split_part(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = dict.fromkeys(row[live_program.SPLIT] for row in rows)
    if "all" in found:
        return {"train": 0.3, "search": 0.35, "holdout": 0.35}
    return {"column": live_program.SPLIT, **{name: [name] for name in found}}


def _fields(examples: Sequence[dspy.Example]) -> tuple[list[str], list[str]]:
    """Names of inputs, and of everything else that the examples have."""
    try:
        inputs = list(examples[0].inputs().keys())
    except ValueError:
        inputs = []
    if not inputs:
        do = "Say which fields go in: dspy.Example(...).with_inputs('question')."
        raise UsageError(problem("Optimizer.compile", "the examples have no inputs", do=do))
    return inputs, [name for name in dict.fromkeys(name for e in examples for name in e.toDict()) if name not in inputs]


# ---------------------------------------------------------------------------------------------------------- models


@contextmanager
def _keys_in_environment(models: Sequence[AnyModel | None]) -> Iterator[Callable[[AnyModel], dict[str, Any]]]:
    """Gives the part of a space file for a model; keys that a `dspy.LM` was given are variables within the block."""
    added: list[str] = []

    def variable(key: str) -> str:
        for name, value in os.environ.items():
            if value == key:
                return name
        added.append(f"OFFRAMP_OPTIMIZER_{len(added) + 1}_API_KEY")
        os.environ[added[-1]] = key
        return added[-1]

    parts: dict[int, dict[str, Any]] = {}
    for model in models:
        if isinstance(model, dspy.LM) and id(model) not in parts:
            part: dict[str, Any] = {"name": model.model}
            if (base := model.kwargs.get("api_base") or model.kwargs.get("base_url")) is not None:
                part["api_base"] = str(base)
            if key := model.kwargs.get("api_key"):
                part["api_key_env"] = variable(str(key))
            parts[id(model)] = part

    def part_of(model: AnyModel) -> dict[str, Any]:
        if isinstance(model, str):
            return {"name": model}
        if isinstance(model, Mapping):
            return dict(model)
        if id(model) in parts:
            return dict(parts[id(model)])
        expected = "a name, a dspy.LM, or a mapping with `name`"
        raise UsageError(problem("offramp.Optimizer", "models", got=type(model).__name__, expected=expected))

    try:
        yield part_of
    finally:
        for name in added:
            del os.environ[name]


def _price(part: Mapping[str, Any]) -> bool:
    from offramp.space.model import ModelPart

    return part.get("price") is not None or resolve(ModelPart.model_validate(part), "models").price is not None


def _params(model: AnyModel) -> dict[str, Any]:
    kwargs = model.kwargs if isinstance(model, dspy.LM) else {}
    return {name: kwargs[name] for name in _PARAMS if isinstance(kwargs.get(name), int | float)}


def _set_model(compiled: dspy.Module, model: Model, params: Mapping[str, Any], given: Sequence[AnyModel]) -> None:
    """Has the predictors run on the model that was chosen, where they have none of their own."""
    lm = next((lm for lm in given if isinstance(lm, dspy.LM) and lm.model == model.name), None)
    if lm is not None:
        lm = _with_params(lm, params)
    else:
        at = {} if model.api_base is None else {"api_base": model.api_base}
        secret = os.environ.get(model.api_key_env or "")
        key = {} if secret is None else {"api_key": secret}
        lm = _with_params(dspy.LM(model.route, **at, **key), params)
    for predictor in predictors_of(compiled).values():
        if predictor.lm is None:
            predictor.lm = lm


def _with_params(lm: dspy.LM, params: Mapping[str, Any]) -> dspy.LM:
    """A copy that sends these, as the search did: `dspy.LM(...)` refuses some of them for OpenAI's reasoning models."""
    named = dict(params)
    if "max_tokens" in named and "max_completion_tokens" in lm.kwargs:
        named["max_completion_tokens"] = named.pop("max_tokens")
    return lm.copy(**named)
