"""How busy `offramp.optimize` keeps its places in flight, and what one call costs the processor, beside `dspy.Evaluate`.

    python benchmarks/throughput.py [--in-flight 64] [--latency 0.5] [--candidates 40] [--examples 200]
        [--dspy-calls 1600] [--memory CALLS]

A server in another process answers each request after `--latency` seconds. The job is a whole one: start, search of every
candidate on every example, holdout, files. Ideal is requests times latency by requests in flight. `dspy.Evaluate` asks the same server through LiteLLM, with as many threads. Prints one line of JSON: `wall_to_ideal`
and milliseconds of CPU for each call of both, and the ratio of the two. `--memory` then sends so many more calls and says how
much the process has grown by: over the first tenth (`warm_mb`) and over the rest (`grown_mb`).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import yaml

T = TypeVar("T")

SERVER = """
import asyncio, json, sys
LATENCY = float(sys.argv[1])
BODY = json.dumps({
    "id": "r", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21},
}).encode()
REPLY = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        while (end := self.data.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.data[:end].lower()
            at = head.index(b"content-length:") + 15
            length = int(head[at:].split(b"\\r\\n", 1)[0])
            if len(self.data) < end + 4 + length:
                return
            self.data = self.data[end + 4 + length:]
            asyncio.get_running_loop().call_later(LATENCY, self.transport.write, REPLY)

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextlib.contextmanager
def serving(latency_s: float) -> Iterator[str]:
    """The address of a server that answers after so many seconds."""
    command = [sys.executable, "-c", SERVER, str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        finally:
            server.kill()


def messages(count: int, part: str) -> list[dict[str, str]]:
    """Rows that no other part has."""
    return [{"message": hashlib.sha256(f"{part} {n}".encode()).hexdigest(), "label": "ab"[n % 2]} for n in range(count)]


def search(url: str, folder: str, part: str, *, in_flight: int, candidates: int, examples: int) -> int:
    """One job over a space of so many instructions, all of which are run on all examples; the requests that it sent."""
    import offramp

    base = Path(folder) / part
    base.mkdir()
    with (base / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["message", "label"])
        writer.writeheader()
        writer.writerows(messages(examples + 2, part))
    space = {
        "schema_version": 1,
        "name": part,
        "task": {"signature": "message -> label: Literal['a', 'b']"},
        "dataset": {"path": "rows.csv"},
        "splits": {"train": 0, "search": examples, "holdout": 2},
        "metric": {"kind": "exact", "field": "label"},
        "models": [{"name": "m", "route": "openai/m", "api_base": url, "price": {"input_usd": 1.0, "output_usd": 2.0}}],
        "instructions": {f"way{n}": f"Label it, way {n}." for n in range(candidates)},
        "objectives": {"latency": None, "cost": {"scale": [0.001, 0]}},
        "search": {"concurrency": in_flight, "trials": candidates},
    }
    (base / "space.yaml").write_text(yaml.safe_dump(space))
    result = offramp.optimize(base / "space.yaml", results=base / "results", progress=False)
    assert result.report.trials == candidates
    return result.calls


def dspy_evaluate(url: str, part: str, *, in_flight: int, calls: int) -> None:
    """The same requests by `dspy.Evaluate` over LiteLLM."""
    import dspy

    from offramp.program.plain import PlainMessages

    lm = dspy.LM("openai/m", api_base=url, api_key="none", cache=False, num_retries=0, engine="litellm")
    program = dspy.Predict(dspy.Signature("message -> label: Literal['a', 'b']", "Label it."))
    devset = [dspy.Example(**row).with_inputs("message") for row in messages(calls, part)]
    evaluate = dspy.Evaluate(
        devset=devset, metric=lambda gold, given, trace=None: gold.label == given.label, num_threads=in_flight,
        display_progress=False, max_errors=calls,
    )  # fmt: skip
    with dspy.context(lm=lm, adapter=PlainMessages()):
        evaluate(program)


def measured(work: Callable[[], T]) -> tuple[T, float, float]:
    """What it returned, and the seconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def rss_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 if pages else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measures both and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--dspy-calls", type=int, default=1600)
    parser.add_argument("--memory", type=int, default=0)
    asked = parser.parse_args()
    shape = {"in_flight": asked.in_flight, "candidates": asked.candidates, "examples": asked.examples}
    found = {**shape, "latency_s": asked.latency}
    with serving(asked.latency) as url, tempfile.TemporaryDirectory() as folder:

        def run(part: str, **more: int) -> int:
            return search(url, folder, part, **{**shape, **more})

        run("warm", candidates=1, examples=8)
        calls, wall_s, cpu_s = measured(lambda: run("main"))
        ideal_s = calls * asked.latency / asked.in_flight
        found |= {
            "calls": calls,
            "wall_s": wall_s,
            "wall_to_ideal": wall_s / ideal_s,
            "cpu_ms_per_call": cpu_s / calls * 1000,
        }
        if asked.dspy_calls:
            dspy_evaluate(url, "warm", in_flight=2, calls=8)
            _, wall_s, cpu_s = measured(
                lambda: dspy_evaluate(url, "dspy", in_flight=asked.in_flight, calls=asked.dspy_calls)
            )
            ideal_s = asked.dspy_calls * asked.latency / asked.in_flight
            found |= {
                "dspy_wall_to_ideal": wall_s / ideal_s,
                "dspy_cpu_ms_per_call": cpu_s / asked.dspy_calls * 1000,
                "cpu_to_dspy": found["cpu_ms_per_call"] / (cpu_s / asked.dspy_calls * 1000),
            }
        if asked.memory:
            before = rss_mb()
            run("first", candidates=1, examples=asked.memory // 10)
            warm = rss_mb()
            for tenth in range(9):
                run(f"tenth-{tenth}", candidates=1, examples=asked.memory // 10)
            found |= {"memory_calls": asked.memory, "warm_mb": warm - before, "grown_mb": rss_mb() - warm}
    print(json.dumps({name: round(v, 3) if isinstance(v, float) else v for name, v in found.items()}))


if __name__ == "__main__":
    main()
