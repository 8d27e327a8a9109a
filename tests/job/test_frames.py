"""How far it is from a command to a request, in frames of our own: from `offramp optimize` down to the transport."""

import asyncio
import sys
from pathlib import Path

import pytest

from offramp.cli.main import main
from offramp.job.clock import Timing
from offramp.testing.fakes import FunctionTransport
from search_jobs import at_once, reply_to, write_space

SOURCE = Path(__file__).parents[2] / "src" / "offramp"
MOST = 20
TRANSPORT = 2
"""The real transports' own: `RouteTransport.send` and `LiteLLMTransport.send` (or `LocalTransport.send`)."""


def ours(codes):
    """Names of the functions of this package among them, the fakes and the command line's entry left out."""
    found = []
    for code in codes:
        path = Path(code.co_filename)
        if path.is_relative_to(SOURCE):
            place = path.relative_to(SOURCE).as_posix()
            if not place.startswith("testing/") and place != "cli/main.py":
                found.append(f"{place}:{code.co_qualname}")
    return found


def running():
    """The frames of this thread, outermost first: the command's, the event loop's, then those of the current task."""
    frame, codes = sys._getframe(1), []
    while frame is not None:
        codes.insert(0, frame.f_code)
        frame = frame.f_back
    return codes


def suspended(task):
    """The coroutines of a task that waits, outermost first: each awaits the next."""
    coroutine, codes = task.get_coro(), []
    while hasattr(coroutine, "cr_code"):
        codes.append(coroutine.cr_code)
        coroutine = coroutine.cr_await
    return codes


class Looking(FunctionTransport):
    """The landscape; at the first request of a trial it notes the way that led here.

    The command has called `asyncio.run`, whose main task waits for a wave, as the workers of the scheduler run its cells;
    one of them is the current task. So the way is: frames of the command, coroutines of the main task, frames of the
    current task.
    """

    def __init__(self):
        super().__init__(reply_to)
        self.way = []

    async def send(self, request, attempt=1):
        if request.model.name == "large" and not self.way:
            main_task = min(asyncio.all_tasks(), key=lambda task: int(task.get_name().rpartition("-")[2]))
            frames, waiting = ours(running()), ours(suspended(main_task))
            begins = frames.index("search/live/scheduler.py:Scheduler._work")
            assert waiting[-1] == "search/racing/waves.py:run_waves", "it waits for a wave"
            self.way = [*frames[:begins], *waiting, *frames[begins:]]
        return await super().send(request, attempt)


@pytest.mark.parametrize("options", [["--json"], []])
def test_from_the_command_to_the_request_there_are_at_most_twenty_frames_of_our_own(tmp_path, options):
    """There were 33. Frames of DSPy, click and asyncio, which stand between them, are not counted."""
    transport = Looking()
    space = write_space(tmp_path, search={"sampler": "random", "trials": 4, "concurrency": 2})
    arguments = ["optimize", str(space), "--results", str(tmp_path / "results"), *options]
    assert main(arguments, transport=transport, timing=Timing(sleep=at_once)) == 0
    way = transport.way
    assert way[0].startswith("cli/optimize.py:optimize") and way[-1].startswith("calls/caller.py:"), way
    assert "search/loop.py:Loop.run" in way and "program/program.py:Program.run" in way
    assert len(way) + TRANSPORT <= MOST, "\n".join(way)
