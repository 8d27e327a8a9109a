"""A scan finds the models that an app names, where it names them, and nothing else."""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

import pytest

from offramp.cli.watch import print_scan
from offramp.errors import UsageError
from offramp.lifecycle.known_names import KnownNames
from offramp.lifecycle.scan import MOST_BYTES, ScanReport, app_files, scan_files
from offramp.models.catalogue import resolve
from offramp.models.retirement.dates import Standing, load_calendar
from offramp.models.table import load_table

DAY = datetime.date(2026, 11, 25)


def scanned(root: Path, lifecycle: Path | None = None) -> ScanReport:
    return scan_files(root, load_calendar(lifecycle), today=DAY)


def named(line: str) -> list[str]:
    return [mention.name for mention in KnownNames(load_table()).mentions(line)]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('client.chat(model="gpt-4o-mini")', ["gpt-4o-mini"]),
        ("lm = dspy.LM('openai/gpt-4o')", ["openai/gpt-4o"]),
        ("OPENAI_MODEL=gpt-4o", ["gpt-4o"]),
        ("export MODEL_NAME=o1", ["o1"]),
        ("  model: deepseek-chat", ["deepseek-chat"]),
        ('"model": "o3",', ["o3"]),
        ("models: [gpt-4o, gpt-4o-mini]", ["gpt-4o", "gpt-4o-mini"]),
        ("uses gpt-4o-2024-08-06, since March.", ["gpt-4o-2024-08-06"]),
        ("modelId='us.anthropic.claude-sonnet-4-5-20250929-v1:0'", ["us.anthropic.claude-sonnet-4-5-20250929-v1:0"]),
        ("https://host/v1beta/models/gemini-2.5-flash:generateContent", ["gemini-2.5-flash"]),
        ('name = "local/smollm2-135m"', ["local/smollm2-135m"]),
        ("model='gpt-4-0314'", ["gpt-4-0314"]),
        ('llm = "text-davinci-003"', ["text-davinci-003"]),
    ],
)
def test_names_are_found_where_models_are_named(line: str, names: list[str]) -> None:
    assert [name.removeprefix("gemini/") for name in named(line)] == names


@pytest.mark.parametrize(
    "line",
    [
        "the o1 flag and the o3 one",
        "let command = sonar + container; // router",
        'kind: "container"',
        "import mistral, command",
        "my-gpt-4o-mini-wrapper and xgpt-4o-mini",
        "gpt-4o_mini gpt-4o-mini-2099-foo",
        "prompts/gpt-4o/system.txt",
        "# see gpt-4-0314 in the paper",
        "if name.startswith('claude-3-haiku'):",
        'header = "chatgpt-account-id"',
        "version = '2024-08-06'",
        "uses: azure/login@v2",
        "https://github.com/openai/gpt-2",
        "`o1` and `o3` in a comment",
        "sha = 'd41d8cd98f00b204e9800998ecf8427e'",
    ],
)
def test_what_is_no_name_of_a_model_is_not_reported(line: str) -> None:
    assert named(line) == []


def test_every_chat_name_of_the_table_is_found_as_the_value_of_model() -> None:
    names = KnownNames(load_table())
    for row in load_table().chat_rows():
        if re.fullmatch(r"[\w./:@+-]+", row.route):
            found = [mention.name for mention in names.mentions(f'"model": "{row.route}",')]
            assert found == [row.route] or found == [row.route.rpartition("models/")[2]], row.route


def test_file_line_and_date_are_told_and_the_most_urgent_is_first(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "llm.py").write_text('# one\nA = "gpt-4o"\nB = "gpt-4o"\n')
    (tmp_path / ".env").write_text("SECRET=hunter2 MODEL=local/smollm2-135m\n")
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nretirements:\n  - {model: gpt-4o, retires: 2026-12-01}\n")
    report = scanned(tmp_path, own)
    first = report.models[0]
    assert (first.name, first.standing, first.days_left) == ("gpt-4o", Standing.SOON, 6)
    assert {"app/llm.py:2", "app/llm.py:3"} <= {str(place) for place in first.places}
    assert [(m.name, m.standing) for m in report.models[1:]] == [("local/smollm2-135m", Standing.OWN)]
    assert "hunter2" not in repr(report)


