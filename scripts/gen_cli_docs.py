"""Rewrites docs/cli.md from the commands' help. Run it after changing an option."""

from __future__ import annotations

from pathlib import Path

from offramp.cli.reference import page

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


def main() -> None:
    """Rewrites the page in place."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
