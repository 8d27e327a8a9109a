"""A short call to an embedded model on an idle and on a busy machine, by how the threads of llama.cpp wait for each other.

    python benchmarks/waiting_threads.py [calls] [busy processes ...]

By itself, libgomp lets a thread that waits spin for a while. Beside other work that takes the core from the thread that is
waited for. One server for each way of waiting; calls go to them in turns, so that a busy moment hits all of them. Prints
one line of JSON for each number of busy processes: median and worst seconds of a call, CPU seconds that the server spent
on a call, and the median beside that of `spin` (less is better).
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from offramp.models.catalogue import resolve
from offramp.models.server import LocalServers, ServeOptions

MODEL = "local/smollm2-135m"
ALL_CORES = ServeOptions().threads
WAYS: Mapping[str, tuple[dict[str, str], int]] = {
    "spin": ({"GOMP_SPINCOUNT": "300000"}, ALL_CORES),
    "sleep": ({"OMP_WAIT_POLICY": "passive"}, ALL_CORES),
    "spin 100": ({"GOMP_SPINCOUNT": "100"}, ALL_CORES),
    "spin 1000": ({"GOMP_SPINCOUNT": "1000"}, ALL_CORES),
    "a thread less": ({"GOMP_SPINCOUNT": "300000"}, max(1, ALL_CORES - 1)),
}
"""Environment of the server and its number of threads. `spin` is what libgomp does by itself, `sleep` what we ask for."""
PROMPT = (
    "Which team should answer this message: billing, shipping or returns? Message {number}: my parcel did not come. "
)


@contextlib.contextmanager
def server(environment: Mapping[str, str], threads: int) -> Iterator[LocalServers]:
    """A server that was started with more in its environment."""
    before = dict(os.environ)
    with LocalServers(options=ServeOptions(threads=threads)) as servers:
        os.environ.update(environment)
        try:
            servers.start(resolve(MODEL, "benchmark"))
        finally:
            os.environ.clear()
            os.environ.update(before)
        yield servers


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but count."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def call(servers: LocalServers, number: int) -> tuple[float, float]:
    """Seconds that one call took, and CPU seconds of the server meanwhile."""
    model = resolve(MODEL, "benchmark")
    body = {
        "messages": [{"role": "user", "content": PROMPT.format(number=number) * 4}],
        "temperature": 0,
        "max_tokens": 8,
    }
    (pid,) = servers.pids.values()
    cpu, begin = cpu_s(pid), time.perf_counter()
    url = servers.start(model) + "/v1/chat/completions"
    httpx.post(url, json=body, headers=servers.headers(model), timeout=600).raise_for_status()
    return time.perf_counter() - begin, cpu_s(pid) - cpu


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(calls: int, counts: list[int]) -> None:
    """Every way of waiting, beside so many busy processes."""
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(server(*way)) for name, way in WAYS.items()}
        for each in servers.values():
            call(each, 0)
        for count in counts:
            with busy(count):
                took: dict[str, list[tuple[float, float]]] = {}
                for number in range(1, calls + 1):
                    for name, each in servers.items():
                        took.setdefault(name, []).append(call(each, 1000 * count + number))
            figures = {}
            for name, times in took.items():
                seconds, cpu = zip(*times, strict=True)
                figures[name] = {
                    "median_s": round(statistics.median(seconds), 3),
                    "worst_s": round(max(seconds), 3),
                    "cpu_s": round(statistics.fmean(cpu), 3),
                    "ratio": round(statistics.median(seconds) / statistics.median([s for s, _ in took["spin"]]), 3),
                }
            print(json.dumps({"busy": count, **figures}), flush=True)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(numbers[0] if numbers else 15, numbers[1:] or [0, 1, 2])
