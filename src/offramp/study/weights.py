"""Weights as people write them: `quality=.6,cost=.3`."""

from __future__ import annotations

from offramp.errors import UsageError, problem


def parse_weights(text: str | None) -> dict[str, float] | None:
    """`quality=.6,cost=.3` as a mapping; None for None.

    Raises:
        UsageError: not in this form.
    """
    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.partition("=")
        try:
            found[name.strip()] = float(number) if equals else float("nan")
        except ValueError:
            found[name.strip()] = float("nan")
        if found[name.strip()] != found[name.strip()]:
            raise UsageError(
                problem("--weights", "not a list of name=number", got=text, expected="such as quality=.6,cost=.3")
            )
    return found
