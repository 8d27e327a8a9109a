"""An entry for the config of LiteLLM's proxy: the model under the feature's name, its parameters and fallbacks.

The proxy knows models, not prompts: messages come from `offramp.load_messages`.
"""

from __future__ import annotations

from typing import Any

from offramp.promote.exports.exporting import KEYS, File, Source, rendering_of, server_note, tags, texts_of
from offramp.promote.promotion import PromotedModel
from offramp.promote.serialization import yaml_text
from offramp.space.forms import spec_of


def litellm_entry(source: Source) -> File:
    """`model_list` entries, and the router's fallbacks."""
    promotion = source.promotion
    if spec_of(promotion.program.form).several:
        rendering_of(source)  # refuses
    params = rendering_of(source).params if promotion.rendering is not None else promotion.request_params
    if any(text.startswith("os.environ/") for text in texts_of(params)):
        raise source.refused("one of its parameters begins with `os.environ/`, which the proxy fills in")
    entries = [_entry(source, promotion.feature, promotion.model, dict(params))]
    names = [f"{promotion.feature}-fallback-{i}" for i, _ in enumerate(promotion.fallbacks, start=1)]
    entries += [
        _entry(source, name, model, dict(params)) for name, model in zip(names, promotion.fallbacks, strict=True)
    ]
    config: dict[str, Any] = {"model_list": entries}
    if names:
        config["router_settings"] = {"fallbacks": [{promotion.feature: names}]}
    notes = ("The proxy has no prompts: send the messages of `offramp.load_messages` to this model name.",)
    return File(text=yaml_text(config), notes=(*notes, *server_note(source)))


def _entry(source: Source, name: str, model: PromotedModel, params: dict[str, Any]) -> dict[str, Any]:
    route = f"openai/{model.route.removeprefix('local/')}" if model.local else model.route
    found: dict[str, Any] = {"model": route, **params}
    if model.local or model.own_address:
        found |= {"api_base": "os.environ/OFFRAMP_API_BASE", "api_key": "os.environ/OFFRAMP_API_KEY"}
    elif (key := KEYS.get(model.route.split("/", 1)[0])) is not None:
        found["api_key"] = f"os.environ/{key}"
    info = {**tags(source), "retirement_date": model.retirement_date}
    return {"model_name": name, "litellm_params": found, "model_info": {k: v for k, v in info.items() if v is not None}}
