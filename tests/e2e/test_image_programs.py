"""Images from a dataset to a promoted feature, in the dialects of OpenAI and Anthropic, over HTTP."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import dspy
import pytest

import offramp
from offramp.cli.main import main
from offramp.errors import UsageError
from offramp.testing.server import ScriptedServer, ServerReply

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def png(colour: str, number: int) -> bytes:
    """A picture of one colour, `number + 1` pixels wide."""
    width = number + 1
    row = b"\0" + bytes(COLOURS[colour]) * width

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")


def colour_of(data: bytes) -> str:
    """What is on it."""
    size = struct.unpack(">I", data[33:37])[0]
    pixel = zlib.decompress(data[41 : 41 + size])[1:4]
    return next(name for name, value in COLOURS.items() if bytes(value) == pixel)


def picture_in(body: dict[str, Any]) -> bytes:
    """The picture of a request's last message, in either dialect."""
    for part in body["messages"][-1]["content"]:
        if part["type"] == "image_url":
            return base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
        if part["type"] == "image":
            assert part["source"]["media_type"] == "image/png"
            return base64.b64decode(part["source"]["data"])
    raise AssertionError(f"no picture among {body['messages'][-1]['content']}")


def answer(body: dict[str, Any]) -> ServerReply:
    """The colour, where the instruction asks for it; else the other one."""
    asked = json.dumps([body.get("system"), body["messages"][0]])
    colour = colour_of(picture_in(body))
    said = colour if "Name the colour" in asked else next(name for name in COLOURS if name != colour)
    text = f"[[ ## colour ## ]]\n{said}\n\n[[ ## completed ## ]]"
    if body["model"].startswith("claude"):
        usage = {"input_tokens": 300, "output_tokens": 9}
        content = [{"type": "text", "text": text}]
        reply = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "content": content}
        return ServerReply(body=json.dumps({**reply, "stop_reason": "end_turn", "usage": usage}).encode())
    return ServerReply(text=text, usage={"prompt_tokens": 300, "completion_tokens": 9, "total_tokens": 309})


SIGNATURE = "  signature: \"picture: dspy.Image -> colour: Literal['red', 'blue']\"\n"
MODULE = "  module: own.py:Seeing\n  inputs: {picture: {type: image}}\n  outputs: [colour]\n"
OWN = """
from typing import Literal
import dspy

class Seeing(dspy.Module):
    def __init__(self):
        super().__init__()
        self.look = dspy.Predict(dspy.Signature(
            "picture: dspy.Image -> colour: Literal['red', 'blue']", custom_types={"Literal": Literal}
        ))

    def forward(self, picture):
        assert isinstance(picture, dspy.Image)
        return self.look(picture=picture)
"""
ROUTES = {"openai": "openai/gpt-4o", "anthropic": "anthropic/claude-sonnet-4-5"}


def job(folder: Path, server: ScriptedServer, dialect: str, *, task: str = SIGNATURE, more: str = "") -> Path:
    """The space file of a job over 30 pictures."""
    (folder / "pictures").mkdir()
    rows = []
    for number in range(30):
        colour = list(COLOURS)[number % 2]
        (folder / "pictures" / f"{number}.png").write_bytes(png(colour, number))
        rows.append(f"{number},pictures/{number}.png,{colour}")
    (folder / "pictures.csv").write_text("id,picture,colour\n" + "\n".join(rows) + "\n")
    (folder / "own.py").write_text(OWN)
    names = (
        "{look: {vague: Look., clear: Name the colour.}}"
        if "module" in task
        else "{vague: Look., clear: Name the colour.}"
    )
    base = server.url if dialect == "openai" else server.url.removesuffix("/v1")
    path = folder / "colours.yaml"
    path.write_text(
        f"schema_version: 1\nname: colours\ntask:\n{task}dataset: {{path: pictures.csv, id: id}}\n"
        "splits: {train: 4, search: 14, holdout: 12}\nmetric: {kind: exact, field: colour}\n"
        f"models: [{{name: seer, route: {ROUTES[dialect]}, api_base: '{base}', retirement_date: '2099-01-01', price: {{input_usd: 1.0, output_usd: 2.0}}}}]\n"
        f"incumbent: {{model: seer, instruction: vague}}\ninstructions: {names}\nparams: {{max_tokens: 20}}\n"
        f"search: {{trials: 2, sampler: random}}\nbudget: {{usd: 100}}\n{more}"
    )
    return path


