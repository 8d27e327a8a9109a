"""The page of the Python functions, from their signatures and docstrings: docs/python.md is never written by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import offramp

BEGIN, END = "<!-- begin generated -->", "<!-- end generated -->"
GROUPS = {
    "Search and studies": (
        "optimize", "Optimizer", "dry_run", "studies", "pareto", "verify", "plan_verify", "compare", "report", "review",
        "cascades", "replay",
    ),
    "Promotions": (
        "promote", "check", "rollback", "history", "diff", "export", "watch", "scan", "migrate",
    ),
    "In an app": ("load", "load_messages", "load_cascade", "lm", "read_value", "Unreadable"),
    "Space files": ("init", "copy_example", "check_space", "show_requests"),
    "Errors": ("OfframpError",),
}  # fmt: skip
"""Every name of `offramp.__all__`, in the order of the page; others are left out."""


def filled(page: str) -> str:
    """The page with its generated part as the code is now."""
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{_reference()}\n{END}{rest.partition(END)[2]}"


def _reference() -> str:
    parts = []
    for title, names in GROUPS.items():
        parts.append(f"\n## {title}\n")
        parts += [_entry(name, getattr(offramp, name)) for name in names if name in offramp.__all__]
    return "\n".join(parts)


def _entry(name: str, value: Any) -> str:
    about = inspect.getdoc(value) or ""
    called = _signature(name, value) if callable(value) and not _is_error(value) else f"offramp.{name}"
    prose = "\n".join(_prose(about))
    if (compiling := getattr(value, "compile", None)) is not None:
        told = "\n".join(_prose(inspect.getdoc(compiling) or ""))
        prose += f"\n\n```python\n{_signature(f'{name}.compile', compiling)}\n```\n\n{told}"
    return f"### {name}\n\n```python\n{called}\n```\n\n{prose}\n"


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _signature(name: str, value: Any) -> str:
    known = inspect.signature(value).parameters.values()
    parameters, kinds = [_parameter(p) for p in known], [p.kind for p in known]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    whole = f"offramp.{name}({', '.join(parameters)})"
    return whole if len(whole) <= 100 else f"offramp.{name}(\n    " + ",\n    ".join(parameters) + ",\n)"


def _parameter(one: inspect.Parameter) -> str:
    mark = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    typed = "" if one.annotation is one.empty else f": {one.annotation}"
    given = "" if one.default is one.empty else f"{' = ' if typed else '='}{one.default!r}"
    return f"{mark}{one.name}{typed}{given}"


def _prose(about: str) -> Iterator[str]:
    """A docstring as Markdown: the items of its sections as a list."""
    inside = False
    for line in about.splitlines():
        if re.fullmatch(r"(Args|Raises|Returns|Attributes):", line):
            inside = True
            yield f"**{line[:-1]}**\n"
        elif not line.strip():
            yield ""
        elif inside and (item := re.fullmatch(r"    (\S[^:]*): (.*)", line)):
            yield f"- `{item[1]}`: {item[2]}"
        else:
            inside = inside and line.startswith(" ")
            yield f"  {line.strip()}" if line.startswith("        ") else line.strip()
