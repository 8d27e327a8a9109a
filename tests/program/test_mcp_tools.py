"""Tools of a real MCP server over stdio: asked once per input, in a module and by an agent."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest
from test_recorded_tools import Memory, Waits

from offramp.program.program import Outcome, Program
from offramp.program.tools import tools_of
from offramp.records import CallRequest
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_example, make_fields, transport, user_text

mcp = pytest.importorskip("mcp", reason="an environment from before the lock had it")

SERVER = """
from mcp.server.mcpserver import MCPServer

server, asked = MCPServer("teams"), []

@server.tool()
def find(word: str) -> str:
    '''Which team had the case.'''
    asked.append(word)
    return f"{word} {len(asked)}"

server.run()
"""
FIELDS = make_fields({"answer": OutputField()}, inputs=("question",))
OWN = make_candidate(module="own", adapter="chat", instructions={})


class Agent(dspy.Module):
    def __init__(self, tool: dspy.Tool) -> None:
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[tool], max_iters=3)

    async def aforward(self, question: str) -> dspy.Prediction:
        return await self.agent.acall(question=question)


def reply(request: CallRequest) -> str:
    text = user_text(request)
    found = text.rpartition("[[ ## observation_0 ## ]]")[2].split("\n")[1] if "observation_0" in text else ""
    values: dict[str, Any] = {"said": "x", "reasoning": "so", "answer": found, "next_thought": "so"}
    values |= {"next_tool_name": "finish" if found else "find"}
    values |= {"next_tool_args": "{}" if found else json.dumps({"word": "Bern"})}
    asked = [name for name in values if f"`[[ ## {name} ## ]]`" in text]
    return "\n\n".join(f"[[ ## {name} ## ]]\n{values[name]}" for name in asked) + "\n\n[[ ## completed ## ]]"


def test_tools_of_an_mcp_server_are_recorded_and_replayed(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    parameters = mcp.StdioServerParameters(command=sys.executable, args=[str(tmp_path / "server.py")])

    async def go() -> tuple[list[Any], list[Any]]:
        async with mcp.stdio_client(parameters) as streams, mcp.ClientSession(*streams) as session:
            await session.initialize()
            (listed,) = (await session.list_tools()).tools
            tool = dspy.Tool.from_mcp_tool(session, listed)
            assert list(tools_of(Agent(tool))) == ["find"]

            async def twice(make: Any) -> list[Any]:
                results, wire = Memory(), transport(reply)
                found: list[Outcome] = []
                for _ in range(2):
                    program = Program(
                        OWN, fields=FIELDS, model=HOSTED, send=wire.send, factory=make, tool_results=results
                    )
                    found.append(await program.run(make_example(question="Bern", answer="x")))
                assert len(results.known) == 1 and all(each.outputs is not None for each in found), found
                return [(each.outputs or {})["answer"] for each in found]

            return await twice(lambda: Waits(tool)), await twice(lambda: Agent(tool))

    in_a_module, by_an_agent = asyncio.run(go())
    assert in_a_module == ['["Bern 1"]'] * 2 and by_an_agent == ["Bern 2"] * 2
