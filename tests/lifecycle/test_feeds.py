"""Feeds of retirements: which models an entry is about, what comes first, and what a broken file is told."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cli.main import main
from offramp.errors import UsageError
from offramp.models.retirement.dates import Basis, load_calendar
from offramp.models.retirement.feeds import read_feed
from offramp.promote.promotion import PromotedModel
from offramp.promote.promotion_store import PromotionStore
from promotion_records import make_promotion

SOURCE = "https://example.com/deprecations"
LUNA = {
    "id": "gpt-6-luna-2026-06-01",
    "aliases": ["gpt-6-luna"],
    "announced": "2026-11-01",
    "shutdown": "2027-02-01",
    "replacement": "gpt-6-sol",
    "replacement_note": "reasoning.mode: pro",
    "distributions": [
        {"via": "azure-ai-foundry", "shutdown": "2027-06-01", "source": f"{SOURCE}/azure"},
        {"via": "vertex-ai", "status": "active"},
        {"via": "aws-bedrock", "status": "retired"},
    ],
}
CLAUDE = {
    "id": "claude-sonnet-5-5-20260801",
    "shutdown": "2027-03-01",
    "distributions": [
        {"via": "aws-bedrock", "shutdown": "2027-04-01"},
        {"via": "vertex-ai", "shutdown": "2027-05-01", "date_precision": "earliest"},
    ],
}


def model_eol(*models: dict[str, Any], publisher: str = "openai", **changes: Any) -> dict[str, Any]:
    return {
        "spec": "model-eol/0.1", "publisher": publisher, "generated": "2026-11-20T05:30:19.216Z", "source": SOURCE,
        "models": list(models), **changes,
    }  # fmt: skip


def deployment(**changes: Any) -> dict[str, Any]:
    return {
        "model_name": "fast", "team_public_model_name": None, "litellm_model": "openai/gpt-6-luna",
        "deprecation_date": "2027-02-01", "days_until_deprecation": 65, "status": "upcoming",
        "litellm_provider": "openai", "successor_model": "gpt-6-sol", "successor_model_source": "model_cost_map",
        "deprecation_source": SOURCE, **changes,
    }  # fmt: skip


def proxy(*upcoming: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "deprecated": [], "imminent": [], "upcoming": list(upcoming), "warn_within_days": 30,
        "checked_at": "2026-11-28T08:00:00Z", **changes,
    }  # fmt: skip


def written(folder: Path, feed: Any, name: str = "feed.json") -> Path:
    path = folder / name
    path.write_text(feed if isinstance(feed, str) else json.dumps(feed))
    return path


@pytest.mark.parametrize(
    ("publisher", "entry", "name", "date"),
    [
        ("openai", LUNA, "gpt-6-luna", "2027-02-01"),
        ("openai", LUNA, "openai/gpt-6-luna", "2027-02-01"),
        ("openai", LUNA, "openai/gpt-6-luna-2026-06-01", "2027-02-01"),
        ("openai", LUNA, "azure/gpt-6-luna", "2027-06-01"),
        ("openai", LUNA, "azure_ai/gpt-6-luna", "2027-06-01"),
        ("openai", LUNA, "bedrock/openai.gpt-6-luna-2026-06-01-v1:0", "2026-11-20"),
        ("openai", LUNA, "openrouter/openai/gpt-6-luna", "2027-02-01"),
        ("openai", LUNA, "openai/gpt-6-luna-mini", None),
        ("anthropic", CLAUDE, "anthropic/claude-sonnet-5-5-20260801", "2027-03-01"),
        ("anthropic", CLAUDE, "bedrock/us.anthropic.claude-sonnet-5-5-20260801-v1:0", "2027-04-01"),
        ("anthropic", CLAUDE, "bedrock/us-east-1/anthropic.claude-sonnet-5-5-20260801-v1:0", "2027-04-01"),
        ("anthropic", CLAUDE, "vertex_ai/claude-sonnet-5-5@20260801", "2027-05-01"),
        ("google", {"id": "gemini-9-flash", "shutdown": "2027-03-01"}, "gemini/gemini-9-flash", "2027-03-01"),
        ("google", {"id": "gemini-9-flash", "shutdown": "2027-03-01"}, "vertex_ai/gemini-9-flash", None),
        ("amazon", {"id": "nova-x", "shutdown": "2027-03-01"}, "bedrock/amazon.nova-x-v1:0", "2027-03-01"),
        ("xai", {"id": "grok-9", "shutdown": "2027-03-01"}, "xai/grok-9", "2027-03-01"),
        ("openai", {"id": "ft-gpt-9", "shutdown": "2027-03-01"}, "openai/ft:gpt-9", "2027-03-01"),
        ("openai", {"id": "gpt-9"}, "openai/gpt-9", None),
    ],
)
def test_an_entry_is_about_its_model_at_its_provider(
    tmp_path: Path, publisher: str, entry: dict[str, Any], name: str, date: str | None
) -> None:
    calendar = load_calendar(feeds=[written(tmp_path, model_eol(entry, publisher=publisher))])
    found = calendar.retirement(name)
    told = found.date.isoformat() if found is not None and found.basis is Basis.FEED else None
    assert told == date


@pytest.mark.parametrize(
    ("entry", "name", "about"),
    [
        (deployment(), "openai/gpt-6-luna", True),
        (deployment(litellm_model="gpt-6-luna"), "gpt-6-luna", True),
        (deployment(), "litellm_proxy/fast", True),
        (deployment(), "openai/fast", True),
        (deployment(), "fast", True),
        (deployment(team_public_model_name="quick"), "litellm_proxy/quick", True),
        (deployment(litellm_model=None, litellm_provider=None), "litellm_proxy/fast", True),
        (deployment(model_name="gpt-6-luna", litellm_model="azure/x", litellm_provider="azure"), "gpt-6-luna", False),
        (deployment(), "azure/gpt-6-luna", False),
        (deployment(), "openai/fast-2", False),
    ],
)
@pytest.mark.parametrize("bucket", ["deprecated", "imminent", "upcoming"])
def test_a_proxy_s_answer_is_about_its_group_and_the_model_behind_it(
    tmp_path: Path, entry: dict[str, Any], name: str, about: bool, bucket: str
) -> None:
    found = load_calendar(feeds=[written(tmp_path, proxy(**{bucket: [entry]}))]).retirement(name)
    assert (found is not None and found.basis is Basis.FEED) is about


def test_the_feed_that_litellm_itself_builds_is_read(tmp_path: Path) -> None:
    """With the installed proxy's own types, so that a change of the format shows here."""
    from litellm.types.proxy.model_deprecation import ModelDeprecationInfo, ModelDeprecationResponse

    info = ModelDeprecationInfo(
        model_name="fast", litellm_model="openai/gpt-4o", deprecation_date=datetime.date(2027, 1, 2),
        days_until_deprecation=35, status="upcoming", litellm_provider="openai", deprecation_source=SOURCE,
    )  # fmt: skip
    answer = ModelDeprecationResponse(
        upcoming=[info], warn_within_days=30, checked_at=datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    )
    found = load_calendar(feeds=[written(tmp_path, answer.model_dump_json())]).retirement("gpt-4o")
    assert found is not None and (found.date, found.basis, found.source) == (info.deprecation_date, Basis.FEED, SOURCE)


