"""offramp: search prompts, models and parameters of DSPy programs for the best trade of quality, cost and latency.

Importing this package loads none of dspy, litellm, optuna, pandas or torch; the functions below load what they need.
Each command has a function of its name, with the same defaults; docs/python.md lists them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offramp.errors import OfframpError
    from offramp.lifecycle.scan import scan
    from offramp.lifecycle.watch_report import watch
    from offramp.program.reading import Unreadable, read_value
    from offramp.program.routing import lm
    from offramp.promote.cascade_loading import load_cascade
    from offramp.promote.loading import load, load_messages
    from offramp.promote.promoting import diff, history, promote, rollback
    from offramp.review.report_file import report
    from offramp.starter.writing import copy_example, init
    from offramp.study.lookup import compare, pareto, studies
    from offramp.verbs.compiling import Optimizer
    from offramp.verbs.promotions import check, export, migrate
    from offramp.verbs.spaces import check_space, show_requests
    from offramp.verbs.studies import cascades, dry_run, optimize, plan_verify, replay, review, verify

__version__ = "0.1.0"

_OF = {
    "offramp.errors": ("OfframpError",),
    "offramp.program.reading": ("Unreadable", "read_value"),
    "offramp.program.routing": ("lm",),
    "offramp.promote.cascade_loading": ("load_cascade",),
    "offramp.promote.loading": ("load", "load_messages"),
    "offramp.verbs.compiling": ("Optimizer",),
    "offramp.verbs.promotions": ("check", "export", "migrate"),
    "offramp.verbs.spaces": ("check_space", "show_requests"),
    "offramp.verbs.studies": ("cascades", "dry_run", "optimize", "plan_verify", "replay", "review", "verify"),
}
_VERBS_OF = {
    "offramp.lifecycle.scan": ("scan",),
    "offramp.lifecycle.watch_report": ("watch",),
    "offramp.promote.promoting": ("diff", "history", "promote", "rollback"),
    "offramp.review.report_file": ("report",),
    "offramp.starter.writing": ("copy_example", "init"),
    "offramp.study.lookup": ("compare", "pareto", "studies"),
}
"""Functions of the library that are verbs as they are: `verb` is put around them when they are first asked for."""
_LAZY = {name: module for module, names in {**_OF, **_VERBS_OF}.items() for name in names}
__all__ = [
    "OfframpError", "Optimizer", "Unreadable", "__version__", "cascades", "check", "check_space", "compare",
    "copy_example", "diff", "dry_run", "export", "history", "init", "lm", "load", "load_cascade", "load_messages",
    "migrate", "optimize", "pareto", "plan_verify", "promote", "read_value", "replay", "report", "review", "rollback",
    "scan", "show_requests", "studies", "verify", "watch",
]  # fmt: skip


class _Offramp(ModuleType):
    """This package, in which `promote` and `review` are the functions, and not the folders of the same names.

    Python sets a folder as an attribute once a module in it is imported; `from offramp.promote import ...` finds it
    without that.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Offramp


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LAZY[name]), name)
    if _LAZY[name] in _VERBS_OF:
        from offramp.verbs.calling import verb

        value = globals()[name] = verb(value)
    return value
