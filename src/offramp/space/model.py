"""The space file as typed records: what is searched, on which data, how answers are scored, and under which caps.

These are pydantic models because people write the file; unknown keys are errors. Defaults are stated here and nowhere
else. `load.py` reads a file, `validation.py` words what does not fit a model, `check.py` what does not fit together.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from offramp.errors import problem
from offramp.media import MediaKind
from offramp.space.forms import KINDS, SAMPLING, ModuleSpec, spec_of

SCHEMA_VERSION = 1

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
LONGEST_NAME = 255
"""Most characters of a name or id that every storage can keep. Checked in `check.py`, and for examples before a job."""
MOST_EXAMPLES = 1_000_000_000
MOST_WEIGHT = 1_000_000
"""Only the proportions of weights count, and the largest floats have no finite sum. Checked in `check.py`."""


def _whole(value: object) -> object:
    """`1e2` and `20.0` are whole numbers too."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Misfit(ValueError):
    """A field that is valid by itself but does not fit the others of its part.

    Attributes:
        name: of the field; empty for the part as a whole.
        got: what a message shows, if that is not what the file has there.
        expected, do: as in `offramp.errors.problem`.
    """

    def __init__(self, name: str, expected: str, *, got: str | None = None, do: str | None = None) -> None:
        self.name, self.got, self.expected, self.do = name, got, expected, do
        super().__init__(problem("", name, got=got, expected=expected, do=do))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _one_of(**given: object) -> None:
    """Exactly one of two fields has to be given."""
    missing = [value is None for value in given.values()]
    if any(missing) and not all(missing):
        return
    do = f"Add `{next(iter(given))}:`." if all(missing) else "Remove one of them."
    expected = f"either {' or '.join(f'`{name}`' for name in given)}"
    raise Misfit("", expected, got="neither" if all(missing) else "both", do=do)


# ------------------------------------------------------------------------------------------------ task


class InputField(_Part):
    """One input of the program, read from the column of the same name unless `dataset.fields` says otherwise."""

    desc: str | None = Field(None, description="What the input is, for the prompt.")
    type: Literal["text", "image", "audio", "file"] = Field(
        "text",
        description="What the column holds: text or JSON; or the path (from the dataset's folder), address or bytes of "
        "an image, a recording or a file. With `module` also a list of them.",
    )
    optional: bool = Field(False, description="Whether a row may leave it out: the program is given null (`None`).")


class OutputField(_Part):
    """One output of the program.

    `type` is one of: str, int, float, bool, enum (with `values`), `list[str]`, `list[object]` or `object`
    (with `fields`: name to type). Constrained decoding keeps to the values of an enum.
    """

    type: Literal["str", "int", "float", "bool", "enum", "list[str]", "object", "list[object]"] = Field(
        "str", description="Type of the value."
    )
    values: list[str] | None = Field(None, description="Labels of an enum.")
    fields: dict[FieldName, Literal["str", "int", "float", "bool"]] | None = Field(
        None, description="Names of an object's fields and their types."
    )
    optional: bool = Field(False, description="Whether null is a valid answer.")
    desc: str | None = Field(None, description="What the output is, for the prompt.")

    @model_validator(mode="after")
    def _shape(self) -> OutputField:
        for name, types in (("values", ("enum",)), ("fields", ("object", "list[object]"))):
            given, allowed = getattr(self, name) is not None, " or ".join(f"`type: {type_}`" for type_ in types)
            if self.type in types and not given:
                raise Misfit(name, f"`{name}` with `type: {self.type}`", got="none", do=f"Add `{name}:`.")
            if given and self.type not in types:
                raise Misfit(name, f"no `{name}` with `type: {self.type}`", do=f"Remove it, or set {allowed}.")
        if self.values is not None and (len(self.values) < 2 or len(set(self.values)) != len(self.values)):
            raise Misfit("values", "two or more different labels", got=", ".join(self.values) or None)
        return self


class Signature(_Part):
    """Typed fields of the task; instructions come from `instructions`."""

    inputs: dict[FieldName, InputField | None] = Field(
        min_length=1, description="Input names in order, each with its description (or null)."
    )
    outputs: dict[FieldName, OutputField | None] = Field(
        min_length=1, description="Output names in order, each with its type (text when null)."
    )


_MEDIA = re.compile(r"(\w+)\s*:\s*(?:dspy\s*\.\s*)?(Image|Audio|File)\b")


class ToolPart(_Part):
    """What offramp has to know of a tool of `task.module`."""

    effects: bool = Field(
        False,
        description="Whether calling it changes something (sends, books, writes). Its results are then never replayed: "
        "it runs for every row and candidate that asks it.",
    )


