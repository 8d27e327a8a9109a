"""Rewrites the reference of docs/python.md from the functions. Run it after changing a signature or a docstring."""

from __future__ import annotations

from pathlib import Path

from offramp.verbs.reference import filled

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def main() -> None:
    """Rewrites the page in place."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
