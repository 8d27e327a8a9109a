"""What a machine needs in order to run a job: model files and keys."""

from __future__ import annotations

from offramp.errors import ModelError, UsageError, problem
from offramp.job.declared import judging_parts
from offramp.job.resolved import ResolvedJob
from offramp.models import embedded
from offramp.models.keys import missing_key
from offramp.space.model import ModelPart
from offramp.tracking import missing_tool


def check_runnable(job: ResolvedJob) -> None:
    """Raises where something is missing on this machine: ModelError for a model's file or key, UsageError for the
    tool of `tracking`.
    """
    if (lacking := missing_tool(job.space.tracking)) is not None:
        raise UsageError(problem(job.loaded.where("tracking"), lacking.what, do=lacking.do))
    for model in job.models.values():
        if model.name in leaving(job):
            continue
        if model.local and not embedded.is_pulled(model.route):
            do = f"Run `offramp models pull {model.route}`."
            raise ModelError(problem(model.name, "its file is not here", do=do))
        if model.local:
            embedded.path(model.route)  # refuses a file that is not the pinned one
        variable = missing_key(model)
        if variable is not None:
            do = f"Set it: export {variable}=..."
            raise ModelError(
                problem(model.name, f"its key is missing: environment variable {variable} is not set", do=do)
            )


def missing_here(job: ResolvedJob) -> list[str]:
    """Warnings: what `check_runnable` would refuse on this machine, which a check on another one need not have."""
    lacking = missing_tool(job.space.tracking)
    found = [] if lacking is None else [problem(job.loaded.where("tracking"), lacking.what, do=lacking.do)]
    for model in job.models.values():
        if model.name in leaving(job):
            continue
        if model.local and not embedded.is_pulled(model.route):
            do = f"Run `offramp models pull {model.route}` before the job."
            found.append(problem(model.name, "its file is not on this machine", do=do))
        if (variable := missing_key(model)) is not None:
            do = f"Set it before the job: export {variable}=..."
            found.append(problem(model.name, f"its key is missing: environment variable {variable} is not set", do=do))
    return found


def leaving(job: ResolvedJob) -> set[str]:
    """The incumbent's model where the file does not search it: it may be retired, with its results stored."""
    judges = {part.model for part in judging_parts(job.space.metric)}
    stated = {part.name for part in job.space.models if isinstance(part, ModelPart) and not part.searched}
    incumbent = job.incumbent
    return set() if incumbent is None else ({incumbent.model} & stated) - judges