class TaskPart(_Part):
    """What the program does: a signature (string or typed fields), or a `dspy.Module` of your own.

    With a module, `inputs` and `outputs` name its fields.
    """

    signature: str | Signature | None = Field(
        None, description="DSPy's string form (`question -> answer`), or typed fields."
    )
    module: str | None = Field(
        None,
        description="A `dspy.Module` class or factory: `package.module:Name` or `path/to/file.py:Name`.",
    )
    inputs: list[FieldName] | dict[FieldName, InputField | None] | None = Field(
        None, description="With `module`: names of its input fields, or names with what they hold."
    )
    outputs: list[FieldName] | None = Field(None, description="With `module`: names of its output fields.")
    tools: dict[str, ToolPart] | None = Field(
        None,
        description="With `module`: its tools that something has to be said of, by name. Results of the others are "
        "recorded by their input, and replayed in the study.",
    )

    @model_validator(mode="after")
    def _one_of(self) -> TaskPart:
        _one_of(signature=self.signature, module=self.module)
        for name in ("inputs", "outputs"):
            if self.module is not None and not getattr(self, name):
                do = f"Write `{name}: [...]`."
                raise Misfit(name, "the names of the module's fields", got="none", do=do)
            if self.module is None and getattr(self, name) is not None:
                raise Misfit(name, f"no `{name}` with `signature`, which names its own fields", do="Remove it.")
        if self.module is None and self.tools is not None:
            raise Misfit("tools", "no `tools` with `signature`, which has none", do="Remove it.")
        return self

    @property
    def tools_with_effects(self) -> tuple[str, ...]:
        """Names of the tools that are never replayed."""
        return tuple(name for name, tool in (self.tools or {}).items() if tool.effects)

    @property
    def media(self) -> dict[str, MediaKind]:
        """Inputs that are images, audio or files, with which of them."""
        if isinstance(self.signature, str):
            found = _MEDIA.findall(self.signature.partition("->")[0])
            return {name: cast(MediaKind, kind.lower()) for name, kind in found}
        return {name: given.type for name, given in self.described.items() if given.type != "text"}

    @property
    def described(self) -> dict[str, InputField]:
        """Inputs that something is said of."""
        inputs = self.signature.inputs if isinstance(self.signature, Signature) else self.inputs
        stated = inputs.items() if isinstance(inputs, dict) else ()
        return {name: given for name, given in stated if given}


# --------------------------------------------------------------------------------------------- dataset


class DatasetPart(_Part):
    """Where the examples are: a local file (JSONL, CSV or Parquet) or a dataset on the Hugging Face hub."""

    path: str | None = Field(
        None,
        description="File with the examples, relative to the space file: JSONL, CSV, Parquet or XLSX by its ending.",
    )
    hub: str | None = Field(None, description="Name on the Hugging Face hub, such as `org/name`.")
    config: str | None = Field(None, description="Hub only: configuration name.")
    hub_split: str | None = Field(None, description="Hub only: which of the dataset's own splits; all when left out.")
    revision: str | None = Field(None, description="Hub only: commit to pin.")
    id: str | None = Field(None, description="Column that identifies a row; content hash when left out.")
    group: str | None = Field(
        None,
        description="Column with the same value in rows that belong together (paraphrases of a question, turns of a "
        "conversation): they stay in one split and count as one example in intervals and tests.",
    )
    fields: dict[FieldName, str] = Field(
        default_factory=dict, description="Field name to column name, where they differ."
    )
    limit: Annotated[int, Field(ge=2), BeforeValidator(_whole)] | None = Field(
        None, description="Use this many rows, chosen by `splits.seed`."
    )

    @model_validator(mode="after")
    def _one_of(self) -> DatasetPart:
        _one_of(path=self.path, hub=self.hub)
        return self


class SplitsPart(_Part):
    """How examples are divided into train, search and holdout.

    Numbers below 1 are shares, whole numbers from 1 are counts; `train: 0` is allowed. With `column` the data decides:
    train, search and holdout then list values of that column.
    """

    train: float | list[str] = Field(
        0.3, description="For demos, proposals and tuning: share, count, or values of `column`."
    )
    search: float | list[str] = Field(
        0.35, description="All that the search sees: share, count, or values of `column`."
    )
    holdout: float | list[str] = Field(
        0.35, description="Read only for the final evaluation: share, count, or values of `column`."
    )
    column: str | None = Field(None, description="Column that says which split a row is in.")
    stratify: str | None = Field(None, description="Column whose values keep their proportions in each split.")
    seed: Whole = Field(0, description="Seed of the split.")

    @model_validator(mode="after")
    def _kinds(self) -> SplitsPart:
        parts = {"train": self.train, "search": self.search, "holdout": self.holdout}
        for name, part in parts.items():
            if self.column is not None and not isinstance(part, list):
                raise Misfit(name, f"a list of values of {self.column!r}, the `column`", do=f"Write `{name}: [...]`.")
            if self.column is None and isinstance(part, list):
                raise Misfit(name, "a share below 1 or a count", do="Lists of values go with `column:`.")
            if not isinstance(part, list) and (not 0 <= part <= MOST_EXAMPLES or (part >= 1 and part % 1)):
                raise Misfit(name, f"a share below 1, or a whole count up to {MOST_EXAMPLES:,}")
        shares = {name: part for name, part in parts.items() if not isinstance(part, list) and part < 1}
        if sum(shares.values()) > 1 + 1e-9:
            got = " + ".join(f"{name} {part:g}" for name, part in shares.items())
            raise Misfit("", "shares that add up to 1 or less", got=got, do="Lower one of them.")
        return self


