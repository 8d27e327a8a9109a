"""The models that promoted features depend on, read from the promotions folder, and what they cost then and now.

Invariants: every label is looked at; a promotion that cannot be read is an error, never a feature without problems. An
unknown price or unknown tokens give None, never a ratio.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from offramp.errors import PromotionError, problem
from offramp.models import keys
from offramp.models.names import tuned_base
from offramp.models.table import Table, load_table
from offramp.promote.folder import USUAL_FOLDER, FeatureFolder, checked_name, default_folder
from offramp.promote.promotion import Dependency, PromotedCascade, PromotedModel, Promotion
from offramp.records import Price, Usage
from offramp.space.forms import spec_of
from offramp.space.model import ModelPart, SpaceFile

REASONING = frozenset({"reasoning_effort", "thinking"})


class Role(enum.StrEnum):
    """What a feature needs a model for."""

    MODEL = "model"  # it answers
    FALLBACK = "fallback"  # it is asked when another gives no answer
    PROGRAM = "program"  # the program asks it beside the model
    JUDGE = "judge"  # it grades for the metric
    PROPOSER = "proposer"  # it writes instructions
    BASE = "base"  # a tuned model was made from it and retires with it

    @property
    def answers(self) -> bool:
        """Whether the app calls it."""
        return self in (Role.MODEL, Role.FALLBACK, Role.PROGRAM)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInUse:
    """One model that a feature depends on, under one of its labels.

    Attributes:
        tuned: name of the tuned model that it is the base of; None in every other role.
        space_file: as the promotion has it; None where that is not known.
        name: as the space file wrote it. route: as requests are sent.
        own: a file or server of your own: no vendor can retire it or change its price.
        request_params: the request parameters that are sent.
        json_schema: whether answers must follow a schema.
        usage_1k: tokens of a thousand runs by class, as measured; None where the evidence has none.
        price_then: of short prompts, when it was promoted; None where unknown.
        measured_usd_1k: what a thousand runs of the model cost when promoted; None where unknown and in other roles.
        requests_per_run: requests that a run makes, as far as the promotion tells: one for each predictor.
        stated: ISO date of retirement that was known of an own model when it was promoted; None without one.
        service_tier: that its requests name; None where they name none.
        listed: whether its space shows that the table had it then, as one that it lacks needs a price or an address.
    """

    feature: str
    label: str
    version: str
    role: Role = Role.MODEL
    tuned: str | None = None
    space_file: str | None = None
    name: str
    route: str
    own: bool
    request_params: Mapping[str, Any]
    json_schema: bool
    usage_1k: Usage | None
    price_then: Price | None
    stated: str | None = None
    service_tier: str | None = None
    measured_usd_1k: float | None = None
    requests_per_run: int = 1
    listed: bool = False

    @property
    def fallback(self) -> bool:
        """Whether it is only asked when another gives no answer."""
        return self.role is Role.FALLBACK

    @property
    def reasons(self) -> bool:
        """Whether it sends a parameter of reasoning."""
        return bool(self.request_params.keys() & REASONING)


Dependencies = Callable[[Promotion], Iterable[Dependency]]
Spaces = Callable[[Promotion], SpaceFile | None]


def recorded_dependencies(promotion: Promotion) -> Iterable[Dependency]:
    """Those that the promotion itself names."""
    return promotion.dependencies or ()


def models_in_use(
    promotions: Path | None = None, dependencies: Dependencies = recorded_dependencies, spaces: Spaces | None = None
) -> Iterator[ModelInUse]:
    """The models that promoted features depend on, by feature and label.

    Args:
        dependencies: the judges and proposers of a promotion.
        spaces: its space; asked for where the table lacks a model.

    Raises:
        PromotionError: a promotion that is missing, changed or unreadable, or a folder that does not exist.
    """
    root = default_folder(promotions)
    if not root.is_dir() and root != USUAL_FOLDER:
        do = "Name the folder of promotions with --promotions."
        raise PromotionError(problem(str(root), "there is no such folder", do=do))
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.startswith(".") or not any(path.glob("*.yaml")):
            continue
        folder = FeatureFolder(root, checked_name(path.name, f"{root}: feature"))
        labels = folder.labels()
        if not labels and folder.versions():
            do = "Restore it, for example with `git checkout`, or promote again."
            raise PromotionError(problem(str(folder.labels_path), "no label points at the versions here", do=do))
        for label, version in sorted(labels.items()):
            promotion = folder.load(version)
            space = None if spaces is None else partial(spaces, promotion)
            yield from models_of(promotion, label, dependencies(promotion), space)


def models_of(
    promotion: Promotion,
    label: str,
    dependencies: Iterable[Dependency] = (),
    space: Callable[[], SpaceFile | None] | None = None,
) -> Iterator[ModelInUse]:
    """The model of one promotion, its fallbacks and dependencies; behind each tuned model its base.

    Args:
        space: gives its space, None where that is not known; asked where the table lacks a model.
    """
    found = [_in_use(promotion, label, role, model) for role, model in _needed(promotion)]
    if promotion.cascade is not None:
        found = list(_of_members(promotion, promotion.cascade, label))
    found += [_in_use(promotion, label, Role(item.role), item.model) for item in dependencies]
    unknown = {used.name for used in found if not used.own and load_table().find(used.route) is None}
    known = space() if unknown and space is not None else None
    listed = unknown & _listed_in(known) if known is not None else frozenset()
    for each in found:
        used = replace(each, listed=each.name in listed)
        yield used
        base = None if used.own else tuned_base(used.name) or tuned_base(used.route)
        if base is not None:
            yield replace(used, role=Role.BASE, tuned=used.name, name=base, route=base, usage_1k=None, price_then=None)


def _listed_in(space: SpaceFile) -> frozenset[str]:
    """Names to which a space adds neither price nor address: it could not run unless the table had them."""
    from offramp.job.judges import judges_in

    proposer = () if space.propose is None else (space.propose.model,)
    parts = [ModelPart(name=part) if isinstance(part, str) else part for part in (*space.models, *proposer)]
    stated = {part.name for part in parts if part.price is not None or part.api_base is not None}
    return frozenset({part.name for part in parts} | set(judges_in(space))) - stated


def _needed(promotion: Promotion) -> list[tuple[Role, PromotedModel]]:
    """The models that answer."""
    needed = [(Role.MODEL, promotion.model), *((Role.FALLBACK, model) for model in promotion.fallbacks)]
    return needed + [(Role.PROGRAM, model) for model in promotion.others]


def _of_members(promotion: Promotion, cascade: PromotedCascade, label: str) -> Iterator[ModelInUse]:
    """The models of a cascade's members, each once: the first's is its model; tokens are those of its share of runs."""
    seen: dict[str, ModelInUse] = {}
    for part, member in zip(promotion.parts, cascade.members, strict=True):
        for role, model in _needed(part):
            used = _in_use(part, label, role, model)
            if role is Role.MODEL:
                used = replace(
                    used,
                    role=Role.MODEL if not seen else Role.PROGRAM,
                    usage_1k=used.usage_1k and _scaled(used.usage_1k, member.share),
                    measured_usd_1k=None if used.measured_usd_1k is None else used.measured_usd_1k * member.share,
                )
            known = seen.setdefault(model.name, used)
            if known is not used and known.usage_1k is not None and used.usage_1k is not None:
                seen[model.name] = replace(known, usage_1k=known.usage_1k + used.usage_1k)
    yield from seen.values()


def _scaled(usage: Usage, share: float) -> Usage:
    parts = {field.name: getattr(usage, field.name) for field in fields(usage)}
    seconds = parts.pop("compute_s")
    whole = {name: round(value * share) for name, value in parts.items()}
    return Usage(**whole, compute_s=None if seconds is None else seconds * share)


def _in_use(promotion: Promotion, label: str, role: Role, model: PromotedModel) -> ModelInUse:
    """Parameters and tokens are those of the candidate's model, which the others do not share."""
    evidence = promotion.evidence.holdout or promotion.evidence.search
    own = model.local or model.own_address or model.route.split("/", 1)[0] in keys.KEYLESS
    whole = role in (Role.MODEL, Role.FALLBACK)
    params = dict(promotion.request_params) if whole else {}
    return ModelInUse(
        feature=promotion.feature,
        label=label,
        version=promotion.version,
        role=role,
        space_file=promotion.evidence.space_file,
        name=model.name,
        route=model.route,
        own=own,
        request_params=params,
        json_schema=whole and promotion.program.constrained,
        usage_1k=usage_of_1k(evidence.tokens) if whole else None,
        price_then=_price(model),
        stated=model.retirement_date if own else None,
        service_tier=params.get("service_tier"),
        measured_usd_1k=evidence.cost_usd * 1000 if role is Role.MODEL and evidence.cost_usd is not None else None,
        requests_per_run=max(len(promotion.instructions), spec_of(promotion.program.form).requests),
    )


