"""YAML text as plain values, with the line of every key.

The text is only composed (a tree of nodes with marks); values are made from it here, so no tag can make an object. What
YAML 1.1 does to numbers and dates, and YAML 1.2 (which editors follow) does not, is undone: `12:30`, `2027-01-31` and
`010` are text, `1e-4` is a number. `yes` and `no` stay booleans, and their spelling is kept for messages.

Invariant: any bytes give a `Tree` or a SpaceError; at most `MOST_NODES` values are made, aliases counted each time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from offramp.errors import SpaceError, problem
from offramp.space.messages import AsWritten, Problem, SpaceErrors, at, joined, line_of, say, shown

MOST_BYTES = 1024 * 1024
MOST_NODES = 10_000
DEEPEST = 50
_TOO_MANY = f"more than {MOST_NODES:,} values (an alias counts each time it is used)"

_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7]+|0b[01_]+)\Z")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?\Z")
_LARGEST = 2**63
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    ("mapping values are not allowed", "a `:` in the wrong place", "Quote text with `: `, and check the indent."),
    ("cannot start any token", "a character that cannot start a value", "Indent with spaces, and quote the text."),
    ("expected <block end>", "a line that does not fit the lines above", "Line up the indents."),
    ("could not find expected ':'", "a line without `: ` where a key is expected", "Write `key: value`."),
    ("found undefined alias", "an alias (`*name`) without an anchor", "Quote text that starts with `*`."),
    ("found duplicate anchor", "a duplicate anchor (`&name`)", "Give each anchor its own name."),
    ("but found another document", "a second document (`---`)", "Keep one job per file."),
    ("while scanning a quoted scalar", "a quote that is not closed", "Close it, or write a block of text after `|`."),
    ("expected ',' or ']'", "a list in `[` that is not closed", "Close it with `]`, and quote text with `]` or `,`."),
    ("expected ',' or '}'", "a mapping in `{` that is not closed", "Close it with `}`, and quote text that holds `}`."),
    ("unknown escape character", "an escape that YAML does not know in double quotes", "Use single quotes, or `\\\\`."),
)  # fmt: skip
"""What the parser says, what that means, and what to do about it."""
_TEXT_TAGS = {f"{_TAG}{name}" for name in ("str", "timestamp", "value")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A file's values.

    Attributes:
        data: plain values; mappings have text keys.
        lines: dotted key to 1-based line.
        raw: dotted key to the scalar as written, where it was not in quotes.
        problems: duplicate keys, keys that are not text, values that are not allowed.
    """

    data: Any
    lines: Mapping[str, int]
    raw: Mapping[str, str]
    problems: tuple[Problem, ...]


def decode(content: bytes, where: str) -> str:
    """UTF-8 text without its byte order mark. Raises SpaceError with line and offset of the first wrong byte."""
    if len(content) > MOST_BYTES:
        expected = f"at most {MOST_BYTES:,} bytes"
        do = "Keep examples in the dataset and long instructions in files (`file:`)."
        raise SpaceError(problem(where, "the file is too large", expected=expected, do=do))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)
        line = content[:start].count(b"\n") + 1
        got = AsWritten(f"byte 0x{content[start]:02x} at offset {start}")
        raise SpaceError(
            problem(at(where, line), "the text", got=got, expected="UTF-8", do="Save the file as UTF-8.")
        ) from None


def read_tree(text: str, where: str, *, version: int = 1, first_key: str = "name") -> Tree:
    """Plain values with lines: a mapping of the given version, or of none.

    Args:
        version: the one that this release reads; a file of another is not judged by the rules of this one.
        first_key: what such a file begins with, for messages.

    Raises:
        SpaceError: the text is not one YAML document of plain values, not a mapping, or of another version.
    """
    begin = f"Begin with `schema_version: {version}` and `{first_key}:`."
    root = _compose(text, where)
    if root is None:
        raise SpaceError(problem(where, "the file is empty", do=begin))
    builder = _Builder(where)
    data = builder.value(root, "", 0)
    tree = Tree(data=data, lines=builder.lines, raw=builder.raw, problems=tuple(builder.problems))
    if not isinstance(data, Mapping):
        got = shown(data, tree.raw.get(""))
        message = say("", "the file", got=got, expected="a mapping", do=begin)
        raise SpaceErrors([*tree.problems, Problem(where=where, line=None, key="", message=message)])
    _refuse_version(tree, where, version)
    return tree


