"""An entry for the config of LiteLLM's proxy: the model under the feature's name, its parameters and fallbacks.

The proxy knows models, not prompts: messages come from `offramp.load_messages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from offramp.promote.exports.exporting import (
    KEYS,
    File,
    Source,
    origin_tags,
    rendering_of,
    server_note,
    tags,
    texts_of,
)
from offramp.promote.promotion import PromotedModel, Promotion
from offramp.promote.serialization import yaml_text
from offramp.space.forms import spec_of

BASE = "OFFRAMP_API_BASE"
KEY = "OFFRAMP_API_KEY"
"""Variables of the model; those of its n-th fallback end with `_FALLBACK_n`."""


def litellm_entry(source: Source) -> File:
    """`model_list` entries, and the router's fallbacks."""
    promotion = source.promotion
    if spec_of(promotion.program.form).several:
        rendering_of(source)  # refuses
    params = rendering_of(source).params if promotion.rendering is not None else promotion.request_params
    if any(text.startswith("os.environ/") for text in texts_of(params)):
        raise source.refused("one of its parameters begins with `os.environ/`, which the proxy fills in")
    entries = [_entry(promotion.feature, promotion.model, dict(params), tags(source))]
    of = {**origin_tags(source), "fallback_of": promotion.feature}
    names = [f"{promotion.feature}-fallback-{i}" for i, _ in enumerate(promotion.fallbacks, start=1)]
    for i, (name, model) in enumerate(zip(names, promotion.fallbacks, strict=True), start=1):
        entries.append(_entry(name, model, dict(params), of, suffix=f"_FALLBACK_{i}"))
    config: dict[str, Any] = {"model_list": entries}
    if names:
        config["router_settings"] = {"fallbacks": [{promotion.feature: names}]}
    notes = ("The proxy has no prompts: send the messages of `offramp.load_messages` to this model name.",)
    return File(text=yaml_text(config), notes=(*notes, *server_note(source), *_address_notes(promotion)))


def _own_server(model: PromotedModel) -> bool:
    return model.local or model.own_address


def _address_notes(promotion: Promotion) -> Iterator[str]:
    """Which variables hold the address and key of which model; fallbacks may run on another server."""
    models = [("", promotion.model), *((f"_FALLBACK_{i}", m) for i, m in enumerate(promotion.fallbacks, start=1))]
    for suffix, model in models:
        if _own_server(model):
            yield (
                f"{model.name}: the proxy reads the address of its server from {BASE}{suffix} and its key from "
                f"{KEY}{suffix}."
            )


def _entry(
    name: str, model: PromotedModel, params: dict[str, Any], facts: Mapping[str, str], *, suffix: str = ""
) -> dict[str, Any]:
    route = f"openai/{model.route.removeprefix('local/')}" if model.local else model.route
    found: dict[str, Any] = {"model": route, **params}
    if _own_server(model):
        found |= {"api_base": f"os.environ/{BASE}{suffix}", "api_key": f"os.environ/{KEY}{suffix}"}
    elif (key := KEYS.get(model.route.split("/", 1)[0])) is not None:
        found["api_key"] = f"os.environ/{key}"
    info = {**facts, "retirement_date": model.retirement_date}
    return {"model_name": name, "litellm_params": found, "model_info": {k: v for k, v in info.items() if v is not None}}
