"""`offramp export`: which form is asked for, and where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from offramp.errors import StorageError, UsageError, nearest, problem
from offramp.promote.exports._base import Exporter, File, Source
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder

FORMS: Mapping[str, str] = {
    "litellm": "litellm_proxy:litellm_entry",
    "openai": "openai_payload:openai_payload",
    "promptfoo": "promptfoo_config:promptfoo_config",
    "dspy": "dspy_state:dspy_state",
    "mlflow": "mlflow_prompt:mlflow_prompt",
    "langfuse": "langfuse_prompt:langfuse_prompt",
    "json": "plain_json:plain_json",
}
"""Name to module and function; imported when asked for, since some are heavy."""


def source_of(
    feature: str, *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None, space: Path | None = None
) -> Source:
    """The promotion that a label points at. Raises PromotionError."""
    folder = FeatureFolder(promotions, feature)
    return Source(promotion=folder.load(folder.resolve(label)), folder=folder, label=label, space=space)


def export(source: Source, to: str) -> File:
    """The promotion in one of `FORMS`.

    Raises:
        UsageError: an unknown form, or one that cannot say what was measured.
    """
    if to not in FORMS:
        expected = ", ".join(FORMS)
        raise UsageError(problem("--to", "unknown form", got=to, expected=expected, do=nearest(to, FORMS) or None))
    module, _, name = FORMS[to].partition(":")
    exporter: Exporter = getattr(import_module(f"offramp.promote.exports.{module}"), name)
    return exporter(source)


def write(path: Path, file: File) -> None:
    """Writes an export. Raises StorageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
    except OSError as error:
        raise StorageError(problem(str(path), f"cannot be written: {error.strerror}")) from error
