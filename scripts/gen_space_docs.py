"""Rewrites the tables of docs/space-file.md from the space models. Run it after changing them."""

from __future__ import annotations

from pathlib import Path

from offramp.space.schema import filled

PAGE = Path(__file__).parents[1] / "docs" / "space-file.md"


def main() -> None:
    """Rewrites the page in place."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
