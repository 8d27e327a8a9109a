"""The space file as typed records: what may be searched, on which data, judged how, within which limits.

These are pydantic models because people write the file; unknown keys are errors. Defaults are stated here and nowhere
else. Reading, line numbers and messages are in `load.py`; checks that need the data or the models are in `check.py`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


# ------------------------------------------------------------------------------------------------ task


class InputField(_Part):
    """One input of the program, read from the dataset column of the same name unless `dataset.fields` says else."""

    desc: str | None = None


class OutputField(_Part):
    """One output of the program.

    `type` is one of: str, int, float, bool, enum (with `values`), `list[str]`, `list[object]` or `object`
    (with `fields`: name to type). An enum is what a constrained decoder is held to.
    """

    type: Literal["str", "int", "float", "bool", "enum", "list[str]", "object", "list[object]"] = "str"
    values: list[str] | None = None
    fields: dict[FieldName, Literal["str", "int", "float", "bool"]] | None = None
    optional: bool = Field(False, description="Whether null is an answer too.")
    desc: str | None = None

    @model_validator(mode="after")
    def _shape(self) -> OutputField:
        if (self.type == "enum") != (self.values is not None):
            raise ValueError("`values` goes with type: enum, and type: enum needs `values`")
        if self.values is not None and (len(self.values) < 2 or len(set(self.values)) != len(self.values)):
            raise ValueError("`values` needs two or more different values")
        if (self.type in ("object", "list[object]")) != (self.fields is not None):
            raise ValueError("`fields` goes with type: object or list[object], and these need `fields`")
        return self


class Signature(_Part):
    """Typed fields of the task; instructions come from `instructions`."""

    inputs: dict[FieldName, InputField | None] = Field(min_length=1)
    outputs: dict[FieldName, OutputField | None] = Field(min_length=1)


class TaskPart(_Part):
    """What the program does: a signature (string or typed fields), or one's own `dspy.Module`.

    Attributes:
        signature: DSPy's string form (`question -> answer`), or typed fields.
        module: import path of a `dspy.Module` class or factory, `package.module:Name` or `path/to/file.py:Name`
            (relative to the space file). Then `inputs` and `outputs` name its fields.
    """

    signature: str | Signature | None = None
    module: str | None = None
    inputs: list[FieldName] | None = None
    outputs: list[FieldName] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> TaskPart:
        if (self.signature is None) == (self.module is None):
            raise ValueError("give either `signature` or `module`")
        if (self.module is not None) != (self.inputs is not None and self.outputs is not None):
            raise ValueError("`module` goes with `inputs` and `outputs` (names of fields)")
        return self


# --------------------------------------------------------------------------------------------- dataset


class DatasetPart(_Part):
    """Where the examples are: a local file (JSONL, CSV, Parquet by ending) or a dataset on the Hugging Face hub."""

    path: str | None = None
    hub: str | None = Field(None, description="Name on the Hugging Face hub, such as `org/name`.")
    config: str | None = Field(None, description="Hub only: configuration name.")
    hub_split: str | None = Field(None, description="Hub only: which of the dataset's own splits; all when left out.")
    revision: str | None = Field(None, description="Hub only: commit to pin.")
    id: str | None = Field(None, description="Column that identifies a row; content hash when left out.")
    fields: dict[FieldName, str] = Field(default_factory=dict, description="Field name to column name, where they differ.")
    limit: int | None = Field(None, ge=2, description="Use a seeded choice of this many rows.")

    @model_validator(mode="after")
    def _one_of(self) -> DatasetPart:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` or `hub`")
        return self


class SplitsPart(_Part):
    """How examples are dealt into train, search and holdout.

    Numbers below 1 are shares, whole numbers from 1 are counts; `train: 0` is allowed. With `column`, the data says:
    then train, search and holdout list the values of that column.
    """

    train: float | list[str] = 0.3
    search: float | list[str] = 0.35
    holdout: float | list[str] = 0.35
    column: str | None = None
    stratify: str | None = Field(None, description="Column whose values keep their proportions in each split.")
    seed: int = 0

    @model_validator(mode="after")
    def _kinds(self) -> SplitsPart:
        parts = (self.train, self.search, self.holdout)
        if self.column is not None:
            if not all(isinstance(part, list) for part in parts):
                raise ValueError("with `column`, train, search and holdout are lists of that column's values")
            return self
        if any(isinstance(part, list) for part in parts):
            raise ValueError("lists of values go with `column`")
        numbers = [float(part) for part in parts if not isinstance(part, list)]
        if any(n < 0 or not math.isfinite(n) or (n >= 1 and n != int(n)) for n in numbers):
            raise ValueError("train, search and holdout are shares below 1 or whole counts")
        if sum(n for n in numbers if n < 1) > 1 + 1e-9:
            raise ValueError("the shares add up to more than 1")
        return self


# ---------------------------------------------------------------------------------------------- metric


class _MetricPart(_Part):
    weight: Positive = Field(1.0, description="Share in a mix; of no meaning alone.")
    name: str | None = Field(None, description="Name of this part in reports; the kind and field by default.")


class ExactMetric(_MetricPart):
    """1 when the answer equals the gold value, else 0. Case and surrounding space do not count unless told."""

    kind: Literal["exact"]
    field: FieldName
    gold: str | None = Field(None, description="Gold column; the field's own by default.")
    case_sensitive: bool = False


class TokenF1Metric(_MetricPart):
    """F1 over the words of answer and gold, as multisets (Source: SQuAD's evaluation, Rajpurkar et al. 2016)."""

    kind: Literal["token_f1"]
    field: FieldName
    gold: str | None = None


class ContainsMetric(_MetricPart):
    """Share of the strings that occur in the answer (`all`), 1 if any does (`any`), or 1 if none does (`none`)."""

    kind: Literal["contains"]
    field: FieldName
    values: list[str] | None = None
    values_from: str | None = Field(None, description="Column with the string or list of strings of each example.")
    mode: Literal["all", "any", "none"] = "all"
    case_sensitive: bool = False

    @model_validator(mode="after")
    def _one_of(self) -> ContainsMetric:
        if (self.values is None) == (self.values_from is None):
            raise ValueError("give either `values` or `values_from`")
        return self


class RegexMetric(_MetricPart):
    """1 when the pattern is found in the answer (`found: false`: when it is not). Matching is cut off after 1 s."""

    kind: Literal["regex"]
    field: FieldName
    pattern: str
    found: bool = True


class NumberMetric(_MetricPart):
    """1 when the last number in the answer is within tolerance of the gold number."""

    kind: Literal["number"]
    field: FieldName
    gold: str | None = None
    absolute: float = Field(0.0, ge=0)
    relative: float = Field(1e-6, ge=0)


class LengthMetric(_MetricPart):
    """1 when the answer has at most (and at least) so many words; falls linearly to 0 at twice the limit."""

    kind: Literal["length"]
    field: FieldName
    max_words: int | None = Field(None, ge=1)
    max_words_from: str | None = Field(None, description="Column with the limit of each example.")
    min_words: int = Field(1, ge=0)


class JsonFieldsMetric(_MetricPart):
    """Mean over fields of each field's agreement with gold: F1 for lists (as multisets of items), equality for others.

    An object in a list matches an object with the same fields; partial agreement counts by field.
    """

    kind: Literal["json_fields"]
    fields: list[FieldName] = Field(min_length=1)
    weights: dict[FieldName, Positive] = Field(default_factory=dict)


class PythonMetric(_MetricPart):
    """Any function `(example, prediction) -> float, bool, or (float, feedback)`, by import path.

    `path` is `package.module:name` or `path/to/file.py:name`, relative to the space file. `example` is a read-only
    mapping of the row's columns, `prediction` one of the output fields. May be a coroutine function.
    """

    kind: Literal["python"]
    path: str


class JudgeMetric(_MetricPart):
    """A model grades the answer by a rubric on a scale of 1 to `points`; its spend is booked apart."""

    kind: Literal["judge"]
    model: str
    rubric: str = Field(min_length=10)
    fields: list[FieldName] | None = Field(None, description="Output fields shown to the judge; all by default.")
    show: list[str] = Field(default_factory=list, description="Further columns shown to the judge, such as a gold answer.")
    points: int = Field(5, ge=2, le=10)
    params: dict[str, Any] = Field(default_factory=dict, description="Request parameters for the judge.")


class MixMetric(_MetricPart):
    """Weighted mean of other metrics."""

    kind: Literal["mix"]
    parts: list[Metric] = Field(min_length=1)


Metric = Annotated[
    ExactMetric
    | TokenF1Metric
    | ContainsMetric
    | RegexMetric
    | NumberMetric
    | LengthMetric
    | JsonFieldsMetric
    | PythonMetric
    | JudgeMetric
    | MixMetric,
    Field(discriminator="kind"),
]
MixMetric.model_rebuild()


# ------------------------------------------------------------------------------------ what is searched


class PricePart(_Part):
    """USD per million tokens by class, or USD per hour for a machine of one's own."""

    input_usd: float | None = Field(None, ge=0)
    cached_input_usd: float | None = Field(None, ge=0)
    cache_write_usd: float | None = Field(None, ge=0)
    output_usd: float | None = Field(None, ge=0)
    reasoning_usd: float | None = Field(None, ge=0)
    compute_usd_per_hour: float | None = Field(None, ge=0)


class ModelPart(_Part):
    """One model to search over: a catalogue or LiteLLM name, with what the file has to add.

    Attributes:
        name: what the `model` param is called; also what is asked for unless `route` is given.
        route: LiteLLM name to call, such as `openai/my-model`, where `name` is an alias.
        api_base: address of an OpenAI-compatible server.
        api_key_env: environment variable that holds the key (the provider's usual one by default).
        price: overrides the catalogue; needed where it has none and cost is an objective.
        supports: request parameters that the model takes, where the catalogue does not know.
    """

    name: str
    route: str | None = None
    api_base: str | None = None
    api_key_env: str | None = None
    price: PricePart | None = None
    supports: list[str] | None = None
    json_schema_output: bool | None = None
    context_tokens: int | None = Field(None, ge=1)
    retirement_date: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$")


class FileText(_Part):
    """Text kept in a file of its own, relative to the space file."""

    file: str


class Range(_Part):
    """A searched number. Whole bounds make whole numbers unless `type: float` (temperature and its like never do)."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    step: Positive | None = None
    log: bool = False
    type: Literal["int", "float"] | None = None
    when: dict[str, list[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError("`low` has to be smaller than `high`")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs `low` above 0 and no `step`")
        return self


class Choices(_Part):
    """A searched choice. `null` among the choices means: leave the parameter out."""

    choices: list[str | int | float | bool | None] = Field(min_length=1)
    when: dict[str, list[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _distinct(self) -> Choices:
        if len({(type(c), c) for c in self.choices}) != len(self.choices):
            raise ValueError("`choices` has the same value twice")
        return self


class Fixed(_Part):
    """A constant that holds only under a condition."""

    value: str | int | float | bool | None
    when: dict[str, list[Any]] = Field(default_factory=dict)


Param = Range | Choices | Fixed | str | int | float | bool
Form = Literal["predict", "chain_of_thought", "own"]
Format = Literal["plain", "chat", "json"]
Kind = Literal["none", "random", "balanced", "bootstrapped", "nearest"]


class ProgramPart(_Part):
    """Program form, message format, and whether decoding is held to the output schema. One value or a list each."""

    form: Form | list[Form] = "predict"
    format: Format | list[Format] = "plain"
    constrained: bool | list[bool] = False


class DemosPart(_Part):
    """Worked examples from the train split. One value or a list each; count 0 means none."""

    kind: Kind | list[Kind] = "none"
    count: int | list[int] = 0
    balance_by: str | None = Field(None, description="Column that `balanced` balances; the first enum output by default.")
    seed: int = 0
    min_score: float = Field(1.0, ge=0, le=1, description="Bootstrapped demos score at least this much.")


class IncumbentPart(_Part):
    """What runs today: the candidate to beat. Parts left out take the first value the file offers."""

    model: str
    instruction: str | dict[FieldName, str] | None = Field(None, description="Variant name, by predictor where several.")
    form: Form | None = None
    format: Format | None = None
    constrained: bool | None = None
    demos: Kind | None = None
    demo_count: int = Field(0, ge=0)
    params: dict[str, str | int | float | bool | None] = Field(default_factory=dict)


# --------------------------------------------------------------------------- objectives, limits, search


class ObjectivePart(_Part):
    """Weight and scale of one objective.

    `scale` is [worst, best] in the objective's unit, mapped to 0..1 and clipped. `incumbent` (cost and latency) maps
    0 to 1, the incumbent's own value to 0.5 and twice that to 0. The scale is fixed before the search.
    """

    weight: Weight = 1.0
    scale: Literal["incumbent"] | tuple[float, float] | None = None
    statistic: Literal["mean", "p50", "p90", "p95"] = Field("p50", description="Latency only.")


class ObjectivesPart(_Part):
    """Objectives of the search. Quality is always one; `cost: null` or `latency: null` drops the other two."""

    quality: ObjectivePart = ObjectivePart(weight=0.7, scale=(0.0, 1.0))
    cost: ObjectivePart | None = ObjectivePart(weight=0.15, scale="incumbent")
    latency: ObjectivePart | None = ObjectivePart(weight=0.15, scale="incumbent")

    @model_validator(mode="after")
    def _some_weight(self) -> ObjectivesPart:
        given = [part for part in (self.quality, self.cost, self.latency) if part is not None]
        if sum(part.weight for part in given) <= 0:
            raise ValueError("at least one weight has to be above 0")
        return self


class ConstraintsPart(_Part):
    """What a recommended candidate has to keep: floors and ceilings on the search split."""

    quality_min: float | None = Field(None, ge=0, le=1)
    cost_usd_max: float | None = Field(None, gt=0)
    latency_p95_s_max: float | None = Field(None, gt=0)


class BudgetPart(_Part):
    """Caps of the whole job, judge, proposer, retries and holdout included. None: no cap of that kind."""

    usd: float | None = Field(None, gt=0)
    calls: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)


class SearchPart(_Part):
    """How the search goes."""

    sampler: Literal["tpe", "nsga2", "random", "grid", "gp"] = "tpe"
    mode: Literal["pareto", "utility"] = Field("pareto", description="`utility` maximises the weighted utility alone.")
    trials: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)
    concurrency: int = Field(4, ge=1, le=1024, description="Requests in flight at the same time.")


class CallsPart(_Part):
    """How one request is made."""

    timeout_s: Positive = 60.0
    deadline_s: Positive = Field(300.0, description="For all attempts of one request together.")
    attempts: int = Field(5, ge=1, le=20)
    max_failed_share: float = Field(0.2, gt=0, le=1, description="The job stops when more requests than this fail.")


class SpaceFile(_Part):
    """A space file: one job."""

    schema_version: Literal[1] = 1
    name: Name
    description: str | None = None
    task: TaskPart
    dataset: DatasetPart
    splits: SplitsPart = SplitsPart()
    metric: Metric
    incumbent: IncumbentPart | None = None
    models: list[str | ModelPart] = Field(min_length=1)
    instructions: dict[str, str | FileText | dict[str, str | FileText]] = Field(
        min_length=1, description="Variant name to text (or file); with several predictors: predictor to variants."
    )
    program: ProgramPart = ProgramPart()
    demos: DemosPart = DemosPart()
    params: dict[str, Param] = Field(default_factory=dict, description="Request parameters: constant, range or choices.")
    objectives: ObjectivesPart = ObjectivesPart()
    constraints: ConstraintsPart = ConstraintsPart()
    budget: BudgetPart = BudgetPart()
    search: SearchPart = SearchPart()
    calls: CallsPart = CallsPart()
    store_text: bool = Field(True, description="false: prompts and answers are not kept, so answers cannot be reused.")
