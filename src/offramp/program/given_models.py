"""Models as `offramp.Optimizer` is given them: what the search sends to each, and what the program sends afterwards.

A `dspy.LM` has an address, a key and parameters of its own. The search sends all of those parameters that it does not
search, to that model alone, and the language model that the compiled program gets sends what the chosen candidate
sent, by the same library (LiteLLM). What the search could not send alike is refused before anything is spent.

Invariant: a key is in the environment while it is used, under a name that no other value has, and in no file.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from offramp.calls.estimate import LIMITS
from offramp.errors import UsageError, problem
from offramp.ids import content_hash
from offramp.models.capabilities import allowed_openai_params
from offramp.program.routing import sends_by_engine
from offramp.space.check_params import NOT_SETTABLE, PROGRAM_PARAMS

if TYPE_CHECKING:
    from offramp.records import Model

AnyModel: TypeAlias = str | dspy.LM | Mapping[str, Any]
WHERE = "offramp.Optimizer"
_ENGINE = "litellm"
"""What the search sends with: DSPy's own client spells some parameters in another way."""
_ABILITIES = ("supports_response_schema", "supported_params", "supports_function_calling", "supports_reasoning")
_KEPT = frozenset({"rollout_id"})
"""Of the parameters of a `dspy.LM`, what DSPy keeps for itself and sends nowhere."""
_NOT_SENT = frozenset({"headers", "extra_headers", "extra_query", "organization", "project", "api_version"})
"""Settings of the connection that the search does not have."""
_REFUSED = frozenset(NOT_SETTABLE) - {"response_format", "grammar", "n", "cache"} | {
    "prompt_cache", "stream_options", "drop_params", "fallbacks", "mock_response", "caching",
}  # fmt: skip
_KEY = re.compile(r"KEY|TOKEN|SECRET", re.IGNORECASE)
_log = logging.getLogger("offramp")


@dataclass(frozen=True, kw_only=True)
class Given:
    """One model as it was given.

    Attributes:
        name: in the study; differs from that of every other model.
        part: of a space file's `models`, without a key.
        lm: None where it was given by name or as a mapping.
        params: of its requests.
    """

    name: str
    part: Mapping[str, Any]
    lm: dspy.LM | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        """That it was given; None where the environment has it, or none is needed."""
        key = None if self.lm is None else self.lm.kwargs.get("api_key")
        return None if key is None else str(key)


class GivenModels:
    """All models of one call, each once.

    Raises:
        UsageError: one is not a model, was given twice, or cannot be sent to as DSPy sends to it.
    """

    def __init__(self, models: Sequence[AnyModel], **others: AnyModel | None) -> None:
        """Read them.

        Args:
            others: that are not searched, each by the argument that it was given as.
        """
        self.all: list[Given] = []
        self.searched = tuple(self._new(model, f"models[{i}]") for i, model in enumerate(models))
        self.others = {place: self._known(model, place) for place, model in others.items() if model is not None}

    def _known(self, model: AnyModel, place: str) -> Given:
        """One that may be among those that were read."""
        if isinstance(model, dspy.LM):
            refuse_unlike(model, place)
            same = [given for given in self.all if given.lm is not None and _is_same(given.lm, model)]
        else:
            same = [given for given in self.all if given.part == model or given.name == model]
        return same[0] if same else self._new(model, place)

    def _new(self, model: AnyModel, place: str) -> Given:
        if isinstance(model, str | Mapping):
            part = {"name": model} if isinstance(model, str) else dict(model)
            given = Given(name=str(part.get("name")), part=part)
            if any(given.name == other.name for other in self.all):
                do = "Remove one, or give a mapping with another `name` and the `route`."
                raise UsageError(problem(WHERE, f"{place}: {given.name!r} is named twice", do=do))
        elif isinstance(model, dspy.LM):
            refuse_unlike(model, place)
            given = self._of_lm(model, place)
        else:
            expected = "a name, a dspy.LM, or a mapping with `name`"
            raise UsageError(problem(WHERE, place.partition("[")[0], got=type(model).__name__, expected=expected))
        self.all.append(given)
        return given

    def _of_lm(self, lm: dspy.LM, place: str) -> Given:
        provider = lm.kwargs.get("custom_llm_provider")
        route = lm.model if provider is None else f"{provider}/{lm.model}"
        alike = [other for other in self.all if other.name == lm.model or other.part.get("route") == route]
        if any(other.lm is not None and _is_same(other.lm, lm) for other in alike):
            what = f"{place}: {lm.model!r} is given twice with the same address and parameters"
            raise UsageError(problem(WHERE, what, do="Remove one."))
        part: dict[str, Any] = {"name": lm.model if not alike else f"{lm.model} #{len(alike) + 1}"}
        if part["name"] != route:
            part["route"] = route
        if (base := lm.kwargs.get("api_base") or lm.kwargs.get("base_url")) is not None:
            part["api_base"] = str(base)
        return Given(name=part["name"], part=part, lm=lm, params=sent_by(lm))