def test_folders_of_others_binaries_and_big_files_are_not_read(tmp_path: Path) -> None:
    for folder in ("node_modules/x", ".git", ".venv/lib", "src"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text('M = "gpt-4o"\n')
    (tmp_path / "binary.json").write_bytes(b"\0gpt-4o")
    (tmp_path / "big.json").write_text(" " * MOST_BYTES + '"gpt-4o"')
    (tmp_path / "package-lock.json").write_text('"gpt-4o"')
    (tmp_path / "picture.png").write_text('"gpt-4o"')
    report = scanned(tmp_path)
    assert [str(place) for model in report.models for place in model.places] == ["src/a.py:1"]
    assert set(report.unread) == {"binary.json", "big.json"} and report.files == 1


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text('M = "gpt-4o"\n')
    app = tmp_path / "app"
    app.mkdir()
    (app / "linked").symlink_to(outside)
    (app / "a.py").symlink_to(outside / "a.py")
    (app / "loop").symlink_to(app)
    assert scanned(app).models == () and list(app_files(app)) == []


def test_bytes_that_are_no_text_and_odd_names_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes('NAME = "gpt-4o" # caf\xe9\n'.encode("latin-1"))
    (tmp_path / "new\nline.py").write_text('M = "gpt-4o"\n')
    assert sum(len(model.places) for model in scanned(tmp_path).models) == 2


def test_one_file_can_be_named_and_a_line_can_ask_to_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text('A = "gpt-4o"  # offramp: ignore\nB = "gpt-4o-mini"\n')
    assert [model.name for model in scanned(file).models] == ["gpt-4o-mini"]


def test_a_path_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        scanned(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("gemini/gemini-2.0-flash", Standing.VANISHED),
        ("xai/grok-4", Standing.VANISHED),
        ("groq/llama-3.3-70b-versatile", Standing.VANISHED),
        ("bedrock/anthropic.claude-v2", Standing.VANISHED),
        ("openrouter/anthropic/claude-opus-4.1", Standing.VANISHED),
        ("anthropic/claude-3.5-haiku", Standing.VANISHED),
        ("claude-opus-4-1", Standing.VANISHED),
        ("mistral/mistral-small-2312", Standing.UNKNOWN),
        ("openai/gpt-9-nano", Standing.UNKNOWN),
        ("azure/gpt-4o-of-ours", Standing.UNKNOWN),
    ],
)
def test_a_model_of_a_known_provider_that_the_table_lacks_is_not_passed_over(
    tmp_path: Path, name: str, standing: Standing
) -> None:
    """One that a table is known to have had is gone; any other may be new, a deployment or misspelt."""
    if load_table().find(name) is not None:
        pytest.skip("the installed table has it")
    (tmp_path / "app.py").write_text(f'client.chat(model="{name}")\nllm = "{name}"\n')
    (found,) = scanned(tmp_path).models
    assert (found.name, found.standing, found.in_table) == (name, standing, False)
    assert [place.line for place in found.places] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        "uses: 'azure/login@v2'",
        'image: "mistral/app-2"',
        "path = 'openai/client-1.py'",
        "'anthropic/sdk-2.0'",
        '"groq/groq-python-3"',
    ],
)
def test_repositories_and_paths_behind_a_providers_name_are_no_models(line: str) -> None:
    assert named(line) == []


