"""Reading a space file: lines, texts of instructions, YAML's traps, and files that are hardly files."""

import dataclasses
from pathlib import Path

import pytest
from space_files import GOOD, broken

from offramp.errors import SpaceError
from offramp.space.load import instruction_texts, load_space
from offramp.space.messages import SpaceErrors
from offramp.space.model import Choices, FileText, ModelPart, Range
from offramp.space.yaml_tree import MOST_BYTES, MOST_NODES, read_tree


@pytest.fixture
def load(tmp_path):
    """Loads a text as a space file."""

    def loaded(content):
        path = tmp_path / "job.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_space(path)

    return loaded


def refused(load, content):
    with pytest.raises(SpaceError) as caught:
        load(content)
    return str(caught.value).partition("job.yaml")[2]


def test_a_good_file_is_read_with_its_types(load, tmp_path):
    loaded = load(GOOD)
    assert loaded.path == tmp_path / "job.yaml"
    assert loaded.base == tmp_path
    assert isinstance(loaded.space.params["temperature"], Range)
    assert isinstance(loaded.space.params["max_tokens"], Choices)
    assert isinstance(loaded.space.models[1], ModelPart)
    assert loaded.space.task.signature.outputs["category"].values == ["billing", "shipping", "returns"]


def test_what_was_loaded_is_frozen(load):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(GOOD).path = Path("other.yaml")


@pytest.mark.parametrize("key", ["name", "metric.parts.1.field", "models.1.api_base", "params.temperature.high"])
def test_a_key_has_the_line_where_the_file_has_it(load, key):
    loaded = load(GOOD)
    line = loaded.lines[key]
    assert key.rpartition(".")[2] + ":" in GOOD.splitlines()[line - 1]
    assert loaded.where(key) == f"{loaded.path}:{line}"


def test_a_key_that_is_not_there_has_the_line_of_what_it_would_be_in(load):
    loaded = load(GOOD)
    assert loaded.line("search.mode") == loaded.lines["search"]
    assert loaded.line("models.1.price.input_usd") == loaded.lines["models.1"]
    assert loaded.line("calls.attempts") is None
    assert loaded.where("calls.attempts") == str(loaded.path)


def test_the_hash_of_the_text_counts_comments_but_not_the_byte_order_mark(load):
    plain = load(GOOD).text_hash
    assert load(b"\xef\xbb\xbf" + GOOD.encode()).text_hash == plain
    assert load("# note\n" + GOOD).text_hash != plain


def test_windows_line_ends_do_not_move_lines(load):
    assert load(GOOD.replace("\n", "\r\n")).lines == load(GOOD).lines


# ------------------------------------------------------------------------------------- hardly files


def test_a_file_that_is_not_there_is_named_with_its_nearest_neighbour(tmp_path):
    (tmp_path / "support.yaml").write_text(GOOD)
    with pytest.raises(SpaceError, match=r"suport\.yaml: there is no such file\. Did you mean 'support\.yaml'\?"):
        load_space(tmp_path / "suport.yaml")


def test_a_folder_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(SpaceError, match="is a folder"):
        load_space(tmp_path)
    with pytest.raises(SpaceError, match="The folder does not exist either"):
        load_space(tmp_path / "no" / "job.yaml")


def test_a_path_that_no_system_takes_is_refused():
    with pytest.raises(SpaceError, match="cannot be read"):
        load_space(Path("a\0b.yaml"))


def test_broken_utf8_is_named_by_line_and_offset(load):
    content = b"name: x\ndescription: \xe4\xf6\n"
    expected = ":2: the text: got byte 0xe4 at offset 21, expected UTF-8. Save the file as UTF-8."
    assert refused(load, content) == expected
    assert "at offset 24" in refused(load, b"\xef\xbb\xbf" + content)


def test_utf16_is_not_utf8(load):
    assert ":1: the text: got byte 0xff at offset 0, expected UTF-8." in refused(load, GOOD.encode("utf-16"))


