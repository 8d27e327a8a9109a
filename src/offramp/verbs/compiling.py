"""`offramp.Optimizer`: the search as an optimizer of DSPy, for a program, a metric and examples that are in memory."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
import yaml
from dspy.teleprompt import Teleprompter

from offramp.errors import JobError, OfframpError, StorageError, UsageError, in_a_run, nearest, problem
from offramp.files import replace_file
from offramp.ids import content_hash
from offramp.job.loaded import load_study
from offramp.job.session import open_session
from offramp.models.catalogue import resolve
from offramp.program import live_program
from offramp.program.as_given import AsGiven, forget_as_given, keep_as_given
from offramp.program.fingerprint import fingerprint
from offramp.program.given_models import (
    WHERE,
    AnyModel,
    Given,
    GivenModels,
    abilities,
    keys_in_environment,
    refuse_unlike,
    request_params,
    returned_lm,
    sending_alike,
    takes_schema,
)
from offramp.program.live_program import LiveProgram, described_inputs, objects_of, outputs_of, rows_of, without_models
from offramp.program.module import predictors_of
from offramp.space.load import LoadedSpace, load_space
from offramp.space.model import ModelPart, ProposePart
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
_OWN_NAMES = {
    "search.trials": "trials", "search.seed": "seed", "search.concurrency": "concurrency", "budget.usd": "budget",
    "budget.calls": "calls", "budget.minutes": "minutes", "propose.rounds": "rounds", "propose.model": "prompt_model",
    "metric.model": "metric_model", "demos.count": "demos", "task.outputs": "outputs", "program.format": "adapter",
}  # fmt: skip
"""By key of a space file, the argument that says it here."""


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
        params: request parameters in the form of a space file, such as `{"temperature": {"choices": [0, 1]}}`. A
            `dspy.LM` is sent its own where these do not state them.
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
        models = GivenModels(given, prompt_model=self.prompt_model, metric_model=self.metric_model)
        own_lms = {name: each.lm for name, each in predictors_of(program).items() if isinstance(each.lm, dspy.LM)}
        for name, lm in own_lms.items():
            refuse_unlike(lm, f"the language model of {name!r}")
        splits = _splits(trainset, valset, testset)
        params, by_model = request_params(models.searched, self.params)
        format_, adapter = _format()
        _keep_as_given(program, models.searched, by_model, format_, adapter)
        live = LiveProgram(
            program=program, metric=self.metric, rows=tuple(rows_of(splits)), objects=objects_of(splits)
        )  # fmt: skip
        space = self._space(student, live, [*trainset, *(valset or ()), *(testset or ())], models)
        space["program"] = {"format": format_}
        if format_ == "json" and adapter is None:  # DSPy's asks for a schema where the model takes one
            space["program"]["constrained"] = space["incumbent"]["constrained"] = True
            for part, model in zip(space["models"], models.searched, strict=False):
                part["json_schema_output"] = takes_schema(model)
        if params:
            space["params"] = params
        of_study = {name: part for name, part in space.items() if name not in ("budget", "search")}
        folder = self.results / f"{self._name(student)}-{content_hash([live.key, of_study])[:12]}"
        with keys_in_environment(models.all, live.key) as keys, _in_own_words(folder / live_program.SPACE):
            for part in (*space["models"], space.get("propose", {}).get("model")):
                if isinstance(part, dict) and (variable := keys.get(part["name"])) is not None:
                    part["api_key_env"] = variable
            try:
                live.write(folder)
                text = yaml.safe_dump(space, sort_keys=False, allow_unicode=True)
                replace_file(folder / live_program.SPACE, text.encode())
            except OSError as error:
                raise StorageError(problem(str(folder), f"cannot be written: {error.strerror}")) from error
            loaded = _Unfiled.of(load_space(folder / live_program.SPACE))
            with dspy.context(adapter=None) if adapter is not None else nullcontext():  # each run has it
                self.run = optimize(
                    loaded, storage=self.storage, results=self.results, progress=self.progress, seed=self.seed,
                    transport=self.transport, observer=self.observer,
                )  # fmt: skip
            self.study, took = self.run.report, self.run
            with in_a_run(lambda: took.calls + took.cached_calls):
                compiled, asked, chosen = apart(lambda: self._chosen(folder))
            named = {model.name: model for model in models.searched}
            lm = returned_lm(named.get(asked.name), asked, {**by_model.get(asked.name, {}), **chosen})
        for predictor in predictors_of(compiled).values():
            own = predictor.lm
            predictor.lm = lm if own is None else sending_alike(own) if isinstance(own, dspy.LM) else own
        compiled.study, compiled._compiled = self.study, True
        _log.info("%s", self.study.headline())
        return compiled

    def _name(self, student: dspy.Module) -> str:
        return self.name or type(student).__name__.lower()

    def _space(
        self, student: dspy.Module, live: LiveProgram, examples: Sequence[dspy.Example], given: GivenModels
    ) -> dict[str, Any]:
        """The job as a space file, without its keys and request parameters."""
        inputs, labels = _fields(examples)
        models = [dict(model.part) for model in given.searched]
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
            "instructions": self._texts(student),
            "objectives": objectives,
            "budget": {"usd": self.budget, "calls": self.calls, "minutes": self.minutes},
            "search": {"trials": self.trials, "seed": self.seed, "concurrency": self.concurrency},
        }
        if self.demos:
            space["demos"] = {"kind": ["own", "bootstrapped"], "count": list(self.demos)}
        if self.rounds:
            space["propose"] = {"model": models[0]["name"], "rounds": self.rounds}
            if (writer := given.others.get("prompt_model")) is not None:
                space["propose"]["model"] = dict(writer.part)
                if scalars := {n: v for n, v in writer.params.items() if isinstance(v, str | int | float)}:
                    space["propose"]["params"] = {**ProposePart.model_fields["params"].default, **scalars}
        if (asked := given.others.get("metric_model")) is not None:
            space["metric"] |= {"model": asked.name, **({"params": dict(asked.params)} if asked.params else {})}
            if asked.name not in {model["name"] for model in models}:
                models.append({**asked.part, "searched": False})
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
    return {"train": trainset, **_halves(valset, _fields(trainset)[0])}


def _halves(valset: Sequence[dspy.Example], inputs: Sequence[str]) -> dict[str, Sequence[dspy.Example]]:
    """Two halves in which each label has as nearly as can be the same share, whatever the order of the examples.

    Examples with the same inputs are in one half. Raises UsageError where all have the same.
    """
    whole = [{name: fingerprint(value) for name, value in example.toDict().items()} for example in valset]
    _, labels = _fields(valset)
    different = {name: len({row.get(name) for row in whole}) for name in labels}
    shared = sorted((count, name) for name, count in different.items() if count <= len(valset) / 2)

    def place(number: int) -> tuple[list[str], str]:
        return [whole[number].get(name, "") for _, name in shared], content_hash(whole[number])

    together: defaultdict[str, list[int]] = defaultdict(list)
    rows = list(rows_of({"valset": valset}))  # inputs are the same where the data that is written of them is
    for number in sorted(range(len(valset)), key=place):
        together[json.dumps([rows[number].get(name) for name in inputs], sort_keys=True)].append(number)
    if len(together) < 2:
        raise UsageError(problem("Optimizer.compile", "valset: all examples have the same inputs"))
    search: list[int] = []
    holdout: list[int] = []
    for group in sorted(together.values(), key=len, reverse=True):  # single ones last: they make the halves even
        (search if len(search) <= len(holdout) else holdout).extend(group)
    return {
        "search": [valset[number] for number in sorted(search)],
        "holdout": [valset[number] for number in sorted(holdout)],
    }


def _format() -> tuple[str, dspy.Adapter | None]:
    """The `format` that DSPy is configured with, and its adapter where no format is the same."""
    adapter = dspy.settings.adapter
    for format_, kind in (("chat", dspy.ChatAdapter), ("json", dspy.JSONAdapter)):
        if type(adapter) is kind and fingerprint(adapter) == fingerprint(kind()):
            return format_, None
    return ("json" if isinstance(adapter, dspy.JSONAdapter) else "chat"), adapter


def _keep_as_given(
    program: dspy.Module, models: Sequence[Given], params: Mapping[str, Mapping[str, Any]], format_: str,
    adapter: dspy.Adapter | None,
) -> None:  # fmt: skip
    """Has the program send what no space file can state, and no more than that."""
    forget_as_given(program)
    asks = adapter is not None or format_ == "json"
    if params or asks:
        able = {model.name: abilities(model) for model in models if asks}
        keep_as_given(program, AsGiven(params=params, adapter=adapter, abilities=able))
    if params or adapter is not None:
        own = sorted({name for each in params.values() for name in each})
        what = [*([type(adapter).__name__] if adapter is not None else []), *(f"{name} by model" for name in own)]
        do = "load a promotion of it with the compiled program, offramp.load(NAME, module=lambda: compiled)"
        _log.warning("note: %s cannot be part of a promotion: %s", ", ".join(what), do)


class _Unfiled(LoadedSpace):
    """A space that was given as arguments: messages name those, and not the file that was written from them."""

    @classmethod
    def of(cls, loaded: LoadedSpace) -> _Unfiled:
        """A space of the user's own process, which may reach what that reaches."""
        named = {each.name: getattr(loaded, each.name) for each in fields(loaded)}
        return cls(**{**named, "trusted": True})

    def where(self, key: str) -> str:
        """For messages."""
        return WHERE


@contextmanager
def _in_own_words(file: Path) -> Iterator[None]:
    """Errors in here name the arguments of `Optimizer` in place of the file that was written from them."""
    try:
        yield
    except OfframpError as error:
        error.args = tuple(_reworded(arg, file) if isinstance(arg, str) else arg for arg in error.args)
        raise


def _reworded(text: str, file: Path) -> str:
    text = re.sub(rf"(?:{re.escape(str(file))}|{re.escape(str(file.resolve()))})(?::\d+)?", WHERE, text)
    text = re.sub(rf"({WHERE}: )models\.(\d+)", r"\1models[\2]", text)
    for key, own in _OWN_NAMES.items():
        text = re.sub(rf"({WHERE}: ){re.escape(key)}\b", rf"\1{own}", text)
    return text


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


def _price(part: Mapping[str, Any]) -> bool:
    where = f"{WHERE}: models"
    return part.get("price") is not None or resolve(ModelPart.model_validate(part), where).price is not None