def _refuse_version(tree: Tree, where: str, version: int) -> None:
    given = tree.data.get("schema_version", version)
    if isinstance(given, int) and (given != version or given is True):
        expected = f"{version}, the version that this release of offramp reads"
        do = "Upgrade offramp, or rewrite the file for this version." if given > version else "Rewrite the file for it."
        message = say("schema_version", got=shown(given, tree.raw.get("schema_version")), expected=expected, do=do)
        key = "schema_version"
        raise SpaceErrors([Problem(where=where, line=line_of(tree.lines, key), key=key, message=message)])


class _Loader(yaml.SafeLoader):
    """Composes at most `MOST_NODES` nodes."""

    count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.count += 1
        if self.count > MOST_NODES:
            raise _Refused(_TOO_MANY)
        return super().compose_node(parent, index)


class _Refused(Exception):
    """The tree is too large or too deep; becomes a SpaceError with the file's name."""


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        loader = _Loader("")  # the reader looks for unprintable characters as soon as it has a text
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, where) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        got = AsWritten(f"character U+{ord(text[error.position]):04X}")
        raise SpaceError(problem(at(where, line), "the text", got=got, expected="printable text")) from None
    except (RecursionError, _Refused) as error:
        raise _refused(error, where) from None
    except (ValueError, OverflowError):  # a number too large for a character or a version
        what = "not YAML: an escape or version that does not exist"
        raise SpaceError(problem(at(where, loader.line + 1), what)) from None


def _syntax_error(error: yaml.MarkedYAMLError, where: str) -> SpaceError:
    """The parser's complaint in our words where there are some, with its line."""
    said = " ".join(filter(None, [error.context, error.problem]))
    opened = "quoted scalar" in said or "expected ',' or" in said  # the mistake is where it was opened
    mark = (error.context_mark if opened else None) or error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    for pattern, what, do in _SYNTAX:
        if pattern in said:
            return SpaceError(problem(at(where, line), f"not YAML: {what}", do=do))
    do = "Check the indent, and quote text with special characters."
    what = " ".join((error.problem or "unreadable").split())[:100]
    return SpaceError(problem(at(where, line), f"not YAML: {what}", do=do))


def _refused(error: BaseException, where: str) -> SpaceError:
    what = str(error) if isinstance(error, _Refused) else f"values nested more than {DEEPEST} deep"
    return SpaceError(problem(where, what, do="Make the file smaller."))


