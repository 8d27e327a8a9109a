"""The models that promoted features use now, read from the promotions folder, and what they cost then and now.

Invariants: every label is looked at; a promotion that cannot be read is an error, never a feature without problems. An
unknown price or unknown tokens give None, never a ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from offramp.errors import PromotionError, problem
from offramp.models import keys
from offramp.models.table import Table
from offramp.promote.folder import USUAL_FOLDER, FeatureFolder, checked_name, default_folder
from offramp.promote.promotion import PromotedModel, Promotion
from offramp.records import Price, Usage

REASONING = frozenset({"reasoning_effort", "thinking"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInUse:
    """One model that a label of a feature points at.

    Attributes:
        fallback: whether it is only asked when another gives no answer.
        name: as the space file wrote it. route: as requests are sent.
        own: a file or server of your own: no vendor can retire it or change its price.
        request_params: the request parameters that are sent.
        json_schema: whether answers must follow a schema.
        usage_1k: tokens of a thousand runs by class, as measured; None where the evidence has none.
        price_then: when it was promoted; None where unknown.
        stated: ISO date of retirement that was known of an own model when it was promoted; None without one.
        service_tier: that its requests name; None where they name none.
    """

    feature: str
    label: str
    version: str
    fallback: bool = False
    name: str
    route: str
    own: bool
    request_params: Mapping[str, Any]
    json_schema: bool
    usage_1k: Usage | None
    price_then: Price | None
    stated: str | None = None
    service_tier: str | None = None

    @property
    def reasons(self) -> bool:
        """Whether it sends a parameter of reasoning."""
        return bool(self.request_params.keys() & REASONING)


def models_in_use(promotions: Path | None = None) -> Iterator[ModelInUse]:
    """The models that labels point at, fallbacks included, by feature and label.

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
            yield from models_of(folder.load(version), label)


def models_of(promotion: Promotion, label: str) -> Iterator[ModelInUse]:
    """The model of one promotion, then its fallbacks."""
    evidence = promotion.evidence.holdout or promotion.evidence.search
    for model in (promotion.model, *promotion.fallbacks):
        own = model.local or model.own_address or model.route.split("/", 1)[0] in keys.KEYLESS
        yield ModelInUse(
            feature=promotion.feature,
            label=label,
            version=promotion.version,
            fallback=model is not promotion.model,
            name=model.name,
            route=model.route,
            own=own,
            request_params=dict(promotion.request_params),
            json_schema=promotion.program.constrained,
            usage_1k=usage_of_1k(evidence.tokens),
            price_then=_price(model),
            stated=model.retirement_date if own else None,
            service_tier=promotion.request_params.get("service_tier"),
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
    """Then and now. An own model keeps its price: the table does not know it."""
    row = None if used.own else table.find(used.route)
    now = None if row is None or row.price is None else row.price.for_tier(used.service_tier)
    now = used.price_then if used.own else now
    return CostChange(then_usd_1k=cost_usd(used.price_then, used.usage_1k), now_usd_1k=cost_usd(now, used.usage_1k))


def cost_usd(price: Price | None, usage: Usage | None) -> float | None:
    """USD of a usage; None where anything needed is not known."""
    return None if price is None or usage is None else price.cost_usd(usage)
