"""`offramp.load_messages`: the request of a promoted feature, for apps that call models their own way.

What was read is kept, and read again when the files have changed: a promotion or a rollback reaches a running app with
its next request. Nothing here imports dspy, litellm or optuna.

Invariant: a request is of one version as a whole; a file that is not whole never replaces one that was.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from offramp.errors import OfframpError
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder
from offramp.promote.promotion import Promotion
from offramp.promote.render import ChatRequest, Renderer

Made = TypeVar("Made")
_log = logging.getLogger("offramp")


class Watched(Generic[Made]):
    """What is made from the promotion that a label points at, made again when the files change.

    Args:
        label: or a version, or the beginning of one.
        make: from a promotion and the rows of its pool of demos.
    """

    def __init__(self, folder: FeatureFolder, label: str, make: Callable[[Promotion, tuple[Any, ...]], Made]) -> None:
        self._folder, self._label, self._make = folder, label, make
        self._lock = threading.Lock()
        self.promotion, self._made, self._seen = self._read()

    def current(self) -> Made:
        """What is made from the files as they are now.

        A change that cannot be read is logged, once, and what was read before goes on.
        """
        if self._look() != self._seen:
            with self._lock:
                if self._look() != self._seen:
                    self._reload()
        return self._made

    def _reload(self) -> None:
        seen = self._look()
        try:
            self.promotion, self._made, self._seen = self._read()
        except OfframpError as error:
            _log.error("%s stays at version %s: %s", self._folder.feature, self.promotion.version, error)
            self._seen = seen

    def _read(self) -> tuple[Promotion, Made, tuple[Any, ...]]:
        """Promotion, what is made of it, and what the files looked like before they were read."""
        labels = _state(self._folder.labels_path)
        version = self._folder.resolve(self._label)
        seen = (os.getpid(), labels, _state(self._folder.version_path(version)))
        promotion = self._folder.load(version)
        pool = promotion.demos.pool
        return promotion, self._make(promotion, self._folder.rows(pool) if pool is not None else ()), seen

    def _look(self) -> tuple[Any, ...]:
        """What tells that files have changed, or that this is a forked child, which has none of its parent's threads.

        A missing file is a state like any other.
        """
        version = self._folder.version_path(self.promotion.version)
        return os.getpid(), _state(self._folder.labels_path), _state(version)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


_known: dict[tuple[str, str, str], Watched[Renderer]] = {}
_known_lock = threading.Lock()


def load_messages(
    feature: str, inputs: Mapping[str, Any], *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None
) -> ChatRequest:
    """The request that a promoted feature sends for these inputs: messages and parameters, as they were measured.

    Args:
        inputs: by field name; texts, or JSON values.
        label: a label, a version, or the beginning of one.
        promotions: the folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.

    Raises:
        UsageError: nothing was promoted there, a file was changed by hand, or the inputs do not fit.
    """
    folder = FeatureFolder(promotions, feature)
    key = (str(folder.root.absolute()), feature, label)
    with _known_lock:
        if key not in _known:
            _known[key] = Watched(folder, label, Renderer)
        watched = _known[key]
    return watched.current().request(inputs)


def promoted(feature: str, *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None) -> Promotion:
    """What a label points at, or a version, checked against its hash. Raises PromotionError."""
    folder = FeatureFolder(promotions, feature)
    return folder.load(folder.resolve(label))
