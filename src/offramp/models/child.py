"""One server process: started with a clean environment, watched until it is ready, and stopped for sure.

The pipe to its stdin is the leash: the child ends when the pipe closes, which the operating system does when this
process dies in whatever way. The child has a session of its own, so that Ctrl-C in a terminal does not cut off calls
that the job is still finishing.

Invariant: the key travels through the pipe, and so is in no argument, environment or file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from offramp.errors import ModelError, problem

STOP_TIMEOUT_S = 5.0

_PASSED_ON = re.compile(
    r"PATH$|HOME$|USER$|LANG|LC_|TZ$|TMP|TEMP|LD_|DYLD_|PYTHON|VIRTUAL_ENV$|CONDA|CUDA|NVIDIA|HIP|ROC|HSA_|VK_|GGML|"
    r"LLAMA|OMP_|GOMP|KMP_|OPENBLAS|MKL|XDG_"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How llama.cpp serves.

    Attributes:
        slots: calls decoded at the same time; see `server.py` for why one.
        context_tokens: for each slot.
        threads: for prompts and answers alike; the machine's cores (at most 8) by default.
        gpu_layers: 0 keeps the model on the CPU.
    """

    slots: int = 1
    context_tokens: int = 8192
    threads: int = field(default_factory=lambda: min(8, usable_cores()))
    gpu_layers: int = 0
    seed: int = 0

    def for_context(self, tokens: int | None) -> ServeOptions:
        """The same for a model of another context size."""
        return self if tokens is None else replace(self, context_tokens=tokens)

    def arguments(self) -> list[str]:
        """As the child process takes them."""
        return [
            f"--slots={self.slots}",
            f"--context-tokens={self.context_tokens}",
            f"--threads={self.threads}",
            f"--gpu-layers={self.gpu_layers}",
            f"--seed={self.seed}",
        ]


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def clean_environment() -> dict[str, str]:
    """What a server needs of the environment and nothing that looks like a secret."""
    return {name: text for name, text in os.environ.items() if _PASSED_ON.match(name) and not _SECRET.search(name)}


class Child:
    """A server process that is ready."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
        self.url = url
        self._process = process
        self._log = log

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def last_words(self) -> str:
        """How it ended and the last lines of what it logged."""
        return f"exit status {self._process.poll()}; {_tail(self._log)}"

    def ask_to_stop(self) -> None:
        """Let go of the leash and send SIGTERM; returns at once."""
        _ask_to_stop(self._process)

    def stop(self) -> None:
        """End it: asked first, killed after STOP_TIMEOUT_S."""
        _stop(self._process)
        self._log.close()


def start_child(name: str, path: Path, options: ServeOptions, key: str, timeout_s: float) -> Child:
    """Start a server and wait until it answers; ModelError with its last lines where it does not."""
    if importlib.util.find_spec("xllamacpp") is None:
        do = "Run `pip install 'offramp[local]'`."
        raise ModelError(problem(name, "llama.cpp (xllamacpp) is not installed", do=do))
    log = tempfile.TemporaryFile(prefix="offramp-serve-")  # noqa: SIM115 - lives as long as the child
    command = [sys.executable, "-P", "-m", "offramp.models.serve", str(path), f"--name={name}", *options.arguments()]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=clean_environment(),
        start_new_session=True,
    )
    try:
        return Child(process, _ready_url(name, process, key, timeout_s, log), log)
    except BaseException:
        _stop(process)
        log.close()
        raise


def _ready_url(name: str, process: subprocess.Popen[bytes], key: str, timeout_s: float, log: IO[bytes]) -> str:
    assert process.stdin is not None and process.stdout is not None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(key.encode() + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
    finally:
        timer.cancel()
    try:
        return str(json.loads(line)["url"])
    except (ValueError, KeyError, TypeError):
        process.wait()
        what = f"its server was not ready within {timeout_s:g} s" if late.is_set() else "its server did not start"
        do = "Check free memory, and the file with `offramp models verify`."
        raise ModelError(problem(name, f"{what} ({_tail(log)})", do=do)) from None


def _tail(log: IO[bytes], lines: int = 5) -> str:
    with suppress(OSError, ValueError):
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4000))
        text = log.read().decode("utf-8", "replace")
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip()) or "it logged nothing"
    return "its log cannot be read"


def _ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    if process.poll() is None:
        process.terminate()


def _stop(process: subprocess.Popen[bytes]) -> None:
    _ask_to_stop(process)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