def test_a_huge_file_is_refused_before_it_is_read(load):
    limit = refused(load, b"#" * (MOST_BYTES + 1))
    assert limit.startswith(": the file is too large: expected at most 1,048,576 bytes.")
    assert "is empty" in refused(load, b"#" * MOST_BYTES)


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n...\n", "\ufeff"])
def test_an_empty_file_says_how_to_begin(load, content):
    message = refused(load, content)
    assert "the file" in message
    assert "Begin with `schema_version: 1` and `name:`." in message


@pytest.mark.parametrize("content", ["- a\n", "hello", "5", "null", "yes"])
def test_a_file_that_is_not_a_mapping_is_refused(load, content):
    assert ", expected a mapping. Begin with" in refused(load, content)


def test_unprintable_characters_are_named(load):
    assert refused(load, "name: a\nx: \x07\n") == ":2: the text: got character U+0007, expected printable text."


# ------------------------------------------------------------------------------------------------ YAML


def test_a_bomb_of_aliases_is_refused(load):
    rows = ["a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    rows += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdef", "bcdefg", strict=True)]
    message = refused(load, "\n".join(rows))
    assert (
        message == f": more than {MOST_NODES:,} values (an alias counts each time it is used). Make the file smaller."
    )


def test_an_alias_of_itself_is_refused(load):
    assert "nested more than 50 deep" in refused(load, "a: &a [*a]")


def test_merge_keys_fill_what_a_mapping_does_not_say():
    tree = read_tree("base: &base {low: 0, high: 1}\nuse:\n  <<: *base\n  high: 2\n", "x")
    assert tree.data["use"] == {"low": 0, "high": 2}
    assert tree.lines["use.high"] == 4
    assert tree.problems == ()


def test_a_merge_of_a_list_takes_the_first_and_of_a_word_is_refused():
    tree = read_tree("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\nd: {<<: word}\n", "x")
    assert tree.data["c"] == {"x": 1, "y": 2}
    assert [str(item) for item in tree.problems] == [
        "x:4: d.<<: what is merged: expected a mapping or a list of mappings."
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1.5e3", 1500.0), ("12:30", "12:30"), ("2027-01-31", "2027-01-31"), ("010", "010"),
        ("0", 0), ("0.5", 0.5), (".5", 0.5), ("-3", -3), ("1_000", 1000), ("0x1F", 31), ("~", None), ("", None),
        ("yes", True), ("off", False), ("'yes'", "yes"), ("\"5\"", "5"), ("=", "="), ("1.2.3", "1.2.3"), ("+7", 7),
    ],
)  # fmt: skip
def test_plain_values_are_what_an_editor_takes_them_for(text, value):
    found = read_tree(f"a: {text}", "x").data["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("trials", ["20", "20.0", "2e1"])
def test_a_whole_number_may_be_written_as_a_fraction(load, trials):
    loaded = load(broken(("trials: 20", f"trials: {trials}")))
    assert loaded.space.search.trials == 20
    assert type(loaded.space.search.trials) is int
    assert loaded.space == load(GOOD).space


@pytest.mark.parametrize("version", ["true", "0", "2", "'1'", "1.5"])
def test_only_the_number_1_is_version_1(load, version):
    assert ":1: schema_version: got " in refused(load, GOOD.replace("schema_version: 1", f"schema_version: {version}"))


def test_dates_need_no_quotes(load):
    loaded = load(broken(("name: house", "name: house\n    retirement_date: 2027-01-31")))
    assert loaded.space.models[1].retirement_date == "2027-01-31"


# ------------------------------------------------------------------------------------- several problems


def test_problems_are_listed_in_the_order_of_the_file_and_counted_above_ten(load):
    keys = "".join(f"zz{i}: {i}\n" for i in range(14))
    with pytest.raises(SpaceErrors) as caught:
        load(GOOD + keys)
    lines = str(caught.value).splitlines()
    assert len(caught.value.problems) == 14
    assert len(lines) == 11
    assert lines[-1] == "... and 4 more."
    assert [item.line for item in caught.value.problems] == sorted(item.line for item in caught.value.problems)


def test_a_mistake_is_reported_once(load):
    assert refused(load, broken(("usd: 5", "usd: .inf"))).count("budget") == 1


def test_a_key_with_line_breaks_stays_on_one_line(load):
    message = refused(load, GOOD + '"a\\nb": 1\n')
    assert len(message.splitlines()) == 1
    assert "a\\nb: unknown key" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("api_base: http://127.0.0.1:8080/v1", "api_key: sk-hush"),
        ("api_base: http://127.0.0.1:8080/v1", "api_key_env: [sk-hush]"),
        ("reasoning_effort:\n", "reasoning_efort:\n    api_key: sk-hush\n"),
        ("name: tickets", "name: tickets\ntoken: sk-hush"),
    ],
)
def test_what_may_be_a_secret_is_never_shown(load, old, new):
    assert "hush" not in refused(load, broken((old, new)))


