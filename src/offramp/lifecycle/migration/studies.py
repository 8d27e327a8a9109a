"""Which studies a migration has run: `results/migrations/<feature>-<id>.json`, so that its caps hold over commands.

Without the file, a command counts the studies that it comes to itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from offramp.errors import StorageError, problem
from offramp.files import write_file
from offramp.ids import content_hash
from offramp.lifecycle.migration.origin import Origin
from offramp.lifecycle.migration.record import Reference


class Studies:
    """The studies of one migration, each by what was run.

    Args:
        path: of the file; it need not exist.

    Raises:
        StorageError: it is there and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_run = _read(path)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order in which they began."""
        return tuple(dict.fromkeys(self._by_run.values()))

    def get(self, run: str) -> str | None:
        """The study of a run; None where it never began."""
        return self._by_run.get(run)

    def keep(self, run: str, study: str) -> None:
        """Notes the study of a run. Raises StorageError where the file cannot be written."""
        if self._by_run.get(run) != study:
            self._by_run[run] = study
            write_file(self._path, json.dumps(self._by_run, indent=2) + "\n")


def studies_of(origin: Origin, names: Sequence[str], reference: Reference, results: Path) -> Studies:
    """Those of the migration of a promotion to these models, by this reference."""
    promotion = origin.promotion
    space = origin.space.space.model_dump(mode="json")
    id_ = content_hash([promotion.version, sorted(names), reference.value, space])[:12]
    return Studies(results / "migrations" / f"{promotion.feature}-{id_}.json")


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise StorageError(problem(str(path), f"cannot be read: {why}", do="Remove it.")) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise StorageError(problem(str(path), "is not a list of studies", do="Remove it."))
    return dict(found)
