"""Embedded models served on this machine, each by a child process that is started when it is first needed.

The pipe to its stdin keeps a child alive: it exits when the pipe closes, which the operating system does however this
process dies. A child has a session of its own, so that Ctrl-C in a terminal does not cut off calls that the job is
still finishing.

One slot per server by default. Measured on 2 cores with a few-shot prompt of about 400 tokens and answers of one label:
two slots gave 10 to 20 % fewer calls per second than one (the cores are busy either way) and changed up to 5 of 60
answers at temperature 0, because calls that are decoded together round differently. One slot always answers the same.

Invariants: only this process's own children are ever stopped. They get a random key and no secret of the environment;
the key travels through the pipe, so it is in no argument, environment or file.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO

from offramp.errors import JobError, ModelError, OfframpError, problem
from offramp.models import embedded
from offramp.records import Model

STOP_TIMEOUT_S = 5.0
NOT_SERVED, INSTALL_LOCAL = "llama.cpp (xllamacpp) is not installed", "pip install 'offramp[local]'"

_PASSED_ON = re.compile(
    r"PATH$|HOME$|USER$|LANG|LC_|TZ$|TMP|TEMP|LD_|DYLD_|PYTHON|VIRTUAL_ENV$|CONDA|CUDA|NVIDIA|HIP|ROC|HSA_|VK_|GGML|"
    r"LLAMA|OMP_|GOMP|KMP_|OPENBLAS|MKL|XDG_"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""How OpenMP's threads wait for each other. By default they spin, which takes the core from the very thread that they
wait for as soon as anything else runs: beside two busy processes on two cores a short call took 7 to 14 times as long
as with threads that sleep (`benchmarks/waiting_threads.py`). On an idle machine sleeping costs about a tenth."""


class LocalServers:
    """The servers of one process, at most `max_loaded` at a time (the least recently used makes room).

    May be used from several threads and event loops. A server that dies is restarted once; if it dies again, `url`
    raises JobError. Stops its servers on `close`, at exit, and however this process dies.
    """

    def __init__(
        self, *, max_loaded: int = 3, options: ServeOptions | None = None, ready_timeout_s: float = 120.0
    ) -> None:
        self._max_loaded = max(1, max_loaded)
        self._options = options or ServeOptions()
        self._ready_timeout_s = ready_timeout_s
        self._key = secrets.token_urlsafe(32)
        self._children: dict[str, Child] = {}
        self._restarts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _stop_all, self._children, self._pid)

    async def url(self, model: Model) -> str:
        """Address of the server of an embedded model, such as `http://127.0.0.1:41234`; started if it is not running.

        Raises:
            ModelError: llama.cpp or the file is missing, or the server does not start.
            JobError: it died a second time.
        """
        child = self._children.get(model.route)
        if child is not None and child.alive and os.getpid() == self._pid:
            if self._lock.acquire(blocking=False):  # else a start is in progress, which does this itself
                try:
                    if model.route in self._children:  # now the most recently used
                        self._children[model.route] = self._children.pop(model.route)
                finally:
                    self._lock.release()
            return child.url
        return await asyncio.to_thread(self.start, model)

    def start(self, model: Model) -> str:
        """Like `url`, for callers without an event loop. Blocks until the server is ready."""
        if os.getpid() != self._pid:
            raise OfframpError("LocalServers belongs to the process that made it; make one in each process")
        with self._lock:
            child = self._children.get(model.route)
            if child is None or not child.alive:
                child = self._started(model, child)
            self._children[model.route] = self._children.pop(model.route, child)
            return child.url

    def headers(self, model: Model) -> dict[str, str]:
        """Request headers that the servers require."""
        return {"Authorization": f"Bearer {self._key}"} if model.local else {}

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids of the running servers by model."""
        return {name: child.pid for name, child in list(self._children.items()) if child.alive}

    async def close(self) -> None:
        """Stops all servers; they may be started again afterwards."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Like `close`, for callers without an event loop."""
        with self._lock:
            _stop_all(self._children, self._pid)
            self._restarts.clear()

    def __enter__(self) -> LocalServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> LocalServers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _started(self, model: Model, dead: Child | None) -> Child:
        if dead is not None:
            self._restarts[model.route] = self._restarts.get(model.route, 0) + 1
            if self._restarts[model.route] > 1:
                do = "Find out what ends it, such as running out of memory; the job can be resumed."
                raise JobError(problem(model.route, f"its server died twice ({dead.last_words()})", do=do))
            self._children.pop(model.route).stop()
        path = embedded.path(model.route)
        while sum(child.alive for child in self._children.values()) >= self._max_loaded:
            self._children.pop(next(iter(self._children))).stop()
        options = self._options.for_context(model.context_tokens)
        self._children[model.route] = start_child(model.route, path, options, self._key, self._ready_timeout_s)
        return self._children[model.route]


def _stop_all(children: dict[str, Child], pid: int) -> None:
    """Stops every child at the same time; a forked copy of this process stops nothing."""
    if os.getpid() != pid:
        return
    stopping = [children.pop(name) for name in list(children)]
    for child in stopping:
        child.ask_to_stop()
    for child in stopping:
        child.stop()


# ------------------------------------------------------------------------------------------ one child process


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How llama.cpp serves.

    Attributes:
        slots: calls decoded at the same time; see above for why one.
        context_tokens: for each slot.
        threads: for prompts and for answers; by default the machine's cores, at most 8.
        gpu_layers: 0 keeps the model on the CPU.
    """

    slots: int = 1
    context_tokens: int = 8192
    threads: int = field(default_factory=lambda: min(8, usable_cores()))
    gpu_layers: int = 0
    seed: int = 0

    def for_context(self, tokens: int | None) -> ServeOptions:
        """The same options for another context size."""
        return self if tokens is None else replace(self, context_tokens=tokens)

    def arguments(self) -> list[str]:
        """The options as command line arguments of the child process."""
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
    """What a server needs of the environment, and nothing that looks like a secret.

    Waiting threads sleep, unless the user's environment says how they wait.
    """
    kept = {name: text for name, text in os.environ.items() if _PASSED_ON.match(name) and not _SECRET.search(name)}
    return kept if any(name in kept for name in _WAITING) else {**kept, "OMP_WAIT_POLICY": "passive"}


class Child:
    """A server process that is ready."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
        self.url = url
        self._process = process
        self._log = log

    @property
    def alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def last_words(self) -> str:
        """How it ended and the last lines of what it logged."""
        return f"exit status {self._process.poll()}; {_tail(self._log)}"

    def ask_to_stop(self) -> None:
        """Closes the pipe and sends SIGTERM; returns at once."""
        _ask_to_stop(self._process)

    def stop(self) -> None:
        """Asks the process to stop, and kills it after STOP_TIMEOUT_S."""
        _stop(self._process)
        self._log.close()


def served_here() -> bool:
    """Whether embedded models can be run on this machine."""
    return importlib.util.find_spec("xllamacpp") is not None


def start_child(name: str, path: Path, options: ServeOptions, key: str, timeout_s: float) -> Child:
    """Starts a server and waits until it answers. Raises ModelError with the last lines of its log if it does not."""
    if not served_here():
        raise ModelError(problem(name, NOT_SERVED, do=f"Run `{INSTALL_LOCAL}`."))
    log = tempfile.TemporaryFile(prefix="offramp-serve-")  # noqa: SIM115 - open as long as the child runs
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