# ---------------------------------------------------------------------------------------------- metric


class _MetricPart(_Part):
    weight: Positive = Field(1.0, description="Share in a mix; ignored elsewhere.")
    name: str | None = Field(None, description="Name of this part in reports; by default its kind and field.")


class ExactMetric(_MetricPart):
    """1 when the answer equals the gold value, else 0. Surrounding space does not count, nor does case by default."""

    kind: Literal["exact"] = Field(description="Kind of metric.")
    field: FieldName = Field(description="Output that is scored.")
    gold: str | None = Field(None, description="Gold column; by default that of the field's name.")
    case_sensitive: bool = Field(False, description="Whether upper and lower case differ.")


class TokenF1Metric(_MetricPart):
    """F1 over the words of answer and gold, as multisets (Source: SQuAD's evaluation, Rajpurkar et al. 2016)."""

    kind: Literal["token_f1"] = Field(description="Kind of metric.")
    field: FieldName = Field(description="Output that is scored.")
    gold: str | None = Field(None, description="Gold column; by default that of the field's name.")


class ContainsMetric(_MetricPart):
    """Share of the strings that occur in the answer (`all`), 1 if any does (`any`), or 1 if none does (`none`)."""

    kind: Literal["contains"] = Field(description="Kind of metric.")
    field: FieldName = Field(description="Output that is scored.")
    values: list[str] | None = Field(None, description="Strings to look for, the same for every example.")
    values_from: str | None = Field(None, description="Column with the string or list of strings of each example.")
    mode: Literal["all", "any", "none"] = Field(
        "all", description="`all`: share that occurs; `any`: 1 if any does; `none`: 1 if none does."
    )
    case_sensitive: bool = Field(False, description="Whether upper and lower case differ.")

    @model_validator(mode="after")
    def _one_of(self) -> ContainsMetric:
        _one_of(values=self.values, values_from=self.values_from)
        return self


class RegexMetric(_MetricPart):
    """1 when the pattern is found in the answer (`found: false`: when it is not). Matching is cut off after 1 s."""

    kind: Literal["regex"] = Field(description="Kind of metric.")
    field: FieldName = Field(description="Output that is scored.")
    pattern: str = Field(description="Regular expression to look for.")
    found: bool = Field(True, description="false: 1 when the pattern is not found.")


class NumberMetric(_MetricPart):
    """1 when the last number in the answer is within tolerance of the gold number.

    A number has a decimal point, and commas only between groups of three digits. Anything else, such as `10,50` or
    `1 000`, is refused as gold and scores 0 as an answer.
    """

    kind: Literal["number"] = Field(description="Kind of metric.")
    field: FieldName = Field(description="Output that is scored.")
    gold: str | None = Field(None, description="Gold column; by default that of the field's name.")
    absolute: float = Field(0.0, ge=0, description="Tolerance in the number's own unit.")
    relative: float = Field(1e-6, ge=0, description="Tolerance as a share of the gold number.")


class LengthMetric(_MetricPart):
    """1 when the answer has `min_words` to `max_words` words; falls linearly to 0 at none and at twice the most."""

    kind: Literal["length"] = Field(description="Kind of metric.")
    field: FieldName = Field(description="Output that is scored.")
    max_words: Count | None = Field(None, description="Most words, the same for every example.")
    max_words_from: str | None = Field(None, description="Column with the most words of each example.")
    min_words: Whole = Field(1, ge=0, description="Fewest words.")


class JsonFieldsMetric(_MetricPart):
    """Mean over fields of each field's agreement with gold: F1 for lists (as multisets of items), equality for others.

    An object in a list matches an object with the same fields; partial agreement counts by field.
    """

    kind: Literal["json_fields"] = Field(description="Kind of metric.")
    fields: list[FieldName] = Field(min_length=1, description="Outputs that are compared.")
    weights: dict[FieldName, Positive] = Field(
        default_factory=dict, description="Field to its share in the mean; 1 where not stated."
    )


