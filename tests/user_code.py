"""Files of a user's own code for tests, and the modules that they become."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Modules that a test imports are no longer there in the next."""
    before, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    assert sys.path == path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if "pytest-" in file:
            del sys.modules[name]
    sys.meta_path[:] = finders


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


TWO_STEPS = """
import dspy

class TwoSteps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.gist = dspy.Predict("message -> gist")
        self.sort = dspy.Predict("gist -> label")

    def forward(self, message):
        return dspy.Prediction(label=self.sort(gist=self.gist(message=message).gist).label)
"""
