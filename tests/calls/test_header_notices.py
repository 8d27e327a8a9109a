"""`Deprecation` and `Sunset` in the headers of replies: read, kept once for each model, and shown by `offramp watch`."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from offramp.calls.transports.headers import notice_in, notice_of
from offramp.cli.main import main
from offramp.models.retirement.dates import Basis, load_calendar
from offramp.models.retirement.replied import announced_in_replies
from offramp.promote.promotion import PromotedModel
from offramp.promote.promotion_store import PromotionStore
from offramp.records import HeaderNotice, Model
from offramp.store import tables
from offramp.store.engine import open_store
from offramp.store.header_notices import HeaderNoticeStore
from offramp.store.migrations import LATEST
from offramp.testing.server import ScriptedServer
from promotion_records import make_promotion
from search_jobs import answered_by, run_job, server_reply, write_space

SUNSET = "Sun, 31 Jan 2027 23:59:59 GMT"
LINK = '<https://example.com/ends>; rel="sunset"; type="text/html"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"deprecation": "@1777507200"}, (True, "2026-04-30", None)),
        ({"deprecation": "@1777507200", "sunset": SUNSET}, (True, "2026-04-30", "2027-01-31")),
        ({"sunset": SUNSET}, (False, None, "2027-01-31")),
        ({"sunset": "Sunday, 31-Jan-27 23:59:59 GMT"}, (False, None, "2027-01-31")),
        ({"sunset": "2027-01-31"}, (False, None, "2027-01-31")),
        ({"sunset": "2027-01-31T23:30:00-02:00"}, (False, None, "2027-02-01")),
        ({"deprecation": "true"}, (True, None, None)),
        ({"deprecation": "?1"}, (True, None, None)),
        ({"deprecation": "Thu, 30 Apr 2026 00:00:00 GMT"}, (True, "2026-04-30", None)),
        ({"x-api-deprecated": "true", "sunset": SUNSET}, (True, None, "2027-01-31")),
        ({"deprecation": "false"}, None),
        ({"deprecation": "?0"}, None),
        ({"deprecation": ""}, None),
        ({"sunset": "soon"}, None),
        ({"sunset": "@99999999999999"}, None),
        ({"deprecation": "@99999999999999999999"}, None),
        ({"sunset": "Sat, 99 Jan 2027 99:99:99 GMT"}, None),
        ({"sunset": "2027-13-45"}, None),
        ({"sunset": "\x00"}, None),
    ],
)
def test_what_headers_say_is_read_as_the_standards_and_servers_write_it(
    headers: dict[str, str], expected: tuple[bool, str | None, str | None] | None
) -> None:
    found = notice_of(headers)
    assert (found and (found.deprecated, found.since, found.sunset)) == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (LINK, "https://example.com/ends"),
        ('<https://a.example>; rel="next", <https://b.example>; rel=deprecation', "https://b.example"),
        ('<https://a.example>; rel="successor-version"', None),
        ('</ends>; rel="sunset"', None),
        ('<javascript:alert(1)>; rel="sunset"', None),
        ("", None),
    ],
)
def test_the_link_of_the_announcement_is_kept(link: str, expected: str | None) -> None:
    found = notice_of({"sunset": SUNSET, "link": link})
    assert found is not None and found.link == expected


@pytest.mark.parametrize(
    "reply",
    [
        SimpleNamespace(_response_headers={"Sunset": SUNSET}, _hidden_params={}),
        SimpleNamespace(_hidden_params={"additional_headers": {"llm_provider-sunset": SUNSET}}),
        SimpleNamespace(_response_headers=None, _hidden_params={"additional_headers": {"llm_provider-Sunset": SUNSET}}),
    ],
)
def test_headers_are_found_wherever_litellm_has_them(reply: Any) -> None:
    found = notice_in(reply)
    assert found is not None and found.sunset == "2027-01-31"


def test_a_reply_without_headers_says_nothing() -> None:
    for reply in (SimpleNamespace(), {}, SimpleNamespace(_hidden_params=None, _response_headers=7)):
        assert notice_in(reply) is None


def watched(folder: Path, route: str, name: str, capsys: Any, *more: str) -> tuple[int, str]:
    model = PromotedModel(name=name, route=route, own_address=name == "small")
    PromotionStore(folder / "promotions", "triage").promote(
        make_promotion(model=model, dependencies=()), [], label="production"
    )
    storage = ["--storage", f"sqlite:///{folder}/results/offramp.db"]
    capsys.readouterr()
    code = main(["watch", "--promotions", str(folder / "promotions"), "--today", "2026-12-01", *storage, *more])
    return code, capsys.readouterr().out


def test_a_job_keeps_what_its_replies_say_once_for_each_model_and_watch_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    """The scripted provider announces the end of `small` in every reply, and of `large` no day."""

    def answer(body: dict[str, Any]) -> Any:
        headers = {"Deprecation": "@1777507200", "Link": LINK}
        headers |= {"Sunset": SUNSET} if body["model"] == "small" else {}
        return replace(server_reply(body), headers=headers)

    answered_by(monkeypatch, None)
    with ScriptedServer(answer) as server, caplog.at_level(logging.WARNING, logger="offramp"):
        run_job(write_space(tmp_path, base=server.url), tmp_path / "results", trials=3)
    said = [record.getMessage() for record in caplog.records if "header of its reply" in record.getMessage()]
    assert sorted(said) == [
        "large is deprecated since 2026-04-30, a header of its reply says; see `offramp watch`",
        "small ends on 2027-01-31, a header of its reply says; see `offramp watch`",
    ]
    with open_store(f"sqlite:///{tmp_path}/results/offramp.db", write_probe=False) as store:
        kept = HeaderNoticeStore(store).all()
    assert [(one.model, one.route, one.own, one.notice.sunset) for one in kept] == [
        ("large", "openai/large", True, None),
        ("small", "openai/small", True, "2027-01-31"),
    ]
    code, out = watched(tmp_path, "openai/small", "small", capsys)
    assert code == 3 and "small: retires 2027-01-31 (its replies)" in out
    assert f"source: header of a reply on {kept[1].seen_on}" in out and "See https://example.com/ends." in out
    ics = tmp_path / "retirements.ics"
    code, out = watched(tmp_path, "openai/small", "small", capsys, "--json", "--ics", str(ics))
    (row,) = json.loads(out)["models"]
    assert (row["basis"], row["announced"], row["retires"]) == ("header", "2026-04-30", "2027-01-31")
    assert "URL:" not in ics.read_text()
    code, out = watched(tmp_path, "openai/large", "large", capsys)
    assert code in (0, 3) and "Note: large is deprecated since 2026-04-30, says a header of a reply on" in out


def test_a_vendor_s_header_is_about_its_model_and_one_s_own_server_s_about_its_own_name(tmp_path: Path) -> None:
    hosted = Model(name="gpt-6-luna", route="openai/gpt-6-luna")
    own = Model(name="luna", route="openai/gpt-4o", api_base="http://127.0.0.1:9/v1")
    sunset = HeaderNotice(deprecated=False, since=None, sunset="2027-01-31", link=None)
    with open_store(f"sqlite:///{tmp_path}/a.db") as store:
        notices = HeaderNoticeStore(store)
        assert notices.record(hosted, sunset) and not notices.record(hosted, sunset)
        assert notices.record(own, replace(sunset, sunset="2026-12-12"))
        assert notices.record(hosted, replace(sunset, sunset="2027-02-28")), "a date that moved replaces the old one"
        calendar = replace(load_calendar(), announced=announced_in_replies(store))
    for name, basis, date in (
        ("openai/gpt-6-luna", Basis.HEADER, "2027-02-28"),
        ("gpt-6-luna", Basis.HEADER, "2027-02-28"),
        ("openai/gpt-4o", Basis.TABLE, "2027-01-14"),
        ("luna", Basis.HEADER, "2026-12-12"),
    ):
        found = calendar.retirement(name)
        assert found is not None and (found.basis, found.date.isoformat()) == (basis, date)
    of_own, elsewhere = calendar.retirement("luna", own.route), calendar.retirement("azure/gpt-6-luna")
    assert of_own is not None and of_own.basis is Basis.HEADER
    assert elsewhere is None or elsewhere.basis is not Basis.HEADER


@pytest.mark.parametrize("version", [5, 6, 7])
def test_a_storage_of_an_earlier_version_is_read_without_notices_and_gets_the_table(
    tmp_path: Path, version: int
) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    with open_store(url) as store, store.transaction() as conn:
        conn.execute(sa.text("DROP TABLE offramp_header_notices"))
        if version < 7:
            for table in ("offramp_results", "offramp_summaries"):
                conn.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN others_usd"))
        if version < 6:
            for table, columns in {
                "offramp_calls": ("answered_by", "fingerprint"),
                "offramp_results": ("ending", "reasoning_only", "other_model"),
                "offramp_summaries": ("n_cut", "n_cut_reasoning", "n_filtered", "n_refused", "n_empty", "n_unreadable",
                                      "n_other_model", "other_model"),
            }.items():  # fmt: skip
                for column in columns:
                    conn.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        conn.execute(tables.schema_version.delete())
        conn.execute(tables.schema_version.insert().values(version=version, applied_at="then"))
    with open_store(url, write_probe=False) as store:
        assert HeaderNoticeStore(store).all() == ()
    with open_store(url) as store:
        notice = HeaderNotice(deprecated=True, since=None, sunset=None, link=None)
        assert HeaderNoticeStore(store).record(Model(name="m", route="openai/m"), notice) and LATEST >= 8
        assert len(HeaderNoticeStore(store).all()) == 1
