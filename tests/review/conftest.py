"""Studies to look at: one made by a real job on the landscape, and one whose data and answers are out to break a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from offramp.testing.fakes import FunctionTransport
from review_studies import HOSTILE, hostile_reply, hostile_space
from search_jobs import answered_by, reply_to, run_job, write_space

OBJECTIVES = {"quality": {"weight": 0.7}, "cost": {"weight": 0.2, "scale": "incumbent"}, "latency": {"weight": 0.1}}


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Results folder and name of a finished study with a front of several members."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(reply_to))
        splits = {"train": 6, "search": 20, "holdout": 14}
        demos = {"kind": ["none", "random", "bootstrapped"], "count": [2]}
        search = {"sampler": "random", "concurrency": 2, "race": None}
        space = write_space(folder / "space", splits=splits, objectives=OBJECTIVES, demos=demos, search=search)
        result = run_job(space, folder / "results", trials=14)
    assert result.error is None and len(result.report.front) > 2
    return folder / "results", result.report.study


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same for a study of texts that would run, hide or turn around what stands beside them."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        answered_by(patch, FunctionTransport(hostile_reply))
        result = run_job(hostile_space(folder / "space"), folder / "results", trials=4)
    assert result.error is None and HOSTILE
    return folder / "results", result.report.study
