"""The steps of both runs, in a real browser: folded at first, opened by keyboard, as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Watched, chromium

from offramp.review.report_file import report
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by
from tool_jobs import WARM, study, wrong_when_warm


def test_steps_are_folded_open_by_keyboard_and_show_markup_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_by(monkeypatch, FunctionTransport(wrong_when_warm))
    study(tmp_path, effects="send_mail", sends=False, demos=WARM)
    page_path = tmp_path / "report.html"
    report("latest", results=tmp_path, out=page_path)
    with chromium() as browser:
        watched = Watched(browser)
        page = watched.page
        page.goto(page_path.as_uri())
        page.evaluate("document.querySelectorAll('[hidden]').forEach((part) => { part.hidden = false })")
        folded = page.locator("details.run-steps").first
        assert not folded.locator("ol").first.is_visible()
        folded.locator("summary").focus()
        page.keyboard.press("Enter")
        assert folded.locator("ol").count() == 2 and folded.locator("li").count() == 6
        text = folded.inner_text()
        assert "search" in text and "<b>no</b>" in text and folded.locator("li b", has_text="no").count() == 0
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert watched.trouble == []
