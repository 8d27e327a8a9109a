"""The rules of a study by name, for who promotes or verifies one.

Invariant: a rule is chosen on the search split alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offramp.errors import UsageError, nearest, problem
from offramp.store.engine import Store
from offramp.study.domain.cascade_cells import Cells
from offramp.study.domain.cascade_choice import CHOSEN
from offramp.study.domain.cascade_report import CascadeReport, cascade_report, rule_to_run
from offramp.study.domain.cascade_rule import RUNNABLE, CascadeRule
from offramp.study.domain.cascades import SINGLE
from offramp.study.queries.recorded_outcomes import read_cells

_SHORTEST = 4
"""Characters of the beginning of an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRule:
    """A rule of a study, ready to promote or to verify.

    Attributes:
        id: hash of what it does. single: the best single candidate on the search rows.
    """

    id: str
    rule: CascadeRule
    single: str
    report: CascadeReport
    cells: Cells

    @property
    def candidates(self) -> tuple[str, ...]:
        """Everyone whose runs on the holdout say how the rule does there."""
        return tuple(dict.fromkeys((*self.rule.members, self.single)))


def find_rule(
    store: Store, study: str, named: str, *, weights: Mapping[str, float] | None, space: str | Path | None = None
) -> FoundRule:
    """The rule of this name, chosen by all rows of the search split.

    Args:
        named: `chosen`, a kind, or the beginning of a rule's id.
        weights: of the utility; the study's own for None.

    Raises:
        UsageError: there is no such rule, or one model is better than any.
    """
    cells = read_cells(store, study, weights=weights, space_file=space)
    report = cascade_report(cells)
    known = {kind: rule for kind, rule in report.best.items() if kind in RUNNABLE}
    kinds = [report.rule.kind] if named == CHOSEN else [kind for kind in known if kind == named]
    kinds = kinds or [kind for kind, rule in known.items() if len(named) >= _SHORTEST and rule.id.startswith(named)]
    if kinds == [SINGLE]:
        do = f"Promote one model, or name a kind: {', '.join(known)}."
        raise UsageError(problem("--cascade", "no cascade and no router is chosen: none leads one model", do=do))
    if len(kinds) != 1 or kinds[0] not in known:
        expected = f"chosen, {', '.join(f'{kind} ({rule.id})' for kind, rule in known.items())}"
        do = nearest(named, known) or "`offramp cascades` prints them; give the same --weights."
        raise UsageError(problem("--cascade", "no such rule in this study", got=named, expected=expected, do=do))
    rule = rule_to_run(cells, report, kinds[0])
    return FoundRule(
        id=known[kinds[0]].id, rule=rule, single=report.best[SINGLE].members[0], report=report, cells=cells
    )
