"""What is wrong with text that is no YAML, in words for people who write space files.

Invariant: the parser's own words are shown only where there are none here, and then on one line.
"""

from __future__ import annotations

import yaml

from offramp.errors import SpaceError, problem
from offramp.space.messages import at

_SYNTAX: tuple[tuple[str, str, str], ...] = (
    ("mapping values are not allowed", "a `:` where no key can be", "Quote text with `: `, and check the indent."),
    ("cannot start any token", "a character that cannot start a value", "Indent with spaces, and quote the text."),
    ("expected <block end>", "a line that does not fit the lines above", "Line up the indents."),
    ("could not find expected ':'", "a line without `: ` where a key is expected", "Write `key: value`."),
    ("found undefined alias", "an alias (`*name`) without an anchor", "Quote text that starts with `*`."),
    ("found duplicate anchor", "an anchor (`&name`) that is there twice", "Give each anchor a name of its own."),
    ("but found another document", "a second document (`---`)", "Keep one job in a file."),
    ("while scanning a quoted scalar", "a quote that is not closed", "Close it, or write a block of text after `|`."),
    ("expected ',' or ']'", "a list in `[` that is not closed", "Close it with `]`, and quote text with `]` or `,`."),
    ("expected ',' or '}'", "a mapping in `{` that is not closed", "Close it with `}`, and quote text that holds `}`."),
    ("unknown escape character", "an escape that YAML does not know in double quotes", "Use single quotes, or `\\\\`."),
)  # fmt: skip


def syntax_error(error: yaml.MarkedYAMLError, where: str) -> SpaceError:
    """The error for one complaint of the parser, with its line."""
    said = " ".join(filter(None, [error.context, error.problem]))
    opened = "quoted scalar" in said or "expected ',' or" in said  # then the mistake is where it was opened
    mark = (error.context_mark if opened else None) or error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    for pattern, what, do in _SYNTAX:
        if pattern in said:
            return SpaceError(problem(at(where, line), f"not YAML: {what}", do=do))
    do = "Check the indent, and quote text with special characters."
    return SpaceError(problem(at(where, line), f"not YAML: {_one_line(error.problem or 'unreadable')}", do=do))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:100]
