"""`init`: writes a space file that runs, from data or as a copy of a shipped example, and says what it guessed.

Invariant: nothing that exists is overwritten, and what cannot run is not left behind.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.errors import StorageError, UsageError, nearest, problem
from offramp.job.resolve import resolve_job
from offramp.models import embedded
from offramp.models.acceptance import rejection
from offramp.models.catalogue import resolve
from offramp.models.server import INSTALL_LOCAL, served_here
from offramp.models.table import load_table
from offramp.space.load import as_loaded
from offramp.space.model import DatasetPart
from offramp.starter.columns import Guess, guess_columns
from offramp.starter.space_text import LOCAL, TEMPERATURES, Start, checks_text, space_text, stub_rows
from offramp.task.local_code import project_of
from offramp.task.readers import read_source

_SHIPPED = Path(__file__).parents[1] / "example_jobs"
_CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What `init` wrote.

    Attributes:
        space: the space file. files: all that was written, it included.
        guess: what was read out of the data; None for an example.
        pull: embedded models whose files are not on this machine yet.
        install: commands that install what the models of the job need.
    """

    space: Path
    files: tuple[Path, ...]
    data: Path
    guess: Guess | None
    pull: tuple[str, ...]
    install: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def next(self) -> tuple[str, ...]:
        """The commands to run now, in order."""
        file = _quoted(os.path.relpath(self.space))
        pull = [f"offramp models pull {' '.join(self.pull)}"] if self.pull else []
        return (*self.install, *pull, f"offramp space check {file}", f"offramp optimize {file}")

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        guess = self.guess
        return {
            "space": str(self.space),
            "files": [str(path) for path in self.files],
            "data": str(self.data),
            "guess": None if guess is None else {
                "rows": guess.rows, "inputs": [f.column for f in guess.inputs],
                "outputs": {f.column: dict(f.output) for f in guess.outputs},
                "metrics": [dict(f.metric) for f in guess.outputs], "id": guess.id,
                "splits": None if guess.splits is None else guess.splits[0], "left_out": dict(guess.left_out),
                "notes": list(guess.notes),
            },
            "notes": list(self.notes),
            "next": list(self.next),
        }  # fmt: skip


def examples() -> dict[str, Path]:
    """The shipped example jobs by name: of the installed package, or of a checkout."""
    folder = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT / "search_spaces"
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("*.yaml"))}


def copy_example(name: str, folder: str | Path = ".") -> Started:
    """Copies a shipped job with its data into a folder: support-triage, order-extraction or reply-writer.

    Raises:
        UsageError: no such example, or a file of that name exists with other content.
    """
    known, folder = examples(), Path(folder)
    source = known.get(name.strip().lower().replace("_", "-").removesuffix(".yaml"))
    if source is None:
        do = nearest(name, known) or None
        raise UsageError(problem("--example", "no such job", got=name, expected=f"one of {', '.join(known)}", do=do))
    text = source.read_text(encoding="utf-8")
    named = re.search(r"^ +path: (?:\.\./datasets/)?(\S+)$", text, re.M)
    assert named is not None, source
    data = next(
        path for path in (source.parent / named[1], source.parent.parent / "datasets" / named[1]) if path.is_file()
    )
    text = text.replace("path: ../datasets/", "path: ")
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# yaml-language-server"))
    space, kept = folder / source.name, folder / data.name
    written = _write({space: text, kept: data.read_text(encoding="utf-8")})
    return Started(space=space, files=written, data=kept, guess=None, **_needs(space))


