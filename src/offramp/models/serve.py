"""The child process that serves one GGUF file: `python -m offramp.models.serve MODEL_PATH [options]`.

It reads the key that callers have to send from the first line of stdin, prints one JSON line `{"url": ...}` when it is
ready, and exits as soon as stdin closes or its parent has died, so that kill -9 on the parent leaves no server behind.

Invariant: it listens on loopback only, and answers only callers that know the key.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
from typing import Any

LOOPBACK = "127.0.0.1"
ERRORS_ONLY = 1
"""llama.cpp's log level; its default writes 1 kB for each call."""
PROMPT_CACHE_MIB = 512
"""Memory for the prompts of earlier calls, so that repeating one is cheap; llama.cpp would take up to 8 GiB."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options of the child process."""
    parser = argparse.ArgumentParser(prog="python -m offramp.models.serve")
    parser.add_argument("model_path")
    parser.add_argument("--name", default="local", help="what replies call the model")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--context-tokens", type=int, default=8192, help="for each slot")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def settings(options: argparse.Namespace, api_key: str) -> Any:
    """The parameters that llama.cpp's server is started with."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model_path
    params.model_alias = {options.name}
    params.verbosity = ERRORS_ONLY
    params.hostnames = [LOOPBACK]
    params.port = 0
    params.api_keys = [api_key]
    params.n_parallel = options.slots
    params.n_ctx = options.context_tokens * options.slots
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.n_gpu_layers = options.gpu_layers
    params.sampling.seed = options.seed
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.ui = False
    params.warmup = True
    return params


def main(arguments: list[str]) -> None:
    """Serve until stdin closes."""
    import xllamacpp

    parent = os.getppid()
    options = parse(arguments)
    api_key = sys.stdin.readline().strip()
    if not api_key:
        sys.exit("the first line of stdin has to be the key that callers have to send")
    try:
        server = xllamacpp.Server(settings(options, api_key))
    except RuntimeError as error:
        sys.exit(f"llama.cpp: {error}")  # its log says more than a traceback
    print(json.dumps({"url": server.listening_address}), flush=True)
    wait_for_end(parent)
    os._exit(0)  # the server's own threads would keep the process alive


def wait_for_end(parent: int) -> None:
    """Return when stdin is closed or the parent has died (another process may still hold the other end of stdin)."""
    while os.getppid() == parent:
        if select.select([0], [], [], 1.0)[0] and not os.read(0, 4096):
            return


if __name__ == "__main__":
    main(sys.argv[1:])
