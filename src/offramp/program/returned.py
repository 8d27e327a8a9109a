"""What a module of one's own returns, as far as its source shows before it runs.

Only what fails in every run is refused: a generator, a function that returns nothing, and answers all of which lack an
output of the task. What cannot be read from the source shows when it runs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import dspy

from offramp.program.module import entry_of


def refused_return(module: dspy.Module, outputs: Collection[str]) -> tuple[str, str] | None:
    """Where the module returns what no run can use (`own.py:12`), and why; None where that cannot be seen."""
    if (source := _source_of(module)) is None:
        return None
    file, first, body = source.file, source.first, source.body
    name = body.name
    wanted = f"Return dspy.Prediction({', '.join(f'{output}=...' for output in outputs)})"
    if (line := next((n.lineno for n in _own(body) if isinstance(n, ast.Yield | ast.YieldFrom)), None)) is not None:
        return f"{file}:{first + line - 1}", f"`{name}` yields, and a run needs one whole answer. {wanted}"
    found = [node for node in _own(body) if isinstance(node, ast.Return)]
    given = [node for node in found if node.value is not None]
    if not given and not any(isinstance(node, ast.Raise) for node in _own(body)):
        return f"{file}:{first + body.lineno - 1}", f"`{name}` returns nothing. {wanted}"
    wrong = [why for node in given if (why := _wrong(node.value, outputs)) is not None]
    if not given or len(wrong) < len(given):
        return None
    return f"{file}:{first + given[0].lineno - 1}", f"`{name}` returns {wrong[0]}. {wanted}"


def returned_names(module: dspy.Module) -> list[str]:
    """Names of the fields that the module's own code is seen to return, in order; none where it is DSPy's."""
    source = _source_of(module)
    found = [] if source is None else [node.value for node in _own(source.body) if isinstance(node, ast.Return)]
    return list(dict.fromkeys(name for value in found for name in _names_in(value) or () if name is not None))


def computed_names(module: dspy.Module) -> set[str]:
    """Names of the outputs that the module's own code is seen to make otherwise than by handing on one of the name."""
    source = _source_of(module)
    if source is None:
        return set()
    body, found = source.body, set()
    for node in _own(body):
        if isinstance(node, ast.Assign | ast.AugAssign):  # `found.answer = ...` before `return found`
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name for target in targets if (name := _field_of(target)) and _field_of(node.value) != name}
        elif isinstance(node, ast.Return) and node.value is not None:
            found |= {name for name, value in _written_out(node.value) if not _hands_on(name, value, body)}
    return found


def _written_out(value: ast.expr) -> list[tuple[str, ast.expr]]:
    """(name, value) of the fields of a prediction or dict that is written out."""
    if isinstance(value, ast.Call) and _last_name(value.func) == "Prediction":
        return [(keyword.arg, keyword.value) for keyword in value.keywords if keyword.arg is not None]
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return [(str(key.value), inner) for key, inner in pairs if isinstance(key, ast.Constant)]
    return []


def _hands_on(name: str, value: ast.expr, body: ast.AST) -> bool:
    """Whether a value is the field of this name of something else, also by way of a variable."""
    if not isinstance(value, ast.Name):
        return _field_of(value) == name
    given = [
        node.value
        for node in _own(body)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == value.id for target in node.targets)
    ]
    return bool(given) and all(_field_of(each) == name for each in given)


def _field_of(node: ast.expr) -> str | None:
    """`answer` of `found.answer` and `found["answer"]`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A module's `forward` or `aforward`: name of its file, its first line there, and its syntax."""

    file: str
    first: int
    body: ast.FunctionDef | ast.AsyncFunctionDef


def _source_of(module: dspy.Module) -> _Source | None:
    function = inspect.unwrap(getattr(type(module), entry_of(module) or "forward"))
    if str(getattr(function, "__module__", "dspy")).partition(".")[0] == "dspy":
        return None
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        file = Path(inspect.getsourcefile(function) or "").name
    except (OSError, TypeError, SyntaxError):  # typed into a console
        return None
    if not tree.body or not isinstance(body := tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return _Source(file=file, first=first, body=body)


def _own(body: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions inside it."""
    for node in ast.iter_child_nodes(body):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            yield from _own(node)


def _wrong(value: ast.expr | None, outputs: Collection[str]) -> str | None:
    """What is wrong with a value that is returned; None where nothing is, or it cannot be seen."""
    if isinstance(value, ast.List | ast.Tuple | ast.Set | ast.ListComp):
        return {"Tuple": "a tuple", "Set": "a set"}.get(type(value).__name__, "a list")
    names = _names_in(value)
    if names is None or None in names:
        return None
    missing = [output for output in outputs if output not in names]
    if not missing:
        return None
    given = [name for name in names if name is not None]
    return f"{', '.join(given) or 'no field'}, and the task wants {', '.join(missing)}"


def _names_in(value: ast.expr | None) -> list[str | None] | None:
    """Fields of a prediction or dict that is written out, None for each with a computed name; None for else."""
    if isinstance(value, ast.Call) and not value.args and _last_name(value.func) == "Prediction":
        return [keyword.arg for keyword in value.keywords]
    if isinstance(value, ast.Dict):
        return [k.value if isinstance(k, ast.Constant) and isinstance(k.value, str) else None for k in value.keys]
    return None


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