class _Builder:
    """Makes plain values from nodes and notes lines, spellings and problems on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[str, int] = {}
        self.raw: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._count = 0

    def value(self, node: yaml.Node, key: str, depth: int) -> Any:
        """The value of a node. Raises SpaceError if the tree is too large or too deep."""
        self._count += 1
        if self._count > MOST_NODES:
            raise _refused(_Refused(_TOO_MANY), self.where)
        if depth > DEEPEST:
            raise _refused(RecursionError(), self.where)
        self.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, key, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(child, joined(key, i), depth + 1) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        return self._bad(node, key, "YAML tags are not supported", got=node.tag, do="Remove the tag.")

    def _bad(self, node: yaml.Node, key: str, note: str = "", *, got: object = None, expected: str | None = None,
             do: str | None = None) -> None:  # fmt: skip
        message = say(key, note, got=got, expected=expected, do=do)
        self.problems.append(Problem(where=self.where, line=node.start_mark.line + 1, key=key, message=message))

    def _mapping(self, node: yaml.MappingNode, key: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for name_node, child in node.value:
            if name_node.tag == f"{_TAG}merge":
                merged.append(child)
                continue
            name = self._name(name_node, key)
            if name is None:
                continue
            line, inner = name_node.start_mark.line + 1, joined(key, name)
            if name in found:
                note = f"duplicate key, first in line {first_lines[name]}"
                self._bad(name_node, inner, note, do="Remove one of them.")
                continue
            first_lines[name] = self.lines[inner] = line
            found[name] = self.value(child, inner, depth + 1)
        for child in merged:
            self._merge(child, key, depth, found)
        return found

    def _merge(self, node: yaml.Node, key: str, depth: int, found: dict[str, Any]) -> None:
        """`<<: *other`: keys of another mapping that this one does not have."""
        others = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for other in others:
            if not isinstance(other, yaml.MappingNode):
                self._bad(node, joined(key, "<<"), "what is merged", expected="a mapping or a list of mappings")
                return
            lines, raw = dict(self.lines), dict(self.raw)
            merged = self.value(other, key, depth + 1)
            self.lines.update(lines)
            self.raw.update(raw)
            for name, value in (merged or {}).items():
                found.setdefault(name, value)

    def _name(self, node: yaml.Node, key: str) -> str | None:
        """The text of a key; None, with a problem noted, for a key that is anything else."""
        if not isinstance(node, yaml.ScalarNode):
            note = "the key is a list or a mapping"
            self._bad(node, key, note, expected="text", do="Quote text that starts with `{` or `[`.")
            return None
        inner = joined(key, str(node.value))
        value = node.value if node.tag in _TEXT_TAGS else self._scalar(node, inner)
        if isinstance(value, str):
            return None if self._refused_text(node, inner, value) else value
        if value is not None or node.tag == f"{_TAG}null":
            got, quoted = shown(value, node.value), "'" + str(node.value).replace("'", "''") + "'"
            self._bad(node, inner, "the key", got=got, expected="text", do=f"Quote it: {quoted}.")
        return None

    def _scalar(self, node: yaml.ScalarNode, key: str) -> Any:
        text = str(node.value)
        if node.style is None:
            self.raw[key] = text
        if node.tag in _TEXT_TAGS:
            return self._text(node, key, text)
        if node.tag == f"{_TAG}null":
            return None
        if node.tag == f"{_TAG}bool" and text.lower() in yaml.SafeLoader.bool_values:
            return yaml.SafeLoader.bool_values[text.lower()]
        if node.tag in (f"{_TAG}int", f"{_TAG}float"):
            return self._number(node, key, text)
        return self._bad(node, key, "YAML tags are not supported", got=node.tag, do="Remove the tag.")

    def _text(self, node: yaml.ScalarNode, key: str, text: str) -> Any:
        if self._refused_text(node, key, text):
            return None
        if node.style is None and node.tag == f"{_TAG}str" and _NUMBER.match(text) and not _is_padded(text):
            return self._number(node, key, text)
        return text

    def _refused_text(self, node: yaml.Node, key: str, text: str) -> bool:
        found = next((c for c in text if "\ud800" <= c <= "\udfff" or c == "\0"), None)
        if found is not None:
            got = AsWritten(f"character U+{ord(found):04X}")
            self._bad(node, key, got=got, expected="text that files and databases can hold")
        return found is not None

    def _number(self, node: yaml.ScalarNode, key: str, text: str) -> Any:
        plain = text.replace("_", "")
        if _WHOLE.match(text) and len(plain) <= 40:
            value: int | float = int(plain, 0)
        elif _NUMBER.match(text) and not _is_padded(text) and len(plain) <= 400:
            value = float(plain) if not plain.lstrip("+-").isdigit() else math.inf
        elif re.fullmatch(r"[-+]?\.(inf|nan)", text, re.IGNORECASE) or len(plain) > 40:
            value = math.inf
        else:
            return text
        if not math.isfinite(value) or (abs(value) >= _LARGEST and isinstance(value, int)):
            return self._bad(node, key, got=AsWritten(text[:40]), expected="a finite number that fits into 64 bits")
        return value


def _is_padded(text: str) -> bool:
    """`010` and `007`: octal to one reader, decimal to another, and most often a code that is meant as text."""
    return re.match(r"[-+]?0[0-9_]", text) is not None
