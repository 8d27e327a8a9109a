#!/usr/bin/env python3
"""Figures on how a package is cut up: `python tools/structure.py [PATH] [--json]`, PATH being src/offramp by default.

How each is counted:
    code            lines that are not blank, not a comment, and not part of a docstring
    function        every `def`, methods and nested ones included, from `def` to its last line, docstring included
    private         a function whose name starts with one underscore
    one call site   a private function whose name occurs in its file just once besides its `def`
    most arguments  of one function, `*args` and `**kwargs` included, `self` and `cls` not
    import cycles   groups of modules that reach one another, once by what is imported with the module and once by
                    every import, also those inside functions and under TYPE_CHECKING
The p-th percentile of n sorted values is the one at position floor(p * n).
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = dict[str, set[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One file."""

    name: str
    package: str
    text: str
    tree: ast.Module

    @property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is printed; the JSON keys are the names."""

    files: int
    lines: int
    code_lines: int
    functions: int
    function_median: float
    function_p90: int
    function_max: int
    functions_over_60: int
    file_median: float
    file_p90: int
    file_max: int
    private_functions: int
    one_call_site: int
    one_call_site_share: float
    one_call_site_up_to_5_lines: int
    private_up_to_5_lines: int
    most_arguments: int
    largest_class: int
    import_cycles: list[list[str]]
    import_cycles_any_import: list[list[str]]


def read_package(root: Path) -> list[Module]:
    """Every Python file below `root`, named as it is imported."""
    modules = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = [root.resolve().name, *path.relative_to(root).with_suffix("").parts]
        inside = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if inside else parts)
        package = name if inside else name.rpartition(".")[0]
        modules.append(Module(name=name, package=package, text=text, tree=ast.parse(text)))
    return modules


def length(node: Function | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def arguments(function: Function) -> int:
    args = function.args
    named = [arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs) if arg.arg not in ("self", "cls")]
    return len(named) + (args.vararg is not None) + (args.kwarg is not None)


def code_lines(module: Module) -> int:
    lines = {n for n, line in enumerate(module.text.splitlines(), 1) if line.strip() and line.lstrip()[0] != "#"}
    for node in ast.walk(module.tree):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


def percentile(values: Sequence[int], share: float) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def imports(module: Module, known: set[str], *, every: bool) -> set[str]:
    """Modules of the package that `module` imports: at its top level, or with `every` anywhere."""
    found = set()
    for node in _import_nodes(module.tree.body, every):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            above = ".".join(module.package.split(".")[: len(module.package.split(".")) - node.level + 1])
            base = f"{above}.{base}".rstrip(".")
        found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return (found & known) - {module.name}


def _import_nodes(body: Sequence[ast.AST], every: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and not every and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _import_nodes(node.orelse, every)
        elif every or not isinstance(node, Function | ast.Lambda):
            yield from _import_nodes(list(ast.iter_child_nodes(node)), every)


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of two or more modules each of which reaches all others of its group."""
    reach = {name: _reached(graph, name) for name in graph}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in graph[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


def figures(modules: Sequence[Module]) -> Figures:
    """All of it."""
    functions = [(module, function) for module in modules for function in module.functions]
    lengths = [length(function) for _, function in functions]
    private = [(m, f) for m, f in functions if f.name.startswith("_") and not f.name.startswith("__")]
    once = [f for m, f in private if len(re.findall(rf"\b{f.name}\b", m.text)) == 2]
    files = [len(module.text.splitlines()) for module in modules]
    classes = [length(node) for m in modules for node in ast.walk(m.tree) if isinstance(node, ast.ClassDef)]
    known = {module.name for module in modules}
    return Figures(
        files=len(files),
        lines=sum(files),
        code_lines=sum(map(code_lines, modules)),
        functions=len(lengths),
        function_median=statistics.median(lengths),
        function_p90=percentile(lengths, 0.9),
        function_max=max(lengths),
        functions_over_60=sum(n > 60 for n in lengths),
        file_median=statistics.median(files),
        file_p90=percentile(files, 0.9),
        file_max=max(files),
        private_functions=len(private),
        one_call_site=len(once),
        one_call_site_share=round(len(once) / len(lengths), 4),
        one_call_site_up_to_5_lines=sum(length(f) <= 5 for f in once),
        private_up_to_5_lines=sum(length(f) <= 5 for _, f in private),
        most_arguments=max(arguments(function) for _, function in functions),
        largest_class=max(classes, default=0),
        import_cycles=cycles({m.name: imports(m, known, every=False) for m in modules}),
        import_cycles_any_import=cycles({m.name: imports(m, known, every=True) for m in modules}),
    )


def table(f: Figures) -> str:
    rows = [
        ("files", f"{f.files}"),
        ("lines / code", f"{f.lines:,} / {f.code_lines:,}"),
        ("functions", f"{f.functions:,}"),
        ("function length, median / p90 / max", f"{f.function_median:g} / {f.function_p90} / {f.function_max}"),
        ("functions above 60 lines", f"{f.functions_over_60}"),
        ("file length, median / p90 / max", f"{f.file_median:g} / {f.file_p90} / {f.file_max}"),
        ("private functions", f"{f.private_functions:,}"),
        ("  of five lines or fewer", f"{f.private_up_to_5_lines}"),
        ("  with one call site", f"{f.one_call_site} ({f.one_call_site_share:.1%} of all functions)"),
        ("  with one call site and five lines or fewer", f"{f.one_call_site_up_to_5_lines}"),
        ("most arguments", f"{f.most_arguments}"),
        ("largest class, lines", f"{f.largest_class}"),
        ("import cycles", f"{len(f.import_cycles)}"),
        ("import cycles, every import counted", f"{len(f.import_cycles_any_import)}"),
    ]
    lines = [f"{name:<46}{value}" for name, value in rows]
    lines += [f"  cycle: {' '.join(group)}" for group in f.import_cycles_any_import]
    return "\n".join(lines)


def main() -> None:
    here = Path(__file__).resolve().parent.parent / "src" / "offramp"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=here, help="folder of a package (default: src/offramp)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the table")
    options = parser.parse_args()
    modules = read_package(options.path)
    if not any(module.functions for module in modules):
        parser.error(f"{options.path}: got no Python file with a function; expected the folder of a package")
    result = figures(modules)
    print(json.dumps(asdict(result)) if options.json else table(result))


if __name__ == "__main__":
    main()
