"""Whether a model accepts the values that it will be sent, asked before anything is spent.

A list of parameter names is not enough: models of today list `temperature` and refuse every value but 1, take an effort
that their neighbours refuse, or refuse two values only together. LiteLLM maps each request onto the provider's own
parameters and refuses what does not fit; that mapping runs here, on this machine, with the values of the request.

Invariant: an answer never starts a log-in or a request; what nobody here knows counts as accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from offramp.ids import canonical_json
from offramp.models.capabilities import SIGNED_IN_BY_DEVICE, allowed_openai_params, quiet_litellm
from offramp.records import Model

_ADVICE = re.compile(
    r"(\s*[.:-]?\s*(To drop (this param|these|unsupported)|If you want to use these params|- https?://).*)$", re.S
)
_PREFIX = re.compile(r"^(litellm\.)?\w*Error:\s*")
_NOT_MAPPED = frozenset({"messages", "model", "stream", "timeout", "api_base", "api_key", "num_retries", "max_retries"})
SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed")
_THINKING = ("anthropic/", "vertex_ai/claude", "bedrock/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Values that a model does not accept.

    Attributes:
        model: its name, as in the space file.
        params: the fewest of the given parameters that are rejected, one alone or several together.
        why: in the words of the mapping that rejects them.
    """

    model: str
    params: Mapping[str, Any]
    why: str

    @property
    def what(self) -> str:
        """The values in one line, such as `temperature=0.0 with reasoning_effort='high'`."""
        return " with ".join(f"{name}={value!r}" for name, value in self.params.items())


def rejection(model: Model, params: Mapping[str, Any]) -> Rejection | None:
    """What the model rejects of a request with these parameters; None where it accepts them, or nobody knows.

    Args:
        params: as they would be sent, `response_format` and the like included; None values are not sent.
    """
    sent = {name: value for name, value in params.items() if value is not None and name not in _NOT_MAPPED}
    if not sent or _why(model, sent) is None:
        return None
    for size in (1, 2, 3):
        for names in combinations(sent, size):
            part = {name: sent[name] for name in names}
            if (why := _why(model, part)) is not None:
                return Rejection(model=model.name, params=part, why=why)
    return Rejection(model=model.name, params=sent, why=_why(model, sent) or "")


def accepted(model: Model, params: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Rejection, ...]]:
    """The parameters without those that the model rejects, and what was left out.

    Of values that are rejected only together a sampling parameter goes first: models that reason choose their own.
    """
    kept, left_out = dict(params), []
    while (found := rejection(model, kept)) is not None:
        left_out.append(found)
        del kept[next((name for name in SAMPLING if name in found.params), list(found.params)[-1])]
    return kept, tuple(left_out)


def _why(model: Model, params: Mapping[str, Any]) -> str | None:
    if model.local or model.provider in SIGNED_IN_BY_DEVICE:
        return None
    allowed = allowed_openai_params(model, params)
    sent = {**params, "allowed_openai_params": allowed} if allowed else params
    try:
        mapped = _mapped(model.route, canonical_json(dict(sent)), _Params(sent))
    except _Rejected as rejected:
        return rejected.why
    return next(_rules(model.route, params, mapped), None)


def _rules(route: str, params: Mapping[str, Any], mapped: Mapping[str, Any]) -> Iterator[str]:
    """What the provider's interface refuses although LiteLLM maps it.

    Source: Anthropic's documentation of extended thinking: with a thinking budget `temperature` may only be 1 and
    `max_tokens` has to be larger than the budget; Claude 4.1 and later take `temperature` or `top_p`, not both.
    """
    if not (route.startswith(_THINKING) and "claude" in route):
        return
    thinking = mapped.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") == "enabled":
        if params.get("temperature") not in (None, 1, 1.0):
            yield "with thinking enabled, only temperature=1 is supported"
        budget, most = thinking.get("budget_tokens"), mapped.get("max_tokens", mapped.get("maxTokens"))
        if isinstance(budget, int) and isinstance(most, int) and most <= budget:
            yield f"max_tokens has to be larger than the thinking budget of {budget} tokens"


class _Params:
    """Parameters beside the text that they are cached by: a mapping has no hash."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Params)

    def __hash__(self) -> int:
        return 0


class _Rejected(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@lru_cache(maxsize=4096)
def _mapped(route: str, key: str, params: _Params) -> Mapping[str, Any]:
    """The provider's own parameters; empty where the mapping cannot tell. Raises _Rejected."""
    litellm = quiet_litellm()
    provider, _, name = route.partition("/")
    try:
        found = litellm.utils.get_optional_params(
            model=name, custom_llm_provider=provider, drop_params=False, **params.values
        )
    except (litellm.UnsupportedParamsError, litellm.BadRequestError, ValueError, TypeError) as error:
        text = str(getattr(error, "message", None) or error)
        raise _Rejected(_ADVICE.sub("", _PREFIX.sub("", _PREFIX.sub("", text))).strip().rstrip(".")) from None
    except Exception:  # noqa: BLE001  a mapping that fails for another reason (a missing package, a log-in) says nothing
        return {}
    return found if isinstance(found, Mapping) else {}