def _is_same(lm: dspy.LM, other: dspy.LM) -> bool:
    return lm is other or (lm.model, lm.kwargs) == (other.model, other.kwargs)


def refuse_unlike(lm: dspy.LM, place: str) -> None:
    """Raises UsageError where the search cannot send what a language model sends."""
    kind, do = type(lm).__name__, "Give the model by name, or as a dspy.LM without it."
    if not sends_by_engine(lm) or not isinstance(lm.engine, str):
        what = f"{place}: {kind}({lm.model!r}) sends its requests by code of its own, which the search does not run"
        raise UsageError(problem(WHERE, what, do=do))
    if lm.model_type != "chat":
        what = f"{place}: {kind}({lm.model!r}, model_type={lm.model_type!r}) asks another interface than the search"
        raise UsageError(problem(WHERE, what, expected="model_type='chat'", do="Leave model_type out."))
    if (lm.kwargs.get("n") or 1) != 1 or (lm.kwargs.get("num_generations") or 1) != 1:
        raise UsageError(problem(WHERE, f"{place}: {kind}({lm.model!r}, n=...)", do="Ask for one answer at a time."))
    for name, value in lm.kwargs.items():
        if value is not None and (name in _REFUSED - CLIENT_KEYS or (name not in CLIENT_KEYS and not _is_json(value))):
            what = f"{place}: {kind}({lm.model!r}, {name}=...) cannot be sent by the search as DSPy sends it"
            raise UsageError(problem(WHERE, what, do=do))
    if unsent := sorted(name for name in lm.kwargs if name in _NOT_SENT and lm.kwargs[name]):
        _log.warning(
            "warning: %s: the search does not send %s of %s, which the program sends", WHERE, ", ".join(unsent), place
        )


def sent_by(lm: dspy.LM) -> dict[str, Any]:
    """The parameters of a language model that its requests have."""
    kept = CLIENT_KEYS | _KEPT | {"n", "num_generations", "cache"}
    return {name: value for name, value in lm.kwargs.items() if value is not None and name not in kept}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


# ------------------------------------------------------------------------------------------------ what is searched


