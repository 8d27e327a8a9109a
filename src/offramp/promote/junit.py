"""A check as JUnit XML, which every CI shows: one case a condition, one an example.

Invariant: the file says failure exactly when the check does not hold; texts of models are escaped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

from offramp.errors import StorageError, problem
from offramp.promote.judgement import Broken, CheckReport

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_text(report: CheckReport) -> str:
    """The report. Examples that got worse fail where quality does not hold, and are only listed where it does."""
    quality = next(condition for condition in report.conditions if condition.name == "quality")
    broken = {} if quality.holds else {each.example: each for each in report.broken}
    failures = sum(not condition.holds for condition in report.conditions) + len(broken)
    tests = len(report.conditions) + len(report.ids)
    name = f"offramp check {report.feature}"
    suite = Xml.Element("testsuite", name=name, tests=str(tests), failures=str(failures), errors="0", skipped="0")
    for condition in report.conditions:
        case = Xml.SubElement(suite, "testcase", classname=name, name=condition.name)
        if not condition.holds:
            Xml.SubElement(case, "failure", message=_clean(condition.text))
    for example in report.ids:
        case = Xml.SubElement(suite, "testcase", classname=f"{name}: example", name=_clean(example))
        if example in broken:
            failure = Xml.SubElement(case, "failure", message=_clean(_short(broken[example])))
            failure.text = _clean(json.dumps(broken[example].inputs, ensure_ascii=False, indent=1, default=str))
    root = Xml.Element("testsuites", tests=str(tests), failures=str(failures), errors="0")
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _short(broken: Broken) -> str:
    got = broken.reason if broken.outputs is None else json.dumps(broken.outputs, ensure_ascii=False, default=str)
    return f"score {broken.before:.3g} -> {broken.after:.3g}: {got}"


def refuse_unwritable(path: Path) -> None:
    """Finds out before a check is paid for whether its file can be written. Raises StorageError."""
    there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        if not there:
            path.unlink()
    except OSError as error:
        raise _cannot(path, error) from error


def _cannot(path: Path, error: OSError) -> StorageError:
    return StorageError(
        problem(str(path), f"cannot be written: {error.strerror}", do="Name another file with --junit.")
    )


def write_junit(path: Path, report: CheckReport) -> None:
    """Writes the file. Raises StorageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(junit_text(report), encoding="utf-8")
    except OSError as error:
        raise _cannot(path, error) from error


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
