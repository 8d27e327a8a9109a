"""What a program sends, without sending it: requests recorded, replayed from the ledger, and made into templates.

A program is run on marks in place of inputs, and the requests that it makes are cut at the marks. Whether that is sound
is tested: every example of the holdout, and inputs made to break it, must give the same request both ways.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from offramp.calls.failures import Refused
from offramp.calls.recorded import RecordedAnswers
from offramp.ids import content_hash
from offramp.program.demos import NearestDemos
from offramp.program.engine import Send
from offramp.program.module import ModuleFactory, build_module, predictors_of
from offramp.program.program import Demos, Program, demo_rows
from offramp.program.sent import Sent
from offramp.program.tools import ToolResults, ToolWithheld
from offramp.promote.promotion import MessagePart, MessageTemplate, Rendering
from offramp.records import CallReply, CallRequest, Candidate, Example, Model
from offramp.space.forms import MAIN, spec_of
from offramp.task.fields import TaskFields

CUSTOM_TYPE_MARK = "<<CUSTOM-TYPE-START-IDENTIFIER>>"
"""DSPy's chat and json formats take what follows it for an image or the like."""
_AWKWARD = (
    "", " ", "  two\n\nlines  ", "{message} {{x}} %s $x \\n", "[[ ## completed ## ]]", '{"a": 1}', "null", '"quoted"',
    "a: b\nlabel: c", "caf\u00e9 \u2028 \U0001f600", "```\ncode\n```", "<b>&amp;</b>",
)  # fmt: skip


class NotRenderable(Exception):
    """Why a program's requests cannot be written from a template, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a program is made of.

    Attributes:
        models: others that a module of one's own may call, by name.
        tool_results: what its tools gave when it was measured; None where no run of it is repeated.
    """

    candidate: Candidate
    fields: TaskFields
    model: Model
    factory: ModuleFactory | None
    demos: Demos
    pool: Sequence[Example]
    models: Mapping[str, Model] = field(default_factory=dict)
    tool_results: ToolResults | None = None

    def program(self, send: Send, *, demos: Demos | None = None, nearest: bool = True) -> Program:
        """The program; `demos` in place of its own. To be made on a running event loop."""
        index = NearestDemos(self.pool, self.fields.inputs) if nearest and self.pool else None
        return Program(
            self.candidate, fields=self.fields, model=self.model, send=send, factory=self.factory,
            demos=self.demos if demos is None else demos, nearest=index, models=self.models,
            tool_results=self.tool_results,
        )  # fmt: skip


@dataclass(slots=True)
class Recorder:
    """Stands in for the models: records each request and refuses it."""

    requests: list[CallRequest] = field(default_factory=list)

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """Never a reply."""
        self.requests.append(request)
        raise Refused("recorded, and not sent")


async def runs_matched(
    parts: Parts, examples: Sequence[Example], recorded: RecordedAnswers, *, free: Collection[str]
) -> tuple[int, Mapping[str, Model], Sent]:
    """How many runs on these examples make only requests that were measured, the other models that they ask, and what
    they send.

    Answers come from the ledger, and results of tools from the study. A run ends where it calls a tool with effects:
    what it asked until then counts.

    Args:
        free: ids of those on which the measured run asked no model.
    """
    others = {name: parts.models[name] for name in parts.candidate.models.values()}

    async def send(request: CallRequest) -> CallReply:
        if request.model.name != parts.candidate.model:
            others[request.model.name] = request.model
        return await recorded.send(request)

    matched, program = 0, parts.program(send)
    sent = Sent(program)
    for example in examples:
        recorded.asked = recorded.unknown = 0
        with contextlib.suppress(ToolWithheld):
            sent.add(example.id, (await program.run(example)).exchanges)
        matched += not recorded.unknown and bool(recorded.asked) != (example.id in free)
    return matched, others, sent