def init(
    name: str | None = None, *, data: str | Path | None = None, inputs: Sequence[str] = (),
    outputs: Sequence[str] = (), models: Sequence[str] = (), folder: str | Path = ".",
) -> Started:  # fmt: skip
    """Writes a first space file and a test for a dataset, or for a stub of one that it writes too. Overwrites nothing.

    Args:
        name: of the job; that of the data's file by default.
        data: CSV, TSV, JSONL, Parquet or XLSX. One outside of the folder's project is copied into the folder.
        inputs, outputs: columns, where the guess is not to decide.
        models: by name, the first as what runs today; two that run on this machine by default.
        folder: where the files go.

    Raises:
        UsageError: the data cannot be read or no job can be made of it, or a file exists; nothing was written.
    """
    here = Path(folder)
    name = _name(name or (Path(data).stem if data is not None else "my-task"), given=name is not None)
    new: dict[Path, str] = {}
    notes = []
    copy_from: Path | None = None
    if data is None:
        path = here / f"{_stem(name)}.csv"
        new[path] = _csv(stub_rows(tuple(inputs) or ("text",), tuple(outputs) or ("label",)))
        notes.append(f"{path.name} has 15 invented rows: replace them with yours, then run `offramp init` with --data")
        guess = _guess_stub(new[path], path, inputs, outputs)
    else:
        given = Path(data)
        guess = guess_columns(read_source(DatasetPart(path=given.name), given.parent), inputs=inputs, outputs=outputs)
        path = given
        if not given.resolve().is_relative_to((project_of(here) or here).resolve()):
            path, copy_from = here / given.name, given
            notes.append(f"{given} is outside of this folder's project and was copied")
    searched = tuple(models) or LOCAL
    job = Start(
        name=name, path=Path(os.path.relpath(path.resolve(), here.resolve())).as_posix(), guess=guess, models=searched,
        with_temperature=tuple(model for model in searched if _takes_temperature(model)),
        reasoning=any(row is not None and row.supports_reasoning for row in map(load_table().find, searched)),
    )  # fmt: skip
    space = here / f"{_stem(name)}.yaml"
    new[space] = space_text(job)
    new[here / f"test_{_stem(name)}.py"] = checks_text(name, space.name)
    written = _write(new, copies={} if copy_from is None else {path: copy_from})
    try:
        resolve_job(as_loaded(space, trust=True))
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise
    return Started(space=space, files=written, data=path, guess=guess, notes=tuple(notes), **_needs(space))


def _takes_temperature(name: str) -> bool:
    model = resolve(name, "--model")
    return not any(rejection(model, {"temperature": value}) for value in TEMPERATURES)


def _guess_stub(text: str, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Guess:
    from offramp.task.readers.base import Row, Source

    rows = tuple(Row(number=i, values=row) for i, row in enumerate(csv.DictReader(io.StringIO(text)), start=1))
    return guess_columns(Source(name=path.name, rows=rows, text_cells=True), inputs=inputs, outputs=outputs)


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _name(text: str, *, given: bool) -> str:
    """A name for the job. Raises UsageError for one that was given and cannot be."""
    name = re.sub(r"[^a-z0-9]+", "-", text.strip().lower()).strip("-")[:60]
    if not name or (given and (Path(text).name != text or text.endswith((".yaml", ".yml")))):
        expected = "a name such as ticket-routing, without folder and ending"
        raise UsageError(problem("NAME", "the name of the job", got=text, expected=expected))
    return name


def _stem(name: str) -> str:
    return name.replace("-", "_")


def _write(new: Mapping[Path, str], *, copies: Mapping[Path, Path] | None = None) -> tuple[Path, ...]:
    """Writes files; those that exist with the same content stay.

    Raises:
        UsageError: one exists with other content; nothing was written.
        StorageError: one cannot be written; nothing is left.
    """
    contents = {path: text.encode() for path, text in new.items()}
    copied = {path: source for path, source in (copies or {}).items() if path.resolve() != source.resolve()}
    for path in (*contents, *copied):
        same = path.is_file() and path.read_bytes() == (contents.get(path) or copied[path].read_bytes())
        if path.exists() and not same:
            do = "Move it away, or give the job another NAME."
            raise UsageError(problem(str(path), "exists already, and init overwrites nothing", do=do))
    written: list[Path] = []
    try:
        for path in (*contents, *copied):
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            if path in contents:
                path.write_bytes(contents[path])
            else:
                shutil.copyfile(copied[path], path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StorageError(problem(str(path), f"cannot be written: {error.strerror}")) from error
    return tuple(written)


def _needs(space: Path) -> dict[str, tuple[str, ...]]:
    """What this machine lacks for the embedded models that the file names."""
    models = [model for model in resolve_job(as_loaded(space, trust=True)).models.values() if model.local]
    pull = tuple(model.route for model in models if not embedded.is_pulled(model.route))
    return {"pull": pull, "install": (INSTALL_LOCAL,) if models and not served_here() else ()}


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./-]+", path) else f"'{path}'"