@pytest.mark.parametrize("task", [SIGNATURE, MODULE], ids=["signature", "module"])
@pytest.mark.parametrize("dialect", list(ROUTES))
def test_pictures_are_searched_over_promoted_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str, task: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer(answer) as server:
        path = job(tmp_path, server, dialect, task=task)
        assert main(["space", "check", str(path)]) == 0
        study = offramp.optimize(path, results=tmp_path / "results")
        assert len(server.requests) == study.report.money.calls
        best = study.report.recommended
        assert best is not None and best.quality == 1.0 and "clear" in str(best.params)
        assert best.search.cost_usd == pytest.approx((300 * 1.0 + 9 * 2.0) / 1e6)
        offramp.report(out=tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert 'class="thumbnail" alt="picture" src="data:image/png;base64,' in page and "image/png, SHA-256 " in page
        assert main(["promote", "latest"]) == 0
        options: dict[str, Any] = {"api_base": server.url.removesuffix("/v1") if dialect == "anthropic" else server.url}
        if task is MODULE:
            scope: dict[str, Any] = {}
            exec(compile(OWN, "own.py", "exec"), scope)
            options["module"] = scope["Seeing"]
        program = offramp.load("colours", **options)
        assert program(picture=png("blue", 50)).colour == "blue"
        assert (
            program(picture=dspy.Image(f"data:image/png;base64,{base64.b64encode(png('red', 51)).decode()}")).colour
            == "red"
        )
        assert program(picture=tmp_path / "pictures" / "1.png").colour == "blue"
        with pytest.raises(UsageError, match=r"picture: not of `type: image`.*pathlib.Path"):
            program(picture="pictures/1.png")
    with (tmp_path / "results" / "offramp.db").open("rb") as stored:
        assert base64.b64encode(png("red", 0))[40:] not in stored.read(), "pictures are stored by digest"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("route: openai/gpt-4o,", "route: openai/gpt-3.5-turbo,").replace("api_base", "#"), ""),
        (lambda text: text + "program: {format: plain}\n", "program.format: 'plain' cannot show picture"),
        (lambda text: text.replace(SIGNATURE, MODULE.replace("{picture: {type: image}}", "[picture]"))
         .replace("{vague: Look., clear: Name the colour.}", "{look: {vague: Look.}}"), "inputs: {picture: {type: image}}"),
        (lambda text: text.replace("[{name: seer", "[local/smollm2-135m, {name: seer"), "local/smollm2-135m takes no image"),
        (lambda text: text.replace("[{name: seer", "[openai/gpt-3.5-turbo, {name: seer"), "openai/gpt-3.5-turbo takes no image"),
    ],
)  # fmt: skip
def test_what_cannot_see_is_refused_before_anything_is_spent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str
) -> None:
    with ScriptedServer(answer) as server:
        path = job(tmp_path, server, "openai")
        if said:
            path.write_text(change(path.read_text()))
            assert main(["space", "check", str(path)]) == 2
            assert said in " ".join(capsys.readouterr().err.split())
        assert not server.requests


def test_a_picture_that_is_missing_is_named_with_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(answer) as server:
        path = job(tmp_path, server, "openai")
        (tmp_path / "pictures" / "7.png").unlink()
        assert main(["space", "check", str(path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "row 8: picture: the image 'pictures/7.png' cannot be read (No such file or directory)" in said
