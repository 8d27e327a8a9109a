"""Python code of the user's own: where it is imported from, and which files it is made of.

A space file may name a module or a metric. Their code is found in the folder of the space file, in its project (the
nearest folder upward with `pyproject.toml` or `.git`), in the working directory, and in the `src` of both. It stays
importable afterwards, so that an import inside a function works while a job runs. What was imported for another space
file, or has been edited since, is imported again.

Invariant: `local_code` reads files and runs none of them.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from offramp.errors import nearest
from offramp.ids import content_hash

_MARKS = ("pyproject.toml", ".git")
_NOT_LOCAL = {*sys.stdlib_module_names, "offramp"}
_OFFRAMP = str(Path(__file__).parents[1])
_INSTALLED = {"site-packages", "dist-packages"}
_ONE_AT_A_TIME = threading.RLock()
"""Importing changes what all threads import from."""
_users: ContextVar[bool] = ContextVar("offramp_users_code", default=False)
_known: ContextVar[dict[Path, ModuleType] | None] = ContextVar("offramp_imported_files", default=None)
_RUN = "_offramp_"
"""How names of files that were run begin."""


def project_of(base: Path) -> Path | None:
    """The nearest folder upward that is a project; None where none is."""
    folders = (base.resolve(), *base.resolve().parents)
    return next((folder for folder in folders if any((folder / mark).exists() for mark in _MARKS)), None)


def import_folders(base: Path, file: Path | None = None) -> tuple[Path, ...]:
    """Folders that code is imported from, the first first.

    Args:
        base: the folder of the space file.
        file: the code's own file, where it is named by its path.
    """
    project = project_of(base)
    found = [file.resolve().parent] if file is not None else []
    found += [base.resolve(), *([project, project / "src"] if project is not None else [])]
    with contextlib.suppress(OSError):  # the working directory was deleted
        found += [Path.cwd(), Path.cwd() / "src"]
    return tuple(dict.fromkeys(folder for folder in found if folder.is_dir()))


def import_code(source: str, base: Path) -> ModuleType:
    """The module `package.module`, or the file `path.py` relative to `base`, which is run again.

    Within `importing_once` a file is run once, unless code that ran before has imported it by its name.

    Raises:
        Exception: whatever the user's code raises.
    """
    with _ONE_AT_A_TIME, users_code():
        return _import_code(source, base)


@contextlib.contextmanager
def importing_once(known: dict[Path, ModuleType]) -> Iterator[None]:
    """Whoever names a file in here gets the same module: a metric compares with the classes that the program gives.

    Args:
        known: by file, those that were run; more are added.
    """
    token = _known.set(known)
    try:
        yield
    finally:
        _known.reset(token)


@contextlib.contextmanager
def users_code() -> Iterator[None]:
    """While code of the user's is imported, or an object of it made: `in_users_code` is true here."""
    token = _users.set(True)
    try:
        yield
    finally:
        _users.reset(token)


def in_users_code() -> bool:
    """Whether code of the user's is imported here, or an object of it made."""
    return _users.get()


def _import_code(source: str, base: Path) -> ModuleType:
    file = (base / source).resolve() if source.endswith(".py") else None
    folders = import_folders(base, file)
    _forget_others(folders)
    before, written, others = dict(sys.modules), sys.dont_write_bytecode, dict(_LATER.names)
    _LATER.names.clear()
    with importable(*folders):
        try:
            sys.dont_write_bytecode = True  # a cache misses an edit of equal length within the same second
            module = importlib.import_module(source) if file is None else _run_once(file)
        finally:
            sys.dont_write_bytecode = written
            _LATER.names.update(others)
            _remember(before, folders)
    names = _closure(files_of(module), folders)[1]
    _foreign.update(name for name in names & before.keys() if name not in _imported)
    _LATER.add(names, folders)
    return module


def _run_once(file: Path) -> ModuleType:
    known = _known.get()
    if known is None:
        return run_file(file)
    if file not in known:
        named = (one.module for name, one in _imported.items() if one.place == file and _is_named(name, one.module))
        known[file] = next(named, None) or run_file(file)
    return known[file]


def _is_named(name: str, module: ModuleType) -> bool:
    """Whether code imports the module by a name of its own."""
    return sys.modules.get(name) is module and not name.startswith(_RUN)


def why_not_imported(error: BaseException, source: str, base: Path) -> str:
    """Why `import_code` failed, in words: the exception, where it was raised, and what may help."""
    file = base / source if source.endswith(".py") else None
    places = [
        f"{Path(frame.filename).name}, line {frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file() and not is_installed(Path(frame.filename)) and _OFFRAMP not in frame.filename
    ]  # fmt: skip
    text = f"{type(error).__name__}: {error}" + (f" ({places[-1]})" if places else "")
    if isinstance(error, ModuleNotFoundError):
        folders = import_folders(base, file)
        names = {name.removesuffix(".py") for folder in folders for name in _names(folder)}
        near = nearest((error.name or "").partition(".")[0], (name for name in names if name.isidentifier()))
        looked = ", ".join(map(str, folders))
        text += f". {near or f'Install it, or put it into one of the folders where it is looked for: {looked}'}"
    elif (do := of_missing_file(error)) is not None:
        text += f". {do}"
    return text