def test_an_own_notice_comes_first_then_the_feeds_in_their_order_then_the_table(tmp_path: Path) -> None:
    first = written(tmp_path, model_eol({"id": "gpt-4o", "shutdown": "2027-05-05"}))
    second = written(tmp_path, model_eol({"id": "gpt-4o", "shutdown": "2027-06-06"}, LUNA), "second.json")
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nretirements:\n  - {model: openai/gpt-6-luna, retires: 2028-01-01}\n")
    calendar = load_calendar(own, feeds=[first, second])

    def told(name: str, stated: str | None = None) -> tuple[Basis, str]:
        found = calendar.retirement(name, stated=stated)
        assert found is not None
        return found.basis, found.date.isoformat()

    assert told("openai/gpt-4o") == (Basis.FEED, "2027-05-05")
    assert told("openai/gpt-6-luna") == (Basis.NOTICE, "2028-01-01")
    assert told("openai/gpt-4o", stated="2026-12-01") == (Basis.STATED, "2026-12-01")
    assert told("openai/gpt-4o-mini") == (Basis.TABLE, "2027-01-14")
    assert told("ft:gpt-4o:org::id") == (Basis.FEED, "2027-05-05"), "a tuned model follows its base in a feed too"


def test_a_tentative_date_is_an_estimate_and_comes_after_the_table(tmp_path: Path) -> None:
    tentative = {"shutdown": "2026-12-01", "date_precision": "tentative"}
    feed = written(tmp_path, model_eol({"id": "gpt-4o", **tentative}, {"id": "gpt-6-luna", **tentative}))
    calendar = load_calendar(feeds=[feed])
    listed, unlisted = calendar.retirement("gpt-4o"), calendar.retirement("gpt-6-luna")
    assert listed is not None and listed.basis is Basis.TABLE
    assert unlisted is not None and (unlisted.basis, unlisted.date.isoformat()) == (Basis.ESTIMATE, "2026-12-01")


