"""A study as runs of Weights & Biases: one for each candidate, in a group for the study.

`WANDB_MODE`, `WANDB_ENTITY` and the others say where; the project is the name of the space.
"""

from __future__ import annotations

import re

import wandb

from offramp.tracking import TrackedStudy


def write(study: TrackedStudy) -> None:
    """Makes the runs, or brings those that there are up to date."""
    for one in study.candidates:
        run = wandb.init(
            project=study.space,
            group=study.study,
            name=one.candidate,
            id=re.sub(r"[^\w-]", "-", f"{study.study}-{one.candidate}"),
            resume="allow",
            tags=[name for name, holds in one.tags.items() if holds],
            notes=study.tags["offramp.show"],
            settings=wandb.Settings(silent=True, console="off"),
        )
        run.config.update({**one.params, **study.tags}, allow_val_change=True)
        run.log(dict(one.metrics))
        run.summary.update({**one.metrics, **one.tags})
        run.finish()
