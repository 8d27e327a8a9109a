"""How the answers of one run ended, from what the provider says about each of them."""

from __future__ import annotations

from offramp.models.names import is_another
from offramp.program.program import Outcome
from offramp.records import PROMPT_TOO_LONG, TOO_LONG, Candidate, Ending

_WORST_FIRST = tuple(reversed(Ending))


def ending_of(outcome: Outcome) -> Ending | None:
    """The worst ending among the replies of a run; None where none of them is an answer."""
    found = {ending for reply in outcome.replies if (ending := reply.ending) is not None}
    if outcome.unreadable:
        found.add(Ending.UNREADABLE)
    return next((ending for ending in _WORST_FIRST if ending in found), None)


def reasoning_only(outcome: Outcome) -> bool:
    """Whether a reply was cut before it had written anything but reasoning."""
    return any(
        reply.ending is Ending.CUT
        and reply.usage.reasoning_tokens > 0
        and (reply.usage.output_tokens == 0 or not reply.text.strip())
        for reply in outcome.replies
    )


def error_words(outcome: Outcome, candidate: Candidate) -> str:
    """A program error in words that say what the provider did, where that is why."""
    error, ending = outcome.program_error or "", ending_of(outcome)
    if any(reply.finish_reason == TOO_LONG for reply in outcome.replies):
        return f"{PROMPT_TOO_LONG}: {error}"
    if ending is Ending.CUT:
        limit = next((candidate.request_params[n] for n in _LIMITS if candidate.request_params.get(n)), None)
        said = "cut at the output limit" if limit is None else f"cut at max_tokens {limit}"
        if reasoning_only(outcome):
            return f"{said}, all of it reasoning"
        return f"{said}: {error.removeprefix(_UNPARSABLE)}"
    if ending is Ending.EMPTY:
        return "empty answer: the model stopped by itself without writing anything"
    if ending is Ending.FILTERED and outcome.unreadable:
        text = error.removeprefix(_UNPARSABLE)
        return f"filtered by the provider: {text}"
    return error


_LIMITS = ("max_tokens", "max_completion_tokens")
_UNPARSABLE = "unparsable answer: "


def other_model(outcome: Outcome) -> str | None:
    """The model that answered instead of the one asked for; None where it was that one, or nothing says."""
    for exchange in outcome.exchanges:
        model, name = exchange.request.model, exchange.reply.answered_by
        if name is not None and not model.local and is_another(model.route, name):
            return name
    return None
