"""Who is to blame when a request gives no answer, which decides what happens next.

    CallError
    ├── ProgramError            the program's own error: a real zero, counted, never tried again
    │   ├── Refused                the model or its filter refused
    │   └── TooLong                the prompt does not fit the model
    ├── InfrastructureError   no score: retried, then counted separately
    │   ├── RateLimited            429; may say when to come back
    │   ├── ServerFailed           5xx
    │   ├── TimedOut               no reply within the time of one attempt
    │   ├── Unreachable            no connection, or one that broke
    │   ├── BrokenReply            a reply that is not what the protocol says
    │   ├── RequestRejected        one request of a model that answers others; not retried
    │   └── DeadlineExceeded       all attempts together took too long
    └── FatalCallError          the next request would fail alike: the job stops and says why
        ├── Unauthorized, QuotaExhausted, InvalidRequest
        └── ModelNotFound          misspelt, retired or renamed

Invariant: texts are scrubbed of secrets when the error is made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from offramp.errors import OfframpError
from offramp.records import TOO_LONG, CallReply, Usage
from offramp.scrubbing import SECRET_NAME, refresh
from offramp.scrubbing import scrubbed as without_keys
from offramp.store.ledger import CallStatus

_SECRET_SHAPES = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|key|ghp|pplx|r8)[-_][A-Za-z0-9_*-]{8,}"), "***"),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"), "***"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), "***"),
    (re.compile(r"(?i)([?&](?:key|api[-_]?key|access_token|token|sig)=)[^&\s'\"]+"), r"\1***"),
    (re.compile(r"(?i)((?:x-)?api[-_]key['\"]?\s*[:=]\s*['\"]?)[A-Za-z0-9._~+/=-]{8,}"), r"\1***"),
    (re.compile(r"(\b\w[\w+.-]{0,30}://[^/\s:@]{0,200}:)[^/\s@]{1,500}@"), r"\1***@"),
)
_LONGEST_TEXT = 2000
_FILTER = re.compile(r"content.?filter|content management|responsibleai", re.IGNORECASE)
"""Words of a provider's filter, in a refusal that the model had no part in."""