class PythonMetric(_MetricPart):
    """Any function `(example, prediction) -> score`, by import path; DSPy's metrics run unchanged.

    `path` is `package.module:name` or `path/to/file.py:name`, relative to the space file. `example` is a read-only
    mapping of the columns, `prediction` one of the output fields; both have attributes. May be a coroutine function.
    """

    kind: Literal["python"] = Field(description="Kind of metric.")
    path: str = Field(description="`package.module:name`, or `path/to/file.py:name` relative to the space file.")
    model: str | None = Field(
        None, description="Model that the metric asks, by name, where it asks one, as DSPy's `SemanticF1` does."
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Request parameters for that model.")

    @model_validator(mode="after")
    def _params_of_a_model(self) -> PythonMetric:
        if self.params and self.model is None:
            raise Misfit("params", "no `params` without `model`, whose they are", do="Add `model:`, or remove them.")
        return self


class JudgeMetric(_MetricPart):
    """A model grades the answer by a rubric on a scale of 1 to `points`; its cost is counted separately."""

    kind: Literal["judge"] = Field(description="Kind of metric.")
    model: str = Field(description="Model that judges, by name.")
    rubric: str = Field(min_length=10, description="What a good answer is, in words.")
    fields: list[FieldName] | None = Field(None, description="Output fields shown to the judge; by default all.")
    show: list[str] = Field(
        default_factory=list, description="Further columns shown to the judge, such as a gold answer."
    )
    points: Whole = Field(5, ge=2, le=10, description="Best grade; the worst is 1.")
    params: dict[str, Any] = Field(default_factory=dict, description="Request parameters for the judge.")


class MixMetric(_MetricPart):
    """Weighted mean of other metrics."""

    kind: Literal["mix"] = Field(description="Kind of metric.")
    parts: list[Metric] = Field(min_length=1, description="Metrics, each with its `weight`.")


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
    """USD per million tokens by class, or USD per hour for a machine of your own."""

    input_usd: float | None = Field(None, ge=0, description="Input tokens that are not cached.")
    cached_input_usd: float | None = Field(
        None, ge=0, description="Input tokens from the provider's cache; as `input_usd` when left out."
    )
    cache_write_usd: float | None = Field(
        None, ge=0, description="Input tokens written to the provider's cache; as `input_usd` when left out."
    )
    output_usd: float | None = Field(None, ge=0, description="Output tokens.")
    reasoning_usd: float | None = Field(
        None, ge=0, description="Hidden reasoning tokens; as `output_usd` when left out."
    )
    compute_usd_per_hour: float | None = Field(
        None, ge=0, description="Price of the machine; then there are no prices of tokens."
    )


class ModelPart(_Part):
    """One model to search over: a catalogue or LiteLLM name, with what the file has to add."""

    name: str = Field(description="Value of the `model` param; also the model that is called unless `route` is given.")
    route: str | None = Field(
        None, description="LiteLLM name to call, such as `openai/my-model`, where `name` is an alias."
    )
    api_base: str | None = Field(None, description="Address of an OpenAI-compatible server.")
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the key; by default the provider's usual one."
    )
    price: PricePart | None = Field(
        None, description="Overrides the catalogue; required if that has no price and cost is an objective."
    )
    supports: list[str] | None = Field(
        None,
        description="Request parameters that the model takes where the catalogue does not know; sent as they are.",
    )
    json_schema_output: bool | None = Field(
        None, description="Whether the model can be held to a JSON schema, where the catalogue does not know."
    )
    context_tokens: Count | None = Field(None, description="Most tokens of one request and its answer.")
    retirement_date: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="First day on which the model no longer answers."
    )
    searched: bool = Field(
        True,
        description="false: described here because something else names it (the incumbent, a judge), and not searched.",
    )


class FileText(_Part):
    """Text kept in a file of its own, relative to the space file."""

    file: str = Field(description="Path of a UTF-8 text file, relative to the space file.")


Variants = dict[str, str | FileText | None]
OWN = "own"
"""The variant that is a module's own instruction, and the kind of demos that are a module's own."""

_WHEN = "Other params with the values under which this one applies; texts may be globs such as `openai/*`."


class Range(_Part):
    """A searched number. Whole bounds make whole numbers unless `type: float` (never for temperature and its like)."""

    low: float = Field(allow_inf_nan=False, description="Smallest value.")
    high: float = Field(allow_inf_nan=False, description="Largest value.")
    step: Positive | None = Field(None, description="Distance between values; any value in between when left out.")
    log: bool = Field(False, description="Search on a logarithmic scale.")
    type: Literal["int", "float"] | None = Field(None, description="Whole numbers or not; by the bounds when left out.")
    when: dict[str, list[Any]] = Field(default_factory=dict, description=_WHEN)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            do = "Write a plain value for one number." if self.low == self.high else "Swap them."
            raise Misfit("high", f"a number above {self.low:g}, which is `low`", do=do)
        if self.log and self.low <= 0:
            raise Misfit("low", "a number above 0 with `log: true`", do="Raise it, or remove `log`.")
        if self.log and self.step is not None:
            raise Misfit("step", "no `step` with `log: true`", do="Remove one of them.")
        return self


