"""Whatever a space file holds, it is read or refused by a SpaceError; nothing else comes out, and nothing leaks."""

import string
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from space_files import GOOD

from offramp.errors import SpaceError
from offramp.space.check import check_space
from offramp.space.load import instruction_texts, load_space

NOISE = ("Input should be", "type=", "validation error", "pydantic", "input_value", "cannot be what the file says")
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["exact", "int", "main", "file", "tpe", "incumbent", "own", "none", "*", "local/x", "2027-01-31"]),
)
NAMES = """
name kind field fields file model low high step choices value when inputs outputs parts type scale usd x
"""
keys = st.sampled_from(NAMES.split())
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


def outcome(content, folder):
    """The message of a refusal; None where the file is read. Anything but a SpaceError goes through."""
    path = Path(folder) / "job.yaml"
    path.write_bytes(content)
    try:
        loaded = load_space(path)
        check_space(loaded)
        instruction_texts(loaded)
    except SpaceError as error:
        message = str(error)
        assert message
        assert not [noise for noise in NOISE if noise in message], message
        return message
    return None


def places(value, path=()):
    """The path of every value in a tree, the tree itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


PLACES = sorted(places(yaml.safe_load(GOOD)), key=str)


@FUZZ
@given(content=st.binary(max_size=200))
@example(content=b"a: &a [*a]")
@example(content=b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1")
@example(content=b'a: "\\UFFFFFFFF"')
@example(content=b"[" * 5000)
@example(content=b"{" * 5000)
@example(content=b"- " * 5000)
@example(content=b"a: " + b"9" * 5000)
@example(content=b"a: " + b"9" * 5000 + b".0")
@example(content=b"a: !!int x\nb: !!float y\nc: !!bool z\nd: !!null q\ne: !!binary a\nf: !!set {a}\n")
@example(content=b"<<: 1")
@example(content=b"? [a]\n: b")
def test_any_bytes_are_read_or_refused(content, tmp_path):
    outcome(content, tmp_path)


@FUZZ
@given(text=st.text(alphabet=string.ascii_lowercase + "0123456789 :-{}[]&*!|>'\"#%@,?<\n\t", max_size=120))
def test_any_text_is_read_or_refused(text, tmp_path):
    outcome(text.encode(), tmp_path)


@FUZZ
@given(place=st.sampled_from(PLACES), value=values)
def test_any_value_in_any_place_is_read_or_refused(place, value, tmp_path):
    tree = yaml.safe_load(GOOD)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    outcome(yaml.safe_dump(tree, allow_unicode=True).encode(), tmp_path)


@FUZZ
@given(place=st.sampled_from([p for p in PLACES if isinstance(p[-1], str)]), name=keys | st.text(max_size=5))
def test_any_key_in_any_place_is_read_or_refused(place, name, tmp_path):
    tree = yaml.safe_load(GOOD)
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[name] = inner.pop(place[-1])
    outcome(yaml.safe_dump(tree, allow_unicode=True).encode(), tmp_path)


@FUZZ
@given(start=st.integers(0, len(GOOD)), length=st.integers(0, 12), text=st.text(max_size=4))
def test_a_good_file_with_any_cut_is_read_or_refused(start, length, text, tmp_path):
    outcome((GOOD[:start] + text + GOOD[start + length :]).encode("utf-8", "surrogatepass"), tmp_path)


@pytest.mark.parametrize("value", [None, True, -1, "", {"x": 1}], ids=repr)
def test_one_value_in_every_place_is_read_or_refused(value, tmp_path):
    for place in PLACES:
        tree = yaml.safe_load(GOOD)
        inner = tree
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        outcome(yaml.safe_dump(tree).encode(), tmp_path)
