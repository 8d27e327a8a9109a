"""A candidate's params as they are shown: where its requests say something else, what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from offramp.records import Scalar

_COUNT = "demos.count"


def as_sent(params: Mapping[str, Scalar], sent: Mapping[str, Any]) -> dict[str, Scalar]:
    """The params with what was sent in place of what they say: `temperature` 0.9, `demos.count` `0 of 2`.

    Args:
        sent: param to predictor to values; empty where the params say it all.
    """
    shown = dict(params)
    for name, by_predictor in sent.items():
        values = _values(by_predictor)
        if name == _COUNT:
            counts = sorted({int(value) for value in values})
            few = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
            shown[name] = f"{few} of {params.get(name)}"
        elif len(values) == 1 and values != [None]:
            shown[name] = values[0]
        else:
            shown[name] = "/".join("not sent" if value is None else str(value) for value in values)
    return shown


def sent_words(params: Mapping[str, Any], sent: Mapping[str, Any]) -> Iterator[str]:
    """A line for each param that says something else than its requests.

    `temperature=0.0 is not what was sent: 0.9 by sort, 0.0 by gist`.
    """
    for name, by_predictor in sent.items():
        label = f"{params.get(_COUNT)} {params.get('demos')} demos" if name == _COUNT else f"{name}={params.get(name)}"
        yield f"{label} is not what was sent: {values_by_predictor(by_predictor)}"


def values_by_predictor(by_predictor: Mapping[str, Any]) -> str:
    """`0.9 by sort, 0.0 by gist and reply`."""
    asked: dict[str, list[str]] = {}
    for predictor, values in by_predictor.items():
        said = " and ".join("none" if value is None else str(value) for value in values)
        asked.setdefault(said, []).append(predictor)
    return ", ".join(f"{said} by {' and '.join(predictors)}" for said, predictors in asked.items())


def _values(by_predictor: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for values in by_predictor.values():
        found += [value for value in values if value not in found]
    return found
