"""The colours of texts against the grounds that they stand on, in light and in dark."""

from __future__ import annotations

import re

import pytest

from offramp.review.assets import style

SCHEMES = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", style(), re.DOTALL)]  # fmt: skip


def luminance(colour: str) -> float:
    """Source: W3C, Web Content Accessibility Guidelines 2.1, relative luminance."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_every_text_can_be_told_from_its_ground(scheme: dict[str, str]) -> None:
    """Intervals were written in a grey of a contrast of 3 : 1."""
    pairs = [(text, ground) for text in ("ink", "soft", "faint", "best", "today", "bad") for ground in ("paper", "sheet", "wash")]  # fmt: skip
    pairs += [(name, f"{name}-wash") for name in ("best", "today", "bad")]
    for text, ground in pairs:
        low, high = sorted((luminance(scheme[text]), luminance(scheme[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
