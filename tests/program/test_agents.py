"""Modules of DSPy that use tools: their tools stay in every prompt, and each adapter that can carry them does."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest

from offramp.program.module import build_module, predictors_of, unshown_fields
from offramp.records import CallRequest
from offramp.space.model import OutputField
from program_runs import make_candidate, make_example, make_fields, run

FIELDS = make_fields({"answer": OutputField()}, inputs=("question",))


def population(city: str) -> str:
    """How many people live there."""
    return {"Bern": "134,000", "Basel": "177,000"}.get(city, "unknown")


def area(city: str) -> str:
    """Its size in square kilometres."""
    return {"Bern": "51.6"}.get(city, "unknown")


def agent() -> dspy.Module:
    return dspy.ReAct("question -> answer", tools=[population, area], max_iters=4)


class Wrapped(dspy.Module):
    """An agent as a part of a program."""

    def __init__(self) -> None:
        super().__init__()
        self.agent = agent()
        self.polish = dspy.Predict("draft -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.polish(draft=self.agent(question=question).answer)


def in_format(adapter: str, values: dict[str, Any]) -> str:
    if adapter == "json":
        return json.dumps(values)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    if adapter == "plain":
        return "\n".join(f"{name}: {text}" for name, text in texts.items())
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()) + "\n\n[[ ## completed ## ]]"


def scripted(adapter: str) -> Any:
    """A model that looks Bern up, then its area, then finishes; it answers with what it was told."""
    turns = [("population", {"city": "Bern"}), ("area", {"city": "Bern"}), ("finish", {})]
    asked: list[CallRequest] = []

    def answer(request: CallRequest) -> str:
        text = request.messages[-1]["content"]
        asked.append(request)
        if len(asked) <= len(turns):
            tool, args = turns[len(asked) - 1]
            return in_format(adapter, {"next_thought": "look", "next_tool_name": tool, "next_tool_args": args})
        seen = [word for word in ("134,000", "51.6") if word in text]
        return in_format(adapter, {"reasoning": "seen", "answer": " and ".join(seen)})

    return answer


@pytest.mark.parametrize("adapter", ["plain", "chat", "json"])
def test_an_agent_with_two_tools_runs_in_every_format(adapter: str) -> None:
    candidate = make_candidate(module="own", adapter=adapter, instructions={})
    example = make_example(question="Bern?", answer="x")
    outcome, requests = run(scripted(adapter), candidate, fields=FIELDS, factory=agent, example=example)
    assert outcome.outputs == {"answer": "134,000 and 51.6"}, outcome
    assert len(requests) == 4


def instructions_of(factory: Any, texts: dict[str, str]) -> dict[str, str]:
    candidate = make_candidate(module="own", instructions=texts)
    module = build_module(candidate, FIELDS, factory, {})
    return {name: predictor.signature.instructions for name, predictor in predictors_of(module).items()}


@pytest.mark.parametrize(("factory", "name"), [(agent, "react"), (Wrapped, "agent.react")])
def test_a_searched_instruction_of_an_agent_keeps_its_rules_and_its_tools(factory: Any, name: str) -> None:
    text = instructions_of(factory, {name: "Answer in as few steps as you can."})[name]
    assert text.startswith("Answer in as few steps as you can.\n\nYou are an Agent.")
    assert text.count("How many people live there.") == 1 and text.count("(3) finish") == 1
    assert "produce the fields" not in text, "the agent's own instruction was replaced"


def test_an_instruction_that_has_the_agents_rules_and_tools_already_is_sent_as_it_is() -> None:
    whole = predictors_of(agent())["react"].signature.instructions
    assert instructions_of(agent, {"react": whole})["react"] == whole
    mine = whole.replace("Given the fields `question`, produce the fields `answer`.", "Be brief.")
    assert instructions_of(agent, {"react": mine})["react"] == mine


def test_the_second_predictor_of_an_agent_takes_the_instruction_alone() -> None:
    assert (
        instructions_of(agent, {"extract.predict": "Say it in one word."})["extract.predict"] == "Say it in one word."
    )


def test_another_agent_of_dspy_keeps_what_it_wrote_around_its_instruction() -> None:
    def second() -> dspy.Module:
        return dspy.ReActV2("question -> answer", tools=[population])

    text = instructions_of(second, {"react": "Be brief."})["react"]
    assert text.startswith("Be brief.\nYou are an Agent.") and "`population`, `submit`" in text


def test_a_module_of_ones_own_whose_instruction_lists_tools_in_its_own_words_keeps_the_list() -> None:
    class Planner(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tools = [dspy.Tool(population)]
            listed = "\n".join(map(str, self.tools))
            self.plan = dspy.Predict(dspy.Signature("question -> answer", f"Plan with these:\n{listed}"))

        def forward(self, question: str) -> dspy.Prediction:
            return self.plan(question=question)

    text = instructions_of(Planner, {"plan": "Plan briefly."})["plan"]
    assert text.startswith("Plan briefly.") and "How many people live there." in text


class Pictured(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = dspy.Predict("picture: list[dspy.Image], question -> answer")
        self.talk = dspy.Predict("history: dspy.History, question -> answer")


def test_the_plain_format_cannot_show_images_and_conversations() -> None:
    assert unshown_fields(Pictured(), "plain") == ["look.picture (Image)", "talk.history (History)"]
    assert unshown_fields(Pictured(), "chat") == unshown_fields(agent(), "plain") == []
