"""Files of promotions: what is written is read back, what was changed is refused, and no name leaves the folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import PromotionError
from offramp.promote.folder import FeatureFolder, parsed_promotion
from offramp.promote.history import moves
from offramp.promote.promotion import Promotion
from offramp.promote.promotion_schema import schema_text
from offramp.promote.promotion_store import PromotionStore, rows_of, sealed
from offramp.promote.serialization import Mismatch, Unreadable, read_yaml, record_of, values_of, yaml_text
from promotion_records import make_promotion

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def promoted(tmp_path: Path, **changes: Any) -> Promotion:
    return PromotionStore(tmp_path, "triage").promote(make_promotion(**changes), [], label="production")[0]


@given(VALUES)
def test_every_json_value_comes_back_from_yaml_or_is_refused(value: Any) -> None:
    try:
        text = yaml_text({"value": value})
    except ValueError:
        return
    assert read_yaml(text.encode()) == {"value": value}


def test_a_record_comes_back_from_its_values() -> None:
    promotion = sealed(make_promotion())
    assert record_of(Promotion, values_of(promotion)) == promotion


def test_a_promotion_comes_back_from_its_file_and_texts_are_blocks_to_read(tmp_path: Path) -> None:
    kept = promoted(tmp_path)
    folder = FeatureFolder(tmp_path, "triage")
    assert folder.load(kept.version) == kept
    assert (
        "instructions:\n  main: |-\n    Sort the message.\n    Answer with one word.\n"
        in folder.version_path(kept.version).read_text()
    )


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"a: &x [1]\nb: *x\n", "alias"),
        (b"a: !!python/object/apply:os.system ['true']\n", "tag"),
        (b"a: 1\na: 2\n", "duplicate"),
        (b"[" * 100_000, "depth"),
        (b"\xff", "UTF-8"),
        (b"", "empty"),
        (b"a: 1\n---\nb: 2\n", "another document"),
        (b"a: " + b"x" * 5_000_000, "larger"),
    ],
)
def test_yaml_that_could_run_or_blow_up_is_refused(bad: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        read_yaml(bad)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["instructions"].update(main="Do as I say."), "changed after the promotion"),
        (lambda v: v["evidence"]["holdout"].update(quality=1.0), "changed after the promotion"),
        (lambda v: v["made"].update(by="mallory"), "changed after the promotion"),
        (lambda v: v["model"].update(route="openai/other"), "changed after the promotion"),
        (lambda v: v.update(api_base="http://evil"), "changed after the promotion"),
        (lambda v: v.update(schema_version=99), "Upgrade offramp"),
        (lambda v: v.pop("schema_version"), "schema_version"),
    ],
)
def test_a_file_that_was_tampered_with_is_an_error(tmp_path: Path, change: Any, says: str) -> None:
    kept = promoted(tmp_path)
    folder = FeatureFolder(tmp_path, "triage")
    path = folder.version_path(kept.version)
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(PromotionError, match=says):
        folder.load(kept.version)


def test_a_version_under_another_name_is_refused(tmp_path: Path) -> None:
    kept = promoted(tmp_path)
    folder = FeatureFolder(tmp_path, "triage")
    folder.version_path("0" * 12).write_bytes(folder.version_path(kept.version).read_bytes())
    with pytest.raises(PromotionError, match="its content says version"):
        folder.load("0" * 12)


def test_an_unknown_key_with_a_right_hash_is_refused_with_its_name() -> None:
    values = values_of(sealed(make_promotion()))
    with pytest.raises(Mismatch, match=r"model\.api_base: unknown key"):
        record_of(Promotion, {**values, "model": {**values["model"], "api_base": "http://elsewhere"}})


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "-x", "a\\b", "a\n", "x" * 65, "con."])
def test_a_feature_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PromotionError, match="feature"):
        FeatureFolder(tmp_path, name)


@pytest.mark.parametrize(("name", "near"), [("support triage", "support-triage"), ("a/b", "a-b"), (".x", "x")])
def test_a_feature_name_that_cannot_be_is_told_with_one_that_can(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(PromotionError, match=f"Take '{near}'.$"):
        FeatureFolder(tmp_path, name)


def test_a_promotions_folder_that_is_a_file_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PromotionError, match=r"is not a folder. Name the folder of promotions with --promotions."):
        FeatureFolder(tmp_path / "file", "triage").resolve()


def test_a_checkout_with_other_line_ends_is_the_same_promotion(tmp_path: Path) -> None:
    """As git makes it where `core.autocrlf` is set."""
    rows = rows_of([{"example": "a", "score": 1.0}, {"example": "b\r\nc", "score": 0.5}])
    base = make_promotion(text="One.\n\n  Two.\n")
    promotion = replace(base, evidence=replace(base.evidence, holdout_results=rows.ref))
    store = PromotionStore(tmp_path, "triage")
    store.promote(make_promotion(), (), label="production")
    kept, _ = store.promote(promotion, [rows], label="production")
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    folder = FeatureFolder(tmp_path, "triage")
    assert folder.load(folder.resolve()) == kept
    assert folder.rows(rows.ref)[1]["example"] == "b\r\nc"
    store.rollback(to=None, label="production", by="ada", why=None)
    store.rollback(to=kept.version, label="production", by="ada", why=None)
    assert folder.labels() == {"production": kept.version} and len(moves(folder)) == 4


def test_rows_that_were_changed_are_refused(tmp_path: Path) -> None:
    rows = rows_of([{"id": "a", "score": 1.0}])
    base = make_promotion()
    promotion = replace(base, evidence=replace(base.evidence, holdout_results=rows.ref))
    PromotionStore(tmp_path, "triage").promote(promotion, [rows], label="production")
    folder = FeatureFolder(tmp_path, "triage")
    assert folder.rows(rows.ref) == ({"id": "a", "score": 1.0},)
    folder.data_path(rows.ref).write_text('{"id":"a","score":0.0}\n')
    with pytest.raises(PromotionError, match="changed after the promotion"):
        folder.rows(rows.ref)


def test_an_unknown_feature_label_or_version_names_what_is_near(tmp_path: Path) -> None:
    kept = promoted(tmp_path)
    with pytest.raises(PromotionError, match="Did you mean 'triage'"):
        FeatureFolder(tmp_path, "triagee").resolve()
    folder = FeatureFolder(tmp_path, "triage")
    with pytest.raises(PromotionError, match="Did you mean 'production'"):
        folder.resolve("prodution")
    assert folder.resolve(kept.version[:6]) == kept.version


def test_a_text_that_no_file_can_keep_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PromotionError, match="cannot be written"):
        promoted(tmp_path, text="half a character: \ud800")
    assert FeatureFolder(tmp_path, "triage").versions() == ()


def test_parsing_says_where(tmp_path: Path) -> None:
    with pytest.raises(PromotionError, match=r"some/file\.yaml: is not a promotion"):
        parsed_promotion(b"- 1\n", "some/file.yaml")


def test_the_schema_that_ships_is_that_of_the_records_and_promotions_keep_it() -> None:
    text = (Path(__file__).parents[2] / "schemas" / "promotion.schema.json").read_text()
    assert text == schema_text(), "run `make schema`"
    jsonschema.validate(values_of(sealed(make_promotion())), json.loads(text))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values_of(sealed(make_promotion())), "api_base": "http://elsewhere"}, json.loads(text))
