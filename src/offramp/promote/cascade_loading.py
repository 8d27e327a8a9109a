"""A saved rule with its promoted members as one program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import UsageError, problem
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder
from offramp.promote.loading import load
from offramp.study.domain.cascade_rule import read_rule

if TYPE_CHECKING:
    from offramp.program.cascade import CascadeProgram


def load_cascade(
    rule: str | Path, features: Sequence[str], *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None,
    **options: Any,
) -> CascadeProgram:  # fmt: skip
    """A rule that `offramp cascades --save` wrote, as a DSPy program over its promoted members.

    Args:
        rule: the file.
        features: what the members were promoted as, in any order; each has to be one of the rule's candidates.
        label: of every member. The version that it points at now is kept: the rule is about that candidate.
        options: as `offramp.load` takes them.

    Raises:
        UsageError: the file is not a rule, a member was not promoted, or a feature is another candidate by now.
    """
    from offramp.program.cascade import CascadeProgram

    found = read_rule(Path(rule))
    by_candidate: dict[str, tuple[str, str]] = {}
    for feature in features:
        folder = FeatureFolder(promotions, feature)
        version = folder.resolve(label)
        candidate = folder.load(version).evidence.candidate
        if candidate not in found.members:
            what = f"{label} of {feature} is not a member of this rule"
            do = "Promote the member again, or score the rule again with `offramp cascades`."
            raise UsageError(problem(str(rule), what, got=candidate, expected=f"one of {list(found.members)}", do=do))
        by_candidate[candidate] = feature, version
    if missing := [member for member in found.members if member not in by_candidate]:
        do = f"`offramp promote {found.source} --pick {missing[0]} --feature NAME`, and name it in `features`."
        raise UsageError(problem(str(rule), "members without a feature", got=missing, do=do))
    pinned = [by_candidate[member] for member in found.members]
    members = [load(feature, label=version, promotions=promotions, **options) for feature, version in pinned]
    return CascadeProgram(found, members)
