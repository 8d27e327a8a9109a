"""A small embedded model made of wheels that the test itself writes, and a stand-in for llama.cpp."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tiny_models import CONTENT, FAKE_LLAMA, Fetcher, part_content, write_wheel

from offramp.models import gguf_files
from offramp.models.gguf_files import EmbeddedModel, HubFile, WheelPart


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OFFRAMP_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> EmbeddedModel:
    """An embedded model in three parts, known by name for the length of a test."""
    parts = tuple(
        WheelPart(package=f"tiny-part{n}", version="1.0", member=f"tiny_part{n}/data/{n}.bin") for n in (1, 2, 3)
    )
    model = EmbeddedModel(
        name="local/tiny",
        file="tiny.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bytes=len(CONTENT),
        licence="none",
        context_tokens=512,
        parts=parts,
        hub=HubFile(repo="nobody/tiny", file="tiny.gguf"),
    )
    monkeypatch.setitem(gguf_files.BY_NAME, model.name, model)
    return model


@pytest.fixture
def fetched() -> list[str]:
    """Packages that were fetched, in order."""
    return []


@pytest.fixture
def fetch(fetched: list[str]) -> Fetcher:
    """A package index that has everything."""

    def fetch_part(part: WheelPart, folder: Path) -> Path:
        fetched.append(part.package)
        return write_wheel(part, folder, part_content(int(part.package[-1])))

    return fetch_part


@pytest.fixture
def fake_llama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module named xllamacpp that starts at once and serves nothing, for child processes too."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "xllamacpp.py").write_text(FAKE_LLAMA)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    return folder
