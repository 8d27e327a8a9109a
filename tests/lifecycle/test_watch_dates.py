"""When a model goes: notices before the table, the table before estimates; and the real table sorts right."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle_records import in_use
from offramp.errors import UsageError
from offramp.lifecycle.watch_report import watch_models
from offramp.models.names import region, stem, without_region
from offramp.models.retirement.dates import Basis, Calendar, Standing, load_calendar
from offramp.models.retirement.notices import lifecycle_schema, read_notices, schema_text
from offramp.models.retirement.policies import PUBLISHED, release_date
from offramp.models.table import load_table
from offramp.records import Price

DAY = datetime.date(2026, 11, 25)
ROOT = Path(__file__).parents[2]


def notices(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lifecycle.yaml"
    path.write_text("schema_version: 1\n" + text)
    return path


def test_known_models_of_the_real_table_sort_by_urgency_before_and_after_today() -> None:
    """Days are counted from two dates of the table itself, so that a newer table does not break the test."""
    dated = sorted((row for row in load_table().chat_rows() if row.retirement_date), key=lambda r: r.retirement_date)
    first, middle, last = dated[0], dated[len(dated) // 2], dated[-1]
    today = datetime.date.fromisoformat(str(middle.retirement_date)) - datetime.timedelta(days=10)
    report = watch_models([in_use(row.route) for row in (last, middle, first)], load_calendar(), today=today)
    assert [row.used.route for row in report.rows] == [first.route, middle.route, last.route]
    assert [row.standing for row in report.rows] == [Standing.RETIRED, Standing.SOON, Standing.LATER]
    assert report.rows[0].days_left is not None and report.rows[0].days_left < 0 and report.rows[1].days_left == 10


def test_every_date_of_the_real_table_is_found_by_route_with_its_source() -> None:
    calendar = load_calendar()
    for row in (row for row in calendar.table.chat_rows() if row.retirement_date):
        found = calendar.retirement(row.route)
        assert found is not None and found.basis is Basis.TABLE and found.date.isoformat() == row.retirement_date


def test_ones_own_notice_wins_over_the_table_however_the_name_is_written(tmp_path: Path) -> None:
    path = notices(
        tmp_path, "retirements:\n  - {model: gpt-4o, retires: 2027-03-01, source: 'https://example.com/mail'}\n"
    )
    calendar = load_calendar(path)
    for name in ("gpt-4o", "openai/gpt-4o"):
        found = calendar.retirement(name)
        assert found is not None and found.basis is Basis.NOTICE and found.date == datetime.date(2027, 3, 1)
    other = calendar.retirement("gpt-4o-mini")
    assert other is None or other.basis is Basis.TABLE


def test_a_glob_names_many_and_the_first_notice_that_fits_counts(tmp_path: Path) -> None:
    path = notices(
        tmp_path,
        "retirements:\n  - {model: local/smollm2-135m, retires: 2027-01-01}\n  - {model: 'local/*', retires: 2028-01-01}\n",
    )
    calendar = load_calendar(path)
    assert str(calendar.retirement("local/smollm2-135m").date) == "2027-01-01"
    assert str(calendar.retirement("local/gemma-3-270m").date) == "2028-01-01"


def test_an_estimate_is_the_release_in_the_name_plus_what_the_vendor_promises(tmp_path: Path) -> None:
    path = notices(
        tmp_path, "policies:\n  - {models: 'acme/*', days_after_release: 100, source: 'https://example.com/policy'}\n"
    )
    found = load_calendar(path).retirement("acme/parrot-2026-08-01")
    assert found is not None and found.basis is Basis.ESTIMATE and found.date == datetime.date(2026, 11, 9)
    assert found.source == "https://example.com/policy"
    assert load_calendar(path).retirement("acme/parrot") is None


def test_a_passed_estimate_is_due_but_not_retired_and_a_later_one_is_later(tmp_path: Path) -> None:
    path = notices(
        tmp_path,
        "policies:\n  - {models: 'bedrock/*', days_after_release: 30, source: 'https://example.com'}\n"
        "  - {models: 'anthropic/*', days_after_release: 9000, source: 'https://example.com'}\n",
    )
    undated = [row.route for row in load_table().chat_rows() if not row.retirement_date and release_date(row.route)]
    soon = next(route for route in undated if route.startswith("bedrock/"))
    later = next(route for route in undated if route.startswith("anthropic/"))
    rows = watch_models([in_use(later), in_use(soon)], load_calendar(path), today=DAY).rows
    assert [(row.used.route, row.standing) for row in rows] == [(soon, Standing.SOON), (later, Standing.LATER)]


def test_an_alias_is_estimated_by_its_newest_snapshot() -> None:
    calendar = load_calendar()
    assert calendar.snapshots
    for alias, snapshot in calendar.snapshots.items():
        assert snapshot.startswith(alias) and release_date(snapshot) is not None


def test_policies_that_come_along_name_their_source() -> None:
    assert all(policy.source.startswith("https://") and policy.days_after_release >= 60 for policy in PUBLISHED)


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("anthropic/claude-haiku-4-5-20251001", "2025-10-01"),
        ("openai/gpt-4o-2024-08-06", "2024-08-06"),
        ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "2025-05-14"),
        ("gemini/deep-research-preview-04-2026", "2026-04-01"),
        ("openai/gpt-4o", None),
        ("mistral/mistral-large-2402", None),
        ("x/y-20251331", None),
        ("x/y-2023-02-30", None),
        ("x/y-120250101", None),
    ],
)
def test_release_dates_are_read_from_names_and_nothing_else_is(name: str, day: str | None) -> None:
    found = release_date(name)
    assert (found.isoformat() if found else None) == day


@given(st.dates(datetime.date(2020, 1, 1), datetime.date(2035, 12, 31)))
def test_any_day_in_a_name_is_read_in_both_forms(day: datetime.date) -> None:
    assert release_date(f"a/b-{day:%Y%m%d}") == release_date(f"a/b-{day}") == day


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("openai/gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("anthropic/claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5"),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock/anthropic.claude-sonnet-4-5"),
        ("vertex_ai/claude-sonnet-5@default", "vertex_ai/claude-sonnet-5"),
        ("openai/gpt-5.4-mini", "openai/gpt-5.4-mini"),
        ("anthropic/claude-opus-4-6", "anthropic/claude-opus-4-6"),
    ],
)
def test_a_stem_is_the_name_without_its_snapshot(name: str, short: str) -> None:
    assert stem(name) == short


def test_regions_are_told_from_names() -> None:
    assert region("azure/eu/gpt-4o") == "eu" and without_region("azure/eu/gpt-4o") == "azure/gpt-4o"
    assert without_region("bedrock/us.anthropic.claude-x") == "bedrock/anthropic.claude-x"
    assert region("openai/gpt-4o") == "" and without_region("together_ai/deepseek-ai/x") == "together_ai/deepseek-ai/x"


def test_a_model_that_left_the_table_has_vanished_whatever_was_estimated() -> None:
    used = [in_use("openai/gpt-4-0314"), in_use("anthropic/claude-none-20250101", listed=True)]
    rows = watch_models(used, load_calendar(), today=DAY).rows
    assert [row.standing for row in rows] == [Standing.VANISHED, Standing.VANISHED]


@pytest.mark.parametrize(
    "route",
    ["azure/my-deployment", "openai/gpt-99", "sagemaker/mine", "vertex_ai/gemini/123",
     "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"],
)  # fmt: skip
def test_a_name_that_no_table_is_known_to_have_had_has_not_vanished(route: str) -> None:
    """Deployments that lived were called vanished, with exit code 3."""
    report = watch_models([in_use(route)], load_calendar(), today=DAY)
    assert [row.standing for row in report.rows] == [Standing.UNKNOWN] and not report.alarming
    assert report.notes == (
        f"{route} is not in the table of models, and nothing tells that it ever was: when it retires is not known. If "
        "you know, write a notice",
    )


def routed(calendar: Calendar) -> Iterator[tuple[str, str]]:
    """Rows of routers without a date, each with the row of the vendor that has one."""
    for row in calendar.table.chat_rows():
        host, _, name = row.route.partition("/")
        behind = calendar.table.by_route.get(name if "/" in name else f"openai/{name}")
        if host not in ("vercel_ai_gateway", "github_copilot", "replicate", "gmi") or row.retirement_date is not None:
            continue
        if behind is not None and behind.retirement_date is not None and behind.provider == "openai":
            yield row.route, behind.retirement_date


def test_a_row_of_a_router_without_a_date_has_that_of_the_vendors_row() -> None:
    """The table has a row for the router, without a date: "no date known", although the model had retired."""
    calendar = load_calendar()
    found = list(routed(calendar))
    assert len({route.partition("/")[0] for route, _ in found}) >= 3
    for route, date in found:
        told = calendar.retirement(route)
        assert told is not None and (told.date.isoformat(), told.basis) == (date, Basis.TABLE), route
        [row] = watch_models([in_use(route)], calendar, today=DAY).rows
        assert row.retirement == told


@pytest.mark.parametrize("route", ["azure/gpt-99", "bedrock/anthropic.claude-99", "hosted_vllm/openai/gpt-4o"])
def test_a_cloud_or_a_server_of_ones_own_has_no_date_of_a_vendor(route: str) -> None:
    assert load_calendar().retirement(route) is None


def test_a_server_of_ones_own_is_not_the_vendor_that_its_model_is_called_after() -> None:
    used = in_use("openrouter/openai/gpt-4o", own=True)
    [row] = watch_models([used], load_calendar(), today=DAY).rows
    assert (row.standing, row.retirement) == (Standing.OWN, None)


def test_own_models_never_vanish_but_ones_own_notice_retires_them(tmp_path: Path) -> None:
    used = [in_use("local/smollm2-135m", own=True), in_use("openai/mine", own=True)]
    assert {row.standing for row in watch_models(used, load_calendar(), today=DAY).rows} == {Standing.OWN}
    path = notices(tmp_path, "retirements:\n  - {model: local/smollm2-135m, retires: 2026-11-01}\n")
    first = watch_models(used, load_calendar(path), today=DAY).rows[0]
    assert (first.used.route, first.standing, first.days_left) == ("local/smollm2-135m", Standing.RETIRED, -24)
    assert first.next_step == "offramp migrate f"
    assert {item.name for item in first.successors} == {"local/gemma-3-270m", "local/qwen2.5-coder-0.5b"}


def test_the_day_itself_is_retired_and_the_edge_of_the_window_is_inside(tmp_path: Path) -> None:
    path = notices(tmp_path, "retirements:\n  - {model: gpt-4o, retires: 2027-01-01}\n")
    for day, standing in [
        ("2026-10-02", Standing.LATER),
        ("2026-10-03", Standing.SOON),
        ("2027-01-01", Standing.RETIRED),
    ]:
        rows = watch_models([in_use("openai/gpt-4o")], load_calendar(path), today=datetime.date.fromisoformat(day)).rows
        assert rows[0].standing is standing


def test_a_price_that_moved_is_priced_on_the_tokens_measured_then() -> None:
    row = next(row for row in load_table().chat_rows() if row.price and row.price.input_usd and row.price.output_usd)
    half = Price(input_usd=row.price.input_usd / 2, output_usd=row.price.output_usd / 2)
    cost = watch_models([in_use(row.route, price_then=half)], load_calendar(), today=DAY).rows[0].cost
    assert cost.changed and cost.ratio == pytest.approx(2.0) and cost.now_usd_1k == pytest.approx(2 * cost.then_usd_1k)


def test_an_unknown_price_or_unknown_tokens_give_no_ratio() -> None:
    known = next(row for row in load_table().chat_rows() if row.price and row.price.known)
    for changes in ({"price_then": None}, {"usage_1k": None}):
        cost = watch_models([in_use(known.route, **changes)], load_calendar(), today=DAY).rows[0].cost
        assert cost.ratio is None and not cost.changed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "retirements:\n  - {model: a, retires: 2027-02-30}\n",
            "retires: got '2027-02-30', expected a date that exists",
        ),
        ("retirements:\n  - {model: a, retires: 20270131}\n", "got 20270131, expected a date such as 2027-01-31.$"),
        ("retirements:\n", "retirements: got null, expected a list of values. Leave it out, or write"),
        ("policies:\n  - {models: a, days_after_release: 99999999, source: 'https://x'}\n", "days_after_release"),
        ("retirements:\n  - {model: a}\n", "retirements.0.retires is missing"),
        ("retirements:\n  - {model: a, retires: 2027-01-01, sauce: x}\n", "sauce: unknown key.*source"),
        (
            "retirements:\n  - {model: a, retires: 2027-01-01, source: 'javascript:x'}\n",
            "source: got 'javascript:x', expected a web address",
        ),
        ("policies:\n  - {models: a, days_after_release: 0, source: 'https://x'}\n", "days_after_release"),
        ("retirements: 3\n", "retirements: got 3"),
    ],
)
def test_a_wrong_notice_is_named_with_file_line_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_notices(notices(tmp_path, text))


@pytest.mark.parametrize(
    "date", ["2027/01/31", "31.01.2027", "2027-1-3", "2027-01-31 10:00", "2027-01-31T10:00:00Z", "soon", "Jan 31 2027",
             "2027-W05-1", "'20270131'"],
)  # fmt: skip
def test_a_date_in_another_form_is_told_with_its_line_its_key_and_the_right_form(tmp_path: Path, date: str) -> None:
    text = f"retirements:\n  - model: a\n    retires: {date}\n"
    with pytest.raises(UsageError) as wrong:
        read_notices(notices(tmp_path, text))
    got = date.strip("'")
    key = f"lifecycle.yaml:4: retirements.0.retires: got {got!r}"
    assert str(wrong.value).endswith(f"{key}, expected a date such as 2027-01-31.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema_version: 2\nnew_key: 1\n", "lifecycle.yaml:1: schema_version: got 2, .*Upgrade offramp"),
        ("schema_version: '1'\n", "expected 1. Remove the quotes."),
        ("# a comment\n", "the file is empty. Begin with `schema_version: 1` and `retirements:`"),
        ("---\n", "the file: got null, expected a mapping. Begin with .* `retirements:`"),
        ("schema_version: 1\nmodels: []\n", "lifecycle.yaml:2: models: unknown key: expected one of `schema_version`"),
        ("[]\n", "lifecycle.yaml: the file: got an empty list"),
        ("schema_version: 1\nretirements: []\n".encode("utf-16"), "expected UTF-8"),
    ],
)
def test_a_file_of_another_release_form_or_encoding_is_told_as_one(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    path = tmp_path / "lifecycle.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=says) as wrong:
        read_notices(path)
    assert "\n" not in str(wrong.value), "one message: what follows from the version is not told"


def test_a_named_file_that_is_missing_or_empty_is_an_error_and_an_absent_default_is_none(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_notices(None).retirements == []
    with pytest.raises(UsageError, match="cannot be read"):
        read_notices(tmp_path / "other.yaml")
    (tmp_path / "lifecycle.yaml").write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        read_notices(None)


def test_the_schema_file_is_what_the_code_makes_and_knows_a_right_file() -> None:
    assert (ROOT / "schemas" / "lifecycle.schema.json").read_text() == schema_text()
    jsonschema.Draft202012Validator.check_schema(lifecycle_schema())
    right = {"schema_version": 1, "retirements": [{"model": "a", "retires": "2027-01-01"}]}
    jsonschema.validate(right, lifecycle_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**right, "more": 1}, lifecycle_schema())


def test_watching_imports_no_heavy_library(tmp_path: Path) -> None:
    heavy = ("litellm", "dspy", "optuna", "pandas", "torch", "numpy", "httpx", "sqlalchemy", "rich")
    code = (
        "import sys; from offramp.cli.main import main; main(['watch', '--json', '--promotions', sys.argv[1]]);"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]" and json.loads(done.stdout)["models"] == []


def test_a_model_behind_a_router_has_the_date_of_the_model_behind_and_its_own_notice_first(tmp_path: Path) -> None:
    """The table does not have the router: such a model was called vanished."""
    text = "retirements:\n  - {model: openai/gpt-4o-mini, retires: 2027-01-14}\n"
    used = in_use("openrouter/openai/gpt-4o-mini")
    [row] = watch_models([used], load_calendar(notices(tmp_path, text)), today=DAY).rows
    assert (row.standing, row.days_left, row.used.name) == (Standing.SOON, 50, "openrouter/openai/gpt-4o-mini")
    text += "  - {model: 'openrouter/*', retires: 2028-01-14}\n"
    [row] = watch_models([used], load_calendar(notices(tmp_path, text)), today=DAY).rows
    assert (row.standing, row.retirement.date.year) == (Standing.LATER, 2028)
