"""Transports that answer from a function or a script, without a network.

Both go in through `transport=` of the public functions, so everything above them (ledger, budget, retries) is the
real thing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from offramp.records import CallReply, CallRequest, Usage

Answer = str | CallReply | BaseException
"""A text, a whole reply, or an error to raise."""


class FunctionTransport:
    """Answers by a function of the request.

    Args:
        function: returns an `Answer`; what it raises is raised.
        usage: of text answers; words of the prompt and the answer when None.
        latency_s: of text answers.

    Attributes:
        requests: what was sent, in order.
    """

    def __init__(
        self, function: Callable[[CallRequest], Answer], *, usage: Usage | None = None, latency_s: float = 0.1
    ) -> None:
        self._function, self._usage, self._latency_s = function, usage, latency_s
        self._lock = threading.Lock()
        self.requests: list[CallRequest] = []

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """What the function returns, as a reply."""
        with self._lock:
            self.requests.append(request)
        answer = self._function(request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, CallReply):
            return answer
        usage = self._usage or _words(request, answer)
        return CallReply(text=answer, finish_reason="stop", usage=usage, latency_s=self._latency_s)


class ScriptedTransport(FunctionTransport):
    """Answers from a queue, in order, and fails the test when the queue is empty.

    Args:
        answers: one for each request.
        usage, latency_s: as for FunctionTransport.
    """

    def __init__(self, answers: Iterable[Answer], *, usage: Usage | None = None, latency_s: float = 0.1) -> None:
        self._answers = deque(answers)
        super().__init__(self._next, usage=usage, latency_s=latency_s)

    @property
    def left(self) -> int:
        """Answers not yet asked for."""
        return len(self._answers)

    def _next(self, request: CallRequest) -> Answer:
        if not self._answers:
            raise AssertionError(f"the script has no answer left for {request.messages[-1]!r}")
        return self._answers.popleft()


def _words(request: CallRequest, answer: str) -> Usage:
    prompt = sum(len(str(message["content"]).split()) for message in request.messages)
    seconds = 0.1 if request.model.local else None
    return Usage(input_tokens=max(1, prompt), output_tokens=max(1, len(answer.split())), compute_s=seconds)
