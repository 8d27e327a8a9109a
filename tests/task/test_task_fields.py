"""Signatures in each form give the same fields; what cannot be read says so."""

import pytest

from offramp.errors import SpaceError
from offramp.space.model import TaskPart
from offramp.task.fields import task_fields


def _fields(signature):
    return task_fields(TaskPart(signature=signature), "s.yaml")


def test_a_string_signature_gives_every_type_it_may_name():
    fields = _fields(
        "message, context -> category: Literal['a, b', \"c->d\"], urgency, n: int, x:float, ok: bool, t: list[ str ]"
    )
    assert fields.inputs == ("message", "context")
    types = {name: output.type for name, output in fields.outputs.items()}
    assert types == {"category": "enum", "urgency": "str", "n": "int", "x": "float", "ok": "bool", "t": "list[str]"}
    assert fields.outputs["category"].values == ["a, b", "c->d"]


def test_string_and_typed_signature_have_the_same_hash():
    typed = {"inputs": {"q": None}, "outputs": {"a": {"type": "enum", "values": ["x", "y"]}}}
    assert _fields("q -> a: Literal['x', 'y']").hash == _fields(typed).hash
    assert _fields("q -> a: Literal['x', 'z']").hash != _fields(typed).hash


def test_a_module_gives_plain_text_outputs():
    fields = task_fields(TaskPart(module="m:P", inputs=["q"], outputs=["a", "b"]), "s.yaml")
    assert fields.inputs == ("q",)
    assert [output.type for output in fields.outputs.values()] == ["str", "str"]


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("question, answer", "inputs -> outputs"),
        ("-> answer", "inputs -> outputs"),
        ("a -> b -> c", "inputs -> outputs"),
        ("a -> b: dict[str, int]", "typed fields"),
        ("a -> b: Optional[str]", "typed fields"),
        ("a -> b: Literal[1, 2]", "typed fields"),
        ("a -> b: strr", "Did you mean 'str'"),
        ("a -> b: __import__('os')", "typed fields"),
        ("a -> b: Literal['x']", "two or more"),
        ("a -> b: Literal['x", "not closed"),
        ("a, a -> b", "duplicate field 'a'"),
        ("a -> a", "duplicate field 'a'"),
        ("a b -> c", "not a field name"),
        ("a, -> c", "not a field name"),
    ],
)
def test_a_signature_that_cannot_be_read_says_what_is_wrong(signature, words):
    with pytest.raises(SpaceError, match=r"s.yaml: task") as caught:
        _fields(signature)
    assert words in str(caught.value)
