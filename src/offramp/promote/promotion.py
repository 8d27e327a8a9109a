"""A promotion: one candidate as config, with where it came from.

A promotion is immutable; its version is the hash of its content. It holds no address and no key: the app that loads
it says where a server of its own is and which environment variable holds the key. It holds no code either: one's own
module is named for people, and the app hands it in.

Invariant: everything that decides what the app sends is in `Promotion` or in a file that it names by content hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

FORMAT_VERSION = 1
"""Of the file."""
OF_ONE_PROGRAM = (
    "model", "others", "predictor_models", "request_params", "predictor_params", "program", "instructions", "demos",
)  # fmt: skip
"""Keys of a promotion that each member of a cascade has of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """Rows kept beside the promotion, in `data/<first 16 of sha256>.jsonl`.

    Attributes:
        sha256: of the file's bytes, hex.
        rows: number of lines.
    """

    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedModel:
    """A model as the app calls it.

    Attributes:
        route: what is asked for: a LiteLLM name or `local/...`.
        revision: content identity where known (sha256 of an embedded file).
        own_address: whether it was measured on a server of one's own, whose address the app has to give.
        price: USD per million tokens by class, or per hour of computing, when it was promoted; None where unknown.
        retirement_date: as known when it was promoted; ISO date, None where not known.
        tools: `native` where the program hands it tools by the provider's own interface; None where it does not.
    """

    name: str
    route: str
    revision: str | None = None
    own_address: bool = False
    price: Mapping[str, float] | None = None
    retirement_date: str | None = None
    tools: str | None = None

    @property
    def local(self) -> bool:
        """Whether llama.cpp on this machine serves it."""
        return self.route.startswith("local/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A model that the feature needs beside those that answer.

    Attributes:
        role: `judge` (grades for its metric) or `proposer` (writes its instructions).
        model: without a price.
    """

    role: str
    model: PromotedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedProgram:
    """The form of the program and its fields.

    Attributes:
        form: `predict`, `chain_of_thought`, one of several requests (`best_of 3`), or `own` for one's own module.
        format: `plain`, `chat` or `json`.
        module: where the own module came from, for people; it is never imported from here.
        code: content hash by name of what the own module was made of; None for other forms, and where not recorded.
        strict: whether an answer counts only if it is exactly of its type.
        inputs: name to what is said about it, in order.
        outputs: name to its type (the keys of an output in a space file), in order.
        media: inputs that are images, audio or files, with which of them; None where there are none.
        tools: `native` where tools are called by the provider's own interface; None where in text.
    """

    form: str
    format: str
    constrained: bool
    inputs: Mapping[str, str | None]
    outputs: Mapping[str, Mapping[str, Any]]
    strict: bool = False
    module: str | None = None
    code: Mapping[str, str] | None = None
    media: Mapping[str, str] | None = None
    tools: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedDemos:
    """The demos themselves.

    Attributes:
        kind: how they were chosen.
        count: how many of them a request shows, at most.
        values: by predictor, in order; empty for `nearest`. A predictor of one's own module with no row has its own
            removed; one that is not named, as with `own` demos, keeps them.
        pool: for `nearest`: the train examples to choose from.
    """

    kind: str
    count: int = 0
    seed: int = 0
    values: Mapping[str, tuple[Mapping[str, Any], ...]]
    pool: FileRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePart:
    """A piece of a message: a text, or the place of an input. One of both is None."""

    text: str | None = None
    input: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplate:
    """One message in pieces."""

    role: str
    content: tuple[MessagePart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What is sent, made ready so that no library is needed to write it.

    Attributes:
        messages: in order, without demos that are chosen by the input.
        demos_at: index in `messages` before which demos chosen by the input stand; None where there are none.
        params: request parameters as sent, with what the format adds (a grammar, a schema).
        forbidden: texts that an input may not hold: the message format would take them for something else.
    """

    messages: tuple[MessageTemplate, ...]
    demos_at: int | None = None
    params: Mapping[str, Any]
    forbidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEvidence:
    """How it did on one split.

    Attributes:
        n: examples with a score, `n_fault` of them zero by the program's own fault; `n_failed` have no score.
        quality: mean score, 0..1; `quality_low` and `quality_high` its 95% interval.
        cost_usd: mean USD of one run at `price`; None where unknown.
        latency_p50_s, latency_p95_s: seconds of one run, as run; None where unknown.
        tokens: mean of one run by price class, and `compute_s` where known.
        n_runs: runs of the n examples; None where each was run once. within_sd: of the scores of one example's runs.
    """

    n: int
    n_fault: int
    n_failed: int
    quality: float | None
    quality_low: float | None
    quality_high: float | None
    cost_usd: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    tokens: Mapping[str, float]
    n_runs: int | None = None
    within_sd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyProbe:
    """Latency measured in isolation: warm, uncached, at a fixed concurrency. Seconds, with 95% intervals.

    An upper end is None where so few runs have none.
    """

    n: int
    concurrency: int
    measured_at: str
    p50_s: float
    p50_low_s: float
    p50_high_s: float | None
    p95_s: float
    p95_low_s: float
    p95_high_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Against the incumbent on the holdout, paired by example.

    Attributes:
        wins, losses, ties: examples on which it scores higher, lower, the same.
        difference: mean of the differences in score; `low` and `high` its 95% interval.
    """

    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatenIncumbent:
    """What ran before, as the study measured it."""

    candidate: str
    params: Mapping[str, Any]
    holdout: SplitEvidence | None
    comparison: Comparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the gate found.

    Attributes:
        refused: reasons for which it did not hold; empty when it held.
        forced_because: why somebody promoted all the same; None when it held.
        unreadable_max: largest share of unreadable answers that it allowed; None where its study is of a version that
            did not count them, and the check does not either unless the space file states a limit.
    """

    refused: tuple[str, ...] = ()
    forced_because: str | None = None
    unreadable_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where it came from and why it may be believed.

    Attributes:
        space_file: relative to the folder that holds the promotions folder; None where it is outside of that.
        task_hash: over data, splits, metric and fields; scores of different hashes are never compared.
        trials: candidates that the study tried.
        price_table: which table prices came from.
        requests_matched: runs on the holdout whose every request is, byte for byte, one that the study measured.
        holdout_results: score and latency by example; where a judge graded, also a hash of the answer.
        incumbent: None where the study has none, or it is the incumbent itself.
        probe: None where latency was not measured in isolation.
        sent: what its runs sent that `params` do not say, by param and predictor; None where they say it.
        prompts: hash of system message and parameters by predictor, where its requests agree; None where not known.
        replicates: runs of an example whose answers are sampled; a check makes as many.
    """

    study: str
    space: str
    space_file: str | None
    space_hash: str
    task_hash: str
    dataset_hash: str
    splits_hash: str
    metric: str
    seed: int
    candidate: str
    params: Mapping[str, Any]
    trials: int
    price_table: str
    requests_matched: int
    search: SplitEvidence
    holdout: SplitEvidence | None
    holdout_results: FileRef | None = None
    incumbent: BeatenIncumbent | None = None
    probe: LatencyProbe | None = None
    sent: Mapping[str, Any] | None = None
    prompts: Mapping[str, str] | None = None
    replicates: int = 1
    gate: Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Who made the promotion, when (UTC, ISO 8601), and with which releases."""

    by: str
    at: str
    offramp: str
    dspy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeMember:
    """One program of a cascade or router, as the promotion of it alone would have it.

    Attributes:
        share: of the rows that the rule was measured on, on which it runs.
        search, holdout: of it alone, on all rows.
    """

    candidate: str
    params: Mapping[str, Any]
    share: float
    model: PromotedModel
    others: tuple[PromotedModel, ...] = ()
    predictor_models: Mapping[str, str] | None = None
    request_params: Mapping[str, Any]
    predictor_params: Mapping[str, Mapping[str, Any]] | None = None
    program: PromotedProgram
    instructions: Mapping[str, str]
    demos: PromotedDemos
    sent: Mapping[str, Any] | None = None
    search: SplitEvidence
    holdout: SplitEvidence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeGain:
    """Utility of the rule less that of the best single candidate, on rows that chose neither, paired by row.

    Attributes:
        n: rows. utility: mean of the rule's.
        difference: with its 95% interval `low` to `high`. p_value: exact, two-sided.
    """

    n: int
    utility: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedCascade:
    """The rule that says which of several programs answer, and what it brought.

    Attributes:
        kind: `agreement`, `cost`, `confidence`, `predicted` (cascades: A, B and for agreement the third),
            `stages_cost`, `stages_confidence` (A, B, C), `pair` or `router`.
        members: in the order of the rule; the promotion's own model, program and texts are those of the first.
        single: the best single candidate on the search rows.
        weights: of the utility, by objective.
        of: what A's run is measured by: `cost_usd`, `latency_s` or `confidence`; None where it is not. threshold: in
            its unit. second_of, second_threshold: the same of B's run, with stages.
        prior: how many average rows an estimate from similar rows is mixed with.
        compared: outputs that have to be equal to agree; none for all but a chain of thought.
        rows: recorded rows that similar ones are looked for in, one line each with `inputs`, `utilities` and `work`;
            None where none are asked.
        crossed: over folds of the search rows. holdout: on the holdout, which nothing was chosen on; None where not
            all of its members and the single candidate ran there.
        recommended: the candidate that the study recommends, whose scales end where a candidate's utility is 0 or 1:
            `utility` of the rule on the holdout by these, and `recommended_utility`. None where not known.
    """

    kind: str
    members: tuple[CascadeMember, ...]
    single: str
    weights: Mapping[str, float]
    of: str | None = None
    threshold: float | None = None
    prior: float | None = None
    compared: tuple[str, ...] = ()
    rows: FileRef | None = None
    crossed: CascadeGain
    holdout: CascadeGain | None
    recommended: str | None = None
    utility: float | None = None
    recommended_utility: float | None = None
    second_of: str | None = None
    second_threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One promoted version of a feature.

    Attributes:
        version: first 12 characters of `sha256`; names the file.
        sha256: over all of the content but these two.
        fallbacks: models that are asked, in this order, when one before gives no answer.
        others: models that the program asks beside it: of single predictors, and by its own code.
        predictor_params: request parameters of single predictors, in place of `request_params`; None without any.
        predictor_models: names of those that single predictors run on, by predictor; None where all run on `model`.
        dependencies: judges and proposers; None where an earlier version promoted it and did not record them.
        request_params: temperature and the like, without what the format adds.
        instructions: full texts by predictor.
        rendering: None where a request cannot be written without dspy; `rendering_refused` says why.
        cascade: the rule and the programs that it chooses from; None where there is one program.
    """

    schema_version: int
    feature: str
    version: str
    sha256: str
    model: PromotedModel
    fallbacks: tuple[PromotedModel, ...] = ()
    others: tuple[PromotedModel, ...] = ()
    predictor_models: Mapping[str, str] | None = None
    predictor_params: Mapping[str, Mapping[str, Any]] | None = None
    dependencies: tuple[Dependency, ...] | None = None
    request_params: Mapping[str, Any]
    program: PromotedProgram
    instructions: Mapping[str, str]
    demos: PromotedDemos
    rendering: Rendering | None
    rendering_refused: str | None = None
    evidence: Evidence
    made: Made
    cascade: PromotedCascade | None = None

    @property
    def parts(self) -> tuple[Promotion, ...]:
        """The promotion of each program alone: of every member of a cascade, else this one."""
        if self.cascade is None:
            return (self,)
        return tuple(_part(self, member) for member in self.cascade.members)


def _part(whole: Promotion, member: CascadeMember) -> Promotion:
    evidence = replace(
        whole.evidence, candidate=member.candidate, params=member.params, search=member.search, holdout=member.holdout,
        holdout_results=None, incumbent=None, probe=None, sent=member.sent,
    )  # fmt: skip
    return replace(whole, **{name: getattr(member, name) for name in OF_ONE_PROGRAM}, evidence=evidence, cascade=None)
