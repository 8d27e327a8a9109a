"""A promotion made runnable: the very program that was measured, with the addresses and keys that the app states.

A file that is shared and loaded decides what is asked, never where. Anything that could send a key or a prompt to where
the app did not say is refused when a promotion is made, and again when it is loaded, since a file may come from a
stranger with a hash that fits.

Invariants: the candidate made here has the id that the evidence is about. After `refuse_unsafe`, the only addresses
that a request can reach are those of the vendor that its route names, of the local server, and of what the app states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from offramp.errors import ModelError, PromotionError, UsageError, problem
from offramp.media import MediaKind
from offramp.models.capabilities import supported_params
from offramp.models.gguf_files import embedded_model
from offramp.models.keys import usual_key
from offramp.program.cascade import Cascade
from offramp.program.demos import NearestDemos
from offramp.program.engine import Send
from offramp.program.module import ModuleFactory, build_module, predictors_of
from offramp.program.program import Program
from offramp.promote.promotion import FileRef, PromotedCascade, PromotedModel, Promotion
from offramp.records import Candidate, DemoKind, Example, Model, Price
from offramp.space.forms import spec_of
from offramp.space.model import OWN, OutputField
from offramp.study.domain.cascade_rule import CascadeRule
from offramp.task.fields import TaskFields

_ROUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9][A-Za-z0-9._:@+-]*)*\Z")
_REDIRECTING = (
    "api", "url", "uri", "base", "host", "proxy", "endpoint", "header", "auth", "key", "secret", "credential", "cookie",
    "organization", "project", "region", "client", "provider", "callback", "deployment", "mock", "aws", "azure",
    "vertex", "cert", "ssl", "model", "message", "fallback", "retrie", "retry", "extra", "stream", "tool",
    "function", "timeout", "web",
)  # fmt: skip
_HARMLESS = frozenset({"prompt_cache_key", "dry_base"})

PerModel = str | Mapping[str, str] | None
"""One value for the models that need one, or one by model name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """What an app states about servers of its own: addresses, and the environment variables that hold their keys.

    Attributes:
        prices: of today by model, in place of those that were promoted; an app states none.
    """

    api_base: PerModel = None
    api_key_env: PerModel = None
    prices: Mapping[str, Price] = field(default_factory=dict)


def refuse_unsafe(promotion: Promotion) -> None:
    """Raises PromotionError for a route or a parameter that could redirect a request."""
    where = f"{promotion.feature} {promotion.version}".strip()
    for part in promotion.parts if promotion.cascade is not None else ():
        refuse_unsafe(part)
    for model in (promotion.model, *promotion.fallbacks, *promotion.others):
        if not _ROUTE.match(model.route) or ":/" in model.route:
            expected = "a model's name, such as openai/gpt-6-luna"
            raise PromotionError(problem(where, "route", got=model.route, expected=expected))
    rendered = promotion.rendering.params if promotion.rendering is not None else {}
    of_predictors = (name for params in (promotion.predictor_params or {}).values() for name in params)
    for name in (*promotion.request_params, *rendered, *of_predictors):
        words = re.split(r"[^a-z]+", name.lower())
        redirecting = any(word in _REDIRECTING or word.rstrip("s") in _REDIRECTING for word in words)
        if redirecting and name.lower() not in _HARMLESS:
            what = "a request parameter that may decide where requests go"
            raise PromotionError(problem(where, what, got=name, do="Set it in the app that loads the promotion."))


Checks = Callable[..., Any] | Mapping[str, Callable[..., Any]] | None
"""A function that checks answers, or functions by the import path that the promoted form names."""


def _with_check(fields: TaskFields, promotion: Promotion, check: Checks) -> TaskFields:
    """Raises UsageError: the form checks answers by a function that the app has not handed in, or by none."""
    path = spec_of(promotion.program.form).check
    if path is None:
        if callable(check) and promotion.cascade is None:
            what = f"its form {promotion.program.form!r} checks answers by no function"
            raise UsageError(problem(promotion.feature, what, do="Leave `check` out."))
        return fields
    function = check.get(path) if isinstance(check, Mapping) else check
    if function is None:
        what = f"its answers are checked by a function of your own ({path}), and code is never loaded from a promotion"
        do = f"Pass it: load(..., check={path.rpartition(':')[2]})."
        raise UsageError(problem(promotion.feature, what, do=do))
    return replace(fields, checks={path: function})