class Choices(_Part):
    """A searched choice. `null` among the choices means: leave the parameter out."""

    choices: list[str | int | float | bool | None] = Field(
        min_length=1, description="The values; `null` leaves the parameter out."
    )
    when: dict[str, list[Any]] = Field(default_factory=dict, description=_WHEN)


class Fixed(_Part):
    """A constant that holds only under a condition."""

    value: str | int | float | bool | None = Field(description="The value; `null` leaves the parameter out.")
    when: dict[str, list[Any]] = Field(default_factory=dict, description=_WHEN)


Param = Range | Choices | Fixed | str | int | float | bool
ModuleName = Literal["predict", "chain_of_thought", "own"]
AdapterName = Literal["plain", "chat", "json"]
ToolsName = Literal["text", "native"]
DemosKind = Literal["none", "own", "random", "balanced", "bootstrapped", "nearest"]


class CompoundPart(_Part):
    """A form of several requests for one answer: one of the first three keys."""

    best_of: Annotated[int, Field(ge=2, le=50), BeforeValidator(_whole)] | None = Field(
        None,
        description="So many answers, sampled side by side; the first one that a verifying call accepts, or the first.",
    )
    self_consistency: Annotated[int, Field(ge=3, le=50), BeforeValidator(_whole)] | None = Field(
        None,
        description="So many answers, sampled side by side; the one that most of them agree on in all outputs.",
    )
    verify_then_retry: Annotated[int, Field(ge=1, le=10), BeforeValidator(_whole)] | None = Field(
        None,
        description="One answer and a verifying call; what that objects to is said in another try, so often at most.",
    )
    over: Literal["predict", "chain_of_thought"] = Field("predict", description="What gives each answer.")
    check: Annotated[str, Field(pattern=r"^\S+:\w+$")] | None = Field(
        None,
        description="A function of your own in place of the verifying call, as `package.module:function` or "
        "`file.py:function`: `(inputs, answer)` to true, false, or what is wrong as text. With `self_consistency`, "
        "only answers that it accepts vote, if there are any.",
    )
    temperature: Annotated[float, Field(gt=0, le=2)] | None = Field(
        None,
        description="Of its requests, in place of `params.temperature`; the two that sample need one above 0.",
    )

    @model_validator(mode="after")
    def _one(self) -> CompoundPart:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            expected = "one of `best_of`, `self_consistency` and `verify_then_retry`"
            do = "Add one, such as `best_of: 3`." if not given else "Write them as separate entries of the list."
            raise Misfit("", expected, got=" and ".join(given) or "none", do=do)
        if self.temperature is not None and given[0] not in SAMPLING:
            raise Misfit("temperature", f"none with `{given[0]}`, which samples nothing", do="Remove it.")
        return self

    @property
    def form(self) -> ModuleSpec:
        """What it states."""
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        return ModuleSpec(
            kind=kind, n=getattr(self, kind), over=self.over, check=self.check, temperature=self.temperature
        )


def spelled(stated: str | CompoundPart) -> str:
    """A form as candidates spell it."""
    return stated if isinstance(stated, str) else stated.form.name


def as_stated(name: str) -> Any:
    """The form of that spelling as a file states it."""
    form = spec_of(name)
    if not form.several:
        return name
    return CompoundPart.model_validate({form.kind: form.n, "over": form.over, "check": form.check})


class VerifierPart(_Part):
    """The verifying call of `best_of` and `verify_then_retry`: shown inputs and answer, it accepts or objects."""

    model: str | None = Field(None, description="A model that verifies in place of the candidate's own.")

    instruction: str | None = Field(
        None,
        description="Its instruction, before the text of the task. By default: to check the answer, and to say in one "
        "sentence what is wrong if it is.",
    )
    params: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict,
        description="Request parameters in place of the candidate's, such as room for an objection (`max_tokens`).",
    )


