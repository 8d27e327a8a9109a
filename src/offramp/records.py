"""The records that travel between the parts. They import nothing above the floor.

What identifies a thing (Candidate, Example), what was asked (CallRequest) and what came back (CallReply, Result) are
separate records. All are frozen; `None` means "not known", and the field says so.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from offramp.ids import content_hash
from offramp.scrubbing import know_variable, scrubbed_value

Scalar = str | int | float | bool | None
"""What one param may be."""

Message = Mapping[str, Any]
"""One chat message: role and content."""


def _scrub(record: object, *names: str) -> None:
    """Masks keys in these fields of a record that is being made."""
    for name in names:
        value = getattr(record, name)
        if value and (clean := scrubbed_value(value)) is not value:
            object.__setattr__(record, name, clean)


class Split(enum.StrEnum):
    """Who may read an example: demos and proposals (train), the search, or the final evaluation (holdout)."""

    TRAIN = "train"
    SEARCH = "search"
    HOLDOUT = "holdout"


def picked(record: Any, *names: str) -> dict[str, Any]:
    """Some fields of a record, by name."""
    return {name: getattr(record, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a dataset.

    Attributes:
        id: from the data, or the first 16 characters of the content hash.
        content_hash: of the task's input and output fields only; equal content means equal hash.
        values: every column of the row, inputs, gold answers and slices alike.
        row: 1-based row number in the file, for messages.
        group: examples of one group belong together and are not independent; None where each stands alone.
    """

    id: str
    content_hash: str
    values: Mapping[str, Any]
    row: int
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The examples by split, each in its seeded, stratified order."""

    train: tuple[Example, ...]
    search: tuple[Example, ...]
    holdout: tuple[Example, ...]

    def of(self, split: Split) -> tuple[Example, ...]:
        """The examples of one split."""
        return {Split.TRAIN: self.train, Split.SEARCH: self.search, Split.HOLDOUT: self.holdout}[split]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply by price class. The classes are disjoint: their sum is what was processed.

    Attributes:
        input_tokens: neither read from the provider's cache nor written to it.
        cached_input_tokens: read from the provider's prompt cache.
        cache_write_tokens: written to the provider's prompt cache.
        output_tokens: visible answer, reasoning not included.
        reasoning_tokens: hidden reasoning.
        compute_s: seconds of computing, for models that run on one's own machine; None where it is not known.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    compute_s: float | None = None

    @property
    def prompt_tokens(self) -> int:
        """All tokens that were read, cached or not."""
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens

    @property
    def cold(self) -> Usage:
        """The same tokens, none of them read from the provider's prompt cache; what was written to it stays."""
        return replace(self, input_tokens=self.input_tokens + self.cached_input_tokens, cached_input_tokens=0)

    def __add__(self, other: Usage) -> Usage:
        """Sum by class; seconds of computing are unknown only when both are."""
        known = [s for s in (self.compute_s, other.compute_s) if s is not None]
        tokens = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "compute_s"}
        return Usage(**tokens, compute_s=sum(known) if known else None)