def of_missing_file(error: BaseException) -> str | None:
    """What to do where the code opens a file that is missing; None where that is not it."""
    if not isinstance(error, FileNotFoundError) or not error.filename:
        return None
    path = Path(str(error.filename))
    return nearest(path.name, _names(path.parent)) or "Make the file, or correct the path in the code."


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


@contextlib.contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """With the folders at the front of the import path."""
    before = list(sys.path)
    sys.path[:0] = [str(folder.resolve()) for folder in folders]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


class _Fresh(SourceFileLoader):
    """Reads the source every time: a bytecode cache misses an edit of equal length within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def run_file(file: Path) -> ModuleType:
    """Runs a file again under a name of its own, so that two files with the same name do not clash.

    A file with relative imports has the name that its package gives it.
    """
    package = _package_of(file)
    if package is None:
        name = f"{_RUN}{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    else:
        name = ".".join((*file.relative_to(package).parent.parts, file.stem))
    spec = importlib.util.spec_from_file_location(name, file, loader=_Fresh(name, str(file)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    with importable(*([package] if package is not None else [])):
        if package is not None:
            importlib.import_module(name.rpartition(".")[0])
            _keep_folders(sys.modules[name.partition(".")[0]])
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and typing look a module up by its name while it runs
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _package_of(file: Path) -> Path | None:
    """The folder from which the package of a file with relative imports is imported; None where it has none."""
    levels = [node.level for node in _imports(file) if isinstance(node, ast.ImportFrom)]
    if not any(levels):
        return None
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    highest = file.parents[min(max(levels), len(file.parents) - 1)]
    return min(folder, highest, key=lambda path: len(path.parts))


# ------------------------------------------------------------------------------------------- what stays importable


@dataclass(frozen=True, slots=True)
class _Imported:
    """A module of a user's, as it was imported."""

    module: ModuleType
    place: Path
    state: str | None
    folders: tuple[Path, ...]


_imported: dict[str, _Imported] = {}
_foreign: set[str] = set()
"""Top-level names that somebody else had imported before: they stay as they are."""


def _remember(before: Mapping[str, ModuleType], folders: tuple[Path, ...]) -> None:
    for name, module in list(sys.modules.items()):
        place = None if before.get(name) is module else _place_of(module)
        if place is not None and not is_installed(place) and name.partition(".")[0] not in _NOT_LOCAL:
            _keep_folders(module)
            _imported[name] = _Imported(module, place, _state_of(place), folders)


def _forget_others(folders: tuple[Path, ...]) -> None:
    """Forgets what was imported for another place, or has been edited, or by running code: it is imported again.

    With one edited module go all that were imported from the same folders: they hold on to what it was.
    """
    importlib.invalidate_caches()
    tops = {name.partition(".")[0] for name in (*_imported, *_LATER.names)} - _foreign
    mine = {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in tops}
    known = {name: one for name, one in _imported.items() if mine.get(name) is one.module}
    edited = {one.folders for one in known.values() if _state_of(one.place) != one.state}
    paths = [str(folder) for folder in folders]
    places = {top: _place(PathFinder.find_spec(top, paths)) for top in {name.partition(".")[0] for name in mine}}
    for name in mine:
        one, place = known.get(name), places[name.partition(".")[0]]
        clashes = one is not None and bool(place) and not any(one.place.is_relative_to(path) for path in place)
        if one is None or one.folders in edited or clashes:
            del sys.modules[name]
            _imported.pop(name, None)


def _keep_folders(module: ModuleType) -> None:
    """Keeps Python from looking for a package without `__init__` again once the import path is what it was."""
    if getattr(module, "__file__", None) is None:
        module.__path__ = [*module.__path__]


def _state_of(place: Path) -> str | None:
    """Content hash of a file; None for a folder, and for a file that does not exist."""
    return text_hash(place) if place.is_file() else None


def _place_of(module: ModuleType) -> Path | None:
    """The file of a module, or the folder of a package that has no file."""
    folders = [*getattr(module, "__path__", [])] if getattr(module, "__file__", None) is None else []
    return Path(folders[0]).resolve() if folders else _file_of(module)


def _place(spec: ModuleSpec | None) -> list[Path]:
    """The file of a module, or the folders of a package; empty where there is none."""
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(path).resolve() for path in spec.submodule_search_locations]
    return [Path(spec.origin).resolve()] if spec.origin else []


