"""What a live program sends beside its candidate's params: parameters of single models, and an adapter of one's own.

A space file states one value or one search for a parameter, whichever models it goes to. A program in memory may run on
`dspy.LM` objects that each have values of their own, also lists and mappings, and under an adapter that no `format`
names. Both are kept on the module, so that each run of it sends them, and they are part of what the program is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy

_NAME = "_offramp_as_given"


@dataclass(frozen=True, kw_only=True)
class AsGiven:
    """What is sent as it was given.

    Attributes:
        params: request parameters by name of the model; those of a candidate hold in place of them.
        adapter: in place of the candidate's; None for that.
        abilities: by name of the model, what DSPy takes it to be able to do (`supports_response_schema` and its like),
            which decides what an adapter asks of it.
    """

    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    adapter: dspy.Adapter | None = None
    abilities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def keep_as_given(module: dspy.Module, given: AsGiven) -> None:
    """Has runs of the module, and of its copies, send this."""
    vars(module)[_NAME] = given


def as_given(module: dspy.Module) -> AsGiven:
    """What is kept on a module; empty where nothing is."""
    found = vars(module).get(_NAME)
    return found if isinstance(found, AsGiven) else AsGiven()


def forget_as_given(module: dspy.Module) -> None:
    """Takes it from the module."""
    vars(module).pop(_NAME, None)
