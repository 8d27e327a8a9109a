"""Which request parameters a model takes, asked before a run: a parameter that is silently dropped spoils a search.

Invariant: None means unknown; asking never starts a login or a request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from offramp.models.table import load_table
from offramp.records import Model

LLAMA_CPP_PARAMS = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "typical_p", "top_n_sigma", "dynatemp_range", "dynatemp_exponent",
        "xtc_probability", "xtc_threshold", "mirostat", "mirostat_tau", "mirostat_eta", "max_tokens", "n_predict",
        "seed", "stop", "repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty", "dry_multiplier",
        "dry_base", "dry_allowed_length", "dry_penalty_last_n", "logit_bias", "logprobs", "top_logprobs",
        "response_format", "grammar", "json_schema", "ignore_eos", "cache_prompt", "chat_template_kwargs",
    }
)  # fmt: skip
"""What the chat endpoint of llama.cpp's server takes."""

SIGNED_IN_BY_DEVICE = frozenset({"github_copilot", "chatgpt", "microsoft_365_copilot"})


def quiet_litellm() -> Any:
    """The litellm module, imported (seconds, the first time) without fetching prices from the network."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)
    return litellm


def with_capabilities(model: Model) -> Model:
    """The model with `supported_params` filled in if they are known."""
    return replace(model, supported_params=supported_params(model))


def supported_params(model: Model) -> frozenset[str] | None:
    """Request parameters that the model takes; None if unknown."""
    if model.supported_params is not None:
        return model.supported_params
    if model.local:
        return LLAMA_CPP_PARAMS
    row = load_table().find(model.route)
    if row is None:
        return None
    listed = row.openai_params
    if listed is None and row.provider not in SIGNED_IN_BY_DEVICE:
        name = row.route.removeprefix(f"{row.provider}/")
        names = quiet_litellm().get_supported_openai_params(model=name, custom_llm_provider=row.provider)
        listed = None if names is None else frozenset(map(str, names))
    if listed is None:
        return None
    return listed if row.supports_reasoning else listed - {"reasoning_effort", "thinking"}


def allowed_openai_params(model: Model, names: Iterable[str]) -> list[str]:
    """Of these request parameters, those that the space file states and LiteLLM does not list for the model.

    LiteLLM refuses a parameter that it does not list, unless the request names it as allowed.
    """
    stated = sorted(model.stated_params & set(names))
    if not stated:
        return []
    provider, _, name = model.route.partition("/")
    listed = quiet_litellm().get_supported_openai_params(model=name, custom_llm_provider=provider) or ()
    return [one for one in stated if one not in listed]


def takes_media(model: Model, kind: str) -> bool:
    """Whether a model takes images, audio or files; True where nothing is known of it (a server of one's own).

    Source: LiteLLM's table.
    """
    if model.local:
        return False
    row = None if model.api_base is not None else load_table().find(model.route)
    return row is None or kind in row.media


def adjusted(base: frozenset[str] | None, supports: Sequence[str]) -> frozenset[str]:
    """Request parameters that a model takes according to `supports` in a space file.

    Plain names replace what is known (`base`). `+name` and `-name` add to and remove from it, or from the plain names.
    """
    plain = frozenset(name for name in supports if not name.startswith(("+", "-")))
    added = frozenset(name[1:] for name in supports if name.startswith("+"))
    taken = frozenset(name[1:] for name in supports if name.startswith("-"))
    return ((plain or base or frozenset()) | added) - taken