@dataclass(slots=True)
class _Finder:
    """Finds what a user's code imports after it was itself imported: names that are known to be its own first."""

    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, names: Iterable[str], folders: Sequence[Path]) -> None:
        """These names come from these folders from now on."""
        paths = tuple(str(folder) for folder in folders)
        self.names.update(dict.fromkeys(names, paths))
        _LAST.paths = tuple(dict.fromkeys((*paths, *_LAST.paths)))
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
            sys.meta_path.append(_LAST)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Of a top-level name that is known."""
        return _found(name, self.names[name]) if path is None and name in self.names else None


@dataclass(slots=True)
class _LastFinder:
    """Finds in the same folders what nobody else knows, such as a plugin that is imported by a name from a file."""

    paths: tuple[str, ...] = ()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Of a top-level name."""
        spec = _found(name, self.paths) if path is None else None
        if spec is not None:
            _LATER.names[name] = self.paths
        return spec


def _found(name: str, paths: Sequence[str]) -> ModuleSpec | None:
    spec = PathFinder.find_spec(name, paths)
    if spec is not None and spec.submodule_search_locations is not None:
        spec.submodule_search_locations = [*spec.submodule_search_locations]
    return spec


_LATER, _LAST = _Finder(), _LastFinder()


# ---------------------------------------------------------------------------------------- which files it is made of


def text_hash(file: Path) -> str:
    """Content hash of a source file."""
    return content_hash(file.read_bytes().decode("utf-8", "backslashreplace"))


def is_installed(file: Path) -> bool:
    """Whether it belongs to a package that is installed, or to Python itself."""
    standard = Path(sysconfig.get_paths()["stdlib"])
    return bool(_INSTALLED & set(file.parts)) or file.is_relative_to(standard)


def files_of(module: ModuleType) -> tuple[Path, ...]:
    """The file of a module, and those of the packages that it is in."""
    parents = module.__name__.split(".")[:-1]
    packages = [sys.modules.get(".".join(parents[: i + 1])) for i in range(len(parents))]
    return tuple(file for each in (module, *packages) if (file := _file_of(each)) is not None)


def local_code(starts: Iterable[Path], folders: Sequence[Path]) -> dict[Path, str]:
    """Content hash by file: of these, and of every file of the user's own that they import.

    Imports through other files and inside functions count. Packages that are installed are left out, and so are empty
    files, and what is imported by a name that only running code knows.
    """
    return {file: text_hash(file) for file in _closure(starts, folders)[0] if file.read_bytes().strip()}


def _closure(starts: Iterable[Path], folders: Sequence[Path]) -> tuple[tuple[Path, ...], set[str]]:
    """Source files, and the top-level names by which they import the user's own code."""
    importlib.invalidate_caches()
    todo = [file.resolve() for file in starts]
    seen, names = set(todo), set()
    while todo:
        for name, path in _imported_by(todo.pop(), folders):
            names |= {name} if name else set()
            if path is not None and path not in seen:
                seen.add(path)
                todo.append(path)
    return tuple(sorted(seen)), names


def _imported_by(file: Path, folders: Sequence[Path]) -> Iterator[tuple[str, Path | None]]:
    """(top-level name, file) for every file of the user's own that a file imports.

    The name is empty for a relative import, and the file None for a package without one.
    """
    for node in _imports(file):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = file.parents[min(node.level, len(file.parents)) - 1]
            parts = node.module.split(".") if node.module else []
            yield from (("", path) for path in _own_init(start))
            for alias in node.names:
                yield from (("", path) for path in _along(start, [*parts, alias.name]))
            continue
        for name in _absolute(node):
            top = name.partition(".")[0]
            folder = None if top in _NOT_LOCAL else _folder_of(top, folders)
            if folder is not None:
                yield top, None
                yield from ((top, path) for path in _along(folder, name.split(".")))


def _absolute(node: ast.AST) -> list[str]:
    """The dotted names that one statement or call may import: `from a import b` may import a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
        return [str(node.args[0].value)]
    return []


def _imports(file: Path) -> Iterator[ast.AST]:
    """Import statements of a file, and calls of `import_module` with a name as text; none where it is not Python."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node


def _folder_of(top: str, folders: Sequence[Path]) -> Path | None:
    """The folder from which a top-level name is imported; None where it is not the user's own."""
    paths = [*map(str, folders), *(path for path in sys.path if path)]
    spec = None
    with contextlib.suppress(Exception):  # finders of installed packages may raise anything
        spec = PathFinder.find_spec(top, paths) or importlib.util.find_spec(top)
    place = _place(spec)
    return None if not place or is_installed(place[0]) else place[0].parent


def _along(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The files that importing a dotted name from a folder runs."""
    for part in parts:
        if (folder / f"{part}.py").is_file() and not (folder / part / "__init__.py").is_file():
            yield folder / f"{part}.py"
            return
        folder = folder / part
        yield from _own_init(folder)


def _own_init(folder: Path) -> Iterator[Path]:
    """The files that importing a package runs: its own and those of the packages around it."""
    while (folder / "__init__.py").is_file():
        yield folder / "__init__.py"
        folder = folder.parent


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) and Path(file).is_file() else None
