"""The words of docs/glossary.md are kept: in the public names of src, and in the English that people read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "offramp"
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("datasets/*.md")} - {GLOSSARY})

NAMES_AS_STORED = {
    "n_fault",  # a column of summaries and a key of JSON
    "sample_independent",  # Optuna calls samplers by these names
    "sample_relative",
    *("form", "format"),  # keys of space and promotion files; DSPy's adapters have a method of the second name
    "format_user_message_content",  # a method of DSPy's adapters that agents call
    "format_commands",  # click's
    "log_message(format)",  # http.server's
    "Optimizer",  # what DSPy calls a class with `compile`
}
"""Names that may contain a forbidden word: they are stored, or another library chose them."""


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the glossary, without its header."""
    section = GLOSSARY.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


FORBIDDEN = {word for row in rows("Words") for word in re.findall(r"`([^`]+)`", row[-1])}
FORBIDDEN |= {"mend", "dear", "dearer", "dearest"}
PHRASES = {
    "can not": "cannot",
    "purse": "budget",
    "wallet": "budget",
    "kept back": "reserved, reserve",
    "keep back": "reserved, reserve",
    "keeps back": "reserved, reserve",
    "dearer": "more expensive, most expensive",
    "dearest": "more expensive, most expensive",
    "mend": "fix, correct, retry",
    "mends": "fix, correct, retry",
    "mended": "fix, correct, retry",
    "is there twice": "duplicate key, appears more than once",
    "are there twice": "duplicate key, appears more than once",
    "is not there": "does not exist, is missing",
    "are not there": "does not exist, is missing",
    "is no JSON": "is not JSON, is not a number",
    "is no YAML": "is not JSON, is not a number",
    "is no number": "is not JSON, is not a number",
    "is no text": "is not JSON, is not a number",
    "that is none": "that is not a number, that is not an address",
    "that are none": "that is not a number, that is not an address",
    "is told": "is reported, is shown",
    "are told": "is reported, is shown",
    "booked apart": "booked separately, measured in isolation",
    "counted apart": "booked separately, measured in isolation",
    "kept apart": "booked separately, measured in isolation",
    "measured apart": "booked separately, measured in isolation",
    "timed apart": "booked separately, measured in isolation",
    "in work": "running, in flight",
    "in vain": "failed",
    "anew": "again",
    "used up": "the cap is reached",
    "letters that a terminal lacks": "characters that the terminal cannot show",
    "lucky numbers": "optimistic estimates",
    "a difference is shown": "significant, not significant",
    "no difference is shown": "significant, not significant",
}
"""Phrases that no text that people read uses, and what to write in their place."""


def words_of(name: str) -> str:
    """`HoldoutReserve` and `holdout_reserve` as ` holdout reserve `, so that whole words can be found."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return f" {' '.join(parts).lower()} "


def is_public(name: str) -> bool:
    return not name.startswith("_")


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    args = function.args
    return [f"{function.name}({arg.arg})" for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]


def public_names(node: ast.AST) -> Iterator[str]:
    """Classes, functions, their parameters, and the annotated attributes of classes and modules."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if is_public(child.name):
                yield from (child.name, *parameters(child))
            elif child.name == "__init__":
                yield from parameters(child)
        elif isinstance(child, ast.ClassDef) and is_public(child.name):
            yield child.name
            yield from public_names(child)
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name) and is_public(child.target.id):
            yield child.target.id


def all_names() -> Iterator[tuple[str, str]]:
    """Every public name of src with the file it is in, names of files and folders included."""
    for file in sorted(SOURCE.rglob("*.py")):
        where = file.relative_to(SOURCE).as_posix()
        yield from ((where, part) for part in file.relative_to(SOURCE).with_suffix("").parts)
        yield from ((where, name) for name in public_names(ast.parse(file.read_text(encoding="utf-8"))))


NAMES = [(where, name) for where, name in all_names() if not {name, name.partition("(")[0]} & NAMES_AS_STORED]


@pytest.mark.parametrize("word", sorted(FORBIDDEN))
def test_no_public_name_uses_a_word_that_the_glossary_forbids(word: str) -> None:
    assert [f"{where}: {name}" for where, name in NAMES if f" {word} " in words_of(name)] == []


def prose(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Strings with a space in them: what people read. Values in an f-string are left out."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        else:
            continue
        if " " in text.strip():
            yield node.lineno, text


def texts() -> Iterator[tuple[str, str]]:
    """Pages by line and strings of src, each with where it is."""
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        yield from ((f"{page.relative_to(ROOT)}:{n}", line) for n, line in enumerate(lines, start=1))
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        yield from ((f"{file.relative_to(ROOT)}:{line}", text) for line, text in prose(tree))
    for file in sorted(SOURCE.rglob("*.html")):
        yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


TEXTS = list(texts())


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_that_people_read_uses_a_phrase_that_the_glossary_replaces(phrase: str) -> None:
    pattern = re.compile(rf"(?<!\w)(?<!there ){re.escape(phrase)}(?!\w)".replace(r"\ ", r"\s+"), re.IGNORECASE)
    assert [where for where, text in TEXTS if pattern.search(text)] == []


IS_NO = re.compile(r"(?<![Tt]here )\b(is|are|was|were) no (?!longer|larger|more|less|worse|better|such)[a-z]")


def test_what_a_thing_is_not_is_said_with_not() -> None:
    """`is not a number`, never `is no number`."""
    assert [where for where, text in TEXTS if IS_NO.search(text)] == []


def test_each_word_of_the_glossary_is_listed_once() -> None:
    defined = [re.sub(r"\*", "", row[0]) for row in rows("Words")]
    assert len(defined) == len(set(defined)) >= 30
    assert all(row[1].endswith(".") for row in rows("Words"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HoldoutReserve", " holdout reserve "),
        ("kept_back_s", " kept back s "),
        ("JSONFields", " json fields "),
        ("read_members(ruler)", " read members ruler "),
    ],
)
def test_names_are_split_into_words(name: str, words: str) -> None:
    assert words_of(name) == words
