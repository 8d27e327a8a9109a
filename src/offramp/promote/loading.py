"""Promoted features in an app: `offramp.load_messages` writes requests for it, `offramp.load` makes a DSPy program.

    triage = offramp.load("support-triage")
    triage(message="Where is my parcel?").category

What was read is kept, and read again when the files have changed: a promotion or a rollback reaches a running app with
its next call. Neither importing this module nor `load_messages` loads dspy, litellm or optuna.

Invariant: a call uses one version as a whole; a file that is not whole never replaces one that was.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from offramp.errors import OfframpError
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder, default_folder
from offramp.promote.promotion import FileRef, Promotion
from offramp.promote.render import ChatRequest, Renderer

if TYPE_CHECKING:
    from offramp.calls.direct import DirectSender
    from offramp.calls.transports import Transport
    from offramp.program.cascade import Cascade
    from offramp.program.deployed import DeployedProgram, OnUnreadable
    from offramp.program.module import ModuleFactory
    from offramp.program.program import Program
    from offramp.promote.running import Checks, PerModel

Made = TypeVar("Made")
_log = logging.getLogger("offramp")
RETRY_S = 1.0
"""Seconds from one try to read a change to the next, where none of its files has changed."""


class FollowedLabel(Generic[Made]):
    """What is made from the promotion that a label points at, made again when the files change.

    Args:
        label: or a version, or the beginning of one.
        make: from a promotion and the rows of its pool of demos.
    """

    def __init__(self, folder: FeatureFolder, label: str, make: Callable[[Promotion, tuple[Any, ...]], Made]) -> None:
        self._folder, self._label, self._make = folder, label, make
        self._lock = threading.Lock()
        self._watched: dict[Path, _State] = {}
        self._pid, self._retry_at, self._said = os.getpid(), math.inf, ""
        self.promotion, self._made = self._read()

    def current(self) -> Made:
        """What is made from the files as they are now.

        While a change cannot be read, what was read before stays in use; why is logged once. It is tried again when one
        of its files changes, and every second: whatever failed may be over though no file has changed.
        """
        if self._is_due():
            with self._lock:
                if self._is_due():
                    self._reload()
        return self._made

    def _is_due(self) -> bool:
        """Whether a file has changed, or this is a forked child, which has none of its parent's threads."""
        changed = any(_state(path) != state for path, state in self._watched.items())
        return changed or os.getpid() != self._pid or time.monotonic() >= self._retry_at

    def _reload(self) -> None:
        try:
            self.promotion, self._made = self._read()
            self._retry_at, self._said = math.inf, ""
        except OfframpError as error:
            self._retry_at = time.monotonic() + RETRY_S
            if str(error) != self._said:
                self._said = str(error)
                _log.error("%s stays at version %s: %s", self._folder.feature, self.promotion.version, error)

    def _read(self) -> tuple[Promotion, Made]:
        """The promotion and what is made of it. From here on each file is watched as it was before it was read."""
        watched: dict[Path, _State] = {}

        def watch(path: Path) -> None:
            watched[path] = _state(path)

        self._pid = os.getpid()
        try:
            watch(self._folder.labels_path)
            version = self._folder.resolve(self._label)
            watch(self._folder.version_path(version))
            promotion = self._folder.load(version)
            if (pool := promotion.demos.pool) is not None:
                watch(self._folder.data_path(pool))
            return promotion, self._make(promotion, () if pool is None else self._folder.rows(pool))
        finally:
            self._watched = watched


_State = tuple[int, int, int] | None
"""A missing file is a state like any other."""


def _state(path: Path) -> _State:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


_known: dict[tuple[str, str, str], FollowedLabel[Renderer]] = {}
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
            _known[key] = FollowedLabel(folder, label, Renderer)
        followed = _known[key]
    return followed.current().request(inputs)


def load(
    feature: str, *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None,
    module: ModuleFactory | None = None, api_base: PerModel = None, api_key_env: PerModel = None,
    timeout_s: float = 60.0, deadline_s: float = 300.0, attempts: int = 3, transport: Transport | None = None,
    on_unreadable: OnUnreadable = "raise", default: Mapping[str, Any] | None = None, check: Checks = None,
) -> DeployedProgram:  # fmt: skip
    """A promoted feature as a DSPy program: `program(**inputs)` or `await program.acall(**inputs)`.

    A cascade is loaded alike: where its first member gives no answer, another answers.

    Args:
        label: a label, a version, or the beginning of one.
        promotions: the folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        module: your own module's class or factory, where the feature is one.
        api_base: address of your own model server, or addresses by model name; promotions contain none.
        api_key_env: environment variable with its key, or by model name; the vendor's usual one by default.
        timeout_s: of one attempt. deadline_s: of all attempts of one request. attempts: before a fallback is asked.
        transport: what sends in the end; LiteLLM and llama.cpp by route by default.
        on_unreadable: what to do with an answer that cannot be read or is a refusal. `raise`: an AnswerError. `retry`:
            ask once more, then the default, or an AnswerError without one. `default`: return the default. Each is
            logged as a warning.
        default: a value of its type for each output.
        check: your own function that checks answers, where the promoted form has one; of a cascade by import path.

    A module whose code is not what was measured is logged as a warning, with the names of its files.

    Raises:
        UsageError: nothing was promoted there, a file was changed by hand, or an address, module or default is missing.
    """
    again = functools.partial(load, **{**locals(), "promotions": default_folder(promotions).absolute()})
    from offramp.calls.direct import DirectSender
    from offramp.models.server import LocalServers
    from offramp.program.background import BACKGROUND
    from offramp.program.code import changed_in_app
    from offramp.program.deployed import DeployedProgram, default_outputs
    from offramp.promote.running import Addresses, fields_of, runnable

    folder = FeatureFolder(promotions, feature)
    addresses = Addresses(api_base=api_base, api_key_env=api_key_env)
    senders: dict[int, DirectSender] = {}

    def sender() -> DirectSender:
        """What sends requests; a forked child has its own."""
        if os.getpid() not in senders:
            servers = LocalServers() if transport is None else None
            senders[os.getpid()] = DirectSender(
                timeout_s=timeout_s, deadline_s=deadline_s, attempts=attempts, transport=transport, servers=servers
            )
        return senders[os.getpid()]

    def make(promotion: Promotion, rows: tuple[Mapping[str, Any], ...]) -> Sequence[Program | Cascade]:
        def rows_of(ref: FileRef) -> tuple[Any, ...]:
            return rows if ref == promotion.demos.pool else folder.rows(ref)

        async def made() -> Sequence[Program | Cascade]:
            return runnable(promotion, rows_of, send=sender().send, addresses=addresses, factory=module, check=check)

        if module is not None and (changed := changed_in_app(promotion.program.code or {}, module())):
            what = f"{', '.join(changed)} of the module differs from what was measured"
            _log.warning("%s %s: %s. Optimize and promote it again.", feature, promotion.version, what)
        default_outputs(feature, on_unreadable, default, fields_of(promotion), typed=module is None)
        return BACKGROUND.wait(made())

    followed = FollowedLabel(folder, label, make)
    fields = fields_of(followed.promotion)
    checked = default_outputs(feature, on_unreadable, default, fields, typed=module is None)
    return DeployedProgram(followed.current, feature=feature, on_unreadable=on_unreadable, default=checked, again=again)
