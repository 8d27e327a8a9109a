"""The state of a candidate's module, as DSPy saves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dspy.utils.saving import get_dependency_versions

from offramp.program.module import build_module
from offramp.program.program import Demos
from offramp.program.signature import annotation_of
from offramp.records import Candidate
from offramp.task.fields import TaskFields


def module_state(candidate: Candidate, fields: TaskFields, demos: Demos) -> tuple[Mapping[str, Any], str]:
    """What `module.save(path)` writes to a JSON file, and the signature that it fits."""
    module = build_module(candidate, fields, None, demos)
    state = {**module.dump_state(), "metadata": {"dependency_versions": get_dependency_versions()}}
    outputs = ", ".join(f"{name}: {_shown(annotation_of(name, kind))}" for name, kind in fields.outputs.items())
    return state, f"{', '.join(fields.inputs)} -> {outputs}"


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
