"""A version of a prompt for MLflow's registry: the arguments of `mlflow.genai.register_prompt`.

mlflow.genai.register_prompt(**json.load(open("prompt.json")))
"""

from __future__ import annotations

import json
from typing import Any

from offramp.errors import UsageError, problem
from offramp.promote.exports.exporting import TEMPLATE_MARK, File, Source, rendering_of, tags, template_messages


def arguments(source: Source) -> dict[str, Any]:
    """Name, template, message and tags; model and parameters are tags, since a prompt is registered without them."""
    promotion = source.promotion
    more = {
        "model": promotion.model.route,
        "params": json.dumps(dict(rendering_of(source).params), ensure_ascii=False, sort_keys=True),
    }
    return {
        "name": promotion.feature,
        "template": template_messages(source, marks=rf"{TEMPLATE_MARK}|\{{%"),  # a tag makes it a Jinja template
        "commit_message": f"offramp {promotion.version}: {promotion.evidence.study} {promotion.evidence.candidate}",
        "tags": {**tags(source), **more},
    }


def mlflow_prompt(source: Source) -> File:
    """The arguments as JSON."""
    return File(text=json.dumps(arguments(source), indent=2, ensure_ascii=False) + "\n")


def register(source: Source, tracking_uri: str) -> str:
    """Registers the prompt and points MLflow's alias of the label's name at it; its URI there.

    Raises:
        UsageError: mlflow is not installed here.
    """
    try:
        import mlflow  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        do = "Run: pip install mlflow-skinny sqlalchemy alembic, or register the JSON elsewhere."
        raise UsageError(problem("--register", "mlflow is not installed", do=do)) from None
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    found = mlflow.genai.register_prompt(**arguments(source))
    mlflow.genai.set_prompt_alias(name=found.name, alias=source.label, version=found.version)
    return f"prompts:/{found.name}/{found.version}"
