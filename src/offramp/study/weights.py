"""Weights as people write them: `quality=.6,cost=.3`."""

from __future__ import annotations

from offramp.errors import UsageError, problem


def parse_weights(text: str | None) -> dict[str, float] | None:
    """`quality=.6,cost=.3` as a mapping; None for None. What a weight may be is for `reweighted` to say.

    Raises:
        UsageError: not in this form, or an objective is there twice.
    """
    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        name, weight = _pair(part, text)
        if name in found:
            what = f"{name!r} is there twice"
            raise UsageError(problem("--weights", what, got=text, expected="each objective once", do="Remove one."))
        found[name] = weight
    return found


def _pair(part: str, text: str) -> tuple[str, float]:
    name, _, number = part.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        expected = "such as quality=.6,cost=.3"
        raise UsageError(problem("--weights", "not a list of name=number", got=text, expected=expected)) from None