async def rendering_of(parts: Parts) -> tuple[Rendering, list[dict[str, Any]]]:
    """The template of a program's requests, and the rows of its pool of demos with their messages.

    Raises:
        NotRenderable: several predictors, or code of one's own between input and request.
    """
    if parts.factory is not None:
        raise NotRenderable("it is your own module, whose code decides what is sent")
    if spec_of(parts.candidate.module).several:
        raise NotRenderable(f"its form {parts.candidate.module!r} takes several requests for one answer")
    if parts.fields.media:
        raise NotRenderable(f"its input {next(iter(parts.fields.media))!r} is not text")
    recorder = Recorder()
    marks = {name: f"mark-{content_hash([name, 'offramp'], length=24)}" for name in parts.fields.inputs}
    await parts.program(recorder.send, nearest=False).run(_example(marks))
    if len(recorder.requests) != 1:
        raise NotRenderable(f"it makes {len(recorder.requests)} requests and not one")
    request = recorder.requests[0]
    rendering = Rendering(
        messages=tuple(_template(message, marks) for message in request.messages),
        demos_at=len(request.messages) - 1 if parts.pool else None,
        params=json.loads(json.dumps(dict(request.params))),
        forbidden=() if parts.candidate.adapter == "plain" else (CUSTOM_TYPE_MARK,),
    )
    return rendering, await _pool_rows(parts)


def _template(message: Mapping[str, Any], marks: Mapping[str, str]) -> MessageTemplate:
    pieces = [MessagePart(text=str(message["content"]))]
    for name, mark in marks.items():
        pieces = [part for piece in pieces for part in _cut(piece, name, mark)]
    return MessageTemplate(role=message["role"], content=tuple(pieces))


def _cut(piece: MessagePart, name: str, mark: str) -> list[MessagePart]:
    if piece.text is None or mark not in piece.text:
        return [piece]
    found: list[MessagePart] = []
    for i, text in enumerate(piece.text.split(mark)):
        found += [MessagePart(input=name)] if i else []
        found += [MessagePart(text=text)] if text else []
    return found


async def _pool_rows(parts: Parts) -> list[dict[str, Any]]:
    """Each example of the pool with the messages that show it. DSPy's formats put incomplete demos first."""
    if not parts.pool:
        return []
    predictor = predictors_of(build_module(parts.candidate, parts.fields, None, {}))[MAIN]
    rows = []
    for example in parts.pool:
        recorder, shown = Recorder(), demo_rows([example], predictor)
        await parts.program(recorder.send, demos={MAIN: shown}, nearest=False).run(_example(_blank(parts)))
        bare = len(recorder.requests[0].messages) - 2 * len(shown)
        messages = recorder.requests[0].messages[bare - 1 : -1]
        complete = bool(shown) and all(shown[0].get(name) is not None for name in predictor.signature.fields)
        row = pool_row(example, parts)
        row["messages"] = [[message["role"], message["content"]] for message in messages]
        if parts.candidate.adapter != "plain" and not complete:
            row["first"] = True
        rows.append(row)
    return rows


def pool_row(example: Example, parts: Parts) -> dict[str, Any]:
    """An example of the pool with what a predictor may show of it."""
    module = build_module(parts.candidate, parts.fields, parts.factory, {})
    names = {name for predictor in predictors_of(module).values() for name in predictor.signature.fields}
    wanted = [name for name in example.values if name in names or name in parts.fields.inputs]
    return {"content_hash": example.content_hash, "values": {name: example.values[name] for name in wanted}}


async def requests_for(parts: Parts, inputs: Sequence[Mapping[str, Any]]) -> list[CallRequest]:
    """The request for each of these inputs. Raises NotRenderable where a run does not make just one."""
    recorder = Recorder()
    program = parts.program(recorder.send)
    for number, values in enumerate(inputs, start=1):
        await program.run(_example(values))
        if len(recorder.requests) != number:
            raise NotRenderable("it does not make one request for each input")
    return recorder.requests


def awkward_inputs(fields: TaskFields) -> list[dict[str, Any]]:
    """Inputs made to break a template."""
    texts = list(_AWKWARD)
    rows = [{name: texts[(i + k) % len(texts)] for k, name in enumerate(fields.inputs)} for i in range(len(texts))]
    return [*rows, {name: ["x", 1, None] for name in fields.inputs}, dict.fromkeys(fields.inputs, 3.5)]


def _blank(parts: Parts) -> dict[str, str]:
    return dict.fromkeys(parts.fields.inputs, "x")


def _example(values: Mapping[str, Any]) -> Example:
    return Example(id="", content_hash="", values=MappingProxyType(dict(values)), row=0)
