"""The JSON schema, the reference page and its examples say what the code does."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from space_files import GOOD, broken

from offramp.errors import SpaceError
from offramp.space.check import check_space
from offramp.space.load import load_space
from offramp.space.schema import filled, part, parts, schema_text, space_schema

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "space-file.md"
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))


def examples():
    return [block.partition("\n```")[0] for block in PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]]


def validator():
    jsonschema.Draft202012Validator.check_schema(space_schema())
    return jsonschema.Draft202012Validator(space_schema())


def test_the_schema_file_is_what_the_code_makes():
    text = (ROOT / "schemas" / "space.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(), "run: make schema"


def test_the_schema_names_its_dialect_and_no_address_of_its_own():
    schema = json.loads(schema_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in schema


def test_every_key_has_help_for_the_editor():
    bare = [f"{cls.__name__}.{name}" for cls in parts() for name, f in cls.model_fields.items() if not f.description]
    assert bare == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_takes_the_files_that_ship(path):
    validator().validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_files_that_ship_are_right(path):
    check_space(load_space(path))


@pytest.mark.parametrize(
    "change",
    [
        ("trials: 20", "trails: 20"),
        ("trials: 20", "trials: 0"),
        ("kind: number", "kind: numbr"),
        ("name: t", "x: t"),
    ],
)
def test_the_schema_refuses_a_bad_file(change):
    assert validator().is_valid(yaml.safe_load(GOOD))
    assert not validator().is_valid(yaml.safe_load(broken(change)))


def test_the_tables_of_the_page_are_what_the_code_makes():
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page), "run: python scripts/gen_space_docs.py"


def test_the_page_has_a_table_for_every_part():
    page = PAGE.read_text(encoding="utf-8")
    assert [cls.__name__ for cls in parts() if f"<!-- keys: {cls.__name__} -->" not in page] == []


def test_filling_changes_the_table_and_nothing_else():
    text = "before\n<!-- keys: FileText -->\nold\n<!-- end -->\nafter"
    new = filled(text)
    assert "| `file` | text | required |" in new
    assert "old" not in new
    assert new.startswith("before\n<!-- keys: FileText -->\n")
    assert new.endswith("<!-- end -->\nafter")
    with pytest.raises(KeyError):
        part("Nothing")


def test_the_page_has_two_complete_examples():
    assert len(examples()) == 2


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_of_the_page_loads_and_checks(number, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(examples()[number], encoding="utf-8")
    loaded = load_space(path)
    check_space(loaded)
    validator().validate(yaml.safe_load(examples()[number]))


def test_the_message_that_the_page_shows_is_the_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("search_spaces").mkdir()
    path = Path("search_spaces/support_triage.yaml")
    path.write_text(broken(("trials: 20", "trails: 20")))
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    assert str(caught.value) in PAGE.read_text(encoding="utf-8")
