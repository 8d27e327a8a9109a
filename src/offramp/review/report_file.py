"""A study as one HTML file that needs nothing else, and in which nothing can load or send anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from offramp.errors import StorageError, problem
from offramp.files import write_file
from offramp.review.report_size import small_report
from offramp.review.study_page import study_page
from offramp.review.study_source import StudySource
from offramp.store.engine import Store
from offramp.study.lookup import full_name, open_looking


def report_html(store: Store, study: str, *, weights: Mapping[str, float] | None = None) -> str:
    """The report of a study, of less than 2 MB: texts are cut, and fewer candidates shown in full, where needed.

    Args:
        study: its full name.

    Raises:
        StorageError: no such study. UsageError: weights that do not fit its objectives.
    """
    return small_report(study_page(StudySource(store, study, weights=weights), whole=True))


def report(
    study: str = "latest", *, out: str | Path | None = None, weights: Mapping[str, float] | None = None,
    storage: str | None = None, results: str | Path = "results",
) -> Path:  # fmt: skip
    """Writes the report of a study as one HTML file that loads nothing from anywhere, and returns its path.

    Args:
        study: its name, the beginning of it, or `latest`.
        out: the file; `<results>/<study>.html` by default, or `<study>.html` where that folder cannot be written.
        weights: by objective; the study's own for None.
        storage: SQLAlchemy URL; `<results>/offramp.db` by default.

    Raises:
        StorageError: no such study, or the file cannot be written. UsageError: weights that do not fit.
    """
    with open_looking(storage, results) as store:
        name = full_name(store, study)
        text = report_html(store, name, weights=weights)
    folder = Path(results) if os.access(results, os.W_OK) or not Path(results).exists() else Path()
    path = Path(out) if out is not None else folder / f"{name}.html"
    if path.is_dir():
        raise StorageError(problem(str(path), "is a folder", expected="a file", do="Name another with --out."))
    write_file(path, text, do="Name another file with --out.")
    return path
