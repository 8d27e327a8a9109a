"""Small jobs of a module with two tools, which note in a file beside it whenever they run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from offramp.records import CallReply, CallRequest, Usage
from search_jobs import run_job

OWN = """
from pathlib import Path
import dspy

LOG = Path(__file__).with_name("ran.txt")

def note(line):
    with LOG.open("a") as file:
        file.write(line + "\\n")

def search(word: str) -> str:
    "Finds it."
    note("search")
    return f"found {word} {len(LOG.read_text().splitlines())}"

async def send_mail(text: str) -> str:
    "Sends it."
    note("send_mail")
    return "sent"

class Agent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tools = [dspy.Tool(search), dspy.Tool(send_mail)]
        self.first, self.last = dspy.Predict("question -> word"), dspy.Predict("question, found -> answer")

    async def aforward(self, question):
        word = (await self.first.acall(question=question)).word
        found = self.tools[0](word=word)
        {sends}
        return await self.last.acall(question=question, found=found)

class Handles(Agent):
    async def aforward(self, question):
        try:
            return await super().aforward(question)
        except Exception:
            return dspy.Prediction(answer="handled")
"""


def study(folder: Path, *, effects: str, sends: bool, module: str = "Agent", demos: str = "") -> None:
    sent = "await self.tools[1].acall(text=found)" if sends else "pass"
    (folder / "own.py").write_text(OWN.replace("{sends}", sent))
    rows = [{"id": f"e{i:02}", "question": f"question {i}", "answer": "yes"} for i in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "space.yaml").write_text(
        f"schema_version: 1\nname: agent\ntask: {{module: 'own.py:{module}', inputs: [question], outputs: [answer], "
        f"tools: {{{effects}: {{effects: true}}}}}}\n"
        "dataset: {path: rows.jsonl, id: id}\nsplits: {train: 6, search: 12, holdout: 8}\n"
        "metric: {kind: exact, field: answer}\nobjectives: {cost: null, latency: null}\n"
        "models: [{name: small, route: openai/small, api_base: 'http://127.0.0.1:9/v1', price: {input_usd: 1, "
        f"output_usd: 1}}}}]\nsearch: {{trials: 2, sampler: random}}\n{demos}"
    )
    run_job(folder / "space.yaml", folder)


def reply(request: CallRequest) -> CallReply:
    text = request.messages[-1]["content"]
    field = "answer" if "found" in text else "word"
    said = f"[[ ## {field} ## ]]\n{'yes' if field == 'answer' else 'w'}\n\n[[ ## completed ## ]]"
    return CallReply(text=said, usage=Usage(input_tokens=9, output_tokens=3), finish_reason="stop", latency_s=0.1)


def wrong_when_warm(request: CallRequest) -> CallReply:
    """The last answer is markup at a temperature above 0."""
    said = reply(request)
    warm = request.params.get("temperature") and "found" in request.messages[-1]["content"]
    return replace(said, text=said.text.replace("yes", "<b>no</b>")) if warm else said


WARM = "params: {temperature: {choices: [0.0, 0.5]}}\nincumbent: {model: small, params: {temperature: 0.5}}\n"
