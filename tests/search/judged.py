"""The landscape graded by a judge, with bills that can be added up by hand: a token is read for every four bytes."""

import re

from offramp.records import CallReply, Purpose, Usage
from search_jobs import LABELS, reply_to, write_space

BILLED = {
    "small": {"input_usd": 10.0, "output_usd": 20.0},
    "large": {"input_usd": 40.0, "output_usd": 90.0},
    "judge": {"input_usd": 20.0, "output_usd": 40.0},
}
JUDGED = {"kind": "judge", "model": "judge", "rubric": "The label fits the message.", "params": {"max_tokens": 20}}
GRID = {"sampler": "grid", "trials": 50, "concurrency": 2, "race": None}
SPLITS = {"train": 2, "search": 10, "holdout": 6}


def judged_space(folder, *, base="http://127.0.0.1:9/v1", **changes):
    """The landscape, graded by a judge that costs more than what it grades."""
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": base, "price": price,
         "searched": name != "judge"} for name, price in BILLED.items()
    ]  # fmt: skip
    wanted = {"metric": JUDGED, "models": models, "search": GRID, "splits": SPLITS, "verify": {"front": False}}
    return write_space(folder, **{**wanted, **changes})


def graded_reply(request):
    """As the landscape, with a judge that knows what is right; a token is read for every four bytes."""
    read = sum(len(m["content"].encode()) for m in request.messages) // 4
    usage, text = Usage(input_tokens=read, output_tokens=8), '{"grade": 1}'
    if request.purpose is not Purpose.JUDGE:
        text = reply_to(request).text
    elif is_right(request.messages[-1]["content"]):
        text = '{"grade": 5}'
    return CallReply(text=text, finish_reason="stop", usage=usage, latency_s=0.2)


def is_right(asked):
    return LABELS[int(re.search(r"case (\d+)", asked)[1]) % 3] in asked.split("answer label")[1]


def bill(request):
    """What the provider asks for one request."""
    usage, price = graded_reply(request).usage, BILLED[request.model.name]
    return (usage.input_tokens * price["input_usd"] + usage.output_tokens * price["output_usd"]) / 1e6
