"""Templates against the program they were made from: any text, any JSON value, any format, the same request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.promote.capture import Parts, rendering_of, requests_for
from offramp.promote.promotion import PromotedDemos, PromotedProgram
from offramp.promote.render import Renderer
from offramp.records import DemoKind
from offramp.space.model import OutputField
from program_runs import HOSTED, make_candidate, make_examples, make_fields
from promotion_records import make_promotion

OUTPUTS = {
    "category": OutputField(type="enum", values=["billing", "shipping", "returns"]),
    "note": OutputField(optional=True),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["[[ ## message ## ]]", "{{message}}", "{message}", "mark-", "```", "\n\n", '"', "null", "category: billing"]
)
VALUE = TEXT | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def parts_of(form: str, kind: str, nearest: bool) -> Parts:
    demos = {"main": [{"message": "m\n1", "topic": "t", "category": "billing", "note": None}]}
    pool = tuple(make_examples(6)) if nearest else ()
    candidate = make_candidate(
        module=form, adapter=kind, instructions={"main": "Sort {it}\n  by \"kind\"."}, request_params={"temperature": 0.3},
        demo_kind=DemoKind.NEAREST if nearest else DemoKind.RANDOM, demo_count=2,
    )  # fmt: skip
    inputs = ("message",) if nearest else ("message", "topic")
    outputs = {"category": OUTPUTS["category"]} if nearest else OUTPUTS
    return Parts(
        candidate=candidate, fields=make_fields(outputs, inputs), model=HOSTED, factory=None,
        demos={} if nearest else demos, pool=pool,
    )  # fmt: skip


@pytest.mark.parametrize("nearest", [False, True], ids=["fixed", "nearest"])
@pytest.mark.parametrize("kind", ["plain", "chat", "json"])
@pytest.mark.parametrize("form", ["predict", "chain_of_thought"])
def test_a_template_writes_the_request_of_its_program(form: str, kind: str, nearest: bool) -> None:
    parts = parts_of(form, kind, nearest)
    rendering, rows = asyncio.run(rendering_of(parts))
    names = parts.fields.inputs
    renderer = Renderer(
        make_promotion(
            rendering=rendering,
            program=PromotedProgram(
                form=form, format=kind, constrained=False, inputs=dict.fromkeys(names), outputs={}
            ),
            demos=PromotedDemos(kind="nearest", count=2, values={}),
        ),
        tuple(rows),
    )  # fmt: skip

    @settings(max_examples=40, deadline=None)
    @given(st.fixed_dictionaries(dict.fromkeys(names, VALUE)))
    def same(values: dict[str, Any]) -> None:
        [request] = asyncio.run(requests_for(parts, [values]))
        written = renderer.request(values)
        assert written.messages == [dict(message) for message in request.messages]
        assert written.params == dict(request.params)

    same()
