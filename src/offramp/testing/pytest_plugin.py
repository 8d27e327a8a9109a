"""The promotion gate as a test: `pytest --offramp-check FEATURE`, or the fixture `offramp_check` in your own tests.

    def test_triage_still_holds(offramp_check):
        offramp_check("support-triage", margin=0.03)

pytest loads this module in every run of every project that has offramp installed, so it imports nothing before a check
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from offramp.promote.check_report import CheckReport


class PromotionBroken(AssertionError):
    """A promoted feature no longer holds; `report` says why."""

    def __init__(self, report: CheckReport) -> None:
        from offramp.promote.check_report import report_lines

        self.report = report
        super().__init__("\n".join(report_lines(report)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("offramp", "promoted prompts")
    group.addoption("--offramp-check", action="append", default=[], metavar="FEATURE",
                    help="score this promoted feature on its holdout again, as a test")  # fmt: skip
    group.addoption("--offramp-label", default="production", metavar="LABEL", help="which label (production)")
    group.addoption("--offramp-promotions", default=None, metavar="DIR", help="folder of promotions (promotions)")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds one test per feature."""
    for feature in config.getoption("--offramp-check"):
        items.append(PromotionItem.from_parent(session, name=f"offramp-check[{feature}]", feature=feature))


class PromotionItem(pytest.Item):
    """The check of one feature."""

    def __init__(self, *, feature: str, **options: Any) -> None:
        super().__init__(**options)
        self.feature = feature

    def runtest(self) -> None:
        """Raises PromotionBroken when the feature does not hold."""
        _check(self.config, self.feature)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What broke, without a traceback of this module; other errors keep theirs."""
        from offramp.errors import OfframpError

        if isinstance(excinfo.value, PromotionBroken | OfframpError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where and what."""
        return self.path, None, self.name


@pytest.fixture
def offramp_check(request: pytest.FixtureRequest) -> Iterator[Callable[..., CheckReport]]:
    """Checks a promoted feature: `offramp_check(feature, **options of offramp.promote.recheck.check)`."""
    yield lambda feature, **options: _check(request.config, feature, **options)


def _check(config: pytest.Config, feature: str, **options: Any) -> CheckReport:
    from offramp.promote.recheck import check

    options.setdefault("label", config.getoption("--offramp-label"))
    options.setdefault("promotions", config.getoption("--offramp-promotions"))
    report = check(feature, **options)
    if not report.holds:
        raise PromotionBroken(report)
    return report
