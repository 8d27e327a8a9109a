"""Embedded models for the tests that run them, and the command line in this process.

A process of its own takes five seconds to import LiteLLM; what a process does is tested where that is the subject.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout

import pytest

from offramp.cli.main import main
from offramp.errors import ModelError
from offramp.models import embedded


def pulled(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Has the models in the user's own cache folder, or in OFFRAMP_TEST_MODEL_CACHE; skips where they cannot be had."""
    pytest.importorskip("xllamacpp")
    if given := os.environ.get("OFFRAMP_TEST_MODEL_CACHE"):
        patch.setenv("OFFRAMP_CACHE", given)
    else:
        patch.delenv("OFFRAMP_CACHE", raising=False)
    try:
        for name in names:
            embedded.pull(name)
    except ModelError as error:
        pytest.skip(str(error))


def command(*arguments: object, code: int = 0) -> str:
    """What `offramp ARGUMENTS` prints to stdout."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        found = main([str(argument) for argument in arguments])
    assert found == code, out.getvalue() + err.getvalue()
    return out.getvalue()