def fields_of(promotion: Promotion) -> TaskFields:
    """The fields of the task."""
    outputs = {name: OutputField.model_validate(dict(kind)) for name, kind in promotion.program.outputs.items()}
    inputs = promotion.program.inputs
    media = cast("dict[str, MediaKind]", dict(promotion.program.media or {}))
    return TaskFields(
        inputs=tuple(inputs), outputs=outputs, input_descs=dict(inputs), media=media, strict=promotion.program.strict
    )


def candidate_of(promotion: Promotion) -> Candidate:
    """The candidate. Raises PromotionError where it is not the one that the evidence is about, or is several."""
    if promotion.cascade is not None:
        do = "Use `offramp.load`, or promote its members by themselves with `offramp promote STUDY --pick ID`."
        raise PromotionError(problem(f"{promotion.feature} {promotion.version}", "is a cascade of programs", do=do))
    demos, program = promotion.demos, promotion.program
    candidate = Candidate(
        params=dict(promotion.evidence.params),
        model=promotion.model.name,
        module=program.form,
        adapter=program.format,
        constrained=program.constrained,
        instructions=dict(promotion.instructions),
        demo_kind=DemoKind(demos.kind),
        demo_count=demos.count,
        demo_seed=demos.seed,
        request_params=dict(promotion.request_params),
        models=dict(promotion.predictor_models or {}),
        tools=program.tools or "text",
        predictor_params={name: dict(params) for name, params in (promotion.predictor_params or {}).items()},
    )
    if candidate.id != promotion.evidence.candidate:
        what = f"its content is candidate {candidate.id}, but its evidence is about {promotion.evidence.candidate}"
        raise PromotionError(problem(f"{promotion.feature} {promotion.version}", what, do="Promote again."))
    return candidate


def model_of(promoted: PromotedModel, addresses: Addresses) -> Model:
    """The model as the app calls it.

    Raises:
        UsageError: it was measured on a server of one's own, and the app does not say where that is.
        ModelError: the embedded model of this release is not the one that was measured.
    """
    api_base = _stated(addresses.api_base, promoted)
    if promoted.own_address and api_base is None:
        do = f'Pass it: load(..., api_base={{"{promoted.name}": "http://..."}}).'
        raise UsageError(problem(promoted.name, "it runs on your own server, and no address was given", do=do))
    if promoted.local:
        _check_revision(promoted)
    model = Model(name=promoted.name, route=promoted.route, revision=promoted.revision, api_base=api_base)
    key = _stated(addresses.api_key_env, promoted) or usual_key(model.provider, api_base)
    price = addresses.prices.get(promoted.name, price_of(promoted))
    if promoted.tools == "native":
        model = replace(model, supported_params=(supported_params(model) or frozenset()) | {"tools"})
    return replace(model, api_key_env=key, price=price, retirement_date=promoted.retirement_date)


def price_of(promoted: PromotedModel) -> Price | None:
    """The price that was promoted, which is that of the service tier asked for; None where none was known."""
    return None if promoted.price is None else replace(Price.from_json(promoted.price), any_tier=True)


def _stated(given: PerModel, promoted: PromotedModel) -> str | None:
    """A single value is for models on a server of one's own alone: a vendor's model never follows it."""
    if isinstance(given, str):
        return given if promoted.own_address else None
    return None if given is None else given.get(promoted.name)


def _check_revision(promoted: PromotedModel) -> None:
    here = embedded_model(promoted.route, promoted.name).sha256
    if promoted.revision not in (None, here):
        what = f"this release has a different file for it (sha256 {here[:12]})"
        do = "Install the release that it was promoted with, or promote again."
        raise ModelError(problem(promoted.name, what, expected=f"sha256 {str(promoted.revision)[:12]}", do=do))


