"""What a machine needs in order to run a job: llama.cpp, model files and keys."""

from __future__ import annotations

from collections.abc import Iterator

from offramp.errors import ModelError, OfframpError, UsageError, problem
from offramp.job.declared import judging_parts
from offramp.job.resolved import ResolvedJob
from offramp.models import embedded
from offramp.models.keys import missing_key
from offramp.models.server import INSTALL_LOCAL, NOT_SERVED, served_here
from offramp.space.model import ModelPart
from offramp.tracking import missing_tool


def check_runnable(job: ResolvedJob) -> None:
    """Raises where something is missing on this machine: ModelError for a model's file, key or server, UsageError for
    the tool of `tracking`.
    """
    for lacking in _lacking(job):
        raise lacking
    for model in job.models.values():
        if model.local and model.name not in leaving(job):
            embedded.path(model.route)  # refuses a file that is not the pinned one


def missing_here(job: ResolvedJob) -> list[str]:
    """Warnings: what `check_runnable` would refuse on this machine, which a check on another one need not have."""
    return [str(lacking) for lacking in _lacking(job)]


def _lacking(job: ResolvedJob) -> Iterator[OfframpError]:
    if (tool := missing_tool(job.space.tracking)) is not None:
        yield UsageError(problem(job.loaded.where("tracking"), tool.what, do=tool.do))
    models = [model for model in job.models.values() if model.name not in leaving(job)]
    if any(model.local for model in models) and not served_here():
        named = ", ".join(model.name for model in models if model.local)
        yield ModelError(problem(named, NOT_SERVED, do=f"Run `{INSTALL_LOCAL}`."))
    for model in models:
        if model.local and not embedded.is_pulled(model.route):
            do = f"Run `offramp models pull {model.route}`."
            yield ModelError(problem(model.name, "its file is not on this machine", do=do))
        if (variable := missing_key(model)) is not None:
            what = f"its key is missing: environment variable {variable} is not set"
            yield ModelError(problem(model.name, what, do=f"Set it: export {variable}=..."))


def leaving(job: ResolvedJob) -> set[str]:
    """The incumbent's model where the file does not search it: it may be retired, with its results stored."""
    judges = {part.model for part in judging_parts(job.space.metric)}
    stated = {part.name for part in job.space.models if isinstance(part, ModelPart) and not part.searched}
    incumbent = job.incumbent
    return set() if incumbent is None else ({incumbent.model} & stated) - judges
