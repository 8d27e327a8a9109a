"""Which environment variable holds the key of a provider, and whether it is there.

Only names of variables are handled here, never their values. A vendor's key is only ever paired with the vendor's own
address: a space file that brings its own `api_base` has to name the variable itself.

Invariant: `missing_key` names a variable only if no request could succeed without it.
"""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from offramp.records import Model

PROVIDER_KEYS: dict[str, tuple[str, ...]] = {
    "ai21_chat": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "azure": ("AZURE_API_KEY", "AZURE_AD_TOKEN"),
    "azure_ai": ("AZURE_AI_API_KEY",),
    "baseten": ("BASETEN_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "codestral": ("CODESTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "databricks": ("DATABRICKS_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "vercel_ai_gateway": ("VERCEL_AI_GATEWAY_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
"""Any one of the variables is enough; the first is the one to tell people about."""

AMBIENT_SIGNS: dict[str, tuple[str, ...]] = {
    "bedrock": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "hosted_vllm": ("HOSTED_VLLM_API_BASE",),
    "lm_studio": ("LM_STUDIO_API_BASE",),
    "ollama": ("OLLAMA_API_BASE",),
    "ollama_chat": ("OLLAMA_API_BASE",),
    "sagemaker": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "vertex_ai": ("GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_PROJECT", "VERTEX_PROJECT"),
}
"""Credentials may come from the machine, or none are needed: nothing is surely missing, and any of these is a sign."""

KEYLESS = frozenset({"local", "ollama", "ollama_chat", "lemonade", "lm_studio", "hosted_vllm", "llamafile"})
"""Servers of one's own."""

_VENDOR_HOSTS = (
    ".openai.com", ".azure.com", ".anthropic.com", ".googleapis.com", ".mistral.ai", ".groq.com", ".deepseek.com",
    ".x.ai", ".cohere.com", ".cohere.ai", ".together.xyz", ".together.ai", ".fireworks.ai", ".openrouter.ai",
)  # fmt: skip


def is_set(variable: str) -> bool:
    """Whether an environment variable has a value that is not empty."""
    return bool(os.environ.get(variable))


def has_key(provider: str) -> bool:
    """Whether the environment holds something to call this provider with. Unknown providers: their usual name."""
    usual = (provider.upper().replace("-", "_") + "_API_KEY",)
    return any(map(is_set, PROVIDER_KEYS.get(provider) or AMBIENT_SIGNS.get(provider) or usual))


def is_loopback(address: str | None) -> bool:
    """Whether an http address points at this machine."""
    host = (urlsplit(address or "").hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usual_key(provider: str, api_base: str | None) -> str | None:
    """Variable with the provider's key, or None where none is needed, none is known, or the address is a stranger's.

    Where only a less usual variable is set (a token in place of a key), None too: LiteLLM knows how to use those.
    """
    names = PROVIDER_KEYS.get(provider, ())
    if not names or (api_base is not None and not _is_vendor(api_base)):
        return None
    return names[0] if is_set(names[0]) or not any(map(is_set, names)) else None


def _is_vendor(api_base: str) -> bool:
    host = "." + (urlsplit(api_base).hostname or "").lower()
    return urlsplit(api_base).scheme == "https" and host.endswith(_VENDOR_HOSTS)


def missing_key(model: Model) -> str | None:
    """Name of the environment variable without which this model cannot be called, or None where nothing is missing."""
    if model.api_key_env is not None:
        return None if is_set(model.api_key_env) else model.api_key_env
    if model.api_base is not None or model.provider in KEYLESS or model.provider in AMBIENT_SIGNS:
        return None
    if names := PROVIDER_KEYS.get(model.provider):
        return None if any(map(is_set, names)) else names[0]
    return _missing_by_litellm(model.route)


def _missing_by_litellm(route: str) -> str | None:
    if route.startswith(("github_copilot/", "chatgpt/", "microsoft_365_copilot/")):
        return None  # signed in by device: asking LiteLLM about these would start a log-in
    from offramp.models.capabilities import quiet_litellm

    names = quiet_litellm().validate_environment(route).get("missing_keys") or []
    return next((str(name) for name in names if not is_set(name)), None)
