"""The promotions folder as models in use: what each label of each feature runs on now.

Invariant: every label is looked at; a promotion that cannot be read is an error and never a feature that is well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from offramp.errors import PromotionError, problem
from offramp.lifecycle.in_use import ModelInUse, usage_of_1k
from offramp.models import keys
from offramp.promote.folder import USUAL_FOLDER, FeatureFolder, checked_name, default_folder
from offramp.promote.promotion import PromotedModel, Promotion
from offramp.records import Price


def models_in_use(promotions: Path | None = None) -> Iterator[ModelInUse]:
    """The models that labels point at, fallbacks included, by feature and label.

    Raises:
        PromotionError: a promotion that is missing, changed or unreadable, or a folder that does not exist.
    """
    root = default_folder(promotions)
    for folder in _features(root):
        labels = folder.labels()
        if not labels and folder.versions():
            do = "Bring it back, for example with `git checkout`, or promote again."
            raise PromotionError(problem(str(folder.labels_path), "no label points at the versions here", do=do))
        for label, version in sorted(labels.items()):
            yield from models_of(folder.load(version), label)


def _features(root: Path) -> list[FeatureFolder]:
    """The features of a folder; none where the default one does not exist yet, an error where another was named."""
    if not root.is_dir() and root != USUAL_FOLDER:
        do = "Name the folder of promotions with --promotions."
        raise PromotionError(problem(str(root), "there is no such folder", do=do))
    paths = sorted(root.iterdir()) if root.is_dir() else []
    found = [path.name for path in paths if not path.name.startswith(".") and any(path.glob("*.yaml"))]
    return [FeatureFolder(root, checked_name(name, f"{root}: feature")) for name in found]


def models_of(promotion: Promotion, label: str) -> Iterator[ModelInUse]:
    """The model of one promotion, then its fallbacks."""
    yield _in_use(promotion, promotion.model, label, fallback=False)
    for model in promotion.fallbacks:
        yield _in_use(promotion, model, label, fallback=True)


def _in_use(promotion: Promotion, model: PromotedModel, label: str, *, fallback: bool) -> ModelInUse:
    evidence = promotion.evidence.holdout or promotion.evidence.search
    own = model.local or model.own_address or model.route.split("/", 1)[0] in keys.KEYLESS
    return ModelInUse(
        feature=promotion.feature,
        label=label,
        version=promotion.version,
        fallback=fallback,
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
