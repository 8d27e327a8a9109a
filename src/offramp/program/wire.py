"""DSPy's canonical request in the dialect of chat completions, recordings and files included.

DSPy's own conversion refuses them; vendors take them as parts of their own (`input_audio`, `file`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dspy.clients.lm15_boundary import request_kwargs
from dspy.lm15 import AudioPart, DocumentPart, ImagePart, Request

_PLACE = "https://offramp.invalid/"
"""The address of an image that stands for a part while the rest is converted."""
_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "x-m4a": "m4a"}


def chat_request(request: Request) -> dict[str, Any]:
    """The body of the request, without its model."""
    held: dict[str, dict[str, Any]] = {}

    def placed(part: Any) -> Any:
        if not isinstance(part, AudioPart | DocumentPart) or not part.data:
            return part
        address = f"{_PLACE}{len(held)}"
        held[address] = _part(part)
        return ImagePart(url=address)

    messages = tuple(replace(each, parts=tuple(map(placed, each.parts))) for each in request.messages)
    wire: dict[str, Any] = request_kwargs(replace(request, messages=messages) if held else request, "chat")
    for message in wire["messages"] if held else ():
        if isinstance(content := message.get("content"), list):
            message["content"] = [held.get(part.get("image_url", {}).get("url"), part) for part in content]
    return wire


def _part(part: AudioPart | DocumentPart) -> dict[str, Any]:
    kind = part.media_type.rpartition("/")[2]
    kind = _FORMATS.get(kind, kind)
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": kind}}
    uri = f"data:{part.media_type};base64,{part.data}"
    return {"type": "file", "file": {"file_data": uri, "filename": f"file.{kind}"}}