class ProgramPart(_Part):
    """Program form (DSPy's module), message format (DSPy's adapter), constrained decoding. One value or a list each."""

    form: ModuleName | CompoundPart | list[ModuleName | CompoundPart] = Field(
        "predict",
        description="Program module: `predict`, `chain_of_thought`, a form of several requests such as `{best_of: 3}`, "
        "or `own` for `task.module`.",
    )
    verifier: VerifierPart | None = Field(None, description="The verifying call of forms that have one.")
    format: AdapterName | list[AdapterName] | None = Field(
        None,
        description="Adapter: the bare answer (`plain`), DSPy's own format (`chat`), or a JSON object (`json`); "
        "by default `plain`, and `chat` for `task.module`, images, audio and files.",
    )
    constrained: bool | list[bool] = Field(
        False, description="Whether decoding is constrained to the output schema, where model and format allow it."
    )
    models: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Models of single predictors of a `task.module`, by predictor: one or a list to search. `own` is "
        "what the module gives it, else the candidate's `model`.",
    )
    tools: ToolsName | list[ToolsName] | None = Field(
        None,
        description="How an agent of a `task.module` (`dspy.ReActV2`, or a predictor with `dspy.ToolCalls`) calls its "
        "tools: in `text`, or `native`ly by the provider's own interface. In text by default.",
    )
    strict: bool = Field(
        False,
        description="Whether an answer counts only if it is exactly of its type, for an app that parses strictly; see "
        "docs/answers.md.",
    )


class DemosPart(_Part):
    """Worked examples from the train split. One value or a list each; count 0 means none."""

    kind: DemosKind | list[DemosKind] | None = Field(
        None,
        description="How demos are chosen. A `task.module` has demos of its own (`own`, its default), such as those of "
        "a saved program; `none` removes them.",
    )
    count: Whole | list[Whole] = Field(0, description="How many demos; 0 means none.")
    balance_by: str | None = Field(
        None, description="Column that `balanced` balances by; by default the first enum output."
    )
    seed: Whole = Field(0, description="Seed of the choice.")
    min_score: float = Field(1.0, ge=0, le=1, description="Bootstrapped demos score at least this much.")


class IncumbentPart(_Part):
    """What runs today: the candidate to beat, as it runs today.

    Left out, `form`, `format` and `instruction` take the first value in the file, and constants of `params` hold;
    constrained decoding is off, there are no demos, and searched `params` are not sent. A module has instructions and
    demos of its own.
    """

    model: str = Field(description="Model by name; it need not be one of `models`.")
    instruction: str | dict[str, str] | None = Field(
        None, description="Name of a variant; with several predictors, predictor to variant."
    )
    form: ModuleName | CompoundPart | None = Field(None, description="Program form (module).")
    format: AdapterName | None = Field(None, description="Message format (adapter).")
    constrained: bool | None = Field(
        None, description="Whether decoding is constrained to the output schema; false where left out."
    )
    tools: ToolsName | None = Field(None, description="How tools are called.")
    demos: DemosKind | None = Field(None, description="Kind of demos; none where left out, a module's own with one.")
    demo_count: Whole = Field(0, ge=0, description="Number of demos.")
    models: dict[str, str] = Field(
        default_factory=dict, description="Models of single predictors (`program.models`); `own` for those left out."
    )
    params: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="Request parameters; searched ones that are left out are not sent."
    )


# --------------------------------------------------------------------------- objectives, caps, search


class ObjectivePart(_Part):
    """Weight and scale of one objective.

    `scale` is [worst, best] in the objective's unit, mapped to 0..1 and clipped. `incumbent` (cost and latency) maps
    0 to 1, the incumbent's own value to 0.5 and twice that to 0. The scale is fixed before the search.
    """

    weight: Weight = Field(
        1.0, description="Share in the utility, which ranks and recommends; the front does not depend on it."
    )
    scale: Literal["incumbent"] | tuple[float, float] | None = Field(
        None, description="[worst, best] in the objective's unit, or `incumbent` (cost and latency)."
    )
    statistic: Literal["mean", "p50", "p90", "p95"] = Field("p50", description="Latency only.")


class ObjectivesPart(_Part):
    """Objectives of the search. Quality is always one; `cost: null` or `latency: null` drops the other two."""

    quality: ObjectivePart = Field(ObjectivePart(weight=0.7, scale=(0.0, 1.0)), description="Mean score, 0..1.")
    cost: ObjectivePart | None = Field(
        ObjectivePart(weight=0.15, scale="incumbent"), description="USD per run; null drops it."
    )
    latency: ObjectivePart | None = Field(
        ObjectivePart(weight=0.15, scale="incumbent"), description="Seconds per run; null drops it."
    )

    @model_validator(mode="after")
    def _some_weight(self) -> ObjectivesPart:
        given = [part for part in (self.quality, self.cost, self.latency) if part is not None]
        if not any(part.weight > 0 for part in given):
            raise Misfit("", "at least one `weight` above 0", got="only weights of 0", do="Raise one.")
        return self


