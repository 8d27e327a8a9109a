"""Takes each safety measure out of a copy of the checkout, one at a time, and shows which test notices.

    python scripts/without_safety.py [WORDS ...]      # only measures whose name has one of these words

One line for each measure: `caught` with the test that fails without it, or `NOT CAUGHT`. Ends with 1 where any is not.
Takes some minutes. Source of the idea: mutation testing (DeMillo, Lipton and Sayward, Computer 11(4), 1978).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "results", ".*_cache", "__pycache__", ".hypothesis")
KEYS = ("tests/test_scrubbing.py", "tests/search/test_keys_stay_secret.py")
FILES = ("tests/test_files.py",)
LONG = ("tests/search/test_long_answers.py",)
GUARD = ("tests/review/test_review_guard.py",)
HOSTILE = ("tests/cli/test_hostile_texts.py",)
TRUST = ("tests/job/test_trust.py",)


MEASURES: Mapping[tuple[str, tuple[str, ...]], Mapping[str, tuple[str, str]]] = {
    ("scrubbing", KEYS): {
        "keys: the variable that a model names": ('{environ.get(name, "").strip() for name in _variables}', "set()"),
        "keys: variables that are secret by name": ("if len(value) >= _GENERATED and", "if False and"),
        "keys: escaped in JSON, Python, HTML, URLs": ("escaped = _escaped(value)", "escaped = {value}"),
        "keys: in hex and base64": ("anywhere |= _encoded(value)", "pass"),
    },
    ("records", KEYS): {
        "keys: in replies and results": ("if value and (clean :=", "if False and (clean :="),
    },
    ("errors", KEYS): {
        "keys: in errors": ("(scrubbed(arg) if isinstance(arg, str) else arg for arg in args)", "args"),
    },
    ("store/tables", KEYS): {
        "keys: JSON into the storage": ("if holds_key(text) else text", "if False else text"),
        "keys: text into the storage": ("storable(scrubbed(value))", "storable(value)"),
        "keys: JSON out of the storage": ("if holds_key(value) else", "if False else"),
        "keys: text out of the storage": ("return None if value is None else scrubbed(value)", "return value"),
    },
    ("files", FILES): {
        "files: mode 600": ("_FILE, _FOLDER = 0o600", "_FILE, _FOLDER = 0o644"),
        "files: folders of mode 700": ("0o600, 0o700\n", "0o600, 0o755\n"),
    },
    ("store/long_texts", LONG): {
        "answers: long ones are cut": (
            "if len(text) <= most:\n        return text\n    begins",
            "if True:\n        return text\n    begins",
        ),
        "answers: cut ones are not replayed": ("def is_cut(", "def is_cut(*_):\n    return False\n\n\ndef _before("),
    },
    ("review/guard", GUARD): {
        "page: the token": ("if self._access.knows(headers):", "if True:"),
        "page: the host": ("not self.loopback or is_loopback(_name_in(host))", "True"),
        "page: the origin": ("method not in _SAFE and not same_origin(headers)", "False"),
        "page: the form's token": ("return _equal(csrf, self.csrf)", "return True"),
        "page: the cookie's attributes": ('httponly=True, samesite="strict"', "httponly=False"),
    },
    ("printable", HOSTILE): {
        "texts: controls in CSV": ('printable(value.replace("\\r\\n", "\\n"), keep="\\n")', "value"),
        "texts: formulas in CSV": ('return f"\'{text}" if', "return text if"),
        "texts: controls in terminals": ("if text.isascii() and text.isprintable():", "if True:"),
    },
    ("job/trust", TRUST): {
        "trust: files outside of the project": ("if not _inside(loaded.base / named.file, loaded):", "if False:"),
        "trust: code from elsewhere": ("(found := _foreign_code(named.module, loaded)) is not None", '(found := "")'),
        "trust: keys to other addresses": (
            "sent := strange_address(part.api_key_env, part.route or part.name, part.api_base)",
            'sent := ""',
        ),
        "trust: media outside of the project": ("if is_trusted(loaded) or not task.fields.media:", "if True:"),
        "trust: links are followed": ("real, roots = path.resolve()", "real, roots = path.absolute()"),
        "trust: a home folder is no project": ("return home.is_relative_to(folder)", "return False"),
        "trust: a list that others can write": ('if os.name != "nt" and (path.stat()', "if False and (path.stat()"),
    },
}
"""By file of the source and the tests that have to notice: each measure, what it is there, and what takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """One measure: what takes its place in a file of the source, and where a test has to notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def measures() -> Iterator[Without]:
    """All of them."""
    for (file, tests), found in MEASURES.items():
        for name, (old, new) in found.items():
            yield Without(name=name, file=f"src/offramp/{file}.py", old=old, new=new, tests=tests)


def first_failure(copy: Path, tests: tuple[str, ...]) -> str | None:
    """The test that fails first in the copy; None where all pass."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode not in (0, 1) or (done.returncode == 1) != bool(failed):
        sys.exit(f"pytest ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[0] if failed else None


def main() -> int:
    """Tries them and prints."""
    words, missed = sys.argv[1:], 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        for one in measures():
            if words and not any(word in one.name for word in words):
                continue
            path = copy / one.file
            source = path.read_text(encoding="utf-8")
            if source.count(one.old) != 1:
                sys.exit(f"{one.file} has this {source.count(one.old)} times, expected once: {one.old}")
            path.write_text(source.replace(one.old, one.new), encoding="utf-8")
            failed = first_failure(copy, one.tests)
            missed += failed is None
            print(f"{'NOT CAUGHT' if failed is None else 'caught':<10}  {one.name:<44}  {failed or ''}", flush=True)
            path.write_text(source, encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