def _price(model: PromotedModel) -> Price | None:
    if model.price is None:
        return None
    known = {field.name for field in fields(Price)}
    return Price.from_json({name: value for name, value in model.price.items() if name in known})


def usage_of_1k(tokens: Mapping[str, float]) -> Usage | None:
    """A thousand runs from the mean tokens of one, by names of `Usage`; None where there are none."""
    known = {name: value for name, value in tokens.items() if name != "compute_s"}
    compute_s = tokens.get("compute_s")
    if not any(known.values()) and compute_s is None:
        return None
    whole = {name: round(value * 1000) for name, value in known.items()}
    return Usage(**whole, compute_s=None if compute_s is None else compute_s * 1000)


# ------------------------------------------------------------------------------------------------------------- cost


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChange:
    """USD of a thousand runs then and now, for the tokens measured then; None where not known."""

    then_usd_1k: float | None
    now_usd_1k: float | None

    @property
    def ratio(self) -> float | None:
        """Now over then; None where either is not known or nothing was paid then."""
        if not self.then_usd_1k or self.now_usd_1k is None:
            return None
        return self.now_usd_1k / self.then_usd_1k

    @property
    def changed(self) -> bool:
        """Whether it moved by more than rounding."""
        return self.ratio is not None and abs(self.ratio - 1) > 1e-6


def cost_change(used: ModelInUse, table: Table) -> CostChange:
    """Then and now. An own model keeps its price: the table does not know it.

    A promotion keeps the price of short prompts. Where the prompts are so long that another one applies, the cost then
    is what was measured.
    """
    row = None if used.own else table.find(used.route)
    price = None if row is None or row.price is None else row.price.for_tier(used.service_tier)
    price = used.price_then if used.own else price
    then, now = (cost_usd_1k(p, used.usage_1k, used.requests_per_run) for p in (used.price_then, price))
    if price is not None and used.usage_1k is not None and now != price.flat.cost_usd(used.usage_1k):
        then = used.measured_usd_1k
    return CostChange(then_usd_1k=then, now_usd_1k=now)


def cost_usd_1k(price: Price | None, usage_1k: Usage | None, requests_per_run: int = 1) -> float | None:
    """USD of a thousand runs, by the step of the price that their mean prompt is in; None where it is not known."""
    if price is None or usage_1k is None:
        return None
    return price.at(usage_1k.prompt_tokens // (1000 * requests_per_run)).cost_usd(usage_1k)