class RegressionsPart(_Part):
    """How many examples may get worse than with the incumbent, and how sure that has to be.

    Satisfied when the upper bound of their share (Clopper and Pearson, one-sided) is at most `max`. That takes enough
    examples: `max: 0.03, confidence: 0.9` needs 76 without a single loss.
    """

    max: float = Field(gt=0, lt=1, description="Largest share of examples that may get worse.")
    confidence: float = Field(0.9, gt=0.5, lt=1, description="Confidence that the true share is no larger.")


class ConstraintsPart(_Part):
    """What a recommended candidate has to satisfy on the search split."""

    quality_min: float | None = Field(None, ge=0, le=1, description="Lowest mean score.")
    cost_usd_max: float | None = Field(None, gt=0, description="Highest USD per run.")
    latency_p95_s_max: float | None = Field(None, gt=0, description="Highest seconds per run, 95th percentile.")
    regressions: RegressionsPart | None = Field(
        None, description="How many examples may get worse than with the incumbent; promotions have to satisfy it too."
    )
    unreadable_max: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share of unreadable answers on the holdout; for promotions and checks alone.",
    )


class BudgetPart(_Part):
    """Caps of the whole job, judge, proposer, retries and holdout included. null: no cap of that kind."""

    usd: float | None = Field(None, gt=0, description="Most USD.")
    calls: Count | None = Field(None, description="Most requests.")
    minutes: float | None = Field(None, gt=0, description="Most minutes of wall clock; at most a year.")


class VerifyPart(_Part):
    """What is measured after the search, besides the incumbent and the recommended candidate on the holdout.

    It uses what the search leaves of the job's caps. `offramp verify` does it at any time, from a budget of
    its own.
    """

    front: bool = Field(True, description="Whether the rest of the front is evaluated on the holdout too.")
    probe: Whole = Field(
        0,
        ge=0,
        le=10_000,
        description="Timed runs of each of them, separate from the search and never answered from the ledger.",
    )
    concurrency: Whole = Field(1, ge=1, le=64, description="Timed runs at the same time.")


class RacePart(_Part):
    """Candidates run on growing blocks of examples; one is stopped when it is clearly behind the front."""

    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="How often, at least, a candidate that belongs on the front is kept.",
    )
    margin: float = Field(
        0.01,
        ge=0,
        lt=0.5,
        description="A smaller lead does not count: in score, and as a share of cost and time.",
    )
    block: Count | None = Field(
        None,
        description="Examples between two decisions, fewer than search has; by default an eighth of them, at least 5.",
    )


class SearchPart(_Part):
    """How the search goes."""

    sampler: Literal["tpe", "nsga2", "random", "grid", "gp"] = Field(
        "tpe",
        description="Who proposes candidates: Optuna's samplers. `gp` needs the `gp` extra, `grid` a finite space.",
    )
    mode: Literal["pareto", "utility"] = Field("pareto", description="`utility` maximises the weighted utility alone.")
    trials: Count | None = Field(
        None,
        description="Candidates to run, the incumbent included; by default as many as the caps allow, 20 without caps.",
    )
    race: RacePart | None = Field(
        RacePart(), description="When to stop a candidate before its last example; null runs every candidate on all."
    )
    seed: Whole = Field(0, ge=0, description="Seed of every draw.")
    concurrency: Whole = Field(4, ge=1, le=1024, description="Requests in flight at the same time.")
    wave: Count | None = Field(
        None,
        description="Runs that are decided on together; by default twice `concurrency`, and 8 at least.",
    )


class ProposePart(_Part):
    """Instructions written by a model, which join the search in rounds.

    A round starts after every `every` candidates, or earlier if the space has no candidate left. It asks for `count`
    texts for each predictor, the `kinds` in turn: `data` writes from the task and train examples, `reflection` from
    what a good candidate got wrong on train examples. A text that is empty, too long, a duplicate, or that gives
    examples away is dropped.
    """

    model: str | ModelPart = Field(
        description="Model that writes: a name, or a mapping as under `models`; it need not be listed there."
    )
    rounds: Whole = Field(2, ge=1, le=20, description="Number of rounds.")
    count: Whole = Field(2, ge=1, le=20, description="Texts per round and predictor.")
    every: Whole = Field(4, ge=1, description="Candidates between two rounds and before the first.")
    kinds: list[Literal["data", "reflection"]] = Field(
        ["reflection", "data"], min_length=1, description="How texts are written; taken in turn."
    )
    max_chars: Whole = Field(1200, ge=20, description="A longer text is dropped.")
    examples: Whole = Field(8, ge=1, le=50, description="Train examples that a text is written from.")
    params: dict[str, str | int | float | bool | None] = Field(
        {"temperature": 1.0, "max_tokens": 600}, description="Request parameters for the proposer."
    )


TrackingName = Literal["none", "mlflow", "wandb", "langfuse"]


