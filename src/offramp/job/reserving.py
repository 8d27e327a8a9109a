"""What one call of each model reserves before it is sent, and whether a cap in USD has room for it.

Without `max_tokens` a reservation covers all that the model may write, which for a reasoning model is some dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offramp.calls.estimate import LIMITS, output_tokens, worst_usd
from offramp.errors import SpaceError, problem
from offramp.job.check_values import sent_to
from offramp.records import CallRequest, Model
from offramp.space.params import SearchParam

if TYPE_CHECKING:
    from offramp.job.resolved import ResolvedJob

TIER = "service_tier"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCall:
    """What one call of a model on the longest example reserves.

    Attributes:
        usd: the least and the most, over what may be sent.
        output_tokens: that the most expensive of them may come back with.
        limited: whether all of them set how much may come back.
    """

    model: str
    usd: tuple[float, float]
    output_tokens: int
    limited: bool

    @property
    def words(self) -> str:
        """For a person who did not set a limit."""
        return (
            f"one call of {self.model} reserves up to ${self.usd[1]:.4g}, because max_tokens is not set and it may "
            f"answer with {self.output_tokens:,} tokens"
        )


def one_calls(job: ResolvedJob) -> list[OneCall]:
    """For each searched model that bills by tokens, and the incumbent's where it is another."""
    params = [p for p in job.search_params if p.group == "request" and p.name in (*LIMITS, "n", TIER)]
    sent = {name: _sets(name, params) for name in job.searched_models}
    sent |= {name: _sets(name, params, key) for name, key in job.predictor_models.items() if name not in sent}
    if (verifier := job.space.program.verifier) is not None and verifier.model is not None:
        own = [{**given, **verifier.params} for sets in sent.values() for given in sets]
        sent.setdefault(verifier.model, []).extend({k: v for k, v in s.items() if v is not None} for s in own)
    if job.incumbent is not None:
        sent.setdefault(job.incumbent.model, []).append(dict(job.incumbent.request_params))
    found = []
    for name, sets in sent.items():
        price = job.models[name].price
        if price is not None and price.known and price.compute_usd_per_hour is None:
            found.append(_one_call(job, job.models[name], sets))
    return found


def unlimited_in_words(job: ResolvedJob) -> str | None:
    """What one call reserves of each model without a limit of its own; None where all have one."""
    return "; ".join(call.words for call in one_calls(job) if not call.limited) or None


def check_reservable(job: ResolvedJob, *, usd: float | None) -> None:
    """Raises SpaceError where a cap in USD has no room for one call of each searched model."""
    for call in one_calls(job) if usd is not None else ():
        if usd is not None and call.usd[0] > usd:
            why = f"since it may answer with {call.output_tokens:,} tokens"
            do = f"Raise the budget above {call.usd[0]:.4g}" if call.limited else (
                f"Set max_tokens under `params`, or raise the budget above {call.usd[0]:.4g}"
            )  # fmt: skip
            what = f"budget.usd: one call of {call.model!r} reserves up to ${call.usd[0]:.4g}, {why}"
            raise SpaceError(problem(job.loaded.where("budget.usd"), what, got=usd, do=f"{do}."))


def tiers_sent(job: ResolvedJob, model: str) -> list[str]:
    """Service tiers that a search may ask a model for; `default` where it may name none."""
    param = [p for p in job.search_params if p.group == "request" and p.name == TIER]
    return list(dict.fromkeys(str(sent[TIER] or "default") for sent in sent_to(model, param) if TIER in sent))


def _sets(model: str, params: Sequence[SearchParam], key: str = "model") -> list[Mapping[str, Any]]:
    """What may be sent of these params, with a value for as many of them as apply."""
    sets = list(sent_to(model, params, key))
    most = max(len(sent) for sent in sets)
    return [{k: v for k, v in sent.items() if v is not None} for sent in sets if len(sent) == most]


def _one_call(job: ResolvedJob, model: Model, sets: Sequence[Mapping[str, Any]]) -> OneCall:
    requests = [CallRequest(model=model, messages=_messages(job), params=sent) for sent in sets]
    bounds = [(worst_usd(request, job.space.calls.timeout_s), output_tokens(request)) for request in requests]
    limited = all(any(name in sent for name in LIMITS) for sent in sets)
    most = max(bounds)
    return OneCall(model=model.name, usd=(min(bounds)[0], most[0]), output_tokens=most[1], limited=limited)


def _messages(job: ResolvedJob) -> tuple[Mapping[str, str], ...]:
    """The longest instruction and the inputs of the longest example; demos are left out."""
    texts = max((text for variants in job.texts.values() for text in variants.values()), key=len, default="")
    inputs = max((_input_text(job, example.values) for example in job.task.splits.search), key=len, default="")
    return ({"role": "system", "content": texts}, {"role": "user", "content": inputs})


def _input_text(job: ResolvedJob, values: Mapping[str, Any]) -> str:
    return "\n".join(str(values.get(name, "")) for name in job.task.fields.inputs)
