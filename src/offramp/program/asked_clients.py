"""Clients beside DSPy by which a module of one's own asks models, as far as its source shows before it runs.

Looked at is what `forward` and `aforward` reach: methods of the module and functions of its file. What only shows when
the code runs is refused at its first request (`clients.py`).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dspy

_ASKS: Mapping[str, frozenset[str]] = {
    "litellm": frozenset({"completion", "acompletion", "text_completion", "responses", "aresponses"}),
    "openai": frozenset({"completions", "responses"}),
    "anthropic": frozenset({"messages", "completions"}),
    "mistralai": frozenset({"complete", "complete_async", "stream"}),
    "groq": frozenset({"completions"}),
    "together": frozenset({"completions"}),
    "cohere": frozenset({"chat", "generate"}),
    "ollama": frozenset({"chat", "generate"}),
    "xai_sdk": frozenset({"chat"}),
    "google": frozenset({"generate_content", "generate_content_async", "send_message"}),
}  # fmt: skip
"""Names by package, one of which is in the expression of a call that asks a model."""


def refused_clients(module: dspy.Module) -> Iterator[tuple[str, str]]:
    """Where the module asks a model by another client (`own.py:12`), and why its calls could not be counted."""
    held = {
        name: package
        for _, part in [("self", module), *module.named_sub_modules()]
        for name, value in vars(part).items()
        if (package := _package(value)) is not None
    }
    for function in _reached(module):
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):  # typed into a console, or a lambda inside of a line
            continue
        holders = _holders(tree, function)
        for node in ast.walk(tree):
            package = _asked(node, holders, held) if isinstance(node, ast.Call) else None
            if package is not None:
                where = f"{Path(inspect.getsourcefile(function) or '').name}:{first + node.lineno - 1}"  # type: ignore[attr-defined]
                do = "Ask it through DSPy: dspy.Predict, dspy.LM or offramp.lm(NAME)"
                yield where, f"the program asks a model by {package}, where no budget would count it. {do}"


def _asked(call: ast.Call, holders: Mapping[str, str], held: Mapping[str, str]) -> str | None:
    """The package whose client asks a model in this call; None where none does."""
    names, root = _chain(call.func)
    package = holders.get(root)
    if package is None and root == "self" and names:
        package = held.get(names[0])
    return package if package is not None and _ASKS[package] & {root, *names} else None


def _chain(node: ast.expr) -> tuple[list[str], str]:
    """`self.client.chat.completions.create` as its attributes in order, and `self`."""
    names: list[str] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
        if not isinstance(node, ast.Attribute | ast.Subscript | ast.Await | ast.Call):
            return names, ""
        node = node.func if isinstance(node, ast.Call) else node.value
    return names, node.id


def _holders(tree: ast.AST, function: types.FunctionType) -> dict[str, str]:
    """Names within a function that stand for a client's package, one of its clients, or a function of it."""
    found = {name: package for name, value in function.__globals__.items() if (package := _package(value)) is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = "" if isinstance(node, ast.Import) else node.module or ""
            for alias in node.names:
                if (package := (source or alias.name).partition(".")[0]) in _ASKS:
                    found[alias.asname or alias.name.partition(".")[0]] = package
    for node in ast.walk(tree):
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.With | ast.AsyncWith):
            pairs = [(item.optional_vars, item.context_expr) for item in node.items]
        for target, value in pairs:
            if isinstance(target, ast.Name) and (package := found.get(_chain(value)[1])) is not None:
                found[target.id] = package
    return found


def _package(value: Any) -> str | None:
    """The package of clients that a value is of; None for all others."""
    if isinstance(value, types.ModuleType):
        name = value.__name__
    elif isinstance(value, type | types.FunctionType):
        name = str(value.__module__)
    else:
        name = type(value).__module__
    package = str(name).partition(".")[0]
    return package if package in _ASKS else None


def _reached(module: dspy.Module) -> list[types.FunctionType]:
    """The user's own functions that a run reaches: forward, aforward, and what they name, of the class or the file."""
    methods: dict[str, list[types.FunctionType]] = {}
    for kind in {type(part): None for _, part in [("", module), *module.named_sub_modules()]}:
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if method.__module__.partition(".")[0] != "dspy":
                methods.setdefault(name, []).append(method)
    todo = [each for name in ("forward", "aforward") for each in methods.get(name, ())]
    reached: list[types.FunctionType] = []
    while todo:
        function = todo.pop()
        if function in reached:
            continue
        reached.append(function)
        for name in _names(function.__code__):
            other = function.__globals__.get(name)
            if inspect.isfunction(other) and other.__globals__ is function.__globals__:
                todo.append(other)
            todo += methods.get(name, ())
    return reached


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
