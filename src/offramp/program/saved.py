"""Language models of predictors as DSPy alone saves and asks them.

Invariant: what is saved leads to the server that offramp asks, or it is refused; and no secret is part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import dspy
from dspy.utils.exceptions import LMConfigurationError

from offramp.errors import UsageError, problem
from offramp.models.catalogue import is_address
from offramp.program.routing import declared
from offramp.records import Model


def plain_model(model: Model, params: Mapping[str, Any], predictor: str) -> dspy.LM:
    """A model as a `dspy.LM` that sends to the same address with the same parameters, without its key.

    Args:
        predictor: that runs on it, for messages.

    Raises:
        UsageError: DSPy alone cannot reach it, or does not take its parameters.
    """
    if model.local:
        raise _refused(f"{predictor!r} runs on {model.name}, which offramp itself serves on this machine")
    at = {} if model.api_base is None else {"api_base": model.api_base}
    if any(not is_address(address) or urlsplit(address).query for address in at.values()):
        what = f"{predictor!r} runs on {model.name}, and its address has a user, a password or a query"
        raise _refused(f"{what}, which may hold a secret")
    try:
        return dspy.LM(model.route, **at, **params)
    except (LMConfigurationError, TypeError, ValueError) as error:
        raise _refused(f"{predictor!r} runs on {model.name}, which DSPy cannot be given as it runs: {error}") from error


def led(lm: dspy.BaseLM, models: Mapping[str, Model], predictor: str) -> dspy.LM | None:
    """A language model of the user's own, led to the declared model that it names; None where it leads there already.

    None as well where it names none, or an embedded model, which DSPy alone does not find.

    Raises:
        UsageError: as for `plain_model`.
    """
    model = declared(lm, models)
    if isinstance(model, str) or model.local:
        return None
    stated = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    address = None if stated is not None else plain_model(model, {}, predictor).kwargs.get("api_base")
    if lm.model == model.route and address is None:
        return None
    return lm.copy(model=model.route, engine="auto", **({} if address is None else {"api_base": address}))


def _refused(what: str) -> UsageError:
    return UsageError(problem("save", what, do="Call it through `offramp.load`."))
