"""The judges of a space: where they are named, whether only they were replaced, and what to do where one is gone."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offramp.calls.failures import FatalCallError, ModelNotFound
from offramp.errors import UsageError, problem
from offramp.job.declared import judging_parts
from offramp.models.retirement.dates import load_calendar
from offramp.program.engine import Send
from offramp.records import CallReply, CallRequest, Model, Purpose
from offramp.space.load import LoadedSpace, load_space
from offramp.space.model import JudgeMetric, MixMetric, ModelPart, PythonMetric, SpaceFile
from offramp.store.ledger import CallStatus


class JudgeNotFound(FatalCallError):
    """The provider no longer has the model that grades: nothing can be scored until another one is named."""

    status = CallStatus.MODEL_NOT_FOUND


def judges_in(space: SpaceFile) -> tuple[str, ...]:
    """Names of the judges' models, each once."""
    return tuple(dict.fromkeys(str(part.model) for part in judging_parts(space.metric)))


def judge_key(space: SpaceFile, model: str) -> str:
    """The dotted key under which the space names this judge."""
    return next((key for key, part in _keys(space.metric, "metric") if part.model == model), "metric")


def _keys(metric: Any, key: str) -> Iterator[tuple[str, JudgeMetric | PythonMetric]]:
    if isinstance(metric, JudgeMetric | PythonMetric):
        yield f"{key}.model", metric
    elif isinstance(metric, MixMetric):
        for index, part in enumerate(metric.parts):
            yield from _keys(part, f"{key}.parts.{index}")


def only_judges_differ(one: SpaceFile, other: SpaceFile) -> bool:
    """Whether the metrics differ in the models of their judges, with the parameters of these, and in nothing else.

    A model that keeps its name and has another route or address is another judge too.
    """
    same = _without_models(one.metric.model_dump()) == _without_models(other.metric.model_dump())
    return same and bool(judges_in(one)) and _graders(one) != _graders(other)


def _graders(space: SpaceFile) -> list[Any]:
    described = {part.name: part for part in space.models if isinstance(part, ModelPart)}
    return [(part.model, part.params, _address(described.get(str(part.model)))) for part in judging_parts(space.metric)]


def _address(part: ModelPart | None) -> Any:
    return None if part is None else (part.route, part.api_base)


def _without_models(metric: Any) -> Any:
    if isinstance(metric, dict):
        left_out = ("model", "params") if metric.get("model") is not None else ()
        return {name: _without_models(value) for name, value in metric.items() if name not in left_out}
    return [_without_models(part) for part in metric] if isinstance(metric, list | tuple) else metric


def with_judges_of(space: SpaceFile, file: SpaceFile) -> SpaceFile:
    """A space with the metric of a file, and with what the file says about its judges."""
    known = {part if isinstance(part, str) else part.name for part in space.models}
    named = set(judges_in(file))
    described = [part for part in file.models if isinstance(part, ModelPart) and part.name in named]
    replaced = {part.name: part for part in described}
    models = [replaced.get(part.name, part) if isinstance(part, ModelPart) else part for part in space.models]
    models += [part.model_copy(update={"searched": False}) for part in described if part.name not in known]
    return space.model_copy(update={"metric": file.metric, "models": models})


def naming_judges(send: Send, loaded: LoadedSpace) -> Send:
    """Sends, and says of a judge that the provider no longer has which it is, and where to name another.

    Raises:
        JudgeNotFound: from what it gives back, in place of ModelNotFound.
    """

    async def sent(request: CallRequest) -> CallReply:
        try:
            return await send(request)
        except ModelNotFound as error:
            if request.purpose is not Purpose.JUDGE:
                raise
            raise JudgeNotFound(_gone(request.model, loaded, str(error))) from error

    return sent


def _gone(model: Model, loaded: LoadedSpace, text: str) -> str:
    retirement = load_calendar().retirement(model.name, model.route, stated=model.retirement_date)
    what = f"the judge {model.name} no longer exists"
    if retirement is not None and retirement.date <= datetime.datetime.now(datetime.UTC).date():
        what = f"the judge {model.name} retired on {retirement.date}"
    others = () if retirement is None else retirement.successors
    instead = f", such as {' or '.join(others)}" if others else ""
    do = (
        f"Name another judge{instead} there and run the same command again: `offramp check` and `offramp migrate` then "
        "grade the recorded answers by it too."
    )
    return problem(_place(loaded, model.name), f"{what} ({text})", do=do)


def _place(loaded: LoadedSpace, model: str) -> str:
    """`file:line` of the judge; of the file as it is now, where the space is one of the storage."""
    key = judge_key(loaded.space, model)
    if not loaded.lines and Path(loaded.path).is_file():
        try:
            loaded = load_space(Path(loaded.path))
        except UsageError:
            pass
        else:
            key = judge_key(loaded.space, model)
    return f"{loaded.where(key)}: {key}"
