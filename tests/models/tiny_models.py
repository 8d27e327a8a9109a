"""What the tests of this folder share: a made-up model file, its wheels, and a stand-in for llama.cpp."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from offramp.models.gguf_files import WheelPart

CONTENT = random.Random(0).randbytes(3_000_000)

FAKE_LLAMA = """
import os, sys, types

class CommonParams:
    def __init__(self):
        self.model = types.SimpleNamespace(path="")
        self.sampling = types.SimpleNamespace(seed=0)
        self.cpuparams = types.SimpleNamespace(n_threads=0)
        self.cpuparams_batch = types.SimpleNamespace(n_threads=0)

class Server:
    def __init__(self, params):
        if params.model.path.endswith("broken.gguf"):
            sys.stderr.write("tensor data is cut off\\n")
            raise RuntimeError("cannot load")
        if params.model.path.endswith("slow.gguf"):
            sys.stdin.read()
            sys.stdin.buffer.raw.readinto(bytearray(1))
            import threading; threading.Event().wait()
        assert params.hostnames == ["127.0.0.1"] and len(params.api_keys[0]) > 20
        self.listening_address = "http://127.0.0.1:%d" % os.getpid()
"""


def write_wheel(part: WheelPart, folder: Path, content: bytes) -> Path:
    """One wheel as an index would serve it."""
    wheel = folder / f"{part.package.replace('-', '_')}-{part.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{part.package}/__init__.py", "raise SystemExit('a wheel was imported')")
        archive.writestr(part.member, content)
    return wheel


def part_content(number: int) -> bytes:
    """The bytes of part 1, 2 or 3."""
    return CONTENT[(number - 1) * 1_000_000 : number * 1_000_000]


Fetcher = Callable[[WheelPart, Path], Path]
