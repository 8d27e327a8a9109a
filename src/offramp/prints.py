"""What code of the user's prints goes to stderr: stdout has what a command says, such as its JSON, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def prints_aside() -> Iterator[None]:
    """While a command runs: what a module, a metric, a check or a tool of the user's prints is written to stderr."""
    before = sys.stdout
    sys.stdout = _Aside(before)
    try:
        yield
    finally:
        if isinstance(sys.stdout, _Aside):
            sys.stdout = before


class _Aside:
    """A stream that sends what the user's code writes to stderr; in all else the stream that it stands for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def write(self) -> Callable[[str], int]:
        """What writes. Who takes it within code of the user's keeps it: tqdm writes again when a bar is collected."""
        return _write_aside if _of_the_user() else self._write

    def _write(self, text: str) -> int:
        return _write_aside(text) if _of_the_user() else int(self._stream.write(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def _write_aside(text: str) -> int:
    return int(sys.stderr.write(text))


def _of_the_user() -> bool:
    """Whether code of the user's is imported, made or run here; what would do so may not be loaded yet."""
    code, engine = (sys.modules.get(f"offramp.{name}") for name in ("task.local_code", "program.engine"))
    imports = code is not None and code.in_users_code()
    return bool(imports or (engine is not None and engine.run_here() is not None))