def request_params(
    models: Sequence[Given], searched: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """`params` of the space file, and by model those that no space file can state.

    Args:
        searched: what was given to be searched, in the form of a space file; it holds in place of the models' own.
    """
    params = {name: {"value": None} if part is None else part for name, part in (searched or {}).items()}
    stated, by_model = set(params), {model.name: dict[str, Any]() for model in models}
    for name in dict.fromkeys(name for model in models for name in model.params):
        holding = {model.name: model.params[name] for model in models if name in model.params}
        holding = {model: value for model, value in holding.items() if not _is_stated(name, model, params, stated)}
        values = {json.dumps([type(value).__name__, value], sort_keys=True) for value in holding.values()}
        value = next(iter(holding.values()), None)
        settable = isinstance(value, str | int | float) and name not in NOT_SETTABLE and name not in stated
        settable = settable and not any(name == word or name.startswith(f"{word}.") for word in PROGRAM_PARAMS)
        if settable and len(values) == 1:
            everywhere = len(holding) == len(models)
            params[name] = value if everywhere else {"value": value, "when": {"model": list(holding)}}
        else:
            for model, value in holding.items():
                by_model[model][name] = value
    return params, {model: own for model, own in by_model.items() if own}


def _is_stated(name: str, model: str, params: Mapping[str, Any], stated: Collection[str]) -> bool:
    """Whether what was given to be searched says what a model is sent for this parameter."""
    names = LIMITS if name in LIMITS else (name,)
    for part in (params[each] for each in names if each in stated):
        allowed = (part.get("when") or {}).get("model") if isinstance(part, Mapping) else None
        if allowed is None or any(str(each) == model or fnmatch.fnmatchcase(model, str(each)) for each in allowed):
            return True
    return False


def abilities(model: Given) -> dict[str, Any]:
    """What DSPy takes a model to be able to do, when the compiled program asks it."""
    at = {name: model.part[name] for name in ("api_base",) if model.part.get(name)}
    lm = model.lm or dspy.LM(str(model.part.get("route") or model.name), **at)
    asked = lm.copy(engine=_ENGINE)
    return {name: getattr(asked, name) for name in _ABILITIES}


def takes_schema(model: Given) -> bool:
    """Whether DSPy's JSON format asks a model for an answer in the schema of the outputs."""
    able = abilities(model)
    return "response_format" in able["supported_params"] and bool(able["supports_response_schema"])


# ------------------------------------------------------------------------------------------------------------ keys

_lock = threading.Lock()
_lent: dict[str, tuple[str, int]] = {}
"""By variable: the key, and how many calls use it now."""


@contextmanager
def keys_in_environment(models: Collection[Given], purpose: str) -> Iterator[Mapping[str, str]]:
    """Variable by name of the model, for the keys that were given, within the block.

    The same call gets the same names in every process, since they are part of a study; calls that are under way at the
    same time share a name only for the same key.

    Args:
        purpose: what the call is for; calls for other purposes have other names.
    """
    found: dict[str, str] = {}
    lent: list[str] = []
    try:
        for number, model in enumerate(models):
            if (key := model.key) is not None:
                known = next((n for n in list(os.environ) if _is_users(n) and os.environ.get(n) == key), None)
                if known is None:
                    name = content_hash([purpose, number, dict(model.part)])[:12].upper()
                    lent.append(known := _lend(f"OFFRAMP_OPTIMIZER_{name}", key))
                found[model.name] = known
        yield found
    finally:
        for name in lent:
            _take_back(name)


def _is_users(name: str) -> bool:
    return _KEY.search(name) is not None and not name.startswith("OFFRAMP_OPTIMIZER_")


def _lend(base: str, key: str) -> str:
    with _lock:
        number = 1
        while (name := f"{base}{'' if number == 1 else f'_{number}'}_API_KEY") in _lent and _lent[name][0] != key:
            number += 1
        _lent[name] = key, _lent.get(name, (key, 0))[1] + 1
        os.environ[name] = key
        return name


def _take_back(name: str) -> None:
    with _lock:
        key, users = _lent.pop(name)
        if users > 1:
            _lent[name] = key, users - 1
        else:
            os.environ.pop(name, None)


# ------------------------------------------------------------------------------------------- the compiled program


def returned_lm(given: Given | None, model: Model, params: Mapping[str, Any]) -> dspy.LM:
    """A language model that sends these parameters to a model, and no others, as the search sent them.

    Args:
        given: the model as it was given; None where only the space file knows it.
    """
    if given is not None and given.lm is not None:
        lm = given.lm.copy(engine=_ENGINE)
    else:
        at = {} if model.api_base is None else {"api_base": model.api_base}
        secret = os.environ.get(model.api_key_env or "")
        key = {} if secret is None else {"api_key": secret}
        lm = dspy.LM(model.route, engine=_ENGINE, **at, **key)
    connection = {name: value for name, value in lm.kwargs.items() if name in CLIENT_KEYS | _KEPT}
    unset = [name for name in ("temperature", "max_tokens", "max_completion_tokens") if name in lm.kwargs]
    named = dict(params)
    if "max_tokens" in named and "max_tokens" not in unset:  # an OpenAI model that reasons: DSPy saves it by this name
        named["max_completion_tokens"] = named.pop("max_tokens")
    if allowed := allowed_openai_params(model, named):
        named["allowed_openai_params"] = allowed
    lm.kwargs = {**dict.fromkeys(unset), **connection, **named}  # `dspy.LM(...)` refuses some of them
    return lm


def sending_alike(lm: dspy.LM) -> dspy.LM:
    """A language model of a predictor's own, as the search sent to it."""
    return lm.copy(engine=_ENGINE) if isinstance(lm.engine, str) else lm
