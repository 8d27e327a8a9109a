"""The landscape of search_jobs with a proposer: texts that begin with "Best." have a higher known skill."""

from dataclasses import replace

from offramp.records import CallReply, CallRequest, Usage
from search_jobs import LABELS, PRICES, reply_to, write_space

BEST = {"small": 9, "large": 10}
"""Of ten examples, how many a model gets right with a text that begins with "Best."."""
REFLECTION, SUMMARY, GROUNDED = "I provided an assistant", "Given several examples", "Use the information below"
WRITER = {
    "name": "writer", "route": "openai/writer", "api_base": "http://127.0.0.1:9/v1",
    "price": {"input_usd": 3.0, "output_usd": 9.0},
}  # fmt: skip


def space(folder, *, propose=None, **changes):
    """A space on the landscape that asks the model `writer` for instructions."""
    part = {"model": WRITER, "rounds": 1, "count": 2, "every": 3, "max_chars": 300, **(propose or {})}
    search = {"sampler": "tpe", "trials": 8, "concurrency": 2}
    texts = {"vague": "Vague.", "clear": "Clear."}  # with these no candidate is right on everything
    return write_space(folder, **{"propose": part, "search": search, "instructions": texts, **changes})


def kind_of(request: CallRequest) -> str | None:
    """What a request of the proposer is for; None for a request of a program."""
    first = request.messages[0]["content"]
    starts = {REFLECTION: "reflection", SUMMARY: "summary", "Given a series of obs": "summary", GROUNDED: "data"}
    return next((kind for start, kind in starts.items() if first.startswith(start)), None)


class Landscape:
    """A function of the request. `texts` answers what the proposer is asked: kind and the request to a text or a reply.

    Attributes:
        asked: requests to the proposer, in order.
    """

    def __init__(self, texts) -> None:
        self._texts, self.asked = texts, []

    def __call__(self, request: CallRequest) -> CallReply:
        kind = kind_of(request)
        if kind is None:
            return _best(request) if request.messages[0]["content"].startswith("Best.") else reply_to(request)
        self.asked.append(request)
        text = "Messages of customers about orders." if kind == "summary" else self._texts(kind, request)
        if isinstance(text, CallReply):
            return text
        return CallReply(
            text=text, finish_reason="stop", usage=Usage(input_tokens=500, output_tokens=80), latency_s=1.0
        )

    def of(self, kind):
        return [request for request in self.asked if kind_of(request) == kind]


def _best(request: CallRequest) -> CallReply:
    """As the landscape answers, but with the skill of the best text."""
    number = int(request.messages[-1]["content"].split()[1])
    right = number % 10 < BEST[request.model.name]
    seen = replace(request, messages=({"role": "system", "content": "Vague."}, request.messages[-1]))
    return replace(reply_to(seen), text=LABELS[(number if right else number + 1) % 3])


def usd(request: CallRequest, reply: CallReply) -> float:
    """What one reply costs."""
    price = WRITER["price"] if request.model.name == "writer" else PRICES[request.model.name]
    return (reply.usage.input_tokens * price["input_usd"] + reply.usage.output_tokens * price["output_usd"]) / 1e6