class CallError(OfframpError):
    """One request without an answer.

    Attributes:
        status: what the ledger calls it.
        may_be_billed: whether the provider may have counted the request although no usage came back.
        usage: what the provider counted, where it said so (a refusal may be billed).
        latency_s: wall clock of the attempt; None where it never left.
        service_tier: the tier that served it, as in `CallReply`: what was counted is billed at its price.
        cached: whether the ledger knew of it already; then nothing was sent.
    """

    status: ClassVar[CallStatus]
    may_be_billed: ClassVar[bool] = False

    def __init__(
        self, text: str, *, usage: Usage | None = None, latency_s: float | None = None,
        service_tier: str | None = None, cached: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(scrubbed(text))
        self.usage, self.latency_s, self.service_tier, self.cached = usage, latency_s, service_tier, cached


class ProgramError(CallError):
    """The program's own error: scored 0."""

    finish_reason: str = "refused"

    def reply(self) -> CallReply:
        """What stands for the answer that there is none of, with the time and money that it took."""
        usage, latency_s = self.usage or Usage(), self.latency_s or 0.0
        return CallReply(
            text="", finish_reason=self.finish_reason, usage=usage, latency_s=latency_s, cached=self.cached,
            service_tier=self.service_tier,
        )  # fmt: skip


class Refused(ProgramError):
    """The model, or a filter before it, refused to answer."""

    status = CallStatus.REFUSED

    def __init__(self, text: str, **more: Any) -> None:
        super().__init__(text, **more)
        self.finish_reason = "content_filter" if _FILTER.search(text) else "refused"


class TooLong(ProgramError):
    """The prompt does not fit into the model's context."""

    status = CallStatus.TOO_LONG
    finish_reason = TOO_LONG


class InfrastructureError(CallError):
    """Not the program's error; worth another try unless `worth_retrying` is false."""

    worth_retrying: ClassVar[bool] = True


class RateLimited(InfrastructureError):
    """Too many requests. `retry_after_s`: when the provider said to come back; None where it did not."""

    status = CallStatus.RATE_LIMITED

    def __init__(self, text: str, *, retry_after_s: float | None = None, latency_s: float | None = None) -> None:
        super().__init__(text, latency_s=latency_s)
        self.retry_after_s = retry_after_s


class ServerFailed(InfrastructureError):
    """The provider failed; it bills no such reply. `retry_after_s` as for RateLimited."""

    status = CallStatus.SERVER_FAILED

    def __init__(self, text: str, *, retry_after_s: float | None = None, latency_s: float | None = None) -> None:
        super().__init__(text, latency_s=latency_s)
        self.retry_after_s = retry_after_s


class TimedOut(InfrastructureError):
    """No reply in time; the provider may have worked, and billed, all the same."""

    status = CallStatus.TIMED_OUT
    may_be_billed = True


class Unreachable(InfrastructureError):
    """No connection (`sent` false: certainly not billed), or one that broke after the request had left."""

    status = CallStatus.UNREACHABLE

    def __init__(self, text: str, *, sent: bool = False, latency_s: float | None = None) -> None:
        super().__init__(text, latency_s=latency_s)
        self.sent = sent


class BrokenReply(InfrastructureError):
    """A reply that cannot be read: no JSON, no choices, no message."""

    status = CallStatus.BROKEN_REPLY
    may_be_billed = True


class RequestRejected(InfrastructureError):
    """The provider rejects this one request while it answers others of the same model: its example has no score."""

    status = CallStatus.REQUEST_REJECTED
    worth_retrying = False


class DeadlineExceeded(InfrastructureError):
    """All attempts of one request together took longer than allowed."""

    status = CallStatus.DEADLINE_EXCEEDED


class FatalCallError(CallError):
    """The next request would fail alike: the job stops."""


class Unauthorized(FatalCallError):
    """No key, a wrong key, or no right to the model."""

    status = CallStatus.UNAUTHORIZED


class ModelNotFound(FatalCallError):
    """The provider does not have the model: misspelt, retired, or under another name.

    Attributes:
        model: its name in the space file; None before `missing_model` has said more.
        said: what the provider said.
        retired: whether it said that the model has retired or was renamed; False where it may never have had it.
        successors: named by your own notice or the vendor; empty where nobody names any.
    """

    status = CallStatus.MODEL_NOT_FOUND

    def __init__(
        self, text: str, *, model: str | None = None, said: str | None = None, retired: bool = False,
        successors: tuple[str, ...] = (), latency_s: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(text, latency_s=latency_s)
        self.model, self.said, self.retired, self.successors = model, scrubbed(said or text), retired, successors


class QuotaExhausted(FatalCallError):
    """The account is out of credit."""

    status = CallStatus.QUOTA_EXHAUSTED


class InvalidRequest(FatalCallError):
    """The provider does not take the request as it is, such as a parameter that the model lacks."""

    status = CallStatus.INVALID_REQUEST


def certainly_unbilled(error: CallError) -> bool:
    """Whether the attempt surely cost nothing."""
    return not (error.sent if isinstance(error, Unreachable) else error.may_be_billed)


def never_left(error: CallError) -> bool:
    """Whether no request was sent at all."""
    return isinstance(error, Unreachable) and not error.sent


def scrubbed(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` with secrets as `***`, cut to a length that fits a table and a terminal.

    Three nets: the keys that `offramp.scrubbing` knows, the values of environment variables that are secret by name,
    and the shapes that keys have.
    Providers quote keys in their errors ("Incorrect API key provided: sk-..."), so every error text passes here.
    """
    refresh()
    text = without_keys(text)
    env = os.environ if environ is None else environ
    secrets = {value for name, value in env.items() if len(value) > 7 and SECRET_NAME.search(name)}
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    text = text[: 4 * _LONGEST_TEXT]  # a server may send megabytes, and patterns are slow on those
    for shape, mask in _SECRET_SHAPES:
        text = shape.sub(mask, text)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
