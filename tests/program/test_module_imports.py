"""A module of one's own is imported as its user would run it, and what is missing is named."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from offramp.errors import SpaceError
from offramp.program.module import import_module_factory
from offramp.program.program import Program
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_examples, make_fields, transport
from user_code import own_modules, write  # noqa: F401 (a fixture)

FIELDS = make_fields({"category": OutputField()})
OWN = make_candidate(module="own", instructions={})
LAZY = """\
import dspy


class Sorter(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("message -> category")

    def forward(self, message):
        from {where} import shout

        return dspy.Prediction(category=shout(self.sort(message=message).category))
"""
SHOUT = "def shout(text):\n    return text.upper()\n"


pytestmark = pytest.mark.usefixtures("own_modules")


@pytest.mark.parametrize(
    ("path", "where", "helper"),
    [
        ("rag.py:Sorter", "loud_p", "spaces/loud_p.py"),
        ("spaces.rag:Sorter", "loud_p", "spaces/loud_p.py"),
        ("rag.py:Sorter", "app_p.loud", "src/app_p/loud.py"),
        ("spaces.rag:Sorter", "app_p.loud", "src/app_p/loud.py"),
        ("rag.py:Sorter", ".loud_r", "spaces/loud_r.py"),
        ("spaces.rag:Sorter", ".loud_r", "spaces/loud_r.py"),
        ("rag.py:Sorter", "..loud_u", "loud_u.py"),
    ],
)
def test_an_import_inside_forward_is_found_while_the_program_runs(
    tmp_path: Path, path: str, where: str, helper: str
) -> None:
    write(tmp_path, {"pyproject.toml": "", "spaces/rag.py": LAZY.replace("{where}", where), helper: SHOUT})
    factory = import_module_factory(path, tmp_path / "spaces", "space.yaml")

    async def go() -> object:
        program = Program(OWN, fields=FIELDS, model=HOSTED, send=transport("billing").send, factory=factory)
        return (await program.run(make_examples(1)[0])).outputs

    assert asyncio.run(go()) == {"category": "BILLING"}
    for name in [name for name in sys.modules if name.partition(".")[0] in ("spaces", "loud_p", "app_p")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("files", "path", "words"),
    [
        ({}, "app_none.rag:RAG", "'app_none.rag:RAG' does not import: ModuleNotFoundError: No module named 'app_none'"),
        ({"rag.py": "import dspy\nfrom parts_none import x\n"}, "rag.py:RAG",
         "'rag.py:RAG' does not import: ModuleNotFoundError: No module named 'parts_none' (rag.py, line 2). Install it"),
        ({"app_q/rag.py": "from .parts import x\n", "app_q/parts.py": "import chroma_none\n"}, "app_q.rag:RAG",
         "'app_q.rag:RAG' does not import: ModuleNotFoundError: No module named 'chroma_none' (parts.py, line 1)"),
        ({"rag.py": "from json import nothing\n"}, "rag.py:RAG", "cannot import name 'nothing' from 'json'"),
        ({"rag.py": "def f(:\n"}, "rag.py:RAG", "'rag.py:RAG' does not import: SyntaxError"),
        ({"rag.py": "raise SystemExit(2)\n"}, "rag.py:RAG", "'rag.py:RAG' does not import: SystemExit: 2 (rag.py, line 1)"),
    ],
)  # fmt: skip
def test_a_failed_import_names_the_module_and_what_is_missing(
    tmp_path: Path, files: dict[str, str], path: str, words: str
) -> None:
    write(tmp_path, files)
    with pytest.raises(SpaceError) as caught:
        import_module_factory(path, tmp_path, "space.yaml")
    assert words in str(caught.value)