def test_feeds_named_in_the_lifecycle_file_are_read_beside_it(tmp_path: Path) -> None:
    written(tmp_path, model_eol(LUNA))
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nfeeds: [feed.json]\n")
    found = load_calendar(own).retirement("gpt-6-luna")
    assert found is not None and found.basis is Basis.FEED and found.successors == ("openai/gpt-6-sol",)
    own.write_text("schema_version: 1\nfeeds: [gone.json]\n")
    with pytest.raises(UsageError, match="the feed cannot be read"):
        load_calendar(own)


@pytest.mark.parametrize(
    ("feed", "says"),
    [
        (
            "<html>Not found</html>",
            r"feed.json:1: the feed is not JSON .*got '<html>Not found</html>', expected a model-eol",
        ),
        ("", "the feed is not JSON"),
        ('{"spec": "model-eol/0.1",\n oops}', "feed.json:2: the feed is not JSON"),
        ([], r"is not a feed of retirements \(got \[\]\)"),
        ({"error": {"message": "no key"}}, r"is not a feed of retirements \(got an object with \['error'\]\)"),
        (model_eol(LUNA, spec="model-eol/2"), "spec: another format: got 'model-eol/2', expected model-eol/0.1"),
        (model_eol({"shutdown": "2027-01-01"}), "models.0.id is missing"),
        (model_eol(LUNA, {"id": "x", "shutdown": "soon"}), 'models.1.shutdown is "soon"'),
        (model_eol({"id": "x", "shutdown": "2027-02-30"}), 'models.0.shutdown is "2027-02-30"'),
        (model_eol({"id": 7}), "models.0.id is 7"),
        (model_eol(LUNA, models="none"), 'models is "none"'),
        (model_eol(LUNA, generated="yesterday"), 'generated is "yesterday"'),
        (
            model_eol({"id": "x", "distributions": [{"shutdown": "2027-01-01"}]}),
            "models.0.distributions.0.via is missing",
        ),
        (proxy(deployment(deprecation_date=None)), "upcoming.0.deprecation_date is null"),
        (proxy(imminent={}), "imminent is {}"),
        (proxy({"model_name": "x"}), "upcoming.0.deprecation_date is missing"),
    ],
)
def test_a_file_that_is_not_a_feed_is_told_where_what_and_what_to_do(tmp_path: Path, feed: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_feed(written(tmp_path, feed))
    assert str(caught.value).startswith(str(tmp_path / "feed.json")) and "expected" in str(caught.value)


def test_an_address_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    for path, says in (
        (Path("https://example.com/feed.json"), "is an address; feeds are read from files"),
        (tmp_path, "the feed cannot be read"),
        (tmp_path / "none.json", "No such file"),
    ):
        with pytest.raises(UsageError, match=says):
            read_feed(path)
    path = tmp_path / "bytes.json"
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_feed(path)


def test_keys_and_values_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    entry = {
        **LUNA,
        "severity": "high",
        "date_precision": "quarter",
        "distributions": [{"via": "moon", "status": "new"}],
    }
    (only,) = read_feed(written(tmp_path, model_eol(entry, policy={"min_notice_days": 60}, extra=1)))
    assert only.date.isoformat() == "2027-02-01"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["spec", "models", "id", "deprecated", "upcoming", "publisher", "generated", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_feed_or_one_message(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    try:
        read_feed(path)
    except UsageError as error:
        assert str(path) in str(error)


def test_watch_scan_and_the_gate_read_feeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = PromotedModel(name="openai/gpt-6-luna", route="openai/gpt-6-luna")
    PromotionStore(tmp_path / "promotions", "triage").promote(make_promotion(model=model), [], label="production")
    feed = ["--feed", str(written(tmp_path, model_eol(LUNA)))]
    arguments = ["watch", "--promotions", str(tmp_path / "promotions"), "--today", "2026-11-28"]
    assert main(arguments) == 0 and main([*arguments, *feed]) == 3
    out = capsys.readouterr().out
    assert "65 d  triage (production)  openai/gpt-6-luna: retires 2027-02-01 (a feed)" in out
    assert "reasoning.mode: pro" in out and f"source: {SOURCE}" in out
    broken = ["--feed", str(written(tmp_path, "{", "broken.json"))]
    assert main([*arguments, *feed, *broken]) == 2
    assert "broken.json" in capsys.readouterr().err
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.yaml").write_text("model: gpt-6-luna\n")
    scan = ["watch", "--scan", str(tmp_path / "app"), "--today", "2026-11-28"]
    assert main(scan) == 0 and main([*scan, *feed]) == 3