def programs_of(
    promotion: Promotion, rows: Sequence[Mapping[str, Any]], *, send: Send, addresses: Addresses,
    factory: ModuleFactory | None = None, models: Mapping[str, Model] | None = None, check: Checks = None,
) -> list[Program]:  # fmt: skip
    """The program on its model and on each fallback. To be called on a running event loop.

    Args:
        models: those that a module of one's own may call, by name, where its runs are under a budget; None in an app,
            where its other models are its own affair.

    Raises:
        UsageError: it is a module of one's own that the app has not handed in, or addresses are missing.
    """
    refuse_unsafe(promotion)
    candidate, fields = candidate_of(promotion), _with_check(fields_of(promotion), promotion, check)
    _check_module(promotion, candidate, fields, factory)
    pool = [_example(row) for row in rows]
    nearest = NearestDemos(pool, fields.inputs) if pool else None
    demos = {name: [dict(row) for row in found] for name, found in promotion.demos.values.items()}
    others = {other.name: model_of(other, addresses) for other in promotion.others}
    of_predictors = {name for params in candidate.predictor_params.values() for name in params}
    measured = frozenset({*promotion.request_params, *of_predictors})  # its own model took them, whatever LiteLLM lists
    return [
        Program(
            replace(candidate, model=model.name), fields=fields, send=send,
            model=replace(
                _asked(model, candidate, addresses),
                stated_params=measured if model is promotion.model else frozenset(),
            ),
            factory=factory, demos=demos, nearest=nearest, models={**(models or {}), **others},
            strict=models is not None,
        )
        for model in (promotion.model, *promotion.fallbacks)
    ]  # fmt: skip


def runnable(
    promotion: Promotion, rows_of: Callable[[FileRef], Sequence[Mapping[str, Any]]], *, send: Send,
    addresses: Addresses, factory: ModuleFactory | None = None, models: Mapping[str, Model] | None = None,
    check: Checks = None,
) -> Sequence[Program | Cascade]:  # fmt: skip
    """What answers: the program on its model and on each fallback, or a cascade of programs.

    Args:
        rows_of: reads rows that the promotion names.
        models: as for `programs_of`; where they are given a cascade fails where a member fails.

    Raises:
        PromotionError: rows are missing or changed. UsageError: as for `programs_of`.
    """

    def programs(part: Promotion) -> list[Program]:
        rows = rows_of(part.demos.pool) if part.demos.pool is not None else ()
        return programs_of(part, rows, send=send, addresses=addresses, factory=factory, models=models, check=check)

    if promotion.cascade is None:
        return programs(promotion)
    refuse_unsafe(promotion)
    cascade = promotion.cascade
    rule = rule_of(cascade, rows_of(cascade.rows) if cascade.rows is not None else (), promotion.evidence.study)
    return [Cascade(rule, [programs(part)[0] for part in promotion.parts], strict=models is not None)]


def rule_of(cascade: PromotedCascade, rows: Sequence[Mapping[str, Any]], study: str) -> CascadeRule:
    """The rule as it runs."""
    return CascadeRule(
        source=study,
        kind=cascade.kind,
        members=tuple(member.candidate for member in cascade.members),
        params=tuple(member.params for member in cascade.members),
        compared=cascade.compared,
        prior=cascade.prior,
        inputs={name: tuple(row["inputs"].get(name) for row in rows) for name in (rows[0]["inputs"] if rows else ())},
        utilities=tuple(zip(*(row["utilities"] for row in rows), strict=True)),
        work=tuple(row["work"] for row in rows if row.get("work") is not None),
        threshold=cascade.threshold,
        second_of=cascade.second_of,
        second_threshold=cascade.second_threshold,
        of=cascade.of,
        crossed={},
        holdout=None,
    )


def _asked(promoted: PromotedModel, candidate: Candidate, addresses: Addresses) -> Model:
    """The model with what a module of one's own may ask of it: native tools where it was measured with them."""
    model = model_of(promoted, addresses)
    if candidate.module != OWN:
        return model
    known = supported_params(model) or frozenset()
    return replace(model, supported_params=known | {"tools"} if candidate.tools == "native" else known)


def _check_module(
    promotion: Promotion, candidate: Candidate, fields: TaskFields, factory: ModuleFactory | None
) -> None:
    own = promotion.program.form == "own"
    if own and factory is None:
        what = f"it is your own module ({promotion.program.module}), and code is never loaded from a promotion"
        raise UsageError(problem(promotion.feature, what, do="Pass it: load(..., module=YourModule)."))
    if not own and factory is not None:
        raise UsageError(problem(promotion.feature, "it is not your own module", do="Leave `module` out."))
    if own:
        names = predictors_of(build_module(candidate, fields, factory, {}))
        unknown = sorted({*promotion.instructions, *promotion.demos.values} - set(names))
        if unknown:
            what = f"the module has no predictors {unknown}; it has {sorted(names)}"
            raise UsageError(problem(promotion.feature, what, do="Pass the module that was measured."))


def _example(row: Mapping[str, Any]) -> Example:
    return Example(id=row["content_hash"], content_hash=row["content_hash"], values=dict(row["values"]), row=0)