class CallsPart(_Part):
    """How one request is made."""

    timeout_s: Positive = Field(60.0, description="For one attempt, in seconds.")
    deadline_s: Positive = Field(300.0, description="For all attempts of one request together, in seconds.")
    attempts: Whole = Field(5, ge=1, le=20, description="Attempts of one request, the first included.")
    batch: bool = Field(
        False,
        description="Whether the search goes to the batch interfaces of OpenAI, Azure OpenAI and Anthropic, at half "
        "the price and within 24 hours. The holdout and timed runs are asked directly.",
    )
    max_failed_share: float = Field(0.2, gt=0, le=1, description="The job stops when a larger share of requests fails.")
    stored_answer_chars: Whole = Field(
        262_144,
        ge=1000,
        description="Longer answers are kept cut, with length and hash; their score is of the whole. Where one would "
        "be reused, the model is asked again.",
    )


def as_list(value: Any) -> list[Any]:
    """The values to search, of a field that takes one value or a list of them."""
    return list(value) if isinstance(value, list) else [value]


def model_name(part: str | ModelPart) -> str:
    """What a model is called in the file."""
    return part if isinstance(part, str) else part.name


class SpaceFile(_Part):
    """A space file: one job."""

    schema_version: Literal[1] = Field(1, description="Version of the format.")
    name: Name = Field(description="Name of the job; studies begin with it.")
    description: str | None = Field(None, description="What the job is for.")
    task: TaskPart = Field(description="What the program does.")
    dataset: DatasetPart = Field(description="Where the examples are.")
    splits: SplitsPart = Field(SplitsPart(), description="How examples are divided into splits.")
    metric: Metric = Field(description="How an answer is scored, 0..1.")
    incumbent: IncumbentPart | None = Field(None, description="What runs today.")
    models: list[str | ModelPart] = Field(
        min_length=1, description="Models to search over: names, or mappings with what the catalogue does not know."
    )
    instructions: dict[str, Annotated[str | FileText | Variants | None, Field(union_mode="left_to_right")]] = Field(
        default_factory=dict,
        description="Variant name to text (or file); with several predictors, predictor to variants. `own:` without a "
        "text is the instruction that `task.module` has; without `instructions`, a module keeps all of its own.",
    )
    program: ProgramPart = Field(ProgramPart(), description="Modules and adapters to search over.")
    demos: DemosPart = Field(DemosPart(), description="Worked examples to search over.")
    params: dict[str, Param] = Field(
        default_factory=dict, description="Request parameters: constant, range or choices."
    )
    objectives: ObjectivesPart = Field(ObjectivesPart(), description="What is optimised, and how it is weighed.")
    constraints: ConstraintsPart = Field(ConstraintsPart(), description="What a recommended candidate has to satisfy.")
    budget: BudgetPart = Field(BudgetPart(), description="Caps of the whole job.")
    search: SearchPart = Field(SearchPart(), description="How the search goes.")
    replicates: Whole = Field(
        1,
        ge=1,
        le=10,
        description="Runs of one example, whose mean is its score: more than 1 where a temperature above 0 makes "
        "answers differ. Answers that are not sampled are asked for once.",
    )
    verify: VerifyPart = Field(VerifyPart(), description="What is measured after the search.")
    propose: ProposePart | None = Field(None, description="Instructions written by a model; none are when left out.")
    calls: CallsPart = Field(CallsPart(), description="How one request is made.")
    store_text: bool = Field(True, description="false: texts are not stored, so answers cannot be reused.")
    tracking: TrackingName = Field(
        "none",
        description="Where a run and a verification also write their candidates, with params, metrics and tags. The "
        "tool's own environment variables say where it is.",
    )

    @property
    def forms(self) -> list[str]:
        """The forms to search, as candidates spell them; a module has its own."""
        if self.task.module is not None:
            return ["own"]
        return [spelled(stated) for stated in as_list(self.program.form)]

    @property
    def checks(self) -> tuple[str, ...]:
        """Import paths of the functions that check answers, the incumbent's among them."""
        stated = self.incumbent.form if self.incumbent is not None else None
        forms = [*self.forms, *([spelled(stated)] if stated is not None else [])]
        return tuple(dict.fromkeys(check for form in forms if (check := spec_of(form).check) is not None))

    @property
    def demo_kinds(self) -> list[DemosKind]:
        """The kinds of demos to search; where the file names none, no demos, and a module's own."""
        if self.demos.kind is None:
            return ["none" if self.task.module is None else "own"]
        return as_list(self.demos.kind)

    @property
    def adapters(self) -> list[AdapterName]:
        """The adapters to search; where the file names none, `plain`, and `chat` for a module or an input of media."""
        if self.program.format is None:
            return ["chat" if self.task.module is not None or self.task.media else "plain"]
        return as_list(self.program.format)
