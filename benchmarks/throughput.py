"""How busy a search keeps its places in flight, and what one call costs the processor, beside `dspy.Evaluate`.

    python benchmarks/throughput.py [--in-flight 64] [--latency 0.5] [--candidates 40] [--examples 200]
        [--dspy-calls 1600] [--memory CALLS]

A server in another process answers each request after `--latency` seconds. Ideal is requests times latency by requests in
flight. `dspy.Evaluate` asks the same server through LiteLLM, with as many threads. Prints one line of JSON: `wall_to_ideal`
and milliseconds of CPU for each call of both, and the ratio of the two. `--memory` then sends so many more calls and says how
much the process has grown by: over the first tenth (`warm_mb`) and over the rest (`grown_mb`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

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


def rows(count: int, part: str):
    """Examples that no other part has."""
    from offramp.records import Example

    texts = [f"message {part}-{n} about something or other that a team has to answer" for n in range(count)]
    return tuple(
        Example(id=text, content_hash=text, values={"message": text, "label": "ab"[n % 2]}, row=n)
        for n, text in enumerate(texts)
    )


async def search(url: str, folder: str, part: str, *, in_flight: int, candidates: int, examples: int) -> None:
    """Runs every candidate on every example through one caller."""
    from offramp.calls.caller import open_caller
    from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings
    from offramp.evaluate.results import StudyResults
    from offramp.records import Candidate, DemoKind, Model, Price, Split, Splits
    from offramp.space.model import CallsPart, ExactMetric, TaskPart
    from offramp.store.budget import Budget
    from offramp.store.engine import open_store
    from offramp.task.fields import task_fields
    from offramp.task.metrics import build_metric
    from offramp.task.task import Task

    model = Model(name="m", route="openai/m", api_base=url, price=Price(input_usd=1.0, output_usd=2.0))
    fields = task_fields(TaskPart(signature="message -> label: Literal['a', 'b']"), "benchmark")
    found = rows(examples, part)
    metric = build_metric(ExactMetric(kind="exact", field="label"), fields=fields, base=Path(), models={})
    task = Task(
        name="b",
        fields=fields,
        splits=Splits(train=(), search=found, holdout=()),
        dataset_hash="",
        splits_hash="",
        metric=metric,
    )
    with open_store(f"sqlite:///{folder}/b.db") as store:
        caller = open_caller(
            store=store, study=part, store_text=True, budget=Budget(store, part, 1e6, 10**9), concurrency=in_flight,
            calls=CallsPart(), servers=None, rng=random.Random(0),
        )  # fmt: skip
        evaluator = Evaluator(
            task=task, models={"m": model}, send=caller.send, results=StudyResults(store, part),
            settings=EvaluatorSettings(concurrency=in_flight),
        )  # fmt: skip
        made = [
            Candidate(
                params={}, model="m", module="predict", adapter="plain", constrained=False, demo_kind=DemoKind.NONE,
                instructions={"main": f"Label it, way {n}."}, demo_count=0, demo_seed=0, request_params={},
            )
            for n in range(candidates)
        ]  # fmt: skip
        cells = iter([(candidate, example) for candidate in made for example in found])

        async def work() -> None:
            for candidate, example in cells:
                await evaluator.evaluate(candidate, [example], split=Split.SEARCH)

        await asyncio.gather(*(work() for _ in range(in_flight)))
        await caller.aclose()


def dspy_evaluate(url: str, part: str, *, in_flight: int, calls: int) -> None:
    """The same requests by `dspy.Evaluate` over LiteLLM."""
    import dspy

    from offramp.program.plain import PlainMessages

    lm = dspy.LM("openai/m", api_base=url, api_key="none", cache=False, num_retries=0, engine="litellm")
    program = dspy.Predict(dspy.Signature("message -> label: Literal['a', 'b']", "Label it."))
    devset = [dspy.Example(**row.values).with_inputs("message") for row in rows(calls, part)]
    evaluate = dspy.Evaluate(
        devset=devset, metric=lambda gold, given, trace=None: gold.label == given.label, num_threads=in_flight,
        display_progress=False, max_errors=calls,
    )  # fmt: skip
    with dspy.context(lm=lm, adapter=PlainMessages()):
        evaluate(program)


def measured(work) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


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
    calls = asked.candidates * asked.examples
    shape = {"in_flight": asked.in_flight, "candidates": asked.candidates, "examples": asked.examples}
    found = {**shape, "latency_s": asked.latency, "calls": calls}
    with serving(asked.latency) as url, tempfile.TemporaryDirectory() as folder:

        def run(part: str, **more: int) -> None:
            asyncio.run(search(url, folder, part, **{**shape, **more}))

        run("warm", candidates=1, examples=8)
        wall_s, cpu_s = measured(lambda: run("main"))
        ideal_s = calls * asked.latency / asked.in_flight
        found |= {"wall_s": wall_s, "wall_to_ideal": wall_s / ideal_s, "cpu_ms_per_call": cpu_s / calls * 1000}
        if asked.dspy_calls:
            dspy_evaluate(url, "warm", in_flight=2, calls=8)
            wall_s, cpu_s = measured(
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
