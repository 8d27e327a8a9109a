"""Plain values as YAML text that people read and diff, and back, with nothing in between that could run or blow up.

Written: block style, keys in their order, long texts as literal blocks, no anchors. Read: at most `MOST_BYTES`, no
aliases, no tags, no key twice, no depth that a stack would not bear.

Invariant: `read_yaml(yaml_text(values))` is the values, for every JSON value; other text raises Unreadable.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_BYTES = 4 * 1024 * 1024
DEEPEST = 60
_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Unreadable(Exception):
    """Text that is not one plain YAML document, in words."""


def read_yaml(content: bytes) -> Any:
    """The values that the text writes. Raises Unreadable."""
    if len(content) > MOST_BYTES:
        raise Unreadable(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        loader = _Loader(content.decode("utf-8"))
        node = loader.get_single_node()
        if node is None:
            raise Unreadable("it is empty")
        _check(node, set(), 0)
        return loader.construct_document(node)
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"line {mark.line + 1 if mark else '?'}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _check(node: yaml.Node, seen: set[int], depth: int) -> None:
    at = f"line {node.start_mark.line + 1}"
    if id(node) in seen:
        raise Unreadable(f"{at}: an alias (`*name`), which has no place here")
    if node.tag not in _PLAIN:
        raise Unreadable(f"{at}: a tag or kind of value that has no place here ({node.tag.removeprefix(_TAG)})")
    if depth > DEEPEST:
        raise Unreadable(f"{at}: nested more than {DEEPEST} deep")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check(child, seen, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        names = set()
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag != f"{_TAG}str":
                raise Unreadable(f"line {name.start_mark.line + 1}: a key that is not text")
            if name.value in names:
                raise Unreadable(f"line {name.start_mark.line + 1}: duplicate key {name.value!r}")
            names.add(name.value)
            _check(name, seen, depth + 1)
            _check(child, seen, depth + 1)


class _Readable(_Dumper):  # type: ignore[misc]
    """Literal blocks for texts of several lines; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: a repeated value is written again."""
        return True


def _text(dumper: Any, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)  # type: ignore[no-any-return]


_Readable.add_representer(str, _text)


def yaml_text(values: Any) -> str:
    """JSON values as YAML. Raises ValueError for values that YAML would not give back (such as half of a character)."""
    try:
        text: str = yaml.dump(values, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=4096)
        same = read_yaml(text.encode("utf-8")) == values
    except (Unreadable, UnicodeEncodeError):
        same = False
    if not same:
        raise ValueError("it holds characters that a text file cannot keep")
    return text
