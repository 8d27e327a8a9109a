"""Where commands print: a console that obeys no markup and sends no control character of a text to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from offramp.printable import printable


class PlainConsole(Console):
    """Rich's console without highlighting, markup and emoji; what acts in a text is spelled out."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **more})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich would print, segment by segment."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text, keep="\n")
            yield segment if text == segment.text else Segment(text, segment.style)
