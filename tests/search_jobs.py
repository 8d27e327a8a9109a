"""Small jobs on a landscape with a known front, for tests of the search: in process, in a process, or over HTTP.

The reply to a request is a function of the request alone: a model is right on the examples whose number is below its skill
with that instruction. Quality and cost of every candidate are therefore known before the search.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from offramp.cli.main import main as run_command_line
from offramp.ids import derived_seed
from offramp.job.clock import Timing
from offramp.records import CallReply, CallRequest, Usage
from offramp.search import api
from offramp.search.api import JobResult
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ServerReply

Made = TypeVar("Made")
LABELS = ("billing", "shipping", "returns")
SKILL: Mapping[tuple[str, str], int] = {
    ("small", "Vague."): 3, ("small", "Clear."): 5, ("small", "Strict."): 2,
    ("large", "Vague."): 6, ("large", "Clear."): 8, ("large", "Strict."): 10,
}  # fmt: skip
"""Of ten examples, how many are right, by model and instruction."""
PRICES: Mapping[str, dict[str, float]] = {
    "small": {"input_usd": 1.0, "output_usd": 2.0},
    "large": {"input_usd": 10.0, "output_usd": 30.0},
}


def rows(count: int = 40) -> list[dict[str, Any]]:
    """Examples whose number is in the text."""
    return [{"id": f"e{i:03}", "message": f"case {i:03}", "label": LABELS[i % 3]} for i in range(count)]


def write_space(folder: Path, *, base: str | None = None, count: int = 40, **changes: Any) -> Path:
    """A space file with its dataset. `changes` replace keys of the top level; None leaves one out.

    Args:
        base: address of a server that speaks OpenAI's dialect; a closed port by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": base or "http://127.0.0.1:9/v1", "price": dict(price)}
        for name, price in PRICES.items()
    ]
    space = {
        "schema_version": 1,
        "name": "landscape",
        "task": {"signature": {"inputs": {"message": None}, "outputs": {"label": {"type": "enum", "values": [*LABELS]}}}},
        "dataset": {"path": "rows.jsonl", "id": "id"},
        "splits": {"train": 6, "search": 10, "holdout": 6},
        "metric": {"kind": "exact", "field": "label"},
        "incumbent": {"model": "small", "instruction": "vague"},
        "models": models,
        "instructions": {"vague": "Vague.", "clear": "Clear.", "strict": "Strict."},
        "params": {"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 16},
        "objectives": {"quality": {"weight": 0.7}, "cost": {"weight": 0.3, "scale": "incumbent"}, "latency": None},
        "search": {"sampler": "random", "trials": 6, "concurrency": 2},
    }  # fmt: skip
    space = {name: value for name, value in {**space, **changes}.items() if value is not None}
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    return path


def answer(model: str, system: str, user: str) -> tuple[str, int, int]:
    """The reply to one request: text, tokens read, tokens written."""
    number = int(user.split()[1])
    skill = next(skill for (name, start), skill in SKILL.items() if name == model and system.startswith(start))
    right = number % 10 < skill
    return LABELS[(number if right else number + 1) % 3], 100 + 10 * len(system), 3 + number % 2


def reply_to(request: CallRequest) -> CallReply:
    """The landscape as a transport sees it."""
    text, read, written = answer(request.model.name, request.messages[0]["content"], request.messages[-1]["content"])
    usage = Usage(input_tokens=read, output_tokens=written)
    return CallReply(text=text, finish_reason="stop", usage=usage, latency_s=0.1 + read / 1e4)


def sampled_reply(request: CallRequest) -> CallReply:
    """The landscape where a model samples: above temperature 0 it is right as often as its skill says, each time anew."""
    if request.params.get("temperature") == 0:
        return reply_to(request)
    number, start = int(request.messages[-1]["content"].split()[1]), request.messages[0]["content"]
    skill = next(n for (name, words), n in SKILL.items() if name == request.model.name and start.startswith(words))
    draw = derived_seed(7, request.model.name, start[:5], number, request.replicate)
    text = LABELS[(number if draw % 10 < skill else number + 1) % 3]
    usage = Usage(input_tokens=100 + draw % 7, output_tokens=3 + draw % 5)
    return CallReply(text=text, finish_reason="stop", usage=usage, latency_s=0.1 + draw % 100 / 1e3)


def server_reply(body: Mapping[str, Any]) -> ServerReply:
    """The landscape as a server sees it."""
    messages = body["messages"]
    text, read, written = answer(body["model"], messages[0]["content"], messages[-1]["content"])
    return ServerReply(text=text, usage={"prompt_tokens": read, "completion_tokens": written})


def usd_of(replies: list[tuple[str, ServerReply]]) -> float:
    """What a provider bills for these replies by (model, reply); only those with status 200 and usage."""
    total = 0.0
    for model, reply in replies:
        if reply.status == 200 and reply.usage is not None:
            price = PRICES[model]
            total += reply.usage["prompt_tokens"] * price["input_usd"] / 1e6
            total += reply.usage["completion_tokens"] * price["output_usd"] / 1e6
    return total


async def at_once(_: float) -> None:
    """A sleep that takes no time."""
    await asyncio.sleep(0)


def let_time_pass(seconds: float) -> None:
    """Turns the clock of the running event loop on: what it waits for less than so many seconds is due at once."""
    loop = asyncio.get_running_loop()
    time_of = loop.time
    loop.time = lambda: time_of() + seconds  # type: ignore[method-assign]


class Naps:
    """A clock that moves when somebody sleeps, on top of real time; nobody waits.

    Attributes:
        wanted: seconds that were asked for, in order.
    """

    def __init__(self) -> None:
        self.wanted: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.wanted.append(seconds)
        await asyncio.sleep(0)

    def clock(self) -> float:
        return time.monotonic() + sum(self.wanted)


_WIRE: dict[str, Any] = {}


def answered_by(monkeypatch: Any, transport: Any, **timing: Any) -> None:
    """Every job of this test sends through `transport` (the real one for None) and waits for nothing."""
    monkeypatch.setitem(_WIRE, "transport", transport)
    monkeypatch.setitem(_WIRE, "timing", Timing(**{"sleep": at_once, **timing}))


def wire() -> dict[str, Any]:
    """`transport` and `timing` as `answered_by` stated them, for whatever runs models; empty where it was not called."""
    return dict(_WIRE)


def run_job(space: Path, folder: Path, **limits: Any) -> JobResult:
    """One run with its storage and report in `folder`."""
    return api.optimize(space, results=folder, **{**wire(), **limits})


def main(args: Sequence[str]) -> int:
    """The command line, with the test's transport."""
    return run_command_line(args, **wire())


_MADE: dict[str, tuple[Path, Any]] = {}


def made_once(key: str, folder: Path, make: Callable[[Path], Made]) -> Made:
    """What `make(folder)` returns, with all that it leaves in the folder: made once by this process, then copied.

    A study in the copy says that its space file lies in the copy, as if it had been run there.

    Args:
        key: of all that `make` depends on.
    """
    if key not in _MADE:
        original = Path(tempfile.mkdtemp(prefix="offramp-made-"))
        atexit.register(shutil.rmtree, original, ignore_errors=True)
        _MADE[key] = original, make(original)
    original, made = _MADE[key]
    shutil.copytree(original, folder, dirs_exist_ok=True)
    for path in folder.rglob("offramp.db"):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE offramp_studies SET extra = replace(extra, ?, ?)", (str(original), str(folder)))
    return made  # type: ignore[no-any-return]


def finished_job(folder: Path, *, trials: int | None = None, **changes: Any) -> JobResult:
    """A finished study of the landscape in `folder`, beside its space file: `run_job(write_space(folder), folder)`.

    The job runs once for all tests of this process that ask for the same.

    Args:
        changes: as for `write_space`.
    """

    def make(original: Path) -> JobResult:
        wire = {"transport": FunctionTransport(reply_to), "timing": Timing(sleep=at_once)}
        return api.optimize(write_space(original, **changes), results=original, trials=trials, **wire)

    return made_once(json.dumps([trials, changes]), folder, make)


def essence(result: JobResult | dict[str, Any]) -> dict[str, Any]:
    """What has to be the same for the same study: front, recommendation and incumbent, and not what a run took."""
    found = api.result_json(result) if isinstance(result, JobResult) else result
    return {name: found[name] for name in ("study", "trials", "front", "incumbent", "recommended", "objectives")}


def unlooked(found: Any) -> Any:
    """The same without what looking at the holdout more than once costs: Holm's correction over all that were scored."""
    if isinstance(found, dict):
        looks = ("p_corrected", "low_corrected", "high_corrected", "looked_at", "headline")
        return {name: unlooked(value) for name, value in found.items() if name not in looks}
    return [unlooked(value) for value in found] if isinstance(found, list) else found


def trials_of(storage: str, study: str) -> list[tuple[Any, ...]]:
    """Candidates of a study in order: id, values, number of scored examples, all as Optuna has them."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = optuna.load_study(study_name=study, storage=storage)
    complete = [t for t in kept.get_trials() if t.state is optuna.trial.TrialState.COMPLETE]
    running = [t.number for t in kept.get_trials() if t.state is optuna.trial.TrialState.RUNNING]
    assert not running, f"left running: {running}"
    return [(t.user_attrs["candidate"], tuple(t.values), t.user_attrs["n"], tuple(sorted(t.params.items()))) for t in complete]  # fmt: skip


# ------------------------------------------------------------------------------- jobs in processes of their own


class Straggling:
    """The landscape with replies that come back in an order that `order` decides.

    Args:
        first: called with each request when it comes in.
        seconds: whether `order` decides the latencies too.
    """

    def __init__(
        self, order: int, first: Callable[[CallRequest], object] = lambda request: None, *, seconds: bool = False,
        reply: Callable[[CallRequest], CallReply] = reply_to,
    ) -> None:  # fmt: skip
        self._random, self._first, self._seconds, self._reply = random.Random(order), first, seconds, reply
        self.sent: list[str] = []

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The reply, once others had their turn."""
        self.sent.append(request.hash)
        self._first(request)
        for _ in range(self._random.randrange(60)):
            await asyncio.sleep(0)
        reply = self._reply(request)
        return replace(reply, latency_s=self._random.expovariate(1.0)) if self._seconds else reply


def job_that_dies(
    space: Path, folder: Path, log: Path, commits: int, out: Path, *, sends: int = 0, ends: int = 0,
    order: int | None = None, reply: Callable[[CallRequest], CallReply] = reply_to, **limits: Any,
) -> None:  # fmt: skip
    """A job whose process is killed at the `commits`-th commit to the database, or while its `sends`-th request is out,
    or as its `ends`-th candidate is about to be kept.

    It logs each request that it sends. With `order`, replies come back as those of `Straggling`.
    """
    import sqlalchemy as sa

    left, ending = [commits], [ends]

    def count(_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def count_ends(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        ending[0] -= statement.startswith("INSERT INTO offramp_candidates")
        if ends and ending[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "commit", count)
    sa.event.listen(sa.Engine, "before_cursor_execute", count_ends)
    answer = partial(_logged, log, sends, reply)
    transport = FunctionTransport(answer) if order is None else Straggling(order, answer)
    result = run_job(space, folder, transport=transport, timing=Timing(sleep=at_once), **limits)
    out.write_text(json.dumps({**api.result_json(result), "commits": commits - left[0]}))


def _logged(log: Path, dies_at: int, reply: Callable[[CallRequest], CallReply], request: CallRequest) -> CallReply:
    with log.open("a") as file:
        file.write(request.hash + "\n")
    if len(log.read_text().split()) == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return reply(request)


def command_line(args: list[str], out: Path) -> None:
    """The command line in a process of its own, with its standard streams in files."""
    import sys

    with out.open("w") as stdout, out.with_suffix(".err").open("w") as stderr:
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        code = main(args)
        sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