def test_an_alias_is_known_and_says_what_it_stands_for(tmp_path: Path) -> None:
    table = load_table()
    assert len(table.aliases) > 50
    assert table.find("claude-sonnet-latest") == table.aliases["claude-sonnet-latest"]
    (tmp_path / "app.py").write_text('model = "claude-sonnet-latest"\n')
    (found,) = scanned(tmp_path).models
    assert found.alias_of == table.aliases["claude-sonnet-latest"].route
    assert found.standing is not Standing.VANISHED
    model = resolve("claude-sonnet-latest", "space.yaml")
    assert model.route == found.alias_of and model.price is not None


def test_files_that_were_not_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said "Not read: 1 files", and nobody knew which."""
    (tmp_path / "a.py").write_text("")
    (tmp_path / "0.json").write_bytes(b"\0")
    print_scan(scanned(tmp_path), sys.stdout)
    out = capsys.readouterr().out
    assert (
        "Not read (too large, not text, or no permission): 0.json.\n" in out and "models named in 1 file below" in out
    )
    for number in range(1, 5):
        (tmp_path / f"{number}.json").write_bytes(b"\0")
    print_scan(scanned(tmp_path), sys.stdout)
    assert "permission): 0.json, 1.json, 2.json and 2 more.\n" in capsys.readouterr().out


TUNED = "ft:gpt-4o-mini-2024-07-18:acme::abc"


@pytest.mark.parametrize(
    ("line", "name", "standing"),
    [
        (f'model="{TUNED}"', TUNED, Standing.SOON),
        (f"  model: {TUNED}", TUNED, Standing.SOON),
        ('model="ft:gpt-4-0314:acme::abc"', "ft:gpt-4-0314:acme::abc", Standing.VANISHED),
        ('Agent("openai:gpt-4o-2024-05-13")', "openai:gpt-4o-2024-05-13", None),
        ("  - openai:chat:gpt-4o-mini-2024-07-18", "openai:chat:gpt-4o-mini-2024-07-18", Standing.SOON),
        (f"  - openai:{TUNED}", f"openai:{TUNED}", Standing.SOON),
        ('model="anthropic:claude-3-opus-20240229"', "anthropic:claude-3-opus-20240229", None),
        ("  - openai:o3", "openai:o3", None),
        ('model: "openrouter/openai/gpt-4o-mini"', "openrouter/openai/gpt-4o-mini", Standing.SOON),
        ("m = 'openrouter:openai/gpt-4o-mini:online'", "openrouter:openai/gpt-4o-mini:online", Standing.SOON),
        ('model: "gateway/openai:gpt-4o-mini"', "gateway/openai:gpt-4o-mini", Standing.SOON),
    ],
)
def test_names_as_other_tools_spell_them_are_found_and_dated_by_the_model_behind(
    tmp_path: Path, line: str, name: str, standing: Standing | None
) -> None:
    """None of them was found, and a nightly job stayed green."""
    own = tmp_path / "own.yaml"
    text = "schema_version: 1\nretirements:\n  - {model: 'openai/gpt-4o-mini*', retires: 2027-01-14}\n"
    own.write_text(text + "  - {model: 'gpt-4o-mini*', retires: 2027-01-14}\n")
    (tmp_path / "app.py").write_text(line + "\n")
    [found] = scan_files(tmp_path / "app.py", load_calendar(own), today=DAY).models
    assert found.name == name
    if standing is not None:
        assert found.standing is standing
    if standing is Standing.SOON:
        assert found.days_left == 50 and found.successors


@pytest.mark.parametrize(
    "line",
    [
        'url = "http://host:8080/v1"',
        'at = "12:30"',
        "os.path:x1",
        "image: mistral:7b",
        'model: "mistral:7b"',
        "uses: azure:login2",
        'region = "azure:eastus2"',
        'container: "deepseek:1.3"',
        'key = "openai:file-123"',
        "path = 'prompts/openai/gpt-4o-mini/system.txt'",
        "ft:12 and ft:x:y",
        'if "ft:gpt-4" in model:',
    ],
)
def test_colons_and_slashes_alone_make_no_name(line: str) -> None:
    assert named(line) == []


def test_lines_are_counted_as_editors_count_them(tmp_path: Path) -> None:
    """A form feed, a line separator and their like are no ends of lines."""
    odd = "\x0b \x0c \x1c \x1d \x1e \x85 \u2028 \u2029"
    (tmp_path / "a.py").write_bytes(f"# {odd}\r\n# old\r# {odd}\nA = 'gpt-4o' # {odd}\n".encode())
    assert [str(place) for model in scanned(tmp_path).models for place in model.places] == ["a.py:4"]


GONE = "2026-12-20"


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("openrouter/google/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("openrouter:google/gemini-2.5-flash:online", "gemini/gemini-2.5-flash"),
        ("google/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("google:gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("GPT-4o", "gpt-4o"),
        ("OpenAI/GPT-4o", "openai/gpt-4o"),
        ("OPENAI:GPT-4o", "openai/gpt-4o"),
        ("openai/responses/gpt-4o", "openai/gpt-4o"),
        ("azure/responses/gpt-4o", "azure/gpt-4o"),
        ("vertex_ai_beta/gemini-2.5-flash", "vertex_ai/gemini-2.5-flash"),
        ("bedrock/converse/anthropic.claude-sonnet-5", "bedrock/anthropic.claude-sonnet-5"),
        ("bedrock_converse/anthropic.claude-sonnet-5", "bedrock/anthropic.claude-sonnet-5"),
        ("bedrock/eu-west-1/anthropic.claude-sonnet-5", "bedrock/anthropic.claude-sonnet-5"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-5", "bedrock/anthropic.claude-sonnet-5"),
        ("bedrock/arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-sonnet-5",
         "bedrock/eu.anthropic.claude-sonnet-5"),
        ("github_copilot/gpt-4o", "openai/gpt-4o"),
        ("replicate/openai/gpt-4o", "openai/gpt-4o"),
    ],
)  # fmt: skip
def test_a_spelling_of_a_router_a_cloud_or_a_person_has_the_date_of_the_model(
    tmp_path: Path, name: str, behind: str
) -> None:
    """0 of 0 models, exit code 0, although the model retired the next day; or vanished, although it lived."""
    own = tmp_path / "own.yaml"
    own.write_text(f"schema_version: 1\nretirements:\n  - {{model: '{behind}', retires: {GONE}}}\n")
    (tmp_path / "app.py").write_text(f'llm = "{name}"\n')
    [found] = scan_files(tmp_path / "app.py", load_calendar(own), today=DAY).models
    assert (found.name, found.standing, str(found.retirement.date)) == (name, Standing.SOON, GONE)


@pytest.mark.parametrize(
    "line",
    [
        "# GPT-4o answers better than Claude-3.5-Sonnet did",
        'repo = "mistralai/Mistral-7B-Instruct-v0.3"',
        'repo = "deepseek-ai/DeepSeek-V3"',
        'repo = "google/gemma-3-27b-it"',
        'url = "https://openrouter.ai/google/gemini-2.5-flash"',
        'path = "google/cloud-sdk-2"',
        'role = "arn:aws:iam::123456789012:role/app-2"',
        'profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"',
        "x = '" + "openrouter/" * 2000 + "gpt-4o'",
    ],
)
def test_other_spellings_do_not_make_names_of_what_is_none(line: str) -> None:
    assert named(line) == []


def test_what_may_replace_a_bare_name_that_has_gone_is_of_its_vendor_first(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text('llm = "claude-opus-4-1"\n')
    [found] = scanned(tmp_path).models
    assert found.successors[0].provider == "anthropic"


def test_a_name_that_no_table_has_is_printed_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text('model = "openrouter/openai/gpt-99-ultra"\n')
    print_scan(scanned(tmp_path), sys.stdout)
    assert "not in the table of models: new, misspelt, or a deployment of your own" in capsys.readouterr().out
