"""The grammar and the parser agree: whatever the decoder may write can be read."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import dspy
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.program.plain import PlainMessages, plain_grammar
from offramp.program.signature import signature_of
from offramp.space.model import OutputField
from program_runs import make_fields

ODD = [
    'say "hi"',
    "back\\slash",
    "caf\u00e9 \u2028 \U0001f600",
    "two\nlines",
    "tab\there",
    "\x01bell\x7f",
    " edge ",
    "null",
    "a: b",
    "",
]
ALPHABET = [
    '"',
    "\\",
    "a",
    "1",
    " ",
    ":",
    "n",
    "u",
    "l",
    ".",
    "-",
    "*",
    "_",
    "\u00e9",
    "\U0001f600",
    "\u2028",
    "\t",
    "`",
]


def fields_of(**outputs: OutputField) -> type[dspy.Signature]:
    return signature_of(make_fields(outputs), "Do it.")


# --------------------------------------------------------------------------------- a sampler of our GBNF

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[()|?+]|\{1,9\}|\s+')
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|.)")


def tokens_of(rule: str) -> list[str]:
    found = _TOKEN.findall(rule)
    assert "".join(found) == rule, "the sampler does not know some part of the grammar"
    return [token for token in found if not token.isspace()]


def literal(token: str) -> str:
    simple = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
    return _ESCAPE.sub(
        lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" and len(m[1]) == 3 else simple[m[1]], token[1:-1]
    )


def sample(grammar: str, rng: random.Random) -> str:
    """A random text of the grammar."""
    assert grammar.startswith("root ::= ")
    text, rest = _choice(tokens_of(grammar.removeprefix("root ::= ")), rng)
    assert not rest
    return text


def _choice(tokens: list[str], rng: random.Random) -> tuple[str, list[str]]:
    branches = []
    while True:
        text, tokens = _sequence(tokens, rng)
        branches.append(text)
        if not tokens or tokens[0] != "|":
            return rng.choice(branches), tokens
        tokens = tokens[1:]


def _sequence(tokens: list[str], rng: random.Random) -> tuple[str, list[str]]:
    text = ""
    while tokens and tokens[0] not in "|)":
        start, piece = tokens, ""
        _, after = _item(tokens, rng)
        mark = after[0] if after and after[0] in ("?", "+", "{1,9}") else ""
        for _ in range({"?": rng.randint(0, 1), "+": rng.randint(1, 6), "{1,9}": rng.randint(1, 9)}.get(mark, 1)):
            more, _ = _item(start, rng)
            piece += more
        text, tokens = text + piece, after[1:] if mark else after
    return text, tokens


def _item(tokens: list[str], rng: random.Random) -> tuple[str, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head == "(":
        text, rest = _choice(rest, rng)
        assert rest[0] == ")"
        return text, rest[1:]
    if head == "[0-9]":
        return rng.choice("0123456789"), rest
    if head == r"[^\n\r]":
        return rng.choice(ALPHABET), rest
    assert head.startswith('"'), head
    return literal(head), rest


KINDS: dict[str, dict[str, Any]] = {"str": {}, "int": {}, "float": {}, "bool": {}, "enum": {"values": ODD}}
outputs = st.dictionaries(
    st.sampled_from(["a", "b_", "reasoning", "C"]),
    st.builds(
        lambda kind, optional: OutputField(type=kind, optional=optional, **KINDS[kind]),
        st.sampled_from(sorted(KINDS)), st.booleans(),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(outputs, st.randoms(use_true_random=False))
def test_every_text_of_the_grammar_is_parsed_without_an_error(
    chosen: dict[str, OutputField], rng: random.Random
) -> None:
    signature = fields_of(**chosen)
    grammar = plain_grammar(signature)
    if grammar is None:
        assert len(chosen) == 1 and next(iter(chosen.values())).type == "str"
        return
    for _ in range(5):
        text = sample(grammar, rng)
        assert text.strip(), "DSPy takes an empty answer for none"
        assert set(PlainMessages().parse(signature, text)) == set(chosen)


@given(st.sampled_from(ODD))
def test_every_option_can_be_chosen(option: str) -> None:
    grammar = plain_grammar(fields_of(a=OutputField(type="enum", values=ODD)))
    assert grammar is not None
    texts = {sample(grammar, random.Random(seed)) for seed in range(200)}
    parsed = [PlainMessages().parse(fields_of(a=OutputField(type="enum", values=ODD)), text)["a"] for text in texts]
    assert option in parsed


def test_null_is_one_of_the_answers_where_it_may_be() -> None:
    grammar = plain_grammar(fields_of(n=OutputField(type="int", optional=True), b=OutputField(type="bool")))
    assert grammar is not None
    assert {sample(grammar, random.Random(seed)).splitlines()[0] == "n: null" for seed in range(50)} == {True, False}


@pytest.mark.parametrize("kind", ["list[str]", "object", "list[object]"])
def test_nothing_is_held_where_a_value_needs_more_than_a_line(kind: str) -> None:
    more = {} if kind == "list[str]" else {"fields": {"x": "int"}}
    assert plain_grammar(fields_of(a=OutputField(type="int"), b=OutputField(type=kind, **more))) is None  # type: ignore[arg-type]


def test_one_free_text_is_not_held() -> None:
    assert plain_grammar(fields_of(a=OutputField())) is None
    assert plain_grammar(fields_of(a=OutputField(optional=True))) is None


def test_a_chain_of_thought_is_held_to_its_reasoning_first() -> None:
    sorting = fields_of(category=OutputField(type="enum", values=["x", "y"]))
    grammar = plain_grammar(dspy.ChainOfThought(sorting).predict.signature)
    assert grammar == r'root ::= "reasoning: " [^\n\r]+ "\n" "category: " ("x" | "y")'


# ------------------------------------------------------------------------------------------ a real decoder


def test_llama_cpp_takes_the_grammar_and_answers_in_its_form(smollm2: str) -> None:
    from offramp.models.catalogue import resolve
    from offramp.models.server import LocalServers

    odd = [option for option in ODD if option]
    signatures = [
        fields_of(a=OutputField(type="enum", values=[*odd, ""])),
        fields_of(a=OutputField(type="enum", values=odd, optional=True), n=OutputField(type="float", optional=True),
                  ok=OutputField(type="bool"), count=OutputField(type="int")),
    ]  # fmt: skip
    model = resolve(smollm2, "test")

    async def ask(url: str, headers: dict[str, str], signature: type[dspy.Signature]) -> dict[str, Any]:
        messages = PlainMessages().format(signature, [], {"message": "Something is broken."})
        body = {
            "messages": messages,
            "grammar": plain_grammar(signature),
            "max_tokens": 64,
            "temperature": 1.0,
            "seed": 1,
        }
        async with httpx.AsyncClient(timeout=None, trust_env=False) as client:
            response = await client.post(f"{url.removesuffix('/v1')}/v1/chat/completions", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return PlainMessages().parse(signature, response.json()["choices"][0]["message"]["content"])

    async def go() -> list[dict[str, Any]]:
        async with LocalServers() as servers:
            url = await servers.url(model)
            return [await ask(url, servers.headers(model), signature) for signature in signatures]

    parsed = asyncio.run(go())
    assert all(answer["a"] in [*odd, "", None] for answer in parsed)
