"""offramp: search prompts, models and parameters of DSPy programs for the best trade of quality, cost and latency.

Importing this package loads none of dspy, litellm, optuna, pandas or torch; the functions below load what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offramp.lifecycle.migration import migrate
    from offramp.lifecycle.scan import scan
    from offramp.lifecycle.watch_report import watch
    from offramp.program.reading import Unreadable, read_value
    from offramp.program.routing import lm
    from offramp.promote.cascade_loading import load_cascade
    from offramp.promote.loading import load, load_messages
    from offramp.review.report_file import report
    from offramp.search.api import optimize
    from offramp.search.cascades import cascades
    from offramp.search.replay import replay
    from offramp.study.lookup import compare, pareto

__version__ = "0.1.0"
__all__ = [
    "Unreadable",
    "__version__",
    "cascades",
    "compare",
    "lm",
    "load",
    "load_cascade",
    "load_messages",
    "migrate",
    "optimize",
    "pareto",
    "read_value",
    "replay",
    "report",
    "scan",
    "watch",
]

_LAZY = {
    "Unreadable": "offramp.program.reading",
    "cascades": "offramp.search.cascades",
    "compare": "offramp.study.lookup",
    "lm": "offramp.program.routing",
    "load_cascade": "offramp.promote.cascade_loading",
    "load": "offramp.promote.loading",
    "load_messages": "offramp.promote.loading",
    "migrate": "offramp.lifecycle.migration",
    "optimize": "offramp.search.api",
    "pareto": "offramp.study.lookup",
    "read_value": "offramp.program.reading",
    "scan": "offramp.lifecycle.scan",
    "watch": "offramp.lifecycle.watch_report",
    "replay": "offramp.search.replay",
    "report": "offramp.review.report_file",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
