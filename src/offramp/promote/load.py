"""`offramp.load`: a promoted feature as a callable DSPy program.

    triage = offramp.load("support-triage")
    triage(message="Where is my parcel?").category

Invariant: every call runs one version as a whole; a promote or a rollback reaches a running app with its next call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.calls.direct import DirectSender
from offramp.calls.transports import Transport
from offramp.models.server import LocalServers
from offramp.program.background import BACKGROUND
from offramp.program.deployed import DeployedProgram
from offramp.promote.folder import DEFAULT_LABEL, FeatureFolder
from offramp.promote.loading import Watched
from offramp.promote.promotion import Promotion
from offramp.promote.running import Addresses, PerModel, programs_of

if TYPE_CHECKING:
    from offramp.program.module import ModuleFactory
    from offramp.program.program import Program


def load(
    feature: str, *, label: str = DEFAULT_LABEL, promotions: str | Path | None = None,
    module: ModuleFactory | None = None, api_base: PerModel = None, api_key_env: PerModel = None,
    timeout_s: float = 60.0, deadline_s: float = 300.0, attempts: int = 3, transport: Transport | None = None,
) -> DeployedProgram:  # fmt: skip
    """A promoted feature as a DSPy program: `program(**inputs)` or `await program.acall(**inputs)`.

    Args:
        label: a label, a version, or the beginning of one.
        promotions: the folder; `OFFRAMP_PROMOTIONS` or `promotions` by default.
        module: your own module's class or factory, where the feature is one.
        api_base: address of a server of your own, or addresses by model name; no promotion holds one.
        api_key_env: environment variable with its key, or by model name; the vendor's usual one by default.
        timeout_s: of one attempt. deadline_s: of all attempts of one request. attempts: before a fallback is asked.
        transport: what sends in the end; LiteLLM and llama.cpp by route by default.

    Raises:
        UsageError: nothing was promoted there, a file was changed by hand, or an address or module is missing.
    """
    folder = FeatureFolder(promotions, feature)
    addresses = Addresses(api_base=api_base, api_key_env=api_key_env)
    senders: dict[int, DirectSender] = {}

    def sender() -> DirectSender:
        """The way to the models; a forked child has its own."""
        if os.getpid() not in senders:
            servers = LocalServers() if transport is None else None
            senders[os.getpid()] = DirectSender(
                timeout_s=timeout_s, deadline_s=deadline_s, attempts=attempts, transport=transport, servers=servers
            )
        return senders[os.getpid()]

    def make(promotion: Promotion, rows: tuple[Mapping[str, Any], ...]) -> list[Program]:
        async def made() -> list[Program]:
            return programs_of(promotion, rows, send=sender().send, addresses=addresses, factory=module)

        return BACKGROUND.wait(made())

    watched = Watched(folder, label, make)
    return DeployedProgram(watched.current, feature=feature)
