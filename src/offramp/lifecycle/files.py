"""The files of an app worth reading: its own source and configuration.

Invariant: no symbolic link is followed, nothing outside the named folder is read, and a file that cannot be read is
counted, not passed over in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 1_000_000

_SKIPPED_FOLDERS = frozenset(
    {
        "node_modules", "bower_components", "site-packages", "__pycache__", "venv", "env", "dist", "build", "target",
        "vendor", "third_party", "coverage", "htmlcov", ".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea",
        ".next", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".terraform",
        ".eggs", ".gradle",
    }
)  # fmt: skip
_SOURCE = frozenset(
    {
        ".py", ".pyi", ".ipynb", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".vue", ".svelte", ".go", ".rs",
        ".rb", ".php", ".java", ".kt", ".kts", ".scala", ".groovy", ".cs", ".fs", ".vb", ".swift", ".m", ".c", ".cc",
        ".cpp", ".h", ".hpp", ".ex", ".exs", ".erl", ".clj", ".lua", ".r", ".jl", ".dart", ".sh", ".bash", ".zsh",
        ".ps1", ".sql", ".yaml", ".yml", ".toml", ".json", ".json5", ".jsonc", ".ini", ".cfg", ".conf", ".properties",
        ".env", ".tf", ".tfvars", ".hcl", ".xml", ".gradle", ".jinja", ".j2", ".tpl", ".prompt", ".baml", ".bicep",
    }
)  # fmt: skip
_NAMES = frozenset({"Dockerfile", "Makefile", "Procfile", "Justfile", "Jenkinsfile", ".env", ".envrc"})
_LOCKS = frozenset({"package-lock.json", "composer.lock", "pnpm-lock.yaml", "npm-shrinkwrap.json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFile:
    """One file, read.

    Attributes:
        path: relative to the folder that was named, with forward slashes.
        text: None where it could not be read or is not text.
    """

    path: str
    text: str | None


def app_files(root: Path) -> Iterator[AppFile]:
    """The source and configuration files below a folder (or the one file that is named), in a stable order."""
    if root.is_file():
        yield _read(root, root.name)
        return
    for folder, names, files in os.walk(root, followlinks=False):
        names[:] = sorted(name for name in names if name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            path = Path(folder) / name
            if _is_wanted(name) and not path.is_symlink() and path.is_file():
                yield _read(path, path.relative_to(root).as_posix())


def _is_wanted(name: str) -> bool:
    if name in _LOCKS or name.endswith((".min.js", ".map")):
        return False
    return name in _NAMES or name.startswith((".env.", "Dockerfile.")) or Path(name).suffix.lower() in _SOURCE


def _read(path: Path, shown: str) -> AppFile:
    try:
        if path.stat().st_size > MOST_BYTES:
            return AppFile(path=shown, text=None)
        content = path.read_bytes()
    except OSError:
        return AppFile(path=shown, text=None)
    if b"\0" in content[:8192]:
        return AppFile(path=shown, text=None)
    return AppFile(path=shown, text=content.decode("utf-8", "replace"))