STANDARD_TIERS = frozenset({"default", "standard", "auto", "on_demand", "standard_only"})
"""Values of `service_tier` that are billed at the plain price."""
_TIER_NAMES = {"batches": "batch", "fast": "priority"}
BATCH = "batch"
"""What an answer of a batch interface has for its service tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens by class, or USD per hour of one's own machine. None: not known, and never 0.

    As vendors bill, `cached_input_usd` and `cache_write_usd` fall back to `input_usd`, `reasoning_usd` to `output_usd`.

    Attributes:
        steps: `(tokens, price)` in ascending order: a request with more prompt tokens than that is billed at that price
            as a whole.
        tiers: `(service tier, price)`, each with its own steps.
        any_tier: whether it holds at whatever service tier is asked for, as one that the user states does.
    """

    input_usd: float | None = None
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None
    output_usd: float | None = None
    reasoning_usd: float | None = None
    compute_usd_per_hour: float | None = None
    steps: tuple[tuple[int, Price], ...] = ()
    tiers: tuple[tuple[str, Price], ...] = ()
    any_tier: bool = field(default=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether a call can be priced at all."""
        return self.compute_usd_per_hour is not None or (self.input_usd is not None and self.output_usd is not None)

    @property
    def tier_names(self) -> tuple[str, ...]:
        """Service tiers with a price of their own."""
        return tuple(name for name, _ in self.tiers)

    @property
    def flat(self) -> Price:
        """The price of a short request at the standard tier, without steps and tiers."""
        return replace(self, steps=(), tiers=()) if self.steps or self.tiers else self

    def for_tier(self, name: Any) -> Price | None:
        """The price, with its steps, at a service tier as a request names it; None where it is not known.

        No tier, or a name of the standard one, is the price itself; so is any on one's own machine.
        """
        asked = "default" if name is None else str(name).lower()
        if self.any_tier or self.compute_usd_per_hour is not None or asked in STANDARD_TIERS:
            return replace(self, tiers=()) if self.tiers else self
        return dict(self.tiers).get(_TIER_NAMES.get(asked, asked))

    def for_request(self, params: Mapping[str, Any]) -> Price | None:
        """The price at the tier that these request parameters name."""
        return self.for_tier(params.get("service_tier"))

    @property
    def batched(self) -> Price:
        """The price of a request in a batch: as the price table says, and half where it says nothing."""
        half = self._times(0.5)
        listed = dict(self.tiers).get(BATCH)
        if listed is None:
            return half
        lacking: dict[str, Any] = {name: getattr(half, name) for name in _CLASSES if getattr(listed, name) is None}
        return replace(listed, **lacking, steps=listed.steps or half.steps)

    def _times(self, factor: float) -> Price:
        """Of tokens, so many times the price; without tiers."""
        usd = {name: getattr(self, name) for name in _CLASSES}
        changed: dict[str, Any] = {name: None if value is None else factor * value for name, value in usd.items()}
        steps = tuple((above, step._times(factor)) for above, step in self.steps)
        return replace(self, **changed, steps=steps, tiers=())

    def at(self, prompt_tokens: int) -> Price:
        """The flat price of a request with so many prompt tokens, read from and written to caches included."""
        return self.up_to(prompt_tokens)[-1]

    def up_to(self, prompt_tokens: int) -> tuple[Price, ...]:
        """The flat prices that a request with at most so many prompt tokens may be billed at."""
        return (self.flat, *(step.flat for above, step in self.steps if prompt_tokens > above))

    def reply_usd(self, usage: Usage) -> float | None:
        """USD for one reply: its prompt decides the step. None as for `cost_usd`."""
        return self.at(usage.prompt_tokens).cost_usd(usage)

    def cost_usd(self, usage: Usage) -> float | None:
        """USD for tokens of requests below every step, which add up; None where a needed price is not known.

        So are the seconds of computing on one's own machine.
        """
        if self.compute_usd_per_hour is not None:
            return None if usage.compute_s is None else usage.compute_s / 3600 * self.compute_usd_per_hour
        if self.input_usd is None or self.output_usd is None:
            return None
        per_million = (
            usage.input_tokens * self.input_usd
            + usage.cached_input_tokens * _or(self.cached_input_usd, self.input_usd)
            + usage.cache_write_tokens * _or(self.cache_write_usd, self.input_usd)
            + usage.output_tokens * self.output_usd
            + usage.reasoning_tokens * _or(self.reasoning_usd, self.output_usd)
        )
        return per_million / 1e6

    def to_json(self) -> dict[str, Any]:
        """As it is stored: the classes, then steps and tiers where there are any."""
        classes = [f.name for f in fields(self) if f.name not in ("steps", "tiers", "any_tier")]
        found: dict[str, Any] = {name: getattr(self, name) for name in classes}
        if self.steps:
            found["steps"] = [[above, step.to_json()] for above, step in self.steps]
        if self.tiers:
            found["tiers"] = {name: price.to_json() for name, price in self.tiers}
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Price:
        """The inverse of `to_json`."""
        classes = {name: value for name, value in stored.items() if name not in ("steps", "tiers")}
        steps = tuple((int(above), cls.from_json(step)) for above, step in stored.get("steps", ()))
        tiers = tuple((name, cls.from_json(price)) for name, price in stored.get("tiers", {}).items())
        return cls(**classes, steps=steps, tiers=tiers)


_CLASSES = ("input_usd", "cached_input_usd", "cache_write_usd", "output_usd", "reasoning_usd")
PRICE_CLASSES = (*_CLASSES, "compute_usd_per_hour")
"""Names of the prices in a `Price`."""


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model that can be called, as resolved from the space file and the catalogue.

    Attributes:
        name: as written in the space file; the value of the `model` param.
        route: what the transport is asked for: a LiteLLM model name, or the same `local/...` name.
        revision: content identity where known (sha256 of an embedded file); part of every request hash.
        api_base: address of an OpenAI-compatible server, None for the provider's own.
        api_key_env: name of the environment variable that holds the key; None where no key is needed.
        price: None where unknown.
        supported_params: request parameters that the model takes; None where that is not known.
        stated_params: those that the space file names under `supports`: sent even where LiteLLM does not list them.
        context_tokens, max_output_tokens: None where not known.
        retirement_date: ISO date; None where not known.
    """

    name: str
    route: str
    revision: str | None = None
    api_base: str | None = None
    api_key_env: str | None = None
    price: Price | None = None
    supported_params: frozenset[str] | None = None
    stated_params: frozenset[str] = frozenset()
    supports_json_schema: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    retirement_date: str | None = None

    def __post_init__(self) -> None:
        know_variable(self.api_key_env, (self.name, self.route, self.api_base))

    @property
    def local(self) -> bool:
        """Whether llama.cpp on this machine serves it."""
        return self.route.startswith("local/")

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        """What makes it the model it is, whatever it is called: route, revision and address."""
        return self.route, self.revision, self.api_base

    @property
    def provider(self) -> str:
        """First part of the route, such as `openai` or `local`."""
        return self.route.split("/", 1)[0] if "/" in self.route else "openai"


class Purpose(enum.StrEnum):
    """What a call was for; each is booked separately."""

    PROGRAM = "program"
    BOOTSTRAP = "bootstrap"
    JUDGE = "judge"
    PROPOSER = "proposer"
    PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One request to one model. `hash` identifies it in the ledger: by content, never by position.

    Attributes:
        model: which model; its name, address and revision are part of the hash, its price and key are not.
        messages: chat messages in order.
        params: request parameters as the model takes them (temperature, max_tokens, response_format, ...).
        purpose: what it is for; not part of the hash.
        replicate: 0 for the first answer; n asks for the n-th fresh answer to the same input.
        batched: whether it goes to the provider's batch interface, at its price; not part of the hash.
    """

    model: Model
    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    purpose: Purpose = Purpose.PROGRAM
    replicate: int = 0
    batched: bool = False
    _hash: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def price(self) -> Price | None:
        """The model's price at the service tier that is asked for, or of a batch; None where it is not known."""
        if self.model.price is None:
            return None
        return self.model.price.batched if self.batched else self.model.price.for_request(self.params)

    def price_served(self, tier: str | None) -> Price | None:
        """The price at the tier that served it, as its reply says; as asked where it says none whose price is known.

        A batch does not change what the same request costs an app, so its price counts only where it was asked for.
        """
        price = self.model.price
        served = None if tier in (None, BATCH) or price is None else price.for_tier(tier)
        return self.price if served is None else served

    @property
    def hash(self) -> str:
        """Hex sha256 over route, revision, address, messages, params and replicate; made once."""
        if self._hash is None:
            content = {
                "route": self.model.route,
                "revision": self.model.revision,
                "api_base": None if self.model.local else self.model.api_base,
                "messages": [dict(message) for message in self.messages],
                "params": dict(self.params),
                "replicate": self.replicate,
            }
            object.__setattr__(self, "_hash", content_hash(content))
        assert self._hash is not None
        return self._hash


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderNotice:
    """What the headers of a reply say about the end of its model.

    Attributes:
        deprecated: whether they call it deprecated; `since` is the UTC day from which, ISO 8601, None where not said.
        sunset: UTC day on which it ends, ISO 8601; None where not said.
        link: web address of the announcement; None where not said.
    """

    deprecated: bool
    since: str | None
    sunset: str | None
    link: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReply:
    """What came back for one request. A key that a server echoes is `***` in it.

    Attributes:
        text: the answer, possibly empty (the model's own doing).
        tool_calls: the tools that it asks for natively: `id`, `name` and `arguments` (JSON text) each.
        finish_reason: `stop`, `length`, `content_filter`, ... as the provider says; None where it does not.
        usage: tokens by class.
        latency_s: wall clock of the physical request that produced it, queue time apart. Also set from the ledger.
        queue_s: time spent waiting for a place before the request left.
        attempt: 1-based attempt that succeeded.
        cached: whether the ledger answered; then nothing was sent or paid.
        answered_by: the model that answered, as the provider names it; None where it does not.
        fingerprint: the provider's `system_fingerprint`; None where it names none.
        service_tier: the tier that served it, as the reply says; it decides the price. None where it does not.
        notice: what its headers say about the end of the model; None where they say nothing, and from the ledger.
        logprob: mean log probability of its tokens; None where it has none, as where `logprobs` was not asked for.
    """

    text: str
    finish_reason: str | None
    usage: Usage
    latency_s: float
    tool_calls: tuple[Mapping[str, str], ...] = ()
    queue_s: float = 0.0
    attempt: int = 1
    cached: bool = False
    answered_by: str | None = None
    fingerprint: str | None = None
    service_tier: str | None = None
    notice: HeaderNotice | None = None
    logprob: float | None = None

    def __post_init__(self) -> None:
        _scrub(self, "text", "tool_calls", "finish_reason", "answered_by", "fingerprint", "service_tier")

    @property
    def batched(self) -> bool:
        """Whether it came in a batch: then nobody knows how long an app would wait for it."""
        return self.service_tier == BATCH

    @property
    def ending(self) -> Ending | None:
        """How the provider ended the answer; None where there is none, since the prompt was too long."""
        reason = (self.finish_reason or "").casefold()
        if reason == TOO_LONG:
            return None
        named = next((ending for ending, words in _FINISH_REASONS.items() if reason in words), None)
        return named or (Ending.ANSWERED if self.text.strip() or self.tool_calls else Ending.EMPTY)


class DemoKind(enum.StrEnum):
    """Where demos come from: the train split, or (`own`) what the user's own module has already."""

    NONE = "none"
    OWN = "own"
    RANDOM = "random"
    BALANCED = "balanced"
    BOOTSTRAPPED = "bootstrapped"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One full assignment: model, module, adapter, instructions, demos and request parameters.

    `params` is the flat view that Optuna and people see (variant names); the other fields hold content, and `id` is the
    hash of the content: two variant names with the same text are the same candidate.

    Attributes:
        module: `predict`, `chain_of_thought`, `own` or one of several requests (`best_of 3`); stored as `form`.
        adapter: `plain`, `chat` or `json`; stored as `format`.
        constrained: whether the decoder is held to the output schema.
        instructions: text by predictor name (`main` for a task given by a signature).
        demo_kind, demo_count: how many demos and how they are chosen. `demo_seed` matters for random kinds.
        request_params: temperature, top_p, max_tokens, reasoning_effort, seed, ...
        models: model by predictor, for those of a module of one's own that do not run on `model`.
        tools: how an agent calls its tools: in `text`, or `native`.
        predictor_params: request parameters of single predictors, in place of `request_params`; None for one left out.
    """

    params: Mapping[str, Scalar]
    model: str
    module: str
    adapter: str
    constrained: bool
    instructions: Mapping[str, str]
    demo_kind: DemoKind
    demo_count: int
    demo_seed: int
    request_params: Mapping[str, Any]
    models: Mapping[str, str] = field(default_factory=dict)
    tools: str = "text"
    predictor_params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _id: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def id(self) -> str:
        """First 12 characters of the content hash; made once."""
        if self._id is None:
            object.__setattr__(self, "_id", self._made_id())
        assert self._id is not None
        return self._id

    def _made_id(self) -> str:
        demos: list[str | int] | None = [self.demo_kind.value, self.demo_count, self.demo_seed]
        if self.demo_kind is DemoKind.OWN:
            demos = [self.demo_kind.value]
        elif self.demo_count == 0 or self.demo_kind is DemoKind.NONE:
            demos = None
        return content_hash(
            {
                "model": self.model,
                "form": self.module,
                "format": self.adapter,
                "constrained": self.constrained,
                "instructions": dict(self.instructions),
                "demos": demos,
                "request_params": dict(self.request_params),
                **({"models": dict(self.models)} if self.models else {}),
                **({"tools": self.tools} if self.tools != "text" else {}),
                **({"predictor_params": dict(self.predictor_params)} if self.predictor_params else {}),
            },
            length=12,
        )

    def params_of(self, predictor: str) -> dict[str, Any]:
        """The request parameters that a predictor is sent."""
        stated = {**self.request_params, **self.predictor_params.get(predictor, {})}
        return {name: value for name, value in stated.items() if value is not None}


def price_of(candidate: Candidate, prices: Mapping[str, Price | None]) -> Price | None:
    """The price of a candidate's model at the service tier that it asks for; None where it is not known."""
    price = prices.get(candidate.model)
    return None if price is None else price.for_request(candidate.request_params)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a metric says of one prediction.

    Attributes:
        value: in [0, 1], higher is better; finite.
        feedback: why, in words, for people and for proposers; None where the metric has nothing to say.
        parts: values of the parts of a weighted mix, by name.
    """

    value: float
    feedback: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and 0.0 <= self.value <= 1.0):
            raise ValueError(f"a score is a number in [0, 1], got {self.value!r}")


SAME_SCORE = 1e-9
"""Scores closer than this are equal: sums of weights differ in their last digits."""


class ResultState(enum.StrEnum):
    """Three states, never mixed."""

    SCORED = "scored"
    PROGRAM_ERROR = "fault"  # the program's own error (unparsable, refused, too long): a real zero, counted
    INFRASTRUCTURE_ERROR = "failed"  # no score, counted separately, retried on resume


class Ending(enum.StrEnum):
    """How the provider ended the answers of one run; of several, the worst. From the best to the worst."""

    ANSWERED = "answered"
    UNREADABLE = "unreadable"  # whole, and not in the form that the program reads
    EMPTY = "empty"  # the model stopped by itself without a word
    CUT = "cut"  # at max_tokens or at the model's own limit, also where what there is could be read
    FILTERED = "filtered"  # the provider's filter took all or part of it
    REFUSED = "refused"  # by the model


PROMPT_TOO_LONG = "the prompt is too long"
"""How the reason of a result begins whose prompt does not fit into the model's context."""
TOO_LONG = "too_long"
"""Finish reason of what stands for a request whose prompt does not fit into the model's context."""
_FINISH_REASONS: Mapping[Ending, frozenset[str]] = {
    Ending.CUT: frozenset(
        {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
    ),
    Ending.FILTERED: frozenset(
        {
            "content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii",
            "guardrail_intervened", "language", "image_safety",
        }
    ),
    Ending.REFUSED: frozenset({"refused", "refusal"}),
}  # fmt: skip
"""What providers call each ending, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicate:
    """One of several runs of one candidate on one example; its numbers are as those of a `Result` of one run.

    Attributes:
        number: 0 for the first.
    """

    number: int
    state: ResultState
    score: float
    cost_usd: float | None
    others_usd: float | None
    latency_s: float | None
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    cached_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One candidate on one example.

    Where the example was run several times (`replicates`), `score`, `cost_usd` and `latency_s` are means of its runs,
    `usage` the mean in whole tokens, and `calls` and `cached_calls` those of all of them; the rest is of the first run,
    `state` included, so that a program error may have a score above 0.

    Attributes:
        score: value in [0, 1]; 0.0 for a program error; None for an infrastructure error.
        cost_usd: virtual: what one production run costs, also when the ledger answered; judge not included; None
            where a price is unknown or the state is an infrastructure error.
        usage: tokens of the candidate's own model.
        others_usd: the part of `cost_usd` that its own tokens at the tier that was asked for do not explain: what being
            served at another tier cost more (or less), and other models that the program asked, each at its own price;
            None where one is unknown.
        latency_s: sum of the wall clock of its calls, from their physical requests; None for an infrastructure error.
        outputs: predicted fields, JSON values; None unless parsed (or where texts are not stored).
        reason: why it is an error, or the metric's feedback.
        calls, cached_calls: physical requests of the program and answers from the ledger.
        ending: how its answers ended; None without an answer, and for results of earlier versions.
        reasoning_only: whether a reply was cut before it had written anything but reasoning; None as for `ending`.
        other_model: the model that answered, where it is not the one asked for; None otherwise.
        confidence: how sure the run was of its answer by itself, higher is surer; None where nothing says. Of a form
            that votes the share of the answers that agree, of one that checks 1 or 0, else the mean log probability.
        replicates: its runs by number, the first included; None where it need not be run more than once.
    """

    candidate: str
    example: str
    state: ResultState
    score: float | None
    cost_usd: float | None
    latency_s: float | None
    usage: Usage = field(default_factory=Usage)
    outputs: Mapping[str, Any] | None = None
    reason: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    calls: int = 0
    cached_calls: int = 0
    ending: Ending | None = None
    reasoning_only: bool | None = None
    other_model: str | None = None
    others_usd: float | None = 0.0
    confidence: float | None = None
    replicates: tuple[Replicate, ...] | None = None

    def __post_init__(self) -> None:
        _scrub(self, "outputs", "reason", "other_model")

    @property
    def runs(self) -> tuple[Replicate, ...] | tuple[Result]:
        """Each run by itself."""
        return self.replicates or (self,)

    @property
    def first_run(self) -> Result:
        """The result as it was after its first run."""
        if self.replicates is None or len(self.replicates) == 1:
            return self
        first = self.replicates[0]
        return replace(
            self, score=first.score, cost_usd=first.cost_usd, others_usd=first.others_usd, latency_s=first.latency_s,
            usage=first.usage, calls=first.calls, cached_calls=first.cached_calls, replicates=(first,),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One candidate on a set of examples; `offramp.store.aggregates.aggregate_of` says what the results come to."""

    candidate: str
    results: tuple[Result, ...]

    @property
    def counted(self) -> tuple[Result, ...]:
        """Scored results and program errors."""
        return tuple(r for r in self.results if r.state is not ResultState.INFRASTRUCTURE_ERROR)

    @property
    def n(self) -> int:
        """Number of examples with a score, program errors included."""
        return len(self.counted)

    @property
    def scores(self) -> dict[str, float]:
        """Score by example; results without a score are left out."""
        return {r.example: r.score for r in self.results if r.score is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What one candidate came to on a set of examples. None: not known.

    Results without a score are in `n_failed` and in nothing else.

    Attributes:
        n: examples with a score; `n_fault` of them are zero because of a program error.
        n_failed: examples without a score because of an infrastructure error.
        quality: mean score in 0..1, with the ends of its 95 % interval. None when n is 0.
        quality_square: mean of the squared scores, which the interval is computed from.
        usage: sums over the n runs; its `compute_s` is None unless it is known for all of them.
        others_usd: sum over the n runs of what other models of the program cost; None where one's price is unknown.
        cost_usd: mean virtual USD of one run, with the prompt cache as measured; None where a price is not known.
        cost_cold_usd: the same with nothing read from the provider's prompt cache, as a first call costs.
        latency_mean_s, latency_p50_s, latency_p90_s, latency_p95_s: seconds of one run.
        n_cut, n_filtered, n_refused, n_empty, n_unreadable: of the n runs, by `Ending`; None where no ending is known,
            as for results of earlier versions. `n_cut_reasoning` of the cut ones had written reasoning only.
        n_other_model: runs that another model than the one asked for answered, mostly `other_model`.
        n_runs: runs of the n examples where some were run several times; None where each was run once.
        within_variance: of the scores of one example's runs about their mean, over the examples with several; None
            without any.
        failures: how many of the `n_failed` examples have no score for each reason; without those whose reason is not
            kept. A reason here names no row, so that those of one kind count together.
        examples: ids by each of these reasons, and by `filtered`, `refused` and `too_long` of the n runs: the inputs
            that a provider did not answer.
    """

    n: int
    n_fault: int
    n_failed: int
    quality: float | None
    quality_low: float | None = None
    quality_high: float | None = None
    quality_square: float | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    latency_mean_s: float | None = None
    latency_p50_s: float | None = None
    latency_p90_s: float | None = None
    latency_p95_s: float | None = None
    n_cut: int | None = None
    n_cut_reasoning: int | None = None
    n_filtered: int | None = None
    n_refused: int | None = None
    n_empty: int | None = None
    n_unreadable: int | None = None
    n_other_model: int | None = None
    other_model: str | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others_usd: float | None = 0.0
    cost_cold_usd: float | None = None
    n_runs: int | None = None
    within_variance: float | None = None

    def latency_s(self, statistic: str = "p50") -> float | None:
        """Seconds of one run: `mean`, `p50`, `p90` or `p95`."""
        return getattr(self, f"latency_{statistic}_s")  # type: ignore[no-any-return]

    def priced(self, price: Price | None) -> Aggregate:
        """The same runs at this price, each request below its first step."""
        if price is None or self.usage is None or not self.n or self.others_usd is None:
            return replace(self, cost_usd=None, cost_cold_usd=None)
        totals, others = (price.cost_usd(usage) for usage in (self.usage, self.usage.cold)), self.others_usd
        measured, cold = (None if total is None else (total + others) / self.n for total in totals)
        return replace(self, cost_usd=measured, cost_cold_usd=cold)


class Measured(Protocol):
    """What objectives are read from: an `Aggregate`, or what a study kept of one of another study."""

    @property
    def quality(self) -> float | None:
        """Mean score in 0..1."""
        ...

    @property
    def cost_usd(self) -> float | None:
        """Mean virtual USD of one run."""
        ...

    def latency_s(self, statistic: str = "p50") -> float | None:
        """Seconds of one run, by `mean` or a percentile."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One objective.

    Attributes:
        name: `quality` (maximised), `cost` or `latency` (minimised).
        weight: share in the utility, not normalised.
        statistic: how latencies of runs become one number.
        scale: (worst, best) in the unit of the objective; None while it waits for the incumbent.
    """

    name: str
    weight: float
    statistic: str = "p50"
    scale: tuple[float, float] | None = None

    @property
    def maximise(self) -> bool:
        """Direction."""
        return self.name == "quality"

    def value(self, seen: Measured) -> float | None:
        """The aggregate, in the objective's unit; None when it is not known."""
        if self.name == "quality":
            return seen.quality
        if self.name == "cost":
            return seen.cost_usd
        return seen.latency_s(self.statistic)

    def scaled(self, value: float) -> float:
        """The value on 0..1, clipped; 1 is best."""
        if self.scale is None:
            raise ValueError(f"the scale of {self.name} is not fixed yet")
        worst, best = self.scale
        return min(1.0, max(0.0, (value - worst) / (best - worst)))


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile in [0, 100] with linear interpolation between ranks (numpy's default). `values` is not empty."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