def test_long_values_are_cut(load):
    message = refused(load, broken(("name: tickets", f"name: {'x' * 5000}")))
    assert len(message) < 300


# ---------------------------------------------------------------------------------------- instructions


def test_flat_instructions_are_those_of_main(load):
    texts = instruction_texts(load(GOOD))
    assert texts == {
        "main": {"short": "Sort the message.", "long": "Sort the message and say how urgent it is."}
    }  # fmt: skip


def test_a_text_in_a_file_starts_from_the_folder_of_the_space_file(load, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "short.txt").write_text("Größe zählt.\n", encoding="utf-8")
    loaded = load(broken(("short: Sort the message.", "short: {file: texts/short.txt}")))
    assert loaded.space.instructions["short"] == FileText(file="texts/short.txt")
    assert instruction_texts(loaded)["main"]["short"] == "Größe zählt.\n"


def test_a_text_may_lie_outside_the_folder(load, tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "text.txt"
    outside.write_text("Hello.")
    loaded = load(broken(("short: Sort the message.", f"short: {{file: {outside}}}")))
    assert instruction_texts(loaded)["main"]["short"] == "Hello."


def test_predictors_have_variants_of_their_own(load, tmp_path):
    (tmp_path / "b.txt").write_text("B.")
    nested = "instructions:\n  first: {a: A., b: {file: b.txt}}\n  second: {a: C.}\n"
    loaded = load(GOOD[: GOOD.index("instructions:\n")] + nested + GOOD[GOOD.index("program:") :])
    assert instruction_texts(loaded) == {"first": {"a": "A.", "b": "B."}, "second": {"a": "C."}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is blank: expected a text."),
        (b" \n\t\n", "is blank: expected a text."),
        (b"ok\n\xff", ":2: the text: got byte 0xff at offset 3, expected UTF-8."),
        (None, "there is no such file: got 'short.txt', expected a file in "),
        (b"x" * (MOST_BYTES + 1), "the file is too large"),
    ],
    ids=["empty", "blank", "broken", "missing", "huge"],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_line_that_names_it(load, tmp_path, content, said):
    if content is not None:
        (tmp_path / "short.txt").write_bytes(content)
    loaded = load(broken(("short: Sort the message.", "short: {file: short.txt}")))
    with pytest.raises(SpaceErrors) as caught:
        instruction_texts(loaded)
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == ("instructions.short.file", 29)
    assert said in problem.message


def test_all_texts_that_cannot_be_read_are_reported_at_once(load):
    loaded = load(
        broken(("Sort the message.\n", "{file: a.txt}\n"), ("Sort the message and say how urgent it is.", "''"))
    )
    with pytest.raises(SpaceErrors) as caught:
        instruction_texts(loaded)
    assert [item.line for item in caught.value.problems] == [29, 30]


def test_texts_beside_predictors_are_refused(load):
    with pytest.raises(SpaceError, match="a text next to predictors"):
        instruction_texts(load(broken(("short: Sort the message.", "short: {a: Sort.}"))))


def test_a_predictor_without_variants_is_refused(load):
    nested = broken(
        ("short: Sort the message.", "short: {}"), ("  long: Sort the message and say how urgent it is.\n", "")
    )
    with pytest.raises(SpaceError, match=r"instructions\.short: no variants\. Add at least one\."):
        instruction_texts(load(nested))
